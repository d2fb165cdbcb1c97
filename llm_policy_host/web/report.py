"""What a caller is told besides the answer: the headers, and the `x_router` record (spec 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Cost, Result

    from .skin import Asked

Headers = list[tuple[bytes, bytes]]

_UNTOLD = b"-"


def headers(
    asked: Asked,
    candidate: Mapping[str, Any],
    *,
    attempts: int,
    policy_id: str | None,
    cost: Cost,
    overhead_ms: float,
) -> Headers:
    """Give the headers that every answer has; `-` where there is nothing to tell."""
    usd = _UNTOLD if cost.usd is None else f"{cost.usd:.9f}".rstrip("0").rstrip(".").encode()
    request_id = asked.request_id.encode()
    return [
        (b"x-request-id", request_id),  # where OpenAI's clients look for it
        (b"request-id", request_id),  # where Anthropic's do
        (b"x-llm-policy-request-id", request_id),
        (b"x-llm-policy-provider", _told(candidate.get("provider_id"))),
        (b"x-llm-policy-model", _told(candidate.get("model_family"))),
        (b"x-llm-policy-served-by", _told(candidate.get("served_by") or candidate.get("provider_id"))),
        (b"x-llm-policy-attempts", b"%d" % attempts),
        (b"x-llm-policy-policy", _told(policy_id)),
        (b"x-llm-policy-cost-usd", usd),
        (b"x-llm-policy-cost-basis", cost.basis.encode()),
        (b"x-llm-policy-overhead-ms", b"%.2f" % max(0.0, overhead_ms)),
    ]


def _told(text: str | None) -> bytes:
    """Give a name as a header can carry it: what is no printable ASCII is written as `?`."""
    if not text:
        return _UNTOLD
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text).encode()


def attempts_of(result: Result) -> int:
    """Count the attempts of a run that is over."""
    return sum(step.get("event") == "attempted" for step in result.trace.decision_path)


def x_router(result: Result) -> dict[str, Any]:
    """Give the record of how an answer came about, for callers who ask for it."""
    chosen, trace = result.chosen or {}, result.trace
    return {
        "provider": chosen.get("provider_id"),
        "model_family": chosen.get("model_family"),
        "served_model_id": chosen.get("served_model_id"),
        "served_by": chosen.get("served_by"),
        "cost": {"usd": result.cost.usd, "basis": result.cost.basis},
        "policy_id": trace.policy_id,
        "policy_fingerprint": trace.policy_fingerprint,
        "seed": result.seed,
        "changes": [
            {"attempt": change.attempt, "name": change.name, "to": change.to, "why": change.why}
            for change in result.changes
        ],
        "decision_trace": dict(trace.raw),
    }
