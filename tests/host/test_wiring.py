"""Configs and hosts over the real core."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import ConfigError, Contract, Host, UsageError
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.child import ChildEngine
from llm_policy_host.core.vm import available_runtimes
from llm_policy_host.errors import SandboxError

from .server import Server, answer, delta, events, failing

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.values import Result

CONFIG: dict[str, Any] = {
    "providers": {
        "a": {"base_url": "scripted:", "api_kind": "scripted"},
        "b": {"base_url": "scripted:", "api_kind": "scripted"},
    },
    "models": {
        "m": {
            "capabilities": {"context": 1000, "supports_tools": True},
            "served_by": [
                {"provider": "a", "price_in": 1.0, "price_out": 2.0},
                {"provider": "b", "price_in": 3.0, "price_out": 4.0, "provider_model_id": "m-on-b"},
            ],
        }
    },
    "retry_policies": {
        "careful": {
            "rate_limit": {"action": "retry_same", "attempts": 1, "backoff_ms": 60_000},
            "auth_error": {"action": "abort"},
            "unknown": {"action": "next_candidate"},
        }
    },
    "profiles": {
        "cheap": {"scorer": ["neg", ["normalize", ["field", "price_in"]]], "retry_policy": "careful"},
    },
}

YAML = """\
providers:
  a: {base_url: "scripted:", api_kind: scripted}
models:
  m:
    served_by: [{provider: a, price_in: 1}]
profiles:
  cheap: {selector: argmax}
