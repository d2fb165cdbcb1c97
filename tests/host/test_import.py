"""Other gateways' configs as ours: what converts means the same, what does not is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_policy_host import Contract, Host, UsageError
from llm_policy_host.cli.main import main
from llm_policy_host.clock import VirtualClock
from llm_policy_host.config.imports.litellm import import_litellm
from llm_policy_host.config.imports.openrouter import import_openrouter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.config.imports.imported import Imported

SECRET = "sk-plain-canary"
LITELLM: dict[str, Any] = {
    "model_list": [
        {
            "model_name": "smart",
            "litellm_params": {
                "model": "openai/gpt-4o",
                "api_key": "os.environ/OPENAI_KEY",
                "rpm": 60,
                "max_parallel_requests": 8,
                "input_cost_per_token": 0.0000025,
            },
            "model_info": {
                "max_input_tokens": 128000,
                "supports_vision": False,
                "output_cost_per_token": "1e-05",
            },
        },
        {
            "model_name": "smart",
            "litellm_params": {
                "model": "azure/eu",
                "api_base": "https://eu.example/openai/v1/",
                "api_key": SECRET,
            },
        },
        {
            "model_name": "fast",
            "litellm_params": {"model": "claude-3-5-haiku", "api_key": "os.environ/CLAUDE"},
        },
        {
            "model_name": "vectors",
            "litellm_params": {"model": "text-embedding-3-small"},
            "model_info": {"mode": "embedding"},
        },
        {"model_name": "*", "litellm_params": {"model": "openai/*"}},
        {"model_name": "odd", "litellm_params": {"model": "sagemaker/x"}},
    ],
    "litellm_settings": {
        "num_retries": 2,
        "request_timeout": 45,
        "fallbacks": [{"smart": ["fast", "gone"]}],
        "cache": True,
    },
    "router_settings": {
        "routing_strategy": "cost-based-routing",
        "allowed_fails": 2,
        "cooldown_time": 30,
        "model_group_alias": {"gpt-4o": "smart"},
        "redis_host": "x",
    },
    "general_settings": {"master_key": SECRET, "database_url": "postgres://x"},
}
ENVIRONMENT = dict.fromkeys(
    ("OPENAI_KEY", "AZURE_API_KEY", "CLAUDE", "OPENAI_API_KEY", "LITELLM_MASTER_KEY", "OPENROUTER_API_KEY"),
    "x",
)


def load(imported: Imported, tmp_path: Path) -> Host:
    """Load what is written, as a person would."""
    path = tmp_path / "policy.yaml"
    path.write_text(imported.text("a file"), "utf-8")
    host = Host.from_config(path, clock=VirtualClock(), environment=ENVIRONMENT)
    assert host.config.document.data == json.loads(json.dumps(imported.config))
    return host


def order(
    host: Host, profile: str | None = None, family: str | None = None, **more: Any
) -> list[tuple[str, str]]:
    requirements = {"pin": {"model": family}} if family else {}
    ranking = host.rank(
        Contract(profile=profile, requirements=requirements, seed=more.pop("seed", 1), **more)
    )
    assert ranking.error is None, ranking
    return [(entry.model_family, entry.provider_id) for entry in ranking.ordered]


def paths(notes: Any) -> set[str]:
    return {note.path for note in notes}


# LiteLLM --------------------------------------------------------------------------------------------


def test_what_a_proxy_serves_is_served_here(tmp_path: Path) -> None:
    imported = import_litellm(LITELLM)
    host = load(imported, tmp_path)
    assert not host.disabled
    core = host.config.core
    assert set(core["models"]) == {"smart", "fast", "vectors", "gpt-4o"}
    assert core["providers"]["openai"] == {"base_url": "https://api.openai.com/v1", "auth_env": "OPENAI_KEY"}
    assert core["providers"]["openai-2"]["auth_env"] == "OPENAI_API_KEY"
    assert core["providers"]["azure"]["base_url"] == "https://eu.example/openai/v1"
    assert core["providers"]["anthropic"]["api_kind"] == "anthropic"
    first = core["models"]["smart"]["served_by"][0]
    assert (first["provider_model_id"], first["price_in"]) == ("gpt-4o", 2.5)
    assert first["capabilities"] == {
        "context": 128000,
        "supports_tools": True,
        "supports_vision": False,
        "supports_json_mode": True,
    }
    assert core["models"]["gpt-4o"] == core["models"]["smart"]
    assert core["models"]["vectors"]["served_by"][0]["capabilities"] == {"embeddings": True}
    assert host.config.settings.lanes == {"openai": {"max_in_flight": 8}}


def test_its_time_bounds_and_cooldowns_are_ours(tmp_path: Path) -> None:
    defaults = load(import_litellm(LITELLM), tmp_path).config.core["defaults"]
    assert defaults == {
        "profile": "default",
        "timeout_ms": 45_000,
        "circuit_breaker_threshold": 3,
        "circuit_breaker_failure_ms": 30_000,
        "circuit_breaker_rate_limit_ms": 30_000,
    }


def test_a_groups_fallbacks_are_a_profile_in_their_order(tmp_path: Path) -> None:
    host = load(import_litellm(LITELLM), tmp_path)
    assert [family for family, _ in order(host, "smart")] == ["smart", "smart", "fast"]


def test_what_does_not_convert_is_named_by_its_path() -> None:
    imported = import_litellm(LITELLM)
    assert paths(imported.lost) == {
        "model_list[0].litellm_params.rpm",
        "model_list[0].litellm_params.output_cost_per_token",
        "model_list[4]",
        "model_list[5].litellm_params.model",
        "router_settings.fallbacks[0].smart",
        "router_settings.redis_host",
        "litellm_settings.cache",
        "general_settings.database_url",
    }
    assert {"model_list[1].litellm_params.api_key", "general_settings.master_key"} <= paths(imported.changed)
    assert all(note.reason for note in [*imported.lost, *imported.changed])


def test_a_key_in_plain_text_is_nowhere_in_what_is_written() -> None:
    imported = import_litellm(LITELLM)
    assert SECRET not in imported.text("x")
    assert SECRET not in json.dumps(imported.config)
    assert imported.config["host"]["keys"]["master"]["env"] == "LITELLM_MASTER_KEY"


def proxy(*params: Mapping[str, Any], **router: Any) -> dict[str, Any]:
    """Make a proxy's config of one group with several deployments."""
    base = "https://{}.example/v1"
    deployments = [
        {"model_name": "m", "litellm_params": {"model": f"openai/d{n}", "api_base": base.format(n), **given}}
        for n, given in enumerate(params)
    ]
    return {"model_list": deployments, "router_settings": router}


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (
            proxy(
                {"input_cost_per_token": 2e-6, "output_cost_per_token": 0},
                {"input_cost_per_token": 1e-6, "output_cost_per_token": 0},
                routing_strategy="cost-based-routing",
            ),
            [1, 0],
        ),
        (proxy({"order": 2}, {"order": 1}, {}, routing_strategy="latency-based-routing"), [1, 0, 2]),
        (proxy({"order": 0.5}, {"order": 7}), [0, 1]),
    ],
)
def test_a_routing_strategy_orders_as_it_did(tmp_path: Path, data: Any, wanted: list[int]) -> None:
    host = load(import_litellm(data), tmp_path)
    names = [("openai" if n == 0 else f"openai-{n + 1}") for n in wanted]
    assert [provider for _, provider in order(host)] == names


