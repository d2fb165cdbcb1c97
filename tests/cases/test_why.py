"""`why`: the object that `/x/explain` gives, and changes that the engine itself says would win."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.analysis.winning import World, _nearest, ways_to_win
from llm_policy_host.cli.main import main
from llm_policy_host.errors import UsageError
from llm_policy_host.run.explanation import explanation
from llm_policy_host.values import Contract, Inputs
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "providers": {
        "acme": {"api_kind": "scripted", "tier": "partner"},
        "bravo": {"api_kind": "scripted", "tier": "marketplace"},
    },
    "models": {
        "small": {
            "capabilities": {"context": 32000},
            "served_by": [
                {"provider": "acme", "price_in": 0.4, "price_out": 1.6},
                {"provider": "bravo", "price_in": 0.25, "price_out": 1.1},
            ],
        },
        "large": {
            "capabilities": {"context": 128000},
            "served_by": [{"provider": "acme", "price_in": 0.2, "price_out": 10}],
        },
    },
    "profiles": {
        "cheap": {
            "filter": ["requirements", "not_disabled", {"price_max": {"output": 2}}],
            "scorer": ["neg", ["normalize", ["field", "price_in"]]],
        },
    },
}


def world(
    contract: dict[str, Any] | None = None, *, disabled: dict[str, Any] | None = None, state: Any = None
) -> World:
    engine = bare_engine(CONFIG)
    inputs = Inputs(1000, 1, others={"disabled": disabled} if disabled else {})
    return World(CONFIG, contract or {}, inputs, state or {}, engine.profile_term("cheap"))


def ways(given: World, provider: str, family: str) -> dict[tuple[str, str], Any]:
    return {(way.where, way.name): way.to for way in ways_to_win(given, (provider, family))}


def first(core: dict[str, Any], **contract: Any) -> tuple[str, str] | None:
    ordered = bare_engine(core).rank(contract, Inputs(1000, 1)).get("ordered") or []
    return (ordered[0]["provider_id"], ordered[0]["model_family"]) if ordered else None


def test_why_prints_the_explanation_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(CONFIG))
    assert main(["why", str(path), "--profile", "cheap", "--seed", "3", "--json"]) == 0
    contract = Contract(profile="cheap", seed=3)
    host = Host.from_config(path)
    assert json.loads(capsys.readouterr().out) == explanation(contract, host.explain(contract))


def test_an_explanation_names_contributions_and_clauses() -> None:
    contract = Contract(profile="cheap", requirements={"pin": {"provider": "bravo"}})
    shown = explanation(contract, Host.from_data(CONFIG).explain(contract))
    (place,) = shown["ordered"]
    assert place["contributions"] == [{"term": "(1 - normalized price_in)", "score": 1}]
    assert (shown["profile"], shown["pinned"]) == ("cheap", {"provider": "bravo"})
    assert [(entry["model_family"], entry["clause"]) for entry in shown["rejected"]] == [
        ("large", "price_out <= 2"),
        ("small", "the request's own bounds"),
    ]


def test_a_price_that_would_win_is_the_nearest_one() -> None:
    found = ways(world(), "acme", "small")[("catalog", "price_in")]
    for price, is_first in ((found, True), (found + 0.001, False)):
        core = copy.deepcopy(CONFIG)
        core["models"]["small"]["served_by"][0]["price_in"] = price
        assert (first(core) == ("acme", "small")) is is_first


def test_a_number_of_the_policy_that_would_win_is_named_and_true() -> None:
    found = ways(world(), "acme", "large")
    assert found[("catalog", "price_out")] == 2
    assert found[("policy", "$.policy[1].and[1].cmp[3]")] == 10
    core = copy.deepcopy(CONFIG)
    core["profiles"]["cheap"]["filter"][2] = {"price_max": {"output": 10}}
    assert first(core) == ("acme", "large")


@pytest.mark.parametrize(
    ("was", "wins", "least", "most"),
    [
        (1.0, lambda value: value <= 0.4377, 0.4377 * 0.99, 0.4377),
        (1.0, lambda value: value >= 7.123, 7.123, 7.123 * 1.01),
        (0.4, lambda value: value <= 0.1 or value >= 0.5, 0.5, 0.505),
        (None, lambda value: value < 300, 297, 299.99),
        (900.0, lambda value: value < 300, 299, 299),
    ],
)
def test_of_the_numbers_that_win_the_nearest_is_given(
    was: float | None, wins: Any, least: float, most: float
) -> None:
    assert least <= _nearest(was, [300.0, 0.0], wins) <= most


def test_what_rejects_everyone_else_wins_too() -> None:
    assert ways(world(), "acme", "small")[("state", "disabled of bravo")] is True


def test_who_is_disabled_or_broken_would_win_if_he_were_not() -> None:
    assert ways(world(disabled={"bravo": True}), "bravo", "small")[("state", "disabled")] is False
    shut = {"v": 1, "health": {"breakers": {"bravo": {"failures": 3, "until_ms": 9000}}, "disabled": {}}}
    assert ways(world(state=shut), "bravo", "small")[("state", "breaker_open")] is False


def test_a_requirement_that_stands_in_the_way_is_relaxed_no_further_than_needed() -> None:
    asked = {"requirements": {"min_context": 64000}}
    assert ways(world(asked), "bravo", "small")[("request", "min_context")] == 32000
    needy = {"requirements": {"needs": ["tools", "vision"]}}
    assert ("request", "needs") in ways(world(needy), "bravo", "small")


def test_the_envelope_is_no_number_to_change() -> None:
    core = {**CONFIG, "policy_envelope": {"price_max": {"output": 5}}}
    term = bare_engine(core).profile_term("cheap")
    found = ways_to_win(World(core, {}, Inputs(1000, 1), {}, term), ("acme", "large"))
    assert [way.where for way in found] == ["catalog"]


def test_who_wins_already_is_told_so() -> None:
    with pytest.raises(UsageError, match="is first already"):
        ways_to_win(world(), ("bravo", "small"))


def test_a_body_is_ranked_as_the_gateway_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, body = tmp_path / "policy.yaml", tmp_path / "body.json"
    path.write_text(json.dumps(CONFIG))
    body.write_text('{"model": "pin:acme/small", "messages": [{"role": "user", "content": "hi"}]}')
    assert main(["why", str(path), "--body", str(body), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["pinned"] == {"provider": "acme", "model": "small"}
    assert [entry["provider"] for entry in shown["ordered"]] == ["acme"]
    assert main(["rank", str(path), "--body", str(body), "--json"]) == 0
    assert [entry["provider_id"] for entry in json.loads(capsys.readouterr().out)["ordered"]] == ["acme"]


def test_a_body_that_the_gateway_refuses_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, body = tmp_path / "policy.yaml", tmp_path / "body.json"
    path.write_text(json.dumps(CONFIG))
    body.write_text('{"model": "profile:chep"}')
    assert main(["why", str(path), "--body", str(body)]) == 2
    assert "no profile `chep`, did you mean `cheap`?" in capsys.readouterr().err