"""


def _host(scripts: dict[str, Any] | None = None, **more: Any) -> Host:
    host = {"scripts": scripts or {}, **more.pop("host", {})}
    return Host.from_data({**CONFIG, **more, "host": host}, clock=VirtualClock())


def _file(tmp_path: Path, text: str, name: str = "policy.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


async def test_the_first_example_of_the_spec_works(tmp_path: Path) -> None:
    path = _file(tmp_path, YAML)
    async with Host.from_config(str(path)) as host:
        contract = Contract(messages=[{"role": "user", "content": "hi"}], profile="cheap")
        result = await host.run(contract)
        assert result.ok
        assert host.run_sync(contract).ok
        async for chunk in host.stream(contract):
            last = chunk
        assert last.result is not None
        assert last.result.ok
        assert host.rank(contract).ordered[0].provider_id == "a"


async def test_the_cheaper_route_answers_and_the_trace_says_why() -> None:
    async with _host(host={"trace": "full"}) as host:
        result = await host.run(Contract(prompt="hi", profile="cheap"))
    assert result.chosen is not None
    assert result.chosen["provider_id"] == "a"
    assert result.chosen["price_in"] == 1
    assert [entry.provider_id for entry in result.trace.ranked] == ["a", "b"]
    assert result.trace.policy_id is not None
    assert result.trace.policy_id.startswith("sha256:")


async def test_a_failing_route_is_survived_and_its_model_name_is_its_own() -> None:
    async with _host({"a": [{"failure": "server_error", "http_status": 503}]}) as host:
        result = await host.run(Contract(prompt="hi"))
        assert result.response is not None
        assert result.response.model == "m-on-b"
        (first, *_) = result.trace.decision_path
        assert (first["error_kind"], first["http_status"]) == ("server_error", 503)


async def test_a_backoff_of_a_minute_passes_in_virtual_time() -> None:
    script = [{"failure": "rate_limit"}, {"answer": "at last"}]
    async with _host({"a": script}, host={"deadline_ms": 120_000}) as host:
        result = await host.run(Contract(prompt="hi"))
        assert result.response is not None
        assert result.response.text == "at last"
        assert host.clock.now_ms() == 60_000


async def test_an_abort_ends_the_run_with_its_kind() -> None:
    async with _host({"a": [{"failure": "auth_error"}]}) as host:
        result = await host.run(Contract(prompt="hi"))
    assert (result.ok, result.error) == (False, "auth_error")


async def test_a_refused_policy_is_a_result_not_an_exception() -> None:
    async with _host() as host:
        for term in (["and", ["top"], None], ["nonsense"], 3, ["policy", ["top"]], {"a": [None]}):
            result = await host.run(Contract(prompt="hi", policy_ir=term))
            assert result.error == "policy_refused"
            assert result.refusal is not None
            assert result.refusal["code"]
        assert (await host.run(Contract(prompt="hi", profile="absent"))).error == "unknown_profile"


async def test_a_caller_cannot_name_a_routing_target_as_parameter() -> None:
    term = [
        "policy",
        ["top"],
        ["zero"],
        ["argmax"],
        ["set_param", "base_url", "http://evil"],
        ["always", {"action": "abort"}],
    ]
    async with _host() as host:
        result = await host.run(Contract(prompt="hi", policy_ir=term))
    assert result.refusal is not None
    assert result.refusal["code"] == "undeclared_param"


async def test_a_policy_changes_parameters_on_their_way() -> None:
    term = [
        "policy",
        ["top"],
        ["zero"],
        ["argmax"],
        ["set_param", "temperature", 0.25],
        ["always", {"action": "abort"}],
    ]
    async with Server([answer()]) as server:
        data = {**CONFIG, "providers": {name: {"base_url": server.base_url} for name in "ab"}}
        async with Host.from_data(data) as host:
            await host.run(Contract(prompt="hi", policy_ir=term, params={"temperature": 1, "max_tokens": 5}))
    body = server.asked[0].body
    assert (body["temperature"], body["max_tokens"]) == (0.25, 5)
    assert body["model"] == "m"


async def test_tools_demand_a_candidate_that_has_them() -> None:
    models = {"m": {**CONFIG["models"]["m"], "capabilities": {"context": 1000}}}
    async with _host(models=models) as host:
        ranking = host.rank(Contract(prompt="x", tools=[{"type": "function"}]))
    assert {entry.reason for entry in ranking.rejected} == {"missing_capability:tools"}


async def test_rank_changes_nothing() -> None:
    async with _host() as host:
        before = host.status()
        assert host.rank(Contract()) == host.rank(Contract())
        assert host.status() == before


async def test_an_unset_secret_disables_its_provider_visibly() -> None:
    providers = {
        **CONFIG["providers"],
        "a": {**CONFIG["providers"]["a"], "auth": {"kind": "bearer", "env": "NOT_SET"}},
    }
    host = Host.from_data({**CONFIG, "providers": providers}, environment={}, clock=VirtualClock())
    async with host:
        assert host.disabled == {"a": "the environment variable `NOT_SET` is not set"}
        result = await host.run(Contract(prompt="hi"))
        assert result.chosen is not None
        assert result.chosen["provider_id"] == "b"
        assert result.failures == ()
        assert host.rank(Contract()).rejected[0].provider_id == "a"


async def test_the_key_reaches_the_provider_and_no_trace() -> None:
    async with Server([failing(500, {"message": "your key is k3y-value"}), answer()]) as server:
        provider = {"base_url": server.base_url, "auth_env": "KEY"}
        data = {**CONFIG, "providers": {"a": provider, "b": provider}}
        async with Host.from_data(data, environment={"KEY": "k3y-value"}) as host:
            result = await host.run(Contract(prompt="a private prompt"))
    assert result.ok
    assert {asked.headers["authorization"] for asked in server.asked} == {"bearer k3y-value"}
    assert "k3y-value" not in repr(result)
    assert "private prompt" not in repr(result.trace)


async def test_a_stream_over_http_falls_back_under_the_real_core() -> None:
    async with (
        Server([failing(503, {})]) as bad,
        Server([events(delta("he"), delta("llo"), delta(None, "stop"))]) as good,
    ):
        data = {**CONFIG, "providers": {"a": {"base_url": bad.base_url}, "b": {"base_url": good.base_url}}}
        async with Host.from_data(data) as host:
            chunks = [chunk async for chunk in host.stream(Contract(prompt="x"))]
    assert "".join(chunk.text for chunk in chunks) == "hello"
    assert chunks[-1].result is not None
    assert chunks[-1].result.chosen is not None
    assert chunks[-1].result.chosen["provider_id"] == "b"


def test_sync_callers_of_many_threads_share_one_health() -> None:
    with Host.from_data(CONFIG) as host:
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(host.run_sync(Contract(prompt="x"))))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.ok for result in results] == [True] * 8


def test_a_host_serves_one_loop_after_another() -> None:
    host = Host.from_data(CONFIG)

    async def once() -> bool:
        async with host:
            return (await host.run(Contract(prompt="x"))).ok

    assert asyncio.run(once())
    assert asyncio.run(once())


async def test_a_closed_host_refuses_until_it_is_prepared_again() -> None:
    host = Host.from_data(CONFIG)
    assert (await host.run(Contract(prompt="x"))).ok
    await host.close()
    with pytest.raises(UsageError, match="closed"):
        await host.run(Contract(prompt="x"))
    with pytest.raises(UsageError, match="closed"):
        host.run_sync(Contract(prompt="x"))
    async with host:
        assert (await host.run(Contract(prompt="x"))).ok


def test_a_host_that_one_loop_closes_serves_another_on() -> None:
    host = Host.from_data(CONFIG)
    assert host.run_sync(Contract(prompt="x")).ok
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(host.run(Contract(prompt="x"))).ok
    host.__exit__(None, None, None)
    assert loop.run_until_complete(host.run(Contract(prompt="x"))).ok
    loop.run_until_complete(host.close())
    loop.close()
    with pytest.raises(UsageError, match="closed"):
        host.run_sync(Contract(prompt="x"))


def test_a_synchronous_call_of_another_thread_ends_when_its_host_is_closed() -> None:
    begun = threading.Event()
    told: list[bool | str] = []

    class Telling(Host):
        async def run(self, contract: Contract) -> Result:
            begun.set()
            return await super().run(contract)

    host = Telling.from_data({**CONFIG, "host": {"scripts": {"a": [{"hang": True}]}}})

    def ask() -> None:
        try:
            told.append(host.run_sync(Contract(prompt="x")).ok)
        except UsageError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert begun.wait(10)
    with host:
        pass
    thread.join(10)
    assert told == ["the host was closed"]


def test_running_without_a_loop_says_what_to_use() -> None:
    with Host.from_data(CONFIG) as host, pytest.raises(UsageError, match="run_sync"):
        host.stream(Contract(prompt="x"))


@pytest.mark.parametrize("runtime", available_runtimes())
async def test_every_runtime_decides_alike(runtime: str) -> None:
    async with _host({"a": [{"failure": "timeout"}]}, runtime=runtime, host={"trace": "full"}) as host:
        result = await host.run(Contract(prompt="x", seed=3))
    expected = await _reference()
    assert result.trace.raw == expected.trace.raw
    assert result.chosen == expected.chosen


async def _reference() -> Any:
    async with _host({"a": [{"failure": "timeout"}]}, host={"trace": "full"}) as host:
        return await host.run(Contract(prompt="x", seed=3))


MISTAKEN = """\
providers:
  openai:
    base_url: https://api.example/v1
    api_knd: openai_compatible
