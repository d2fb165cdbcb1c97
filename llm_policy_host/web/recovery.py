"""When a route that is shut only for now may be back: what `Retry-After` tells of nobody's being there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.values import Result

    from .host import GatewayHost

_LANE_MS = 1000
"""A full lane moves whenever a call ends: nobody knows when, soon is likely."""


def recovery_ms(host: GatewayHost, result: Result) -> int | None:
    """Say in how many milliseconds the first of those who were passed over for their health may serve.

    None where there was no such route: then waiting would not help.
    """
    passed_over = tuple(_passed_over(result))
    if not passed_over:
        return None
    shut, full = host.open_until_ms(), set(host.lanes().full())
    now_ms = host.clock.now_ms()
    waits = []
    for provider, family in passed_over:
        until_ms = max(shut.get(provider, 0), shut.get(f"{provider}|{family}", 0))
        if until_ms > now_ms:
            waits.append(round(until_ms - now_ms))
        elif provider in full:
            waits.append(_LANE_MS)
    return min(waits, default=None)


def _passed_over(result: Result) -> Iterator[tuple[str, str]]:
    """Name the routes that the policy refused for their health, and those skipped when it was their turn."""
    for refused in result.trace.rejected:
        if _is_of_health(refused.reason):
            yield refused.provider_id, refused.model_family
    for step in _path(result):
        if step.get("event") == "skipped":
            yield step["provider_id"], step["model_family"]


def _path(result: Result) -> Sequence[Mapping[str, Any]]:
    """Give what was decided in the run that failed: of a flow, in the first of its nodes that did."""
    nodes = result.trace.raw.get("nodes")
    if nodes is None:
        return result.trace.decision_path
    failed = (node["trace"] for node in nodes if node["error"] is not None)
    return next(failed, NOTHING).get("decision_path") or ()


def _is_of_health(reason: str) -> bool:
    """Whether a rejection may be of health: the sugar's `not(is disabled)` fails with `not`."""
    return reason in ("not", "is:disabled", "is:breaker_open")
