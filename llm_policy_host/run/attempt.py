"""One attempt before it is sent: the call, who takes it, and what of it was changed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.quick import quick
from llm_policy_host.values import NOTHING, Call, Change, Credential, Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Contract, Failure, Step

BOUNDS = ("timeout_ms", "ttft_ms", "idle_ms")
"""Parameters that the driver obeys and no provider is told."""
_BOUNDS = frozenset(BOUNDS)

NUMBER_PARAMS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "n",
)
TEXT_PARAMS = ("reasoning_effort", "verbosity")
"""The other parameters of the language (spec 1.7), by what their values are."""


@quick
@dataclass(frozen=True, slots=True)
class Asked:
    """An attempt before anybody is asked for it; without a provider it fails, and `failure` says why."""

    call: Call
    provider: Provider | None
    failure: Failure | None = None


@quick
@dataclass(frozen=True, slots=True)
class Ready:
    """An attempt that can be sent."""

    provider: Provider
    credential: Credential
    call: Call


def call_of(
    contract: Contract, step: Step, default_timeout_ms: float, run: int = 0, attempt: int = 0
) -> Call:
    """Join what the core decided with the messages it never saw."""
    candidate = step.candidate
    params = dict(_given(contract) if step.params is None else step.params)
    filters = params.pop("_filters", NOTHING)
    return Call(
        provider_id=candidate["provider_id"],
        model_family=candidate["model_family"],
        served_model_id=candidate["served_model_id"],
        served_by=candidate.get("served_by"),
        base_url=candidate.get("base_url"),
        api_kind=candidate.get("api_kind") or "openai_compatible",
        params=params,
        filters=filters,
        messages=contract.messages,
        prompt=contract.prompt,
        tools=contract.tools,
        response_format=contract.response_format,
        passthrough=contract.passthrough,
        dialect=contract.dialect,
        kind=contract.kind,
        embed=contract.embed,
        region=candidate.get("aws_region") or candidate.get("region"),
        offer=candidate.get("offer") or NOTHING,
        timeouts=_timeouts_in(params, default_timeout_ms),
        run=run,
        attempt=attempt,
    )


def changes(contract: Contract, step: Step, ready: Ready, attempt: int) -> Iterator[Change]:
    """Name every parameter that reaches the provider otherwise than its caller gave it."""
    if step.params is not None:
        given, now = contract.params, ready.call.params
        for name in sorted({*given, *now}):
            if name not in BOUNDS and given.get(name) != now.get(name):
                yield Change(attempt, name, now.get(name), "policy")
    for name in ready.provider.unsaid(ready.call):
        yield Change(attempt, name, None, "dialect")


def _given(contract: Contract) -> Mapping[str, Any]:
    if contract.timeout_ms is None:
        return contract.params
    return {**contract.params, "timeout_ms": contract.timeout_ms}


def _timeouts_in(params: dict[str, Any], default_timeout_ms: float) -> Timeouts:
    """Take the bounds out of the parameters."""
    if _BOUNDS.isdisjoint(params):
        return Timeouts(default_timeout_ms)
    attempt_ms, ttft_ms, idle_ms = (_bound_in(params, name) for name in BOUNDS)
    return Timeouts(attempt_ms or default_timeout_ms, ttft_ms, idle_ms)


def _bound_in(params: dict[str, Any], name: str) -> float | None:
    """Take a bound out of the parameters; what is no positive number bounds nothing."""
    value = params.pop(name, None)
    is_bound = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return value if is_bound else None