def test_a_shuffle_is_even_and_weights_draw_the_heavier_likelier(tmp_path: Path) -> None:
    def first_ones(data: Any) -> dict[str, int]:
        host = load(import_litellm(data), tmp_path)
        firsts = [order(host, seed=seed)[0][1] for seed in range(1000)]
        return {name: firsts.count(name) for name in set(firsts)}

    even = first_ones(proxy({}, {}))
    assert abs(even["openai"] - 500) < 60
    weighted = first_ones(proxy({"weight": 1}, {"weight": 9}))
    assert weighted["openai-2"] > weighted["openai"] + 150


@pytest.mark.parametrize(
    "data",
    [{}, [], None, 3, {"model_list": {}}, {"model_list": []}, {"model_list": [1, {"model_name": "x"}]}],
)
def test_what_is_no_proxys_config_is_refused(data: Any) -> None:
    with pytest.raises(UsageError):
        import_litellm(data)


# OpenRouter -----------------------------------------------------------------------------------------

REQUEST: dict[str, Any] = {
    "model": "anthropic/claude-sonnet-4:floor",
    "models": ["openai/gpt-4o", "meta/llama:free"],
    "provider": {
        "order": ["azure"],
        "allow_fallbacks": True,
        "max_price": {"prompt": "3", "image": 1},
        "zdr": True,
    },
    "temperature": 0.2,
    "reasoning": {"effort": "low"},
    "messages": [{"role": "user", "content": SECRET}],
    "plugins": [{"id": "web"}],
}


def test_a_request_is_a_profile_with_its_models_in_order(tmp_path: Path) -> None:
    request = {**REQUEST, "provider": {"sort": "latency"}}
    host = load(import_openrouter(request), tmp_path)
    assert order(host) == [
        ("anthropic/claude-sonnet-4", "openrouter"),
        ("openai/gpt-4o", "openrouter"),
        ("meta/llama:free", "openrouter"),
    ]


def test_its_ceilings_sort_and_parameters_are_the_profiles(tmp_path: Path) -> None:
    imported = import_openrouter(REQUEST)
    load(imported, tmp_path)
    profile = imported.profiles["default"]
    assert {"price_max": {"input": 3}} in profile["filter"]
    assert "price_in" in str(profile["scorer"])
    assert profile["mutate"] == [{"set_param": {"temperature": 0.2, "reasoning_effort": "low"}}]
    assert paths(imported.lost) == {"provider.order", "provider.max_price.image", "provider.zdr", "plugins"}
    assert SECRET not in imported.text("x")


