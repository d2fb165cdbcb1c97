"""What a model string and its kin mean."""

from __future__ import annotations

from typing import Any

import pytest

from llm_policy_host.values import Inputs
from llm_policy_host.web.errors import RefusedError
from llm_policy_host.web.skin import Caller

from .aiming import Core, aim, asked, ranked

CONFIG: dict[str, Any] = {
    "providers": {name: {"api_kind": "scripted"} for name in ("acme", "bravo", "or/west")},
    "models": {
        "small": {
            "capabilities": {"embeddings": True},
            "served_by": [{"provider": "acme", "price_in": 1}, {"provider": "bravo", "price_in": 2}],
        },
        "large": {"served_by": [{"provider": "bravo", "price_in": 9}]},
        "llama3:8b": {"served_by": [{"provider": "acme"}]},
        "vendor/big-1": {"served_by": [{"provider": "or/west"}, {"provider": "acme"}]},
    },
    "profiles": {
        "cheap": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]},
        "bare": {"filter": {"provider_in": ["bravo"]}},
    },
    "defaults": {"profile": "cheap"},
}
TERM = ["policy", ["top"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]
FLOW = ["flow", {"q": {"kind": "input"}, "e": {"kind": "output", "inputs": ["q"]}}]


@pytest.fixture(scope="module")
def core() -> Core:
    return Core.of(CONFIG)


def refused(core: Core, body: dict[str, Any] | None = None, **more: Any) -> tuple[int, str, str, str | None]:
    with pytest.raises(RefusedError) as caught:
        aim(core, body, **more)
    problem = caught.value.problem
    return problem.status, problem.code, problem.message, problem.param


@pytest.mark.parametrize("model", ["", "gpt-4o", "openai/gpt-4o", "smal"])
def test_no_prefix_is_the_default_profile(core: Core, model: str) -> None:
    assert aim(core, model=model) == {"profile": "cheap"}


@pytest.mark.parametrize("model", ["small", "llama3:8b", "vendor/big-1"])
def test_an_exact_family_pins_it_under_the_default_profile(core: Core, model: str) -> None:
    for spelled in (model, f"family:{model}"):
        pieces = aim(core, model=spelled)
        assert pieces["profile"] == "cheap"
        assert {family for family, _ in ranked(core, pieces)} == {model}


def test_a_family_is_pinned_under_a_profile_that_never_asks_for_requirements(core: Core) -> None:
    assert ranked(core, aim(core, model="large", profile="bare")) == [("large", "bravo")]


def test_a_path_has_its_own_default_profile_and_a_named_one_goes_before(core: Core) -> None:
    assert aim(core, profile="bare") == {"profile": "bare"}
    assert aim(core, profile="bare", model="profile:cheap") == {"profile": "cheap"}


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("pin:bravo/small", ("small", "bravo")),
        ("pin:acme/llama3:8b", ("llama3:8b", "acme")),
        ("pin:acme/vendor/big-1", ("vendor/big-1", "acme")),
        ("pin:or/west/vendor/big-1", ("vendor/big-1", "or/west")),
    ],
)
def test_a_pin_is_one_route(core: Core, model: str, entry: tuple[str, str]) -> None:
    assert ranked(core, aim(core, model=model)) == [entry]


@pytest.mark.parametrize(
    ("model", "status", "code", "near"),
    [
        ("profil:cheap", 400, "unknown_model_prefix", "`profile`"),
        ("gpt-4o:free", 400, "unknown_model_prefix", "a model is a family"),
        ("llama3:8", 400, "unknown_model_prefix", "`llama3:8b`"),
        ("profile:cheep", 404, "unknown_profile", "`cheap`"),
        ("family:smal", 404, "model_not_found", "`small`"),
        ("pin:acmee/small", 404, "unknown_provider", "`acme`"),
        ("pin:acme/smal", 404, "model_not_found", "`small`"),
        ("pin:acme", 400, "invalid_request", "PROVIDER/FAMILY"),
        ("flow:x", 404, "unknown_flow", "`x`"),
        ("profile:", 400, "invalid_request", "a name"),
        ("x" * 10_000, 400, "invalid_request", "longer"),
        ("small:nitro:floor", 400, "invalid_request", "cannot end"),
    ],
)
def test_a_model_string_that_leads_nowhere_says_so_with_the_nearest_name(
    core: Core, model: str, status: int, code: str, near: str
) -> None:
    got = refused(core, model=model)
    assert got[:2] == (status, code)
    assert near in got[2]
    assert got[3] == "model"


def test_an_unknown_profile_in_the_path_is_404_with_the_nearest_name(core: Core) -> None:
    status, code, message, _ = refused(core, profile="bear")
    assert (status, code) == (404, "unknown_profile")
    assert "`bare`" in message


def test_a_key_limited_to_profiles_gets_403_for_others(core: Core) -> None:
    two = Caller("k", frozenset({"cheap", "other"}))
    assert aim(core, caller=two) == {"profile": "cheap"}
    assert refused(core, caller=two, model="profile:bare")[:2] == (403, "profile_not_allowed")
    assert refused(core, caller=two, profile="bare")[:2] == (403, "profile_not_allowed")
    # whether a profile exists is not for strangers to find out
    assert refused(core, caller=two, model="profile:nowhere")[:2] == (403, "profile_not_allowed")
    assert refused(core, {"policy_ir": TERM}, caller=two)[:2] == (403, "not_allowed")
    assert refused(core, caller=two, model="flow:x", flows={"x": FLOW})[0] == 403


def test_a_keys_only_profile_is_its_default(core: Core) -> None:
    assert aim(core, caller=Caller("k", frozenset({"bare"}))) == {"profile": "bare"}


