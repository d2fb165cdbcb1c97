"""A flow's result: its nodes' results as one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from llm_policy_host.values import Cost, Response, Result, Trace, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.core.language import IdentifiedFlow

# of several costs the least certain names the sum's
_BASES = ("reported", "subscription", "computed", "estimated", "unknown")


CUT: Final = "cut"
"""In a flow's trace: the nodes that were under way when another failed; what they took is not known."""


def whole(
    flow: IdentifiedFlow,
    results: Mapping[int, Result],
    text: str | None,
    failed: int | None = None,
    cut: Sequence[int] = (),
) -> Result:
    """Join the results of nodes, by their places; without a text the one that failed says what went wrong.

    `cut` are the places of those that were cancelled then.
    """
    ordered = [results[place] for place in sorted(results)]
    last = results[failed] if failed is not None else ordered[-1] if ordered else Result(ok=True)
    response = None
    if text is not None:
        final = last.response or Response()
        response = Response(
            text=text,
            finish_reason=final.finish_reason or "stop",
            model=final.model,
            usage=_usage([one.response.usage for one in ordered if one.response]),
        )
    return dataclasses.replace(
        last,
        ok=text is not None,
        response=response,
        trace=_trace(flow, results, last, cut),
        failures=tuple(failure for one in ordered for failure in one.failures),
        changes=tuple(change for one in ordered for change in one.changes),
        cost=_cost([one.cost for one in ordered]),
        upstream_ms=longest(flow, results, lambda one: one.upstream_ms),
    )


def longest(
    flow: IdentifiedFlow, results: Mapping[int, Result], measured: Callable[[Result], float | None]
) -> float:
    """Give the longest way through the nodes by a measure: what stands beside it happened meanwhile."""
    until: dict[int, float] = {}
    for place, node in enumerate(flow.nodes):
        own = (measured(results[place]) or 0) if place in results else 0
        until[place] = own + max((until[source] for source in node.sources), default=0)
    return max(until.values(), default=0)


def _trace(flow: IdentifiedFlow, results: Mapping[int, Result], last: Result, cut: Sequence[int]) -> Trace:
    ordered = [(flow.nodes[place], results[place]) for place in sorted(results)]
    nodes = [
        {"id": node.id, "run": one.run_id, "error": one.error, "trace": dict(one.trace.raw)}
        for node, one in ordered
    ]
    ended = [flow.nodes[place].id for place in cut]
    begun = [one.trace.started_at_ms for _, one in ordered if one.trace.started_at_ms is not None]
    return dataclasses.replace(
        last.trace,
        decision_path=tuple(step for _, one in ordered for step in one.trace.decision_path),
        policy_id=flow.identity,
        policy_fingerprint=flow.fingerprint,
        started_at_ms=min(begun, default=None),
        total_latency_ms=longest(flow, results, lambda one: one.trace.total_latency_ms),
        raw={"flow": flow.identity, "nodes": nodes, **({CUT: ended} if ended else {})},
    )


def _usage(usages: Sequence[Usage | None]) -> Usage | None:
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    names = ("input_tokens", "cached_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return Usage(*(sum(getattr(usage, name) for usage in known) for name in names))


def _cost(costs: Sequence[Cost]) -> Cost:
    known = [cost.usd for cost in costs if cost.usd is not None]
    if not costs or len(known) < len(costs):
        return Cost()
    return Cost(sum(known), max((cost.basis for cost in costs), key=_BASES.index))