def test_presets_are_profiles_by_their_names(tmp_path: Path) -> None:
    presets = [
        {"slug": "cheap-code", "config": {"model": "a/b", "provider": {"sort": "price"}}},
        {"name": "Long Reads!", "model": "c/d"},
        {"name": "Long Reads?", "models": ["c/d", "a/b:nitro"]},
        {"name": "nothing"},
    ]
    for data in (presets, {"presets": presets}, {"data": presets}):
        host = load(import_openrouter(data), tmp_path)
        assert set(host.config.core["profiles"]) == {"cheap-code", "long-reads", "long-reads-2"}
        assert order(host, "long-reads") == [("c/d", "openrouter")]
    assert order(host) == [("a/b", "openrouter")]


@pytest.mark.parametrize("data", [{}, [], None, {"messages": []}, [{"model": ""}]])
def test_what_is_no_request_is_refused(data: Any) -> None:
    with pytest.raises(UsageError):
        import_openrouter(data)


# Anything -------------------------------------------------------------------------------------------

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    ["m", "n", "default", "no", "1e3", "0x1f", "null", "~", "a|b", "x" * 257, "", "ü:b\n"]
)
PARAMS = (
    "model",
    "api_base",
    "api_key",
    "weight",
    "order",
    "input_cost_per_token",
    "aws_region_name",
    "max_parallel_requests",
)
params = st.dictionaries(st.sampled_from(PARAMS), names | odd, max_size=5).map(
    lambda given: {"model": "openai/x", **given}
)
ROUTER = (
    "fallbacks",
    "num_retries",
    "routing_strategy",
    "model_group_alias",
    "cooldown_time",
    "allowed_fails",
    "timeout",
)
deployments = st.fixed_dictionaries(
    {"model_name": names | odd, "litellm_params": params | odd},
    optional={
        "model_info": st.dictionaries(
            st.sampled_from(["mode", "max_input_tokens", "supports_vision", "z"]), odd
        )
    },
)
proxies = st.fixed_dictionaries(
    {"model_list": st.lists(deployments | odd, max_size=4)},
    optional={
        "router_settings": st.dictionaries(st.sampled_from(ROUTER), names | odd),
        "litellm_settings": odd,
        "general_settings": st.dictionaries(st.sampled_from(["master_key", "x"]), odd),
        "x": odd,
    },
)
REQUEST_KEYS = ("model", "models", "provider", "temperature", "reasoning", "top_k", "x")
PROVIDER_KEYS = ("sort", "order", "max_price", "zdr", "allow_fallbacks", "x")
wishes = st.dictionaries(st.sampled_from(PROVIDER_KEYS), odd | st.just("price"))
requests = st.dictionaries(st.sampled_from(REQUEST_KEYS), names | odd | st.lists(names, max_size=3) | wishes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.just(import_litellm), proxies) | st.tuples(st.just(import_openrouter), requests))
def test_whatever_the_file_holds_the_result_loads_or_the_file_is_refused(tmp_path: Path, given_: Any) -> None:
    convert, data = given_
    try:
        imported = convert(data)
    except UsageError:
        return
    load(imported, tmp_path)


# The command ----------------------------------------------------------------------------------------


def write(tmp_path: Path, data: Any, name: str) -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(data) if name.endswith("yaml") else json.dumps(data))
    return str(path)


def test_the_command_writes_a_config_and_tells_what_is_lost(tmp_path: Path, capsys: Any) -> None:
    given_, out = write(tmp_path, LITELLM, "config.yaml"), tmp_path / "policy.yaml"
    assert main(["import", "--from", "litellm", given_, "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "not converted: model_list[0].litellm_params.rpm" in told.err
    assert "#   model_list[0].litellm_params.rpm: " in out.read_text()
    assert SECRET not in told.err
    Host.from_config(out, environment=ENVIRONMENT)


def test_the_command_in_json_lists_paths_and_reasons(tmp_path: Path, capsys: Any) -> None:
    assert main(["import", "--from", "openrouter", write(tmp_path, REQUEST, "r.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert {"path": "plugins", "reason": "it belongs to a call, or to OpenRouter itself"} in told["lost"]
    Host.from_data(told["config"], environment={})


def test_strict_fails_only_where_something_is_lost(tmp_path: Path, capsys: Any) -> None:
    clean = {"model": "a/b", "temperature": 1}
    assert main(["import", "--from", "openrouter", write(tmp_path, clean, "a.json"), "--strict"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["profiles"]
    assert main(["import", "--from", "openrouter", write(tmp_path, REQUEST, "b.json"), "--strict"]) == 1


@pytest.mark.parametrize(
    ("name", "text"), [("x.yaml", "a: [1"), ("x.json", "{"), ("x.yaml", "a: .inf"), ("x.yaml", "[" * 400)]
)
def test_a_file_that_cannot_be_read_is_a_usage_error(
    tmp_path: Path, capsys: Any, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["import", "--from", "litellm", str(tmp_path / name)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["import", "--from", "litellm", str(tmp_path / "absent")]) == 2
