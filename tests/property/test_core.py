"""What holds of the core for every term, candidate, context and seed: drawn, shrunk, not listed."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import lupa.lua54
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_policy_host.conform.runtime import JUDGE, lua_path
from llm_policy_host.core.sources import core_directory
from tests.oracle import observe_case, text
from tests.property.strategies import cases, terms

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.oracle.transport import Data

AC = {"and", "or", "add"}


@cache
def judge() -> Callable[[bytes], bytes]:
    """Load the judge in this process; every test of this file asks it."""
    lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True, encoding=None)
    lua.execute(b"package.path = ...", lua_path([core_directory(), JUDGE]).encode())
    answer: Callable[[bytes], bytes] = lua.execute(b'local judge = require("judge") return judge')
    return answer


def observe(case: Data) -> str:
    """Ask the judge; a case that is too deep for JSON text of ours has no way to it."""
    answer = judge()(json.dumps(case).encode()).decode()
    assume(not answer.startswith("!error: the case is no JSON"))
    return answer


def read(answer: str) -> Any:
    return json.loads(answer, strict=False)


def shuffled(term: Data, rng: random.Random) -> Data:
    """Give the term with the children of every AC operation in another order."""
    if not (isinstance(term, list) and term and isinstance(term[0], str)):
        return term
    head, *args = [shuffled(each, rng) for each in term]
    if head in AC:
        rng.shuffle(args)
    return [head, *args]


@given(cases())
@settings(max_examples=200)
def test_the_core_shows_what_the_oracle_shows(case: Data) -> None:
    assert observe(case) == text(observe_case(case))


@given(cases("policy", "pred"))
@settings(max_examples=200)
def test_every_admitted_policy_decides_without_an_error_a_nan_or_an_infinity(case: Data) -> None:
    answer = observe(case)
    assert not answer.startswith("!error")
    assert not re.search(r"[:\[,]-?(?:nan|inf)", answer)


@given(cases("garbage"))
@settings(max_examples=300)
def test_admission_answers_garbage_with_a_sort_or_a_refusal(case: Data) -> None:
    answer = read(observe(case))
    assert "sort" in answer or set(answer["refusal"]) == {"code", "path"}


@pytest.mark.parametrize("sort", ["Pred", "Scorer", "Xform", "FailPlan", "Policy"])
@given(data=st.data())
@settings(max_examples=60)
def test_the_order_of_ac_children_changes_no_identity(sort: str, data: st.DataObject) -> None:
    schema, term = data.draw(terms(sort))
    other = shuffled(term, data.draw(st.randoms(use_true_random=False)))
    first, second = (observe({"kind": "term", "term": t, "schema": schema}) for t in (term, other))
    assert first == second


@given(cases("term"))
@settings(max_examples=200)
def test_a_normal_form_is_admitted_and_its_own_normal_form(case: Data) -> None:
    twice = read(observe({"kind": "normal_form_twice", **{k: v for k, v in case.items() if k != "kind"}}))
    if "refusal" not in twice:
        assert twice["once"] == twice["twice"]
        assert twice["is_admitted"] is True


@given(terms("Policy"), terms("Policy"))
@settings(max_examples=100)
def test_two_encodings_are_equal_only_where_the_normal_forms_are(
    first: tuple[Data, Data], second: tuple[Data, Data]
) -> None:
    from tests.oracle.language import normal_form  # noqa: PLC0415 - the oracle's own notion of equality

    texts = [
        read(observe({"kind": "term", "term": term, "schema": schema}))["normal_form"]
        for schema, term in (first, second)
    ]
    forms = [normal_form(term) for _, term in (first, second)]
    assert (texts[0] == texts[1]) == (forms[0] == forms[1])