models:
  small:
    served_by:
      - provider: opnai
        price_in: cheap
profiles:
  cheap:
    selector: argmx
host:
  trace: fulll
"""


def test_five_mistakes_are_five_problems_with_their_places(tmp_path: Path) -> None:
    path = _file(tmp_path, MISTAKEN)
    with pytest.raises(ConfigError) as caught:
        Host.from_config(path)
    problems = caught.value.problems
    assert [(problem.line, problem.path) for problem in problems] == [
        (4, "$.providers.openai.api_knd"),
        (8, "$.models.small.served_by[1].provider"),
        (9, "$.models.small.served_by[1].price_in"),
        (12, "$.profiles.cheap.selector"),
        (14, "$.host.trace"),
    ]
    assert [problem.column for problem in problems] == [5, 19, 19, 15, 10]
    assert [problem.nearest for problem in problems[:4]] == ["api_kind", "openai", None, "argmax"]
    assert str(problems[0]).startswith(f"{path}:4:5: $.providers.openai.api_knd: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1",
        "providers: 3",
        "null",
        "3",
        "providers: [1]\nmodels: x\nprofiles: 2",
    ],
)
def test_what_is_no_config_is_told_as_problems(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Host.from_config(_file(tmp_path, text))
    assert caught.value.problems


async def test_a_config_may_be_lua_that_uses_the_dsl(tmp_path: Path) -> None:
    text = """
    return {
      providers = { a = { base_url = "scripted:", api_kind = "scripted" } },
      models = { m = { served_by = { { provider = "a", price_in = 1 } } } },
      profiles = { cheap = { scorer = { "neg", { "normalize", { "field", "price_in" } } } } },
      host = { deadline_ms = 1000 },
    }
    """
    host = Host.from_config(_file(tmp_path, text, "policy.lua"))
    assert host.config.settings.deadline_ms == 1000
    async with host:
        assert (await host.run(Contract(prompt="x"))).ok


LOCAL = """
local F = require("llm_policy").dsl.F
return {
  providers = {
    a = { base_url = "scripted:", api_kind = "scripted" },
    b = { base_url = "scripted:", api_kind = "scripted" },
  },
  models = { m = { served_by = { { provider = "a", price_in = 1 }, { provider = "b", price_in = 2 } } } },
  profiles = {
    odd = {
      filter = F.where(function(candidate) %s end),
      scorer = { "neg", { "normalize", { "field", "price_in" } } },
    },
  },
}
"""


async def test_operator_functions_decide_in_a_process_of_their_own(tmp_path: Path) -> None:
    host = Host.from_config(_file(tmp_path, LOCAL % 'return candidate.provider_id == "b"', "policy.lua"))
    assert isinstance(host.engine, ChildEngine)
    async with host:
        result = await host.run(Contract(prompt="x"))
        assert result.chosen is not None
        assert result.chosen["provider_id"] == "b"
        assert [entry.provider_id for entry in host.rank(Contract()).ordered] == ["b"]


async def test_an_operator_function_without_end_is_stopped(tmp_path: Path) -> None:
    host = Host.from_config(_file(tmp_path, LOCAL % "while true do end", "policy.lua"))
    async with host:
        with pytest.raises(SandboxError, match="allowance"):
            await host.run(Contract(prompt="x"))


def test_a_mistake_in_a_lua_config_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Host.from_config(_file(tmp_path, "return {\n  providers = ,\n}", "policy.lua"))
    assert caught.value.problems[0].line == 2


async def test_a_script_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- {answer: from a file}")
    path = _file(tmp_path, YAML + "host: {scripts: {a: a.yaml}}\n")
    async with Host.from_config(path) as host:
        result = await host.run(Contract(prompt="x"))
    assert result.response is not None
    assert result.response.text == "from a file"


@pytest.mark.parametrize("script", ["absent.yaml", [{"answr": "x"}], [{"failure": "tired"}], [3], {"m": 3}])
def test_a_script_that_nobody_can_play_is_a_mistake_of_the_config(script: Any) -> None:
    with pytest.raises(ConfigError):
        _host({"a": script})


@pytest.mark.parametrize("seed", [2**53 + 1, -(2**53) - 1, 10**30, 10**400, 1.5, float("nan"), "x", True])
def test_what_is_no_seed_is_refused_and_breaks_nothing(seed: Any) -> None:
    config = {
        "providers": {"a": {"api_kind": "scripted"}},
        "models": {"m": {"served_by": [{"provider": "a"}]}},
    }
    scripts = {"scripts": {"a": [{"answer": "x"}]}}
    with Host.from_data({**config, "profiles": {"default": {}}, "host": scripts}) as host:
        result = host.run_sync(Contract(prompt="x", seed=seed))
        assert (result.ok, result.error) == (False, "policy_refused")
        assert result.refusal is not None
        assert result.refusal["path"] == "$.seed"
