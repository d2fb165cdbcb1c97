"""What a catalog leaves possible, against asking the oracle about every route in every state."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.analysis.formula import All, Among, Formula, Not, Some
from llm_policy_host.analysis.search import is_possible
from llm_policy_host.analysis.survey import Survey
from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from tests.oracle.language import normal_form
from tests.oracle.meaning import verdict
from tests.oracle.signature import Schema as OracleSchema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.oracle.transport import Data

FIELDS = {
    "bench": {"sort": "Num", "default": 1},
    "rank": {"sort": "Num"},
    "eu": {"sort": "Bool", "default": True},
}
RELATIONS = ("lt", "le", "eq", "ne", "ge", "gt")
# the values that stand for all others beside the constants 0, 1 and 2
NUMBERS = (-1, 0, 0.5, 1, 1.5, 2, 3)


def compared(*names: str) -> list[Data]:
    return [["cmp", name, rel, number] for name in names for rel in RELATIONS for number in (0, 1, 2)]


# Atoms by what else than the catalog they look at: nothing, or the part of a state of that name.
ATOMS: dict[str, list[Data]] = {
    "catalog": [
        *compared("price_in", "bench", "rank", "context"),
        ["is", "eu"],
        ["is", "has_tee"],
        *(["tier_eq", tier] for tier in ("fallback", "partner")),
        ["min_tier", "marketplace"],
        ["family_eq", "m1"],
        ["provider_eq", "p1"],
        ["served_by_eq", "p2"],
        ["has_cap", "tools"],
        ["has_cap", "supports_tools"],
    ],
    "latency_ms": compared("latency_ms"),
    "credits": compared("credits"),
    "disabled": [["is", "disabled"]],
    "breaker": [["is", "breaker_open"]],
    "wanted": [["meets_req"]],
    "scope": [["scope_matches"]],
}
STATES: Mapping[str, tuple[Data, ...]] = {
    "catalog": (None,),
    "latency_ms": (None, *(number for number in NUMBERS if number >= 0)),
    "credits": (None, *NUMBERS),
    "disabled": (False, True),
    "breaker": (False, True),
    "wanted": (None, "not this"),
    "scope": (None, "elsewhere"),
}

ROUTE = st.fixed_dictionaries(
    {"provider": st.sampled_from(["p1", "p2"])},
    optional={
        "price_in": st.sampled_from([0, 1, 1.5, 2]),
        "bench": st.sampled_from([-1, 0, 1, 2, 5]),
        "rank": st.sampled_from([0, 1, 3]),
        "eu": st.booleans(),
        "has_tee": st.booleans(),
        "tier": st.sampled_from(["fallback", "marketplace", "partner"]),
        "scope": st.just("elsewhere"),
        "latency_ms": st.sampled_from([1, 2]),
        "capabilities": st.sampled_from([{"context": 1}, {"context": 2, "supports_tools": True}, {}]),
    },
)
# what only the offers of a market say: what may differ from offer to offer
OFFERS: Mapping[str, tuple[Data, ...]] = {
    "price_in": (None, 0, 0.5, 1, 1.5, 2, 3),
    "bench": (None, *NUMBERS),
    "rank": (None, 0, 1, 1.5, 2),
    "eu": (None, True, False),
    "capabilities": ({}, {"context": 1.5}, {"supports_tools": True, "context": 3}),
}


@cache
def language() -> Language:
    return Language(Vm())


def preds(kinds: list[str]) -> st.SearchStrategy[Data]:
    return st.recursive(
        st.sampled_from([atom for kind in kinds for atom in ATOMS[kind]]),
        lambda inner: st.one_of(
            inner.map(lambda pred: ["not", pred]),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["and", *parts]),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["or", *parts]),
        ),
        max_leaves=5,
    )


def config(routes: list[dict[str, Any]], *, is_market: bool = False) -> dict[str, Any]:
    """Give a config with one model a route: families `m1`, `m2`."""
    models = {f"m{place}": {"served_by": [route]} for place, route in enumerate(routes, 1)}
    provider = {"discovery": "marketplace", "discovery_id": "d"} if is_market else {"api_kind": "scripted"}
    return {"fields": FIELDS, "providers": {"p1": provider, "p2": provider}, "models": models}


def candidates(core: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for family, model in core["models"].items():
        for route in model["served_by"]:
            own = {key: value for key, value in route.items() if key != "provider"}
            yield {"capabilities": {}, **own, "model_family": family, "provider_id": route["provider"]}


def states(candidate: Mapping[str, Any], kinds: list[str]) -> Iterator[tuple[Data, Data]]:
    """Give the candidate and a ctx in every state that the kinds of atoms can tell apart."""
    provider = candidate["provider_id"]
    for values in product(*(STATES[kind] for kind in kinds)):
        now = dict(zip(kinds, values, strict=True))
        seen = {} if now.get("latency_ms") is None else {"latency_ms": now["latency_ms"]}
        request = {"requirements": {"model_family": now["wanted"]} if now.get("wanted") else {}}
        state = {
            "disabled": {provider: True} if now.get("disabled") else {},
            "breakers": {provider: True} if now.get("breaker") else {},
            "credits": {} if now.get("credits") is None else {provider: now["credits"]},
        }
        scope = {"scope": now["scope"]} if now.get("scope") else {}
        yield {**candidate, **seen}, {"request": {**request, **scope}, "state": state}


def verdicts(pred: Data, seen: Iterator[dict[str, Any]], kinds: list[str]) -> set[bool]:
    schema, form = OracleSchema.read({"fields": FIELDS}), normal_form(pred)
    return {
        not verdict(form, candidate, ctx, schema) for each in seen for candidate, ctx in states(each, kinds)
    }


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_who_can_and_who_must_pass_is_what_asking_everybody_in_every_state_gives(data: st.DataObject) -> None:
    core = config(data.draw(st.lists(ROUTE, min_size=1, max_size=3)))
    kinds = data.draw(st.lists(st.sampled_from(sorted(ATOMS)), min_size=1, max_size=3, unique=True))
    pred = data.draw(preds(kinds))
    found, survey = verdicts(pred, candidates(core), kinds), Survey(core, language())
    assert (survey.can(pred), survey.must(pred)) == (True in found, False not in found)
    names = {each["model_family"] for each in candidates(core) if True in verdicts(pred, iter([each]), kinds)}
    assert {route.candidate["model_family"] for route in survey.passing(pred)} == names


def test_two_routes_of_one_name_are_told_apart() -> None:
    routes = [{"provider": "p1", "price_in": price, "provider_model_id": f"x{price}"} for price in (1, 2)]
    core = {**config([]), "models": {"m1": {"served_by": routes}}}
    (cheap,) = Survey(core, language()).passing(["cmp", "price_in", "le", 1])
    assert cheap.candidate["price_in"] == 1


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_of_a_market_nothing_is_excluded_that_an_offer_can_bring(data: st.DataObject) -> None:
    keys = ("provider", "tier", "has_tee", "price_in", "bench")
    route = {key: value for key, value in data.draw(ROUTE).items() if key in keys}
    core = config([route], is_market=True)
    pred = data.draw(preds(["catalog"]))
    (bare,) = candidates(core)
    offered = (
        {**bare, **{key: value for key, value in zip(OFFERS, told, strict=True) if value is not None}, **by}
        for told in product(*OFFERS.values())
        for by in ({"offer": {"peer_id": "peer"}}, {"offer": {"peer_id": "p2"}})
    )
    found, survey = verdicts(pred, offered, ["catalog"]), Survey(core, language())
    assert survey.can(pred) or True not in found
    assert not survey.must(pred) or False not in found


# The search, against the solver ----------------------------------------------------------------------

SIZES = {"a": 3, "b": 2, "c": 4, "d": 1}


def formulas() -> st.SearchStrategy[Formula]:
    atoms = st.sampled_from(sorted(SIZES)).flatmap(
        lambda name: st.frozensets(st.integers(0, SIZES[name] - 1)).map(lambda places: Among(name, places))
    )
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
            st.lists(inner, max_size=3).map(lambda parts: Some(tuple(parts))),
        ),
        max_leaves=8,
    )


@given(formula=formulas())
@settings(max_examples=300, deadline=None)
def test_the_search_finds_what_trying_everything_finds(formula: Formula) -> None:
    values = {name: tuple(range(size)) for name, size in SIZES.items()}
    worlds = (
        dict(zip(SIZES, places, strict=True)) for places in product(*(range(size) for size in SIZES.values()))
    )
    assert is_possible(formula, values) is any(holds(formula, world) for world in worlds)


def holds(formula: Formula, world: Mapping[str, int]) -> bool:
    match formula:
        case Among(aspect, places):
            return world[aspect] in places
        case All(parts):
            return all(holds(part, world) for part in parts)
        case Some(parts):
            return any(holds(part, world) for part in parts)
        case Not(part):
            return not holds(part, world)
    raise AssertionError(formula)


@pytest.mark.parametrize("tries", [0, 1, 5])
def test_what_takes_too_many_tries_stays_undecided(tries: int) -> None:
    names = [f"x{place}" for place in range(6)]
    values = dict.fromkeys(names, (0, 1))
    odd = All(
        tuple(
            Some((Among(a, frozenset({0})), Among(b, frozenset({0})))) for a in names for b in names if a < b
        )
    )
    zeros = All(tuple(Some((Among(name, frozenset({1})), Not(odd))) for name in names))
    assert is_possible(zeros, values, tries) is None
    assert is_possible(zeros, values) is True
