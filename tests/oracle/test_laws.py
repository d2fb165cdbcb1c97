"""Claims about every generated case, by which the oracle checks itself."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.property.generator import KINDS, Generator, random_cases
from tests.property.strategies import cases, generators, terms

from . import decode, observe_case, text
from .language import Refusal, check, encode, normal_form
from .meaning import T, scores, verdict
from .signature import SIGNATURE, SORTS, Schema

if TYPE_CHECKING:
    from tests.oracle.transport import Data


@pytest.mark.parametrize("sort", SORTS)
@given(data=st.data())
def test_a_generated_term_is_admitted_and_so_is_its_normal_form(sort: str, data: st.DataObject) -> None:
    schema, term = data.draw(terms(sort))
    assert check(term, Schema.read(schema)) == sort
    form = normal_form(term)
    assert check(form, Schema.read(schema)) == sort
    assert encode(normal_form(form)) == encode(form)


@given(generators())
def test_the_normal_form_of_a_pred_holds_where_the_term_does(generator: Generator) -> None:
    schema, term = Schema.read(generator.schema), generator.term("Pred")
    candidate, ctx = generator.candidate(), generator.ctx()
    plain = verdict(term, candidate, ctx, schema)
    assert bool(plain) == bool(verdict(normal_form(term), candidate, ctx, schema))


@given(generators())
def test_every_score_is_bounded(generator: Generator) -> None:
    schema, term = Schema.read(generator.schema), normal_form(generator.term("Scorer", 6))
    survivors = generator.some(generator.candidate)
    for score in scores(term, survivors, generator.ctx(), schema):
        assert -T <= score <= T
        assert score == 0 or abs(score) >= 1 / T


@given(cases("garbage"))
def test_admission_answers_whatever_comes(case: Data) -> None:
    answer = check(decode(case["term"]), Schema.read(case["schema"]))
    assert isinstance(answer, Refusal) or answer in SORTS


@given(terms("Pred"), st.randoms(use_true_random=False))
def test_the_order_of_and_and_or_is_no_part_of_identity(drawn: Data, rng: random.Random) -> None:
    def shuffled(term: Data) -> Data:
        if not isinstance(term, list):
            return term
        op, *args = [term[0], *map(shuffled, term[1:])]
        return [op, *(rng.sample(args, len(args)) if op in ("and", "or", "add") else args)]

    _, term = drawn
    assert encode(normal_form(shuffled(term))) == encode(normal_form(term))


def _flow(inputs: Data) -> Data:
    nodes = {"a": {"kind": "input", "inputs": inputs}, "b": {"kind": "output", "inputs": ["a"]}}
    return {"kind": "flow", "name": "told", "schema": {"params": []}, "flow": ["flow", nodes]}


@example(_flow({"$": "hole"}), 1)
@example(_flow([{"$": "hole"}]), 1)
@given(cases("flow"), st.integers(0, 999))
def test_the_names_of_nodes_are_no_part_of_identity(case: Data, seed: int) -> None:
    seen = observe_case(case)
    if "refusal" in seen:
        return
    nodes = case["flow"][1]
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    fresh = dict(zip(nodes, rng.sample([f"x{k}" for k in range(99)], len(nodes)), strict=True))
    assert observe_case({**case, "flow": ["flow", _renamed(nodes, fresh)]}) == seen


def _renamed(nodes: Data, fresh: dict[str, str]) -> Data:
    """The nodes under fresh ids; an escape (`{"$": "hole"}`: nothing at all there) stays as it is."""

    def inputs(given: Data) -> Data:
        if not isinstance(given, list):
            return given
        return [fresh[each] if isinstance(each, str) else each for each in given]

    return {
        fresh[name]: {key: inputs(part) if key == "inputs" else part for key, part in node.items()}
        for name, node in nodes.items()
    }


@given(cases())
def test_every_case_survives_json(case: Data) -> None:
    again = json.loads(json.dumps(case, allow_nan=False))
    assert text(observe_case(again)) == text(observe_case(case))


def test_a_seed_repeats_its_cases_and_reaches_every_op() -> None:
    for kind in KINDS:
        assert random_cases(3, 20, kind) == random_cases(3, 20, kind)
    written = json.dumps(random_cases(1, 400, "term"))
    assert [op for op in SIGNATURE if f'["{op}"' not in written] == []
