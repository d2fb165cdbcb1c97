"""The core's plain results as the host's values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Candidate, Ranking, Rejection, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_policy_host.values import Contract, Plain, Result


def read_ranking(data: Plain) -> Ranking:
    """Read the answer of `rank`."""
    return Ranking(
        ordered=tuple(_candidates(data.get("ordered"))),
        rejected=tuple(_rejections(data.get("rejected"))),
        error=data.get("error"),
        refusal=data.get("refusal") or None,
    )


def read_trace(data: Mapping[str, Any] | None) -> Trace:
    """Read the trace of a result; an absent one is empty."""
    if not data:
        return Trace()
    return Trace(
        ranked=tuple(_candidates(data.get("ranked"))),
        rejected=tuple(_rejections(data.get("rejected"))),
        decision_path=tuple(data.get("decision_path") or ()),
        policy_id=data.get("policy_id"),
        policy_fingerprint=data.get("policy_fingerprint"),
        started_at_ms=data.get("started_at_ms"),
        total_latency_ms=data.get("total_latency_ms"),
        raw=data,
    )


def with_rejected(result: Result, contract: Contract, rank: Callable[[Contract], Ranking]) -> Result:
    """Say who was refused where nobody was eligible: where the trace does not, the plan is made once more."""
    if result.error != "no_candidates" or result.trace.rejected:
        return result
    trace = dataclasses.replace(result.trace, rejected=rank(contract).rejected)
    return dataclasses.replace(result, trace=trace)


def _candidates(entries: Iterable[Mapping[str, Any]] | None) -> Iterable[Candidate]:
    for entry in entries or ():
        yield Candidate(
            entry["provider_id"],
            entry["model_family"],
            entry.get("served_by"),
            entry.get("score"),
            entry.get("tier"),
        )


def _rejections(entries: Iterable[Mapping[str, Any]] | None) -> Iterable[Rejection]:
    for entry in entries or ():
        yield Rejection(entry["provider"], entry["model"], entry["reason"])
