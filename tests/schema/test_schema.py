"""The schema of a config takes whatever the loader takes, and refuses what it can see is wrong."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llm_policy_host.cli.main import main
from llm_policy_host.config.meanings import NOUNS
from llm_policy_host.config.schema.config import config_schema
from llm_policy_host.core.vm import available_runtimes

from . import configs
from .configs import SHIPPED, documented, is_taken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = config_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

GOOD: dict[str, Any] = {
    "tier_order": ["fallback", "partner"],
    "fields": {"quality": {"sort": "Num", "default": 0}, "is_new": {"sort": "Bool"}},
    "params": ["mood"],
    "defaults": {"profile": "cheap", "timeout_ms": 1000},
    "policy_envelope": {"provider_not_in": ["b"]},
    "providers": {
        "a": {"api_kind": "scripted", "tier": "partner", "quality": 3},
        "b": {"base_url": "https://b.example/v1", "auth": {"kind": "bearer", "env": "B_KEY"}, "no_log": True},
        "m": {"discovery": "marketplace", "discovery_id": "feed", "auth_env": "M_KEY"},
        "o": {"api_kind": "openai_codex", "auth": {"kind": "oauth", "accounts": ["one", "two"]}},
    },
    "models": {
        "small": {
            "capabilities": {"context": 32000, "supports_tools": True, "speaks_latin": "a bit"},
            "served_by": [{"provider": "a", "price_in": 0.5}, {"provider": "b", "is_new": True}],
        }
    },
    "retry_policies": {
        "patient": {
            "timeout": {"action": "retry_same", "attempts": 2, "backoff_ms": [250, 1000], "then_action": "abort"},
            "unknown": {"action": "next_candidate"},
        }
    },
    "profiles": {
        "cheap": {
            "filter": ["requirements", {"any_of": [{"cmp": ["quality", "ge", 5]}, ["has_cap", "vision"]]}],
            "scorer": ["add", ["neg", ["normalize", ["field", "price_in"]]], ["scale", 0.5, ["field", "quality"]]],
            "selector": "top_k",
            "selector_opts": {"k": 2},
            "mutate": [{"clamp": {"max_tokens": 10, "mood": [0, 1]}}, {"set_param": {"seed": "from_ctx"}}],
            "retry_policy": "patient",
        },
        "child": {"extends": "cheap", "filter": {"price_max": {"input": 1}}, "mutate": "identity"},
        "listed": {"selector": "chain", "chain": [{"provider": "a", "model": "small"}]},
        "term": {
            "policy_ir": [
                "policy", ["min_tier", "partner"], ["zero"], ["prefer", ["is", "no_log"], ["argmax"]],
                ["seq", ["filter_text", ["trim", {"words": 3}]], ["jitter", "temperature", 0.1]],
                ["override", ["always", {"action": "abort"}], "timeout", {"action": "retry_same"}],
            ]
        },
    },
    "runtime": None,
    "host": {
        "deadline_ms": 1000,
        "trace": "full",
        "credits": {"a": 1.5},
        "scripts": {"a": [{"answer": "yes"}]},
        "sources": {"feed": {"kind": "json", "url": "https://f.example/", "endpoints": "any"}},
        "lanes": {"a": {"max_in_flight": 2}},
        "keys": {"team": {"sha256": "0" * 64, "profiles": ["cheap"], "may": ["policy"]}},
        "gateway": {"metadata": True},
    },
}  # fmt: skip

# Where in GOOD what stands there makes it a mistake; `None` takes the key away.
MISTAKES: tuple[tuple[str, Any], ...] = (
    ("provders", {}),
    ("runtime", "lua50"),
    ("tier_order", ["fallback", "fallback"]),
    ("params", ["base_url"]),
    ("fields.quality.sort", "Number"),
    ("fields.quality.sort", None),
    ("fields.price_in", {"sort": "Num"}),
    ("fields.region", {"sort": "Num"}),
    ("defaults.timeout_ms", -1),
    ("defaults.retries", 3),
    ("providers.a|b", {"api_kind": "scripted"}),
    ("providers.a", "scripted"),
    ("providers.a.api_kind", "openai"),
    ("providers.a.teir", "partner"),
    ("providers.a.no_log", "yes"),
    ("providers.a.tier", ""),
    ("providers.b.base_url", None),
    ("providers.m.discovery_id", None),
    ("providers.b.auth_env", "B_KEY"),
    ("providers.b.auth.kind", "bear"),
    ("providers.b.auth.kind", None),
    ("providers.b.auth.file", "key.txt"),
    ("providers.b.auth.env", None),
    ("providers.b.auth.token_url", "https://b.example"),
    ("providers.o.auth.accounts", []),
    ("models.small.served_by", None),
    ("models.small.served_by", ["a"]),
    ("models.small.capabilities.context", "32k"),
    ("models.small.capabilities.speaks_latin", ["a bit"]),
    ("models.small.served_by.0.provider", None),
    ("models.small.served_by.0.price_in", "0.5"),
    ("models.small.served_by.0.price_on", "0.5"),
    ("retry_policies.patient.time_out", {"action": "abort"}),
    ("retry_policies.patient.timeout.action", "retry"),
    ("retry_policies.patient.timeout.action", None),
    ("retry_policies.patient.timeout.backoff_ms", [250, -1]),
    ("retry_policies.patient.timeout.attemps", "2"),
    ("policy_envelope", "requirement"),
    ("profiles.cheap.filters", []),
    ("profiles.cheap.filter.0", "requirement"),
    ("profiles.cheap.filter.0", "any_of"),
    ("profiles.cheap.filter.0", {"requirements": "yes"}),
    ("profiles.cheap.filter.0", {"all_off": []}),
    ("profiles.cheap.filter.1.any_of.0.cmp", ["quality", "ge"]),
    ("profiles.cheap.filter.1.any_of.0.cmp.1", ">="),
    ("profiles.cheap.filter.1.any_of.0.cmp.0", "no_log"),
    ("profiles.cheap.filter.1.any_of.1", ["has_cap"]),
    ("profiles.cheap.filter.1.any_of.1", ["has_capability", "vision"]),
    ("profiles.cheap.filter.1.any_of.1", ["zero"]),
    ("profiles.child.filter.price_max", {"in": 1}),
    ("profiles.child.filter.price_max", 1),
    ("profiles.cheap.scorer", ["normalise", ["field", "price_in"]]),
    ("profiles.cheap.scorer", ["add"]),
    ("profiles.cheap.scorer", ["field", "disabled"]),
    ("profiles.cheap.scorer", ["neg", ["top"]]),
    ("profiles.cheap.scorer", "price"),
    ("profiles.cheap.selector", "best"),
    ("profiles.cheap.selector", ["top_k", 0, ["argmax"]]),
    ("profiles.cheap.selector_opts", {"k": 1.5}),
    ("profiles.cheap.selector_opts", {"temperature": 1}),
    ("profiles.cheap.mutate.0.clamp.max_tokens", [1, 2, 3]),
    ("profiles.cheap.mutate.1.set_param", {"base_url": "x"}),
    ("profiles.cheap.mutate", [["set_param", "messages", "x"]]),
    ("profiles.child.mutate", "nothing"),
    ("profiles.child.extends", 3),
    ("profiles.cheap.retry_policy", ["argmax"]),
    ("profiles.listed.chain", [{"provider": "a"}]),
    ("profiles.listed.chain", [{"provider": "a", "model": "small", "tier": "x"}]),
    ("profiles.term.policy_ir", ["top"]),
    ("profiles.term.policy_ir", "careful.yaml"),
    ("profiles.term.policy_ir.4.1.1", ["trim", {}]),
    ("profiles.term.policy_ir.5.1.1.action", "give_up"),
    ("customs", {"shout": "upper"}),
    ("host.deadline_ms", 0),
    ("host.deadline", 10),
    ("host.trace", "some"),
    ("host.credits.a", "1.5"),
    ("host.scripts.a", 3),
    ("host.sources.feed.kind", "rss"),
    ("host.sources.feed.endpoints", "all"),
    ("host.sources.feed.every_ms", 1.5),
    ("host.lanes.a.max_queue", -1),
    ("host.keys.team.sha256", "0" * 63),
    ("host.keys.team.file", "team.key"),
    ("host.keys.team.sha256", None),
    ("host.keys.team.may", ["everything"]),
    ("host.gateway.metadata", "yes"),
)  # fmt: skip

# What looks like a mistake and is none: a key that is null is absent, an empty list is an empty record.
ODDITIES: tuple[tuple[str, str], ...] = (
    ("provders", "null"),
    ("providers.c", "null"),
    ("providers.a.teir", "null"),
    ("providers.a.tier", "null"),
    ("models.small.capabilities", "[]"),
    ("defaults", "[]"),
    ("profiles.cheap.filter", "{}"),
    ("profiles.cheap.selector_opts", "[]"),
    ("profiles.cheap.mutate", "{identity: 3}"),
    ("profiles.cheap.mutate.0.clamp", "[]"),
    ("profiles.listed.chain", "{}"),
    ("profiles.listed.chain.0.tier", "null"),
    ("profiles.listed.chain", "[{provider_id: a, model_family: small}]"),
    ("fields.price_in", "null"),
    ("retry_policies.patient.timeout.weight", "3"),
    ("host.trace", "null"),
    ("host.limits", "{max_in_flight: null}"),
)  # fmt: skip


def faults(data: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(data)]


def planted(data: Any, path: str, value: Any, *, is_set: bool = False) -> Any:
    out = place = copy.deepcopy(data)
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        place = place[step]
    if value is None and not is_set:
        del place[last]
    else:
        place[last] = value
    return out


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_it_is_the_same_on_every_runtime() -> None:
    texts = {json.dumps(config_schema(runtime)) for runtime in available_runtimes()}
    assert texts == {json.dumps(SCHEMA)}


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_every_key_says_what_it_means() -> None:
    told = [key for keys in NOUNS.values() for key in keys]
    undescribed = [key for key in told if '"description"' not in json.dumps(_property(key))]
    assert undescribed == []


def _property(key: str) -> list[Any]:
    return [schema for name, schema in _properties(SCHEMA) if name == key]


def _properties(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties.items() if isinstance(properties, dict) else ()
        for each in schema.values():
            yield from _properties(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _properties(each)


@pytest.mark.parametrize(("at", "data"), documented(), ids=[at for at, _ in documented()])
def test_every_config_of_the_documentation_is_valid(at: str, data: Any) -> None:
    assert faults(data) == [], at


def test_configs_were_found() -> None:
    assert len(documented()) > 15
    assert len(configs.tested()) > 100
    assert {at for at, _ in documented()} >= {*SHIPPED, "docs/reference/config.md:7"}


def test_every_config_of_the_tests_that_the_loader_takes_is_valid(tmp_path: Path) -> None:
    wrong = {at: faults(data) for at, data in configs.tested() if faults(data) and is_taken(data, tmp_path)}
    assert wrong == {}


def test_a_good_config_is_good(tmp_path: Path) -> None:
    assert is_taken(GOOD, tmp_path)
    assert faults(GOOD) == []


@pytest.mark.parametrize(("path", "value"), MISTAKES, ids=[f"{path}={value}" for path, value in MISTAKES])
def test_a_mistake_is_refused_by_the_loader_and_the_schema(path: str, value: Any, tmp_path: Path) -> None:
    data = planted(GOOD, path, value)
    assert not is_taken(data, tmp_path)
    assert faults(data)


@pytest.mark.parametrize(("path", "text"), ODDITIES, ids=[f"{path}={text}" for path, text in ODDITIES])
def test_what_only_looks_like_a_mistake_is_taken_by_both(path: str, text: str, tmp_path: Path) -> None:
    data = planted(GOOD, path, yaml.safe_load(text), is_set=True)
    assert is_taken(data, tmp_path)
    assert faults(data) == []


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 1e300, "", "x", "no_log", "price_in", "retry_same", "requirements",
    "x" * 257, [], {}, [[]], [{}], ["x"], ["top"], ["zero"], ["scope_matches"], {"x": 1}, {"x": None},
    {"identity": 3}, {"action": "abort"},
)  # fmt: skip


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Give every list and record with each of its keys."""
    keys = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [place for key in keys for place in [(data, key), *_places(data[key])]]


def mutated(data: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Change a config in one place: what stands there, its key, or that it is there."""
    out = copy.deepcopy(data)
    places = _places(out)
    held, key = chance.choice(places)
    values = [*ODD, copy.deepcopy(chance.choice(places)[0])]
    what = chance.choice(("value", "value", "away", "name", "more"))
    if what == "value":
        held[key] = chance.choice(values)
    elif what == "away":
        del held[key]
    elif isinstance(held, list):
        held.insert(key, chance.choice(values))
    else:
        name = chance.choice(("x", "tier", "filter", "kind", "quality", key + "s", key[1:] or "y"))
        held[name] = held.pop(key) if what == "name" else chance.choice(values)
    return out


@given(seed=st.integers(0, 2**32))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_schema_refuses_the_loader_refuses(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311 - it draws no secret
    configs = [GOOD, GOOD, *(data for _, data in documented())]
    data = mutated(chance.choice(configs), chance)
    wrong = faults(data)
    assert not (wrong and is_taken(data, tmp_path)), (wrong, data)
