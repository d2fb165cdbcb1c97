"""`implies` against the oracle: asked of every candidate of a small world, and of any candidate at all."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.analysis.aspects import Domain, representatives
from llm_policy_host.analysis.implication import Answer, implies
from llm_policy_host.analysis.routes import routes_of
from llm_policy_host.analysis.subject import Subject, bare_engine, envelope_of
from llm_policy_host.core.language import Identified, Language
from llm_policy_host.core.vm import Vm
from tests.oracle.language import normal_form
from tests.oracle.meaning import observe_number, verdict
from tests.oracle.signature import Schema as OracleSchema
from tests.property.strategies import generators

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.analysis.solver import Solver
    from tests.oracle.transport import Data
    from tests.property.generator import Generator

pytest.importorskip("z3")

SCHEMA = {"fields": {"bench": {"sort": "Num", "default": 1}, "eu": {"sort": "Bool", "default": True}}}
NUMBERS = (None, 0, 0.5, 1, 1.5, 2, 3)
NOT_NEGATIVE = ("price_in", "price_out", "latency_ms", "tok_s", "success_rate", "context")

# Each kind of atom: the atoms, and the parts of (candidate, ctx) that can tell them apart.
ATOMS: dict[str, tuple[list[Data], list[Data]]] = {
    name: (
        [["cmp", name, rel, number] for rel in ("lt", "le", "eq", "ne", "ge", "gt") for number in (0, 1, 2)],
        [{path: value} for value in (NUMBERS if name in NOT_NEGATIVE else (*NUMBERS, -1))],
    )
    for name, path in (("price_in", "price_in"), ("context", "capabilities.context"), ("bench", "bench"))
}
ATOMS |= {
    "flag": ([["is", "has_tee"]], [{"has_tee": value} for value in (True, False)]),
    "eu": ([["is", "eu"]], [{"eu": value} for value in (True, False, None)]),
    "disabled": ([["is", "disabled"]], [{"ctx.disabled": value} for value in (True, False)]),
    "breaker": ([["is", "breaker_open"]], [{"ctx.breakers": value} for value in (True, False)]),
    "credits": ([["cmp", "credits", "ge", 1]], [{"ctx.credits": value} for value in (None, 0, 1, 2)]),
    "tier": (
        [[op, tier] for op in ("tier_eq", "min_tier") for tier in ("fallback", "marketplace", "partner")],
        [{"tier": tier} for tier in (None, "fallback", "marketplace", "partner", "unheard")],
    ),
    "family": (
        [["family_eq", "m1"], ["family_eq", "m2"]],
        [{"model_family": name} for name in ("m1", "m2", "m3")],
    ),
    "served": (
        [["served_by_eq", "p1"], ["served_by_eq", "peer"], ["provider_eq", "p1"], ["provider_eq", "p2"]],
        [
            {"provider_id": provider, "peer": peer}
            for provider in ("p1", "p2", "p3", "peer")
            for peer in (None, "p1", "peer", "peer2")
        ],
    ),
    "capability": (
        [["has_cap", "tools"], ["has_cap", "supports_tools"], ["has_cap", "context"]],
        [
            {
                "capabilities.tools": bare,
                "capabilities.supports_tools": told,
                "capabilities.supports_supports_tools": twice,
                "capabilities.context": context,
            }
            for bare in (True, False)
            for told in (True, False)
            for twice in (True, False)
            for context in (True, None, 8)
        ],
    ),
    "requirements": ([["meets_req"]], [{"ctx.wanted": None}, {"ctx.wanted": "not this"}]),
    "scope": ([["scope_matches"]], [{"scope": None}, {"scope": "elsewhere"}]),
}


@cache
def language() -> Language:
    return Language(Vm())


@cache
def solver() -> Solver:
    from llm_policy_host.analysis.solver import Solver  # noqa: PLC0415 - z3 may be absent

    return Solver()


def subject(term: Data, schema: Any) -> Subject:
    found = language().identify(term, schema)
    assert isinstance(found, Identified), found
    return Subject("a term", found.sort, found.term, schema)


def ask(first: Data, second: Data, schema: Any = SCHEMA, **domain: Any) -> Answer:
    return implies(subject(first, schema), subject(second, schema), Domain(**domain), solver())


def world(kinds: list[str]) -> Iterator[tuple[Data, Data]]:
    """Give every candidate and ctx that the kinds of atoms can tell apart."""
    for parts in product(*(ATOMS[kind][1] for kind in kinds)):
        flat = {
            "provider_id": "p1",
            "model_family": "m1",
            **{k: v for part in parts for k, v in part.items()},
        }
        yield candidate_of(flat), ctx_of(flat)


def candidate_of(flat: dict[str, Data]) -> Data:
    own = {
        key: value for key, value in flat.items() if "." not in key and value is not None and key != "peer"
    }
    offer = {"offer": {"peer_id": flat["peer"]}} if flat.get("peer") else {}
    told = {
        key[13:]: value
        for key, value in flat.items()
        if key.startswith("capabilities.") and value is not None
    }
    return {**own, **offer, "capabilities": told}


def ctx_of(flat: dict[str, Data]) -> Data:
    provider, wanted = flat["provider_id"], flat.get("ctx.wanted")
    state = {
        "disabled": {provider: True} if flat.get("ctx.disabled") else {},
        "breakers": {provider: True} if flat.get("ctx.breakers") else {},
        "credits": {} if flat.get("ctx.credits") is None else {provider: flat["ctx.credits"]},
    }
    return {"request": {"requirements": {"model_family": wanted} if wanted else {}}, "state": state}


def preds(kinds: list[str]) -> st.SearchStrategy[Data]:
    atoms = st.sampled_from([atom for kind in kinds for atom in ATOMS[kind][0]])
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            inner.map(lambda pred: ["not", pred]),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["and", *parts]),
            st.lists(inner, min_size=1, max_size=3).map(lambda parts: ["or", *parts]),
        ),
        max_leaves=5,
    )


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_the_answer_is_that_of_asking_everybody_in_a_small_world(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(ATOMS)), min_size=1, max_size=3, unique=True))
    if {"context", "capability"} <= set(kinds):
        kinds.remove("context")  # one key, two readings: their worlds do not multiply
    first, second = data.draw(preds(kinds)), data.draw(preds(kinds))
    schema = OracleSchema.read(SCHEMA)
    forms = [normal_form(pred) for pred in (first, second)]
    violations = [
        (candidate, ctx)
        for candidate, ctx in world(kinds)
        if not verdict(forms[0], candidate, ctx, schema) and verdict(forms[1], candidate, ctx, schema)
    ]
    assert ask(first, second).holds is not bool(violations)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_implied_no_candidate_of_any_kind_contradicts(data: st.DataObject) -> None:
    generator: Generator = data.draw(generators())
    weaker, other = generator.term("Pred", 3), generator.term("Pred", 3)
    first = data.draw(
        st.sampled_from((["and", weaker, other], weaker, ["not", ["or", ["not", weaker], other]]))
    )
    second = data.draw(st.sampled_from((weaker, ["or", other, weaker], other)))
    if not ask(first, second, generator.schema).holds:
        return
    schema = OracleSchema.read(generator.schema)
    forms = [normal_form(pred) for pred in (first, second)]
    for _ in range(20):
        candidate, ctx = generator.candidate(), generator.ctx()
        if all(observe_number(name, candidate, ctx, schema) >= 0 for name in NOT_NEGATIVE):
            admitted, refused = (verdict(form, candidate, ctx, schema) for form in forms)
            assert admitted or not refused, (candidate, ctx)


def test_an_unpriced_candidate_is_the_counterexample_to_a_ceiling() -> None:
    answer = ask(["meets_req"], ["cmp", "price_in", "le", 5])
    assert answer.holds is False
    assert answer.counterexample is not None
    assert "price_in" not in answer.counterexample.candidate
    assert answer.counterexample.unknown == ("price_in",)
    assert answer.refused is not None
    assert answer.refused.reason == "cmp:price_in:le"


@pytest.mark.parametrize(
    ("first", "second", "domain"),
    [
        (["cmp", "price_in", "le", 3], ["cmp", "price_in", "lt", 4], {}),
        (["cmp", "price_in", "lt", 0], ["bot"], {}),
        (["not", ["cmp", "price_in", "gt", 3]], ["cmp", "price_in", "le", 3], {}),
        (
            ["top"],
            ["cmp", "price_in", "le", 5],
            {"ranges": {"price_in": (0, 5)}, "present": frozenset({"price_in"})},
        ),
        (["meets_req"], ["has_cap", "tools"], {"required": {"needs": ["tools"]}}),
        (["meets_req"], ["cmp", "context", "gt", 4000], {"required": {"min_context": 4000.5}}),
        (["meets_req"], ["or", ["is", "no_log"], ["is", "has_tee"]], {"required": {"privacy": "no_log"}}),
        (["meets_req"], ["tier_eq", "partner"], {"required": {"tier": "partner"}}),
        (["meets_req"], ["family_eq", "m"], {"required": {"model_family": "m"}}),
        (["cmp", "tok_s", "ge", 1], ["cmp", "tok_s", "gt", 0], {}),
        (["tier_eq", "partner"], ["min_tier", "marketplace"], {}),
        (
            ["served_by_eq", "p"],
            ["or", ["provider_eq", "p"], ["not", ["provider_eq", "q"]], ["served_by_eq", "p"]],
            {},
        ),
    ],
)
def test_it_is_implied(first: Data, second: Data, domain: dict[str, Any]) -> None:
    assert ask(first, second, **domain).holds is True


@pytest.mark.parametrize(
    ("first", "second", "domain"),
    [
        (["cmp", "price_in", "le", 4], ["cmp", "price_in", "lt", 4], {}),
        (["cmp", "price_in", "ge", 3], ["cmp", "price_in", "ge", 3.0000000000000004], {}),
        (["top"], ["cmp", "price_in", "le", 5], {"ranges": {"price_in": (0, 5)}}),
        (["top"], ["has_cap", "tools"], {"required": {"needs": ["tools"]}}),
        (["has_cap", "vision"], ["cmp", "context", "ge", 1], {}),
        (["has_cap", "context"], ["cmp", "context", "gt", 0], {}),
        (["min_tier", "marketplace"], ["tier_eq", "partner"], {}),
        (["not", ["min_tier", "marketplace"]], ["tier_eq", "fallback"], {}),
        (["provider_eq", "p"], ["served_by_eq", "p"], {}),
        (["top"], ["meets_req"], {"required": {"model_family": "m", "tier": "partner", "needs": ["tools"]}}),
        (["top"], ["scope_matches"], {}),
        (["top"], ["not", ["is", "breaker_open"]], {}),
        (["top"], ["cmp", "credits", "lt", 3], {}),
    ],
)
def test_it_is_not_implied(first: Data, second: Data, domain: dict[str, Any]) -> None:
    assert ask(first, second, **domain).holds is False


def policy(pred: Data, selector: Data) -> Data:
    return ["policy", pred, ["zero"], selector, ["id"], ["always", {"action": "abort"}]]


def test_a_chain_admits_only_what_it_lists() -> None:
    chain = ["chain", [{"provider": "a", "model": "m"}, {"provider": "b", "model": "m"}]]
    chosen = policy(["top"], ["top_k", 1, chain])
    assert ask(chosen, ["family_eq", "m"]).holds is True
    assert ask(chosen, ["provider_eq", "a"]).holds is False
    outside = ask(["family_eq", "m"], chosen)
    assert outside.holds is False
    assert outside.refused is not None
    assert outside.refused.reason == "chain"


CATALOG = {
    "providers": {
        "a": {"api_kind": "scripted", "tier": "partner", "no_log": True},
        "b": {"api_kind": "scripted"},
        "m": {"discovery": "marketplace", "discovery_id": "m", "tier": "marketplace", "scope": "s"},
    },
    "models": {
        "small": {
            "capabilities": {"context": 1000, "supports_tools": True},
            "served_by": [
                {"provider": "a", "price_in": 1},
                {"provider": "b"},
                {"provider": "m", "price_in": 1},
            ],
        },
        "large": {"capabilities": {"context": 9000}, "served_by": [{"provider": "a", "price_in": 7}]},
    },
}


@pytest.mark.parametrize(
    ("first", "second", "is_implied"),
    [
        (["is", "no_log"], ["provider_eq", "a"], True),
        (["has_cap", "tools"], ["cmp", "context", "le", 1000], False),  # a peer of `m` says what it can do
        (["and", ["has_cap", "tools"], ["not", ["provider_eq", "m"]]], ["cmp", "context", "le", 1000], True),
        (["min_tier", "partner"], ["cmp", "price_in", "le", 7], True),
        (["min_tier", "partner"], ["cmp", "price_in", "lt", 7], False),
        (["tier_eq", "fallback"], ["cmp", "price_in", "le", 7], False),  # no price is listed for `b`
        (["tier_eq", "marketplace"], ["cmp", "price_in", "le", 1], False),
        (["provider_eq", "a"], ["served_by_eq", "a"], True),
        (["provider_eq", "m"], ["served_by_eq", "m"], False),
        (["not", ["provider_eq", "m"]], ["scope_matches"], True),
        (["provider_eq", "m"], ["scope_matches"], False),
        (["family_eq", "large"], ["provider_eq", "a"], True),
        (["top"], ["cmp", "latency_ms", "le", 10**9], False),
        (["top"], ["or", ["family_eq", "small"], ["family_eq", "large"]], True),
    ],
)
def test_a_catalog_says_who_can_be_a_candidate(first: Data, second: Data, is_implied: bool) -> None:  # noqa: FBT001
    routes = routes_of(CATALOG, bare_engine(CATALOG).candidates)
    assert ask(first, second, routes=routes).holds is is_implied


def test_the_envelope_of_a_config_is_the_filter_that_every_policy_gets() -> None:
    core = {
        **CATALOG,
        "fields": {"eu": {"sort": "Bool"}},
        "policy_envelope": [{"is": "eu"}, {"price_max": {"input": 2}}],
    }
    assert envelope_of(core) == ["and", ["cmp", "price_in", "le", 2], ["is", "eu"]]
    assert envelope_of(CATALOG) == ["top"]


def test_a_policy_that_admits_nobody_is_said_to() -> None:
    answer = ask(["and", ["cmp", "price_in", "lt", 1], ["cmp", "price_in", "gt", 2]], ["is", "has_tee"])
    assert (answer.holds, answer.is_empty) == (True, True)
    assert ask(["is", "has_tee"], ["top"]).is_empty is False


def test_neighbouring_doubles_have_nobody_between_them() -> None:
    assert representatives([1.0, 1.0000000000000002], 1.0, 1.0000000000000002) == [1.0, 1.0000000000000002]
    assert representatives([], -1.0, 1.0) == [0.0]
    assert representatives([2.0], 0.0, 9.0) == [1.0, 2.0, 3.0]
    assert representatives([0.5], 0.0, 9.0) == [0.0, 0.5, 1.5]
