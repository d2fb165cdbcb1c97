"""No caller's terms, bounds, candidates or keys close a provider to others (decision 0016)."""

from __future__ import annotations

from typing import Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.values import Secret

from .test_wiring import CONFIG

SLOW = {"answer": "yes", "latency_ms": 20}
NEXT = {"action": "next_candidate"}


def policy(xform: list[Any], action: dict[str, Any]) -> list[Any]:
    return ["policy", ["top"], ["zero"], ["ordered"], xform, ["always", action]]


HASTE = ["set_param", "timeout_ms", 1]
OF_CALLERS = {
    "a policy's timeout": Contract(prompt="x", policy_ir=policy(HASTE, NEXT)),
    "a policy's wait for the first content": Contract(
        prompt="x", policy_ir=policy(["set_param", "ttft_ms", 1], NEXT)
    ),
    "a timeout": Contract(prompt="x", timeout_ms=1),
    "a parameter": Contract(prompt="x", params={"timeout_ms": 1}),
    "a breaker for ages": Contract(prompt="x", policy_ir=policy(HASTE, {**NEXT, "open_breaker_ms": 1e12})),
    "a provider disabled for nothing": Contract(
        prompt="x", policy_ir=policy(["filter_text", ["nope"]], {"action": "disable_provider"})
    ),
}


def _host(script: dict[str, Any] = SLOW, **more: Any) -> Host:
    scripts = {"scripts": {name: [script] for name in ("a", "b", "own")}}
    return Host.from_data({**CONFIG, **more, "host": scripts}, clock=VirtualClock())


async def _ask(host: Host, contract: Contract, *, is_stream: bool) -> None:
    if is_stream:
        async for _ in host.stream(contract):
            pass
    else:
        await host.run(contract)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("name", sorted(OF_CALLERS))
async def test_no_callers_terms_close_a_provider_to_others(name: str, is_stream: bool) -> None:  # noqa: FBT001 - a row
    async with _host() as host:
        for _ in range(4):
            await _ask(host, OF_CALLERS[name], is_stream=is_stream)
        assert host.engine.dump_state()["health"] == {"breakers": [], "disabled": []}
        assert not host.observed.routes()
        result = await host.run(Contract(prompt="x"))
        assert result.chosen is not None
        assert result.chosen["provider_id"] == "a"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_operators_own_bound_is_evidence_whatever_its_caller_asks_besides(is_stream: bool) -> None:  # noqa: FBT001 - a row
    async with _host({"hang": True}, defaults={"timeout_ms": 10}) as host:
        for _ in range(3):
            await _ask(host, Contract(prompt="x", timeout_ms=60, deadline_ms=90), is_stream=is_stream)
            await _ask(host, Contract(prompt="x", params={"ttft_ms": 60}), is_stream=is_stream)
        assert {"a", "b"} <= set(host.open_until_ms())


async def test_a_callers_candidate_leaves_nothing_behind() -> None:
    async with _host({"failure": "server_error"}) as host:
        for number in range(5):
            own = {"model_family": "f", "base_url": "http://own", "api_kind": "scripted"}
            extra = [{"provider_id": f"own{number}", **own}, {"provider_id": "a", **own}]
            await host.run(Contract(prompt="x", extra_candidates=extra, requirements={"pin": {"model": "f"}}))
        assert host.engine.dump_state()["health"]["breakers"] == []


async def test_a_callers_own_key_disables_nobody() -> None:
    plans = {"careful": {"unknown": {"action": "disable_provider"}}}
    async with _host({"failure": "auth_error"}, retry_policies=plans) as host:
        await host.run(Contract(prompt="x", auth_override={"a": Secret("bad"), "b": Secret("bad")}))
        assert host.engine.dump_state()["health"] == {"breakers": [], "disabled": []}
