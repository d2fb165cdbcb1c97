"""What goes wrong at the gateway, as one value that every skin words in its own way (spec 3.6)."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.errors import LedgerError
    from llm_policy_host.values import Failure, Result

_log = logging.getLogger("llm_policy.gateway")

_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "payment_required",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    499: "client_closed_request",
    500: "internal_error",
    502: "upstream_error",
    503: "unavailable_error",
    504: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no answer. `message` holds nothing that a stranger may not read."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_ms: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=nothing)

    @property
    def type(self) -> str:
        """Give the class of the error, by its status."""
        return _TYPES[self.status]

    @property
    def retry_after_s(self) -> int | None:
        """Give whole seconds for `Retry-After`, never too few."""
        return None if self.retry_after_ms is None else max(1, -(-self.retry_after_ms // 1000))

    @property
    def is_final(self) -> bool:
        """Whether the same request will never fare better, though its status may sound like it."""
        return self.code in _FINAL

    def as_metadata(self) -> dict[str, Any]:
        """Give what every skin adds to its own error shape."""
        return {"error_type": self.code, "retry_after": self.retry_after_s, **self.metadata}


class RefusedError(Exception):
    """A request that is refused before anything runs."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None, **rest: Any) -> None:  # noqa: ANN401
        self.problem = Problem(status, code, message, param, **rest)
        super().__init__(message)


def unrecorded(error: LedgerError) -> Problem:
    """Say that the ledger refused an event of ours, or took none; the log says which rule and where."""
    _log.error("the ledger refused an event: %s at %s", error.code, error.path)
    return Problem(503, "ledger_unavailable", "the ledger takes no events now")


def invalid(message: str, param: str | None = None, code: str = "invalid_request") -> RefusedError:
    """Refuse a request for its own fault."""
    return RefusedError(400, code, message, param)


# What came of a request that waits for a person, or was asked again: status and words.
_APPROVALS: Final[Mapping[str, tuple[int, str]]] = {
    "approval_required": (403, "this needs a person's approval, for which a part of a flow cannot wait"),
    "approval_denied": (403, "an approver denied this request"),
    "approval_expired": (403, "nobody approved this request in time"),
    "approval_unknown": (404, "no such approval of yours"),
    "approval_used": (409, "the run of this approval has gone on already"),
    "approval_stale": (409, "the run of this approval cannot go on: the catalog or the policy has changed"),
    "approval_mismatch": (422, "this is not the request that the approval is of"),
}
_FINAL: Final = frozenset({"idempotency_answer_gone", "approval_used", "approval_stale"})

# A failure kind that ended a run: status, code, and whether the provider's words may be passed on,
# which they may only where the caller's own request is at fault.
_KINDS: Final[Mapping[str, tuple[int, str, bool]]] = {
    "bad_request": (400, "bad_request", True),
    "content_filter": (400, "content_filter", True),
    "context_overflow": (400, "context_length_exceeded", True),
    "rate_limit": (429, "rate_limit", False),
    "timeout": (504, "timeout", False),
    "model_unavailable": (502, "model_unavailable", False),
    "server_error": (502, "server_error", False),
    "auth_error": (502, "upstream_auth", False),
    "network_error": (502, "network_error", False),
    "payment_required": (502, "upstream_payment", False),
    "bad_response": (502, "bad_response", False),
    "empty_completion": (502, "empty_completion", False),
    "stream_interrupted": (502, "stream_interrupted", False),
    "unknown": (502, "upstream_failed", False),
}

_WORDS: Final[Mapping[str, str]] = {
    "rate_limit": "every provider that could serve this is limiting its rate",
    "timeout": "no provider answered in time",
    "stream_interrupted": "the answer broke off",
}


def problem_of(result: Result, recovery_ms: int | None = None) -> Problem:
    """Say why a run has no answer; `recovery_ms` is when a provider may be back, if health is the reason."""
    metadata = tally(result)
    if result.error == "policy_refused":
        refusal = result.refusal or {}
        message = f"the policy is refused: {refusal.get('detail') or refusal.get('code')}"
        return Problem(400, str(refusal.get("code")), message, refusal.get("path"), metadata=metadata)
    if result.error == "unknown_profile":
        return Problem(404, "unknown_profile", "no such profile", "model", metadata=metadata)
    waited = _APPROVALS.get(result.error or "")
    if waited is not None:
        status, words = waited
        return Problem(status, str(result.error), words, metadata={**metadata, "run_id": result.run_id})
    if result.error == "no_candidates":
        return _nobody(metadata, recovery_ms)
    return _failed(result, metadata, recovery_ms)


def _nobody(metadata: Mapping[str, Any], recovery_ms: int | None) -> Problem:
    if recovery_ms is None:
        return Problem(
            404, "no_candidates", "no route satisfies the request and its policy", metadata=metadata
        )
    message = "no route is available now"
    return Problem(503, "no_candidates_now", message, None, recovery_ms, metadata)


def _failed(result: Result, metadata: Mapping[str, Any], recovery_ms: int | None) -> Problem:
    kind = (result.error or "unknown").removeprefix("exhausted: ")
    status, code, is_callers = _KINDS.get(kind, _KINDS["unknown"])
    message = _WORDS.get(kind, "the providers failed")
    last = result.failures[-1] if result.failures else None
    if is_callers:
        told = last.detail if last is not None and last.kind == kind else ""
        message = told or f"the request was not accepted ({kind})"
    wait_ms = _wait_ms(result.failures, recovery_ms) if status == 429 else None
    return Problem(status, code, message, None, wait_ms, metadata)


def _wait_ms(failures: tuple[Failure, ...], recovery_ms: int | None) -> int:
    told = [failure.retry_after_ms for failure in failures if failure.retry_after_ms is not None]
    return min(told, default=recovery_ms if recovery_ms is not None else 1000)


def tally(result: Result) -> dict[str, Any]:
    """Count a run's attempts, and its rejections by their reasons."""
    trace = result.trace
    return {
        "attempts": sum(step.get("event") == "attempted" for step in trace.decision_path),
        "excluded_by": dict(Counter(refused.reason for refused in trace.rejected)),
    }