def test_a_policy_of_the_callers_becomes_its_identity(core: Core) -> None:
    body = {"policy_ir": TERM, "messages": []}
    pieces = aim(core, body)
    assert pieces == {"policy_ir": core.engine.admit(TERM)}
    caller = Caller("k", None, frozenset({"policy"}))
    assert aim(core, body, caller=caller, model="small")["requirements"] == {"pin": {"model": "small"}}


def test_a_refused_policy_gives_code_and_path(core: Core) -> None:
    term = ["policy", ["and", ["top"], ["cmp", "price_inn", "le", 3]], *TERM[2:]]
    status, code, _, param = refused(core, {"policy_ir": term})
    assert (status, code, param) == (400, "undeclared_field", "$.policy[1].and[2].cmp[1]")
    odd: list[Any] = ["sha256:0", 3, {}, [], [None]]
    for value in odd:
        assert refused(core, {"policy_ir": value})[:2] == (400, "not_a_term")


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({"policy_ir": TERM, "models": ["small"]}, ""),
        ({"policy_ir": TERM, "provider": {}}, ""),
        ({"policy_ir": TERM, "flow_ir": FLOW}, ""),
        ({"policy_ir": TERM}, "profile:cheap"),
        ({"policy_ir": TERM}, "small:nitro"),
        ({"flow_ir": FLOW, "provider": {"sort": "price"}}, ""),
        ({"provider": {"sort": "price"}}, "flow:f"),
    ],
)
def test_two_deciders_are_one_too_many(core: Core, body: dict[str, Any], model: str) -> None:
    assert refused(core, body, model=model, flows={"f": FLOW})[0] == 400


def test_a_flow_is_named_or_given(core: Core) -> None:
    assert aim(core, model="flow:f", flows={"f": FLOW}) == {"flow_ir": FLOW}
    assert aim(core, {"flow_ir": FLOW}) == {"flow_ir": FLOW}
    assert refused(core, {"flow_ir": FLOW}, caller=Caller("k"))[:2] == (403, "not_allowed")


def test_routing_fields_leave_the_body_and_nulls_say_nothing(core: Core) -> None:
    from llm_policy_host.web.aim import ROUTING_FIELDS, Aims  # noqa: PLC0415 - of this claim alone

    body = {**dict.fromkeys(ROUTING_FIELDS), "messages": [1], "top_a": 1}
    pieces = Aims(core, {}).aim(body, asked(), type("S", (), {"path": "/responses"})())  # type: ignore[arg-type]
    assert pieces == {"profile": "cheap"}
    assert body == {"messages": [1], "top_a": 1}


def test_what_this_gateway_cannot_do_is_refused_not_dropped(core: Core) -> None:
    assert refused(core, {"transforms": ["middle-out"]})[3] == "transforms"
    assert refused(core, {"route": "sort"})[3] == "route"
    assert aim(core, {"transforms": [], "route": "fallback"}) == {"profile": "cheap"}


def test_vectors_come_only_from_models_that_give_them(core: Core) -> None:
    assert {family for family, _ in ranked(core, aim(core, path="/embeddings"))} == {"small"}
    pieces = aim(core, {"provider": {"only": ["bravo"]}}, path="/embeddings")
    assert ranked(core, pieces) == [("small", "bravo")]


def test_extra_candidates_need_the_right_and_borrow_no_providers_key(core: Core) -> None:
    entry = {"provider_id": "mine", "model_family": "m", "base_url": "http://x", "price_in": 0}
    trusted = Caller("k", None, frozenset({"extra_candidates"}))
    pieces = aim(core, {"extra_candidates": [entry]}, caller=trusted)
    assert ("m", "mine") in ranked(core, pieces)
    assert refused(core, {"extra_candidates": [entry]}, caller=Caller("k"))[:2] == (403, "not_allowed")
    stolen = {**entry, "provider_id": "acme"}
    status, _, _, param = refused(core, {"extra_candidates": [entry, stolen]}, caller=trusted)
    assert (status, param) == (400, "extra_candidates[1].provider_id")
    odd: list[Any] = [{}, "x", [1], [entry] * 65]
    for value in odd:
        assert refused(core, {"extra_candidates": value}, caller=trusted)[3] == "extra_candidates"


def test_what_is_remembered_is_bounded(core: Core) -> None:
    from llm_policy_host.web import aim as module  # noqa: PLC0415 - of this claim alone
    from llm_policy_host.web.aim import Aims  # noqa: PLC0415

    aims = Aims(core, {})  # type: ignore[arg-type]
    skin: Any = type("S", (), {"path": "/chat/completions"})()
    for number in range(module._MAX_KNOWN + 50):
        aims.aim({"provider": {"max_price": {"prompt": number}}}, asked(f"model-{number}"), skin)
    assert len(aims._targets) == len(aims._terms) == module._MAX_KNOWN


def test_the_envelope_stands_once_in_what_a_profile_is_lowered_to() -> None:
    core = Core.of({**CONFIG, "policy_envelope": {"provider_not_in": ["acme"]}})
    body = {"provider": {"order": ["acme", "bravo"]}}
    pieces = aim(core, body)
    told = core.engine.explain({"policy_ir": pieces["policy_ir"]}, Inputs(0, 1))
    assert str(told["policy"]["term"]).count("'acme'") == 2  # the envelope's, and the order's
    assert {provider for _, provider in ranked(core, pieces)} == {"bravo", "or/west"}


def test_a_profile_that_is_a_function_takes_no_sugar() -> None:
    core = Core.of(CONFIG)
    core.engine.profile_term = lambda _name, **_how: None  # type: ignore[method-assign]
    assert refused(core, {"provider": {"sort": "price"}})[:2] == (400, "local_policy")
    assert aim(core, path="/embeddings") == {"profile": "cheap"}
