from __future__ import annotations

from llm_policy_host import Contract, Host

CONFIG = {
    "providers": {"slow": {"api_kind": "scripted"}},
    "models": {"m": {"served_by": [{"provider": "slow"}]}},
    "profiles": {"default": {}},
    "host": {"scripts": {"slow": [{"hang": True}]}},
}


async def test_a_run_that_its_deadline_ends_has_its_trace_and_leaves_health_alone() -> None:
    async with Host.from_data(CONFIG) as host:
        result = await host.run(Contract(prompt="x", deadline_ms=50))
        assert (result.ok, result.error) == (False, "timeout")
        assert result.trace.policy_id is not None
        (entry,) = result.trace.decision_path
        assert (entry["event"], entry["provider_id"], entry["error_kind"]) == ("attempted", "slow", "timeout")
        status = host.status()
    assert status["providers"]["slow"]["breaker"]["consecutive_failures"] == 0
