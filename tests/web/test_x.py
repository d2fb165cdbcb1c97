"""Helpers below `/x`: they agree with what then happens, spend nothing, and tell no secret."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.core.language import Identified, Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.web.errors import RefusedError
from llm_policy_host.web.templates import TEMPLATES, find_template

from .aiming import Core, ranked
from .caller import CHAT, HI, Answer, ask
from .gateway import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .gateway import Running

TERM = ["policy", ["top"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]


def llm(provider: str, *inputs: str) -> dict[str, Any]:
    term = ["policy", ["provider_eq", provider], *TERM[2:]]
    return {"kind": "llm", "inputs": list(inputs), "policy": term}


FLOW = [
    "flow",
    {
        "q": {"kind": "input"},
        "one": llm("acme", "q"),
        "two": llm("bravo", "one"),
        "e": {"kind": "output", "inputs": ["two"]},
    },
]
CANARY = "canary-8d1f"
KEYS = {
    name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), **more}
    for name, more in {
        "all": {"may": ["policy", "metadata"]},
        "plain": {},
        "narrow": {"profiles": ["cheap"], "may": ["metadata"]},
    }.items()
}
CONFIG: dict[str, Any] = {
    "providers": {
        "acme": {"api_kind": "scripted", "base_url": f"https://{CANARY}.example"},
        "bravo": {"api_kind": "scripted", "tier": "partner"},
        "cold": {"base_url": f"https://{CANARY}.example/v1", "auth_env": "COLD_KEY"},
    },
    "models": {
        "small": {
            "capabilities": {"context": 8000, "supports_tools": True},
            "served_by": [
                {"provider": "acme", "price_in": 1, "price_out": 2, "tok_s": 50},
                {"provider": "bravo", "price_in": 3, "price_out": 4, "tok_s": 90},
                {"provider": "cold", "price_in": 0, "price_out": 0},
            ],
        },
        "large": {"served_by": [{"provider": "bravo", "price_in": 9, "price_out": 9}]},
    },
    "fields": {"quality": {"sort": "Num"}},
    "params": ["mood"],
    "profiles": {
        "cheap": {
            "filter": ["requirements", "not_disabled", {"price_max": {"input": 5}}],
            "scorer": ["add", ["scale", 0.5, ["neg", ["normalize", ["field", "price_in"]]]], ["lit", 1]],
        },
        "fast": {"scorer": ["field", "tok_s"]},
    },
    "defaults": {"profile": "cheap"},
    "host": {
        "keys": KEYS,
        "scripts": {
            "acme": [{"answer": "A({prompt})", "usage": {"input": 1, "output": 1}}],
            "bravo": [{"answer": "B({prompt})", "usage": {"input": 1, "output": 1}}],
        },
        "gateway": {"flows": {"twice": FLOW}},
    },
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running(CONFIG) as found:
        yield found


def post(gateway: Running, path: str, body: Any, key: str = "all") -> Answer:
    return ask(gateway.url + path, body, headers={"x-api-key": key})


def get(gateway: Running, path: str, key: str = "all") -> Answer:
    return ask(gateway.url + path, method="GET", headers={"x-api-key": key})


# Who would serve ------------------------------------------------------------------------------------

BODIES: list[dict[str, Any]] = [
    {"messages": HI},
    {"messages": HI, "model": "small:nitro"},
    {"messages": HI, "model": "profile:fast"},
    {"messages": HI, "policy_ir": TERM},
    {"messages": HI, "model": "pin:bravo/large", "policy_ir": TERM},
    {"messages": HI, "provider": {"order": ["bravo"]}},
    {"messages": HI, "tools": [{"type": "function", "function": {"name": "f"}}]},
]


@pytest.mark.parametrize("body", BODIES)
def test_an_explanation_agrees_with_what_then_happens(gateway: Running, body: dict[str, Any]) -> None:
    rank, told = post(gateway, "/x/rank", body).data, post(gateway, "/x/explain", body).data
    answer = post(gateway, CHAT, body)
    assert answer.status == 200
    first = told["ordered"][0]
    assert (first["provider"], first["model_family"]) == (answer.own["provider"], answer.own["model"])
    assert told["policy"]["id"] == answer.own["policy"]
    names = ("provider", "model_family", "served_by", "score", "tier")
    assert [{name: entry[name] for name in names} for entry in told["ordered"]] == rank["ordered"]
    assert [entry["reason"] for entry in told["rejected"]] == [entry["reason"] for entry in rank["rejected"]]


def test_contributions_add_up_to_the_score_and_say_what_they_are_of(gateway: Running) -> None:
    told = post(gateway, "/x/explain", {"messages": HI}).data
    assert len(told["ordered"]) == 2
    for entry in told["ordered"]:
        assert sum(part["score"] for part in entry["contributions"]) == pytest.approx(entry["score"])
    assert told["ordered"][0]["contributions"] == [
        {"term": "1", "score": 1},
        {"term": "0.5 x (1 - normalized price_in)", "score": 0.5},
    ]


def test_a_rejection_names_its_clause(gateway: Running) -> None:
    told = post(gateway, "/x/explain", {"messages": HI, "model": "family:small"}).data
    clauses = {(entry["provider"], entry["model_family"]): entry["clause"] for entry in told["rejected"]}
    assert clauses == {("bravo", "large"): "price_in <= 5", ("cold", "small"): "not disabled"}
    pinned = post(gateway, "/x/explain", {"model": "pin:bravo/small"}).data
    (own,) = [entry for entry in pinned["rejected"] if entry["provider"] == "acme"]
    assert (own["reason"], own["clause"]) == ("provider_id", "the request's own bounds")
    assert pinned["pinned"] == {"provider": "bravo", "model": "small"}


def test_nothing_is_spent_by_asking(gateway: Running) -> None:
    before = ask(gateway.url + "/metrics", method="GET").text
    for body in BODIES:
        post(gateway, "/x/rank", body)
        post(gateway, "/x/explain", body)

    def attempts(text: str) -> list[str]:
        return [line for line in text.splitlines() if "attempt" in line and not line.startswith("#")]

    assert attempts(ask(gateway.url + "/metrics", method="GET").text) == attempts(before)


@pytest.mark.parametrize("path", ["/x/rank", "/x/explain"])
@pytest.mark.parametrize(
    ("body", "key", "status", "code"),
    [
        ({"model": "profile:nowhere"}, "all", 404, "unknown_profile"),
        ({"policy_ir": ["policies"]}, "all", 400, "unknown_op"),
        ({"requirements": 1, "messages": "hi"}, "all", 400, "invalid_request"),
        ({"flow_ir": FLOW}, "all", 400, "invalid_request"),
        ({"model": "flow:twice"}, "all", 400, "invalid_request"),
        ({"model": 3}, "all", 400, "invalid_request"),
        ({}, "plain", 403, "not_allowed"),
        ({"model": "profile:fast"}, "narrow", 403, "profile_not_allowed"),
        ({"policy_ir": TERM}, "narrow", 403, "not_allowed"),
        ({}, "nobody", 401, "invalid_api_key"),
        ([], "all", 400, "invalid_request"),
    ],
)
def test_what_cannot_be_ranked_says_why(
    gateway: Running, path: str, body: Any, key: str, status: int, code: str
) -> None:
    answer = post(gateway, path, body, key)
    assert (answer.status, answer.error["code"]) == (status, code)


# Terms ----------------------------------------------------------------------------------------------


def test_a_term_is_normalized_and_runs_under_the_identity_that_is_told(gateway: Running) -> None:
    term = ["policy", ["and", ["top"], ["and", ["top"]]], *TERM[2:]]
    told = post(gateway, "/x/policy/normalize", {"policy_ir": term}).data
    assert told["term"] == TERM
    assert told["identity"] == "sha256:" + hashlib.sha256(told["encoding"].encode()).hexdigest()
    answer = post(gateway, CHAT, {"messages": HI, "policy_ir": term})
    assert answer.own["policy"] == told["runs_as"]


def test_a_profile_is_shown_as_its_term_and_its_identity_is_the_runs(gateway: Running) -> None:
    told = post(gateway, "/x/policy/normalize", {"profile": "cheap"}).data
    assert told["runs_as"] == post(gateway, CHAT, {"messages": HI}).own["policy"]
    assert told["sort"] == "Policy"
    assert post(gateway, "/x/policy/normalize", {"profile": "cheep"}).status == 404
    assert post(gateway, "/x/policy/normalize", {"profile": "fast"}, "narrow").status == 403


def test_a_profile_runs_under_the_identity_of_its_term_also_within_an_envelope() -> None:
    with running({**CONFIG, "policy_envelope": {"provider_not_in": ["cold"]}, "host": {}}) as found:
        told = ask(found.url + "/x/policy/normalize", {"profile": "cheap"}).data
        term = ask(found.url + "/x/policy/normalize", {"policy_ir": TERM}).data
        assert told["runs_as"] == told["identity"]
        assert ask(found.url + CHAT, {"messages": HI}).own["policy"] == told["runs_as"]
        answer = ask(found.url + CHAT, {"messages": HI, "policy_ir": TERM})
        assert answer.own["policy"] == term["runs_as"] != term["identity"]


def test_a_part_of_a_policy_may_be_normalized_too(gateway: Running) -> None:
    told = post(gateway, "/x/policy/normalize", {"policy_ir": ["not", ["not", ["is", "no_log"]]]}).data
    assert (told["sort"], told["term"]) == ("Pred", ["is", "no_log"])
    assert "runs_as" not in told


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("policy", {"policy_ir": ["and", ["cmp", "x", "le", 1]]}, "undeclared_field", "$.and[1].cmp[1]"),
        ("policy", {}, "not_a_term", "$"),
        ("policy", {"policy": TERM}, "invalid_request", "policy"),
        ("policy", {"profile": "cheap", "policy_ir": TERM}, "invalid_request", "policy_ir"),
        ("policy", {"profile": 3}, "invalid_request", "profile"),
        ("flow", {"flow_ir": ["flow", {}]}, "arity", "$.nodes"),
        ("flow", {}, "not_a_term", "$"),
        ("flow", {"flow": FLOW}, "invalid_request", "flow"),
    ],
)
def test_what_is_no_term_is_refused_with_code_and_path(
    gateway: Running, path: str, body: Any, code: str, param: str
) -> None:
    answer = post(gateway, f"/x/{path}/normalize", body)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, code, param)


def test_a_flow_is_normalized_whatever_its_ids(gateway: Running) -> None:
    renamed = json.loads(json.dumps(FLOW).replace('"one"', '"zz"'))
    first = post(gateway, "/x/flow/normalize", {"flow_ir": FLOW}).data
    second = post(gateway, "/x/flow/normalize", {"flow_ir": renamed}).data
    assert first["identity"] == second["identity"]
    assert first["term"] == second["term"]
    assert (first["order"], second["order"]) == (["q", "one", "two", "e"], ["q", "zz", "two", "e"])


# Flows through the gateway --------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [{"model": "flow:twice"}, {"flow_ir": FLOW}])
def test_a_flow_answers_as_one_model(gateway: Running, asks: dict[str, Any]) -> None:
    told = post(gateway, "/x/flow/normalize", {"flow_ir": FLOW}).data
    answer = post(gateway, CHAT, {"messages": HI, **asks})
    assert answer.status == 200
    assert answer.data["choices"][0]["message"]["content"] == "B(A(hi))"
    assert answer.data["usage"]["total_tokens"] == 4
    assert (answer.own["policy"], answer.own["attempts"]) == (told["identity"], "2")
    streamed = post(gateway, CHAT, {"messages": HI, "stream": True, **asks})
    texts = [
        event["choices"][0]["delta"].get("content", "") for event in streamed.events[:-1] if event["choices"]
    ]
    assert "".join(texts) == "B(A(hi))"
    assert streamed.own["policy"] == told["identity"]
    assert streamed.events[-1] == "[DONE]"


def test_a_flow_answers_in_every_api(gateway: Running) -> None:
    message = post(gateway, "/v1/messages", {"model": "flow:twice", "max_tokens": 9, "messages": HI})
    assert message.data["content"][0]["text"] == "B(A(hi))"
    response = post(gateway, "/v1/responses", {"model": "flow:twice", "input": "hi"})
    assert "B(A(hi))" in response.text
    vectors = post(gateway, "/v1/embeddings", {"model": "flow:twice", "input": "hi"})
    assert vectors.status == 400


# What there is --------------------------------------------------------------------------------------


def test_the_vocabulary_is_the_live_one(gateway: Running) -> None:
    told = get(gateway, "/x/fields", "plain").data
    assert told["fields"]["quality"] == {"sort": "Num"}
    assert "mood" in told["params"]
    assert told["families"] == ["large", "small"]
    assert told["providers"] == ["acme", "bravo", "cold"]
    assert told["capabilities"] == ["context", "supports_tools"]
    assert told["profiles"] == ["cheap", "fast"]
    assert get(gateway, "/x/fields", "narrow").data["profiles"] == ["cheap"]


def test_health_says_who_can_be_called(gateway: Running) -> None:
    routes = {
        (one["provider"], one["model_family"]): one for one in get(gateway, "/x/health/routes").data["routes"]
    }
    assert routes[("acme", "small")]["available"]
    assert not routes[("cold", "small")]["available"]
    assert routes[("cold", "small")]["disabled"]
    assert get(gateway, "/x/health/routes", "plain").status == 403


def test_health_says_until_when_a_breaker_is_open() -> None:
    failing = {"acme": [{"failure": "rate_limit", "retry_after_ms": 60_000}]}
    config = {
        **CONFIG,
        "host": {"scripts": failing},
        "defaults": {"profile": "cheap", "circuit_breaker_threshold": 1},
    }
    with running(config) as shut:
        ask(shut.url + CHAT, {"messages": HI})
        routes = ask(shut.url + "/x/health/routes", method="GET").data["routes"]
    (route,) = [one for one in routes if one["provider"] == "acme"]
    assert not route["available"]
    assert 50_000 < route["recovers_in_ms"] <= 60_000


def test_no_helper_tells_an_address_or_a_key(gateway: Running) -> None:
    answers = [
        *(get(gateway, path).text for path in ("/x/fields", "/x/health/routes", "/x/policy/templates")),
        *(post(gateway, path, body).text for path in ("/x/rank", "/x/explain") for body in BODIES),
        post(gateway, "/x/policy/normalize", {"profile": "cheap"}).text,
    ]
    for text in answers:
        assert CANARY not in text
        assert "COLD_KEY" not in text


def test_helpers_want_a_key_like_everything_else(gateway: Running) -> None:
    for path in ("/x/fields", "/x/health/routes", "/x/policy/templates"):
        assert ask(gateway.url + path, method="GET").status == 401
    assert get(gateway, "/x/rank").status == 405


# Templates ------------------------------------------------------------------------------------------

VM = Vm()
VALUES = {
    "number": st.floats(0, 1),
    "integer": st.integers(1, 10),
    "boolean": st.booleans(),
    "list of names": st.lists(st.sampled_from(["small", "large", 'ü " x']), max_size=24),
}
templates = st.sampled_from(sorted(TEMPLATES)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.fixed_dictionaries(
            {}, optional={one.name: st.none() | VALUES[one.type] for one in TEMPLATES[name].parameters}
        ),
    )
)


@settings(max_examples=100, deadline=None)
@given(templates)
def test_every_template_makes_a_policy_of_whatever_it_takes(chosen: tuple[str, Mapping[str, Any]]) -> None:
    name, given_ = chosen
    told = Language(VM).identify(find_template(name).compile(given_), {})
    assert isinstance(told, Identified), told
    assert told.sort == "Policy"


def test_the_four_templates_are_listed_with_parameters_and_compile_by_default(gateway: Running) -> None:
    data = get(gateway, "/x/policy/templates").data["data"]
    assert {one["id"] for one in data} == {"default", "cheapest-family", "smart-value", "agent"}
    for one in data:
        assert one["about"]
        assert all(parameter["about"] and "default" in parameter for parameter in one["parameters"])
        told = post(gateway, f"/x/policy/templates/{one['id']}", {}).data
        assert {"term", "identity", "fingerprint", "words"} <= told.keys()
        defaults = {parameter["name"]: parameter["default"] for parameter in one["parameters"]}
        assert post(gateway, f"/x/policy/templates/{one['id']}", defaults).data == told
        served = post(gateway, CHAT, {"messages": HI, "policy_ir": told["term"]})
        assert served.status == (404 if one["id"] == "agent" else 200)  # nobody here has its context
        if served.status == 200:
            assert served.own["policy"] == told["runs_as"]


def catalog() -> Core:
    def route(provider: str, price: float, **more: Any) -> dict[str, Any]:
        return {"provider": provider, "price_in": price, "price_out": price, **more}

    tools = {"capabilities": {"supports_tools": True, "context": 100_000}}
    return Core.of(
        {
            "providers": {name: {"api_kind": "scripted"} for name in ("p1", "p2", "p3")},
            "models": {
                "f1": {
                    **tools,
                    "served_by": [route("p1", 1, latency_ms=900), route("p2", 5, tok_s=500, latency_ms=10)],
                },
                "f2": {**tools, "served_by": [route("p3", 2, no_log=True, success_rate=0.5)]},
                "f3": {"served_by": [route("p1", 0.1)]},
            },
            "profiles": {"default": {}},
        },
        VM,
    )


@pytest.mark.parametrize(
    ("name", "given_", "order"),
    [
        ("default", {}, ["f3p1", "f1p1", "f2p3", "f1p2"]),
        ("default", {"private": True}, ["f2p3"]),
        ("cheapest-family", {"families": ["f1", "f2"]}, ["f1p1", "f2p3", "f1p2"]),
        ("cheapest-family", {"max_price_in": 1}, ["f3p1", "f1p1"]),
        (
            "smart-value",
            {"price_weight": 1, "speed_weight": 0, "latency_weight": 0, "tries": 2},
            ["f3p1", "f1p1"],
        ),
        ("smart-value", {"price_weight": 0, "speed_weight": 1, "latency_weight": 0, "tries": 1}, ["f1p2"]),
        ("agent", {"families": ["f2"]}, ["f2p3", "f1p2", "f1p1"]),
        ("agent", {"min_context": 100_001}, []),
    ],
)
def test_a_template_means_what_it_says(name: str, given_: Mapping[str, Any], order: list[str]) -> None:
    term = find_template(name).compile(given_)
    assert ["".join(entry) for entry in ranked(catalog(), {"policy_ir": term})] == order


@pytest.mark.parametrize(
    ("name", "given_", "near"),
    [
        ("agent", {"familys": []}, "`families`"),
        ("agent", {"families": "small"}, "list of names"),
        ("agent", {"families": ["x"] * 25}, "list of names"),
        ("agent", {"max_temperature": 3}, "within 0 and 2"),
        ("agent", {"retries": 1.5}, "integer"),
        ("default", {"private": 1}, "boolean"),
        ("default", {"retries": True}, "integer"),
        ("smart-value", {"tries": 0}, "within 1 and 64"),
        ("cheapest-family", {"max_price_in": -1}, "within 0"),
    ],
)
def test_a_parameter_out_of_bounds_is_named(name: str, given_: Mapping[str, Any], near: str) -> None:
    with pytest.raises(RefusedError) as caught:
        find_template(name).compile(given_)
    assert caught.value.problem.status == 400
    assert near in caught.value.problem.message
    assert caught.value.problem.param == next(iter(given_))


def test_an_unknown_template_is_404_with_the_nearest() -> None:
    with pytest.raises(RefusedError) as caught:
        find_template("smart-valu")
    assert caught.value.problem.status == 404
    assert "`smart-value`" in caught.value.problem.message
