"""`diff` against brute force: every clause that differs is told, and every decision that changes."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_policy_host.analysis.changes import Comparison
from llm_policy_host.analysis.corpus import Occasion, corpus
from llm_policy_host.analysis.decisions import Side, moved
from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from tests.oracle.catalog import Catalog
from tests.oracle.language import normal_form
from tests.oracle.meaning import plan
from tests.oracle.signature import SIGNATURE, SORTS, Schema, argument_sorts
from tests.property.generator import FAMILIES, PROVIDERS
from tests.property.strategies import generators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.analysis.changes import Part
    from tests.oracle.transport import Data
    from tests.property.generator import Generator

STRUCTURE = ("and", "or", "add", "seq")


@cache
def comparison() -> Comparison:
    return Comparison(Language(Vm()).signature())


def canonical(term: Data) -> Data:
    """Give a normal form as the core writes it: integral numbers as integers."""
    return json.loads(json.dumps(normal_form(term)), parse_float=_whole)


def _whole(text: str) -> float:
    return int(float(text)) if float(text).is_integer() else float(text)


def nodes(term: Data, path: str = "$") -> Iterator[tuple[str, Data]]:
    """Give every operation below a term that is no failure plan, by path, with its own parameters."""
    op, *args = term
    if SIGNATURE[op].sort == "FailPlan":
        while term[0] == "override":
            yield f"{path}.{term[2]}", ["on", term[2], term[3]]
            term = term[1]
        yield f"{path}.unknown", ["on", "unknown", term[1]]
        return
    sorts = argument_sorts(op, len(args))
    params = [each for each, sort in zip(args, sorts, strict=True) if sort not in SORTS]
    if op not in STRUCTURE:
        yield path, [op, *params]
    for position, (each, sort) in enumerate(zip(args, sorts, strict=True), 1):
        if sort in SORTS:
            yield from nodes(each, f"{path}.{op}[{position}]")


def untouched(term: Data, parts: list[Part]) -> Counter[str]:
    """Count the operations of a term at and above which no change stands, and none at a parameter of theirs."""
    whole = [part.path for part in parts if part.what[0].isupper()]
    owners = [part.path.rpartition(".")[0] for part in parts if not part.what[0].isupper()]
    return Counter(
        json.dumps(node)
        for path, node in nodes(term)
        if path not in owners and not any(path == at or path.startswith(f"{at}.") for at in whole)
    )


@pytest.mark.parametrize("sort", ["Pred", "Scorer", "Selector", "Xform", "FailPlan", "Policy"])
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_what_no_change_stands_at_is_the_same_on_both_sides(sort: str, data: st.DataObject) -> None:
    generator: Generator = data.draw(generators())
    first, second = (canonical(generator.term(sort, 4)) for _ in range(2))
    changes = comparison().changes(first, second)
    befores = [change.before for change in changes if change.before]
    afters = [change.after for change in changes if change.after]
    assert untouched(first, befores) == untouched(second, afters)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_there_are_changes_exactly_where_the_normal_forms_differ(data: st.DataObject) -> None:
    generator: Generator = data.draw(generators())
    first, other = (generator.term("Policy", 4) for _ in range(2))
    second = data.draw(
        st.sampled_from(
            ([*first[:1], *other[1:2], *first[2:]], other, ["policy", ["and", first[1], ["top"]], *first[2:]])
        )
    )
    forms = [canonical(term) for term in (first, second)]
    assert bool(comparison().changes(*forms)) is (json.dumps(forms[0]) != json.dumps(forms[1]))


def policy(pred: Data, mutate: Data = ("id",), failures: Data = ("always", {"action": "abort"})) -> Data:
    return ["policy", pred, ["zero"], ["argmax"], [*mutate], [*failures]]


def told(first: Data, second: Data) -> list[tuple[str, str, Any, Any]]:
    return [
        (change.kind, change.path, change.before and change.before.value, change.after and change.after.value)
        for change in comparison().changes(canonical(first), canonical(second))
    ]


def test_a_clause_with_another_number_is_one_change_and_no_two() -> None:
    first = policy(["and", ["cmp", "price_in", "le", 2], ["is", "no_log"]])
    second = policy(["and", ["cmp", "price_in", "le", 3], ["is", "no_log"], ["has_cap", "tools"]])
    assert told(first, second) == [
        ("changed", "$.policy[1].and[1]", ["cmp", "price_in", "le", 2], ["cmp", "price_in", "le", 3]),
        ("added", "$.policy[1].and[2]", None, ["has_cap", "tools"]),
    ]


def test_clauses_about_two_fields_are_no_change_of_one_another() -> None:
    first = policy(["and", ["cmp", "price_in", "le", 2], ["cmp", "price_out", "le", 2]])
    assert [(kind, path) for kind, path, *_ in told(first, policy(["cmp", "price_out", "le", 5]))] == [
        ("removed", "$.policy[1].and[1]"),
        ("changed", "$.policy[1].and[2]"),
    ]


def test_one_clause_beside_a_second_is_added_and_the_first_is_not_changed() -> None:
    assert told(policy(["is", "no_log"]), policy(["and", ["is", "has_tee"], ["is", "no_log"]])) == [
        ("added", "$.policy[1].and[1]", None, ["is", "has_tee"])
    ]


def test_true_is_not_one() -> None:
    changed = told(policy(["top"], ["set_param", "n", 1]), policy(["top"], ["set_param", "n", True]))
    assert [kind for kind, *_ in changed] == ["changed"]


def test_steps_are_compared_in_their_order() -> None:
    one, two, three = (["inject_seed", name] for name in ("seed", "n", "top_k"))
    changed = told(policy(["top"], ["seq", one, two, three]), policy(["top"], ["seq", one, three]))
    assert changed == [("removed", "$.policy[4].seq[2]", two, None)]


def test_failures_are_compared_by_their_kind() -> None:
    abort, retry = {"action": "abort"}, {"action": "retry_same"}
    first = ["override", ["override", ["always", abort], "timeout", retry], "rate_limit", retry]
    second = ["override", ["always", retry], "timeout", {"action": "disable_provider"}]
    assert [
        (kind, path)
        for kind, path, *_ in told(policy(["top"], failures=first), policy(["top"], failures=second))
    ] == [
        ("removed", "$.policy[5].rate_limit"),
        ("changed", "$.policy[5].timeout"),
        ("changed", "$.policy[5].unknown"),
    ]


TRAITS: list[dict[str, Any]] = [
    {"tier": "partner"},
    {"no_log": True},
    {"has_tee": True, "scope": "a"},
    {"tier": "gold"},
]
CONFIG: dict[str, Any] = {
    "providers": {
        name: {"api_kind": "scripted", **more} for name, more in zip(PROVIDERS, TRAITS, strict=True)
    },
    "models": {
        family: {
            "capabilities": {"context": 4000 * place, "supports_tools": place > 1},
            "served_by": [
                {"provider": name, **({"price_in": place * at, "price_out": at} if place != at else {})}
                for at, name in enumerate(PROVIDERS, 1)
            ],
        }
        for place, family in enumerate(FAMILIES[:2], 1)
    },
}


def expected(term: Data, config: Data, occasion: Occasion) -> tuple[list[Data], dict[Data, str]]:
    """Decide an occasion by the oracle."""
    contract = dict(occasion.contract)
    inputs = {"credits": dict(occasion.credits or {})}
    ctx = {
        "request": contract,
        "seed": contract["seed"],
        "state": {
            "disabled": dict.fromkeys(occasion.disabled, True),
            "breakers": dict.fromkeys(occasion.open, True),
            "credits": inputs["credits"],
        },
    }
    found = plan(term, Catalog(config, {}, contract, inputs).candidates(), ctx, Schema.read(config))
    return [_route(each) for each, _ in found.ordered], {_route(each): why for each, why in found.rejected}


def _route(candidate: Data) -> str:
    return f"{candidate['model_family']} @ {candidate['provider_id']}"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_decisions_that_change_are_those_that_the_oracle_finds(data: st.DataObject) -> None:
    generator: Generator = data.draw(generators())
    assume("customs" not in generator.schema)
    config = {**CONFIG, **generator.schema}
    first = generator.term("Policy", 4)
    first[1] = data.draw(st.sampled_from((["top"], ["meets_req"], ["not", ["is", "disabled"]], first[1])))
    second = generator.term("Policy", 4)
    part = data.draw(st.integers(1, 3))
    second = [*first[:part], second[part], *first[part + 1 :]]
    engine = bare_engine(config)
    occasions = corpus(engine.candidates, data.draw(st.integers(0, 99)), 12)
    found = [
        *moved(
            Side(engine, {"policy_ir": first}), Side(bare_engine(config), {"policy_ir": second}), occasions
        )
    ]
    wanted = {}
    for place, occasion in enumerate(occasions, 1):
        before, after = (expected(term, config, occasion) for term in (first, second))
        kinds = {
            "chosen": before[0][:1] != after[0][:1],
            "order": before[0] != after[0],
            "rejected": before[1].keys() != after[1].keys(),
            "reasons": before[1].keys() == after[1].keys() and before[1] != after[1],
        }
        if any(kinds.values()):
            wanted[place] = tuple(name for name, is_so in kinds.items() if is_so)
    assert {each.place: each.differs for each in found} == wanted


def test_a_seed_draws_the_same_occasions_and_another_draws_others() -> None:
    candidates = bare_engine(CONFIG).candidates
    assert corpus(candidates, 1, 50) == corpus(candidates, 1, 50)
    assert corpus(candidates, 1, 50) != corpus(candidates, 2, 50)
    assert corpus(candidates, 1, 0) == []
    assert corpus(candidates, 1, 1)[0].words() == "nothing required"


def test_a_corpus_asks_for_all_that_candidates_differ_in() -> None:
    occasions = corpus(bare_engine(CONFIG).candidates, 0, 300)
    asked = {key for each in occasions for key in each.contract.get("requirements") or {}}
    assert asked == {"needs", "min_context", "model_family", "tier", "privacy"}
    assert any(each.disabled for each in occasions)
    assert any(each.open for each in occasions)
    assert any("scope" in each.contract for each in occasions)
