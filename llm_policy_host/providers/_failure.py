"""The one table from what a provider did (status, body, exception) to a failure kind.

`context_overflow` only by narrow signatures: a shorter prompt would be the wrong cure for
any other bad request.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import FailureKind


class TransportError(Exception):
    """Something went wrong on the wire before a whole answer was there."""

    def __init__(self, kind: FailureKind, detail: str, *, is_unsent: bool = False) -> None:
        self.failure = Failure(kind, detail=detail, is_unsent=is_unsent)
        super().__init__(detail)


# Looked up by exact status, then by its hundred.
_BY_STATUS: dict[int, FailureKind] = {
    401: "auth_error",
    402: "payment_required",
    403: "auth_error",
    404: "model_unavailable",
    408: "timeout",
    410: "model_unavailable",
    425: "server_error",
    429: "rate_limit",
    504: "timeout",
    524: "timeout",
    3: "bad_response",
    4: "bad_request",
    5: "server_error",
}

# A provider's own word says more than the status. It stands in `error.code`, `error.type`,
# `error.status` (Google) or the reason of one of `error.details`.
_BY_CODE: dict[str, FailureKind] = {
    "accessdeniedexception": "auth_error",
    "account_deactivated": "auth_error",
    "api_error": "server_error",
    "api_key_invalid": "auth_error",
    "api_key_service_blocked": "auth_error",
    "authentication_error": "auth_error",
    "billing_disabled": "payment_required",
    "billing_error": "payment_required",
    "billing_not_active": "payment_required",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "context_length_exceeded": "context_overflow",
    "deadline_exceeded": "timeout",
    "deployment_not_found": "model_unavailable",
    "deploymentnotfound": "model_unavailable",
    "engine_overloaded": "server_error",
    "exceed_context_size_error": "context_overflow",
    "expiredtokenexception": "auth_error",
    "failed_precondition": "auth_error",
    "incompletesignatureexception": "auth_error",
    "insufficient_balance": "payment_required",
    "insufficient_quota": "payment_required",
    "internal": "server_error",
    "internalserverexception": "server_error",
    "invalid_api_key": "auth_error",
    "invalidsignatureexception": "auth_error",
    "model_not_found": "model_unavailable",
    "modelerrorexception": "server_error",
    "modelnotreadyexception": "server_error",
    "modelstreamerrorexception": "server_error",
    "modeltimeoutexception": "timeout",
    "not_found": "model_unavailable",
    "not_found_error": "model_unavailable",
    "organization_on_hold": "auth_error",
    "overloaded_error": "server_error",
    "permission_denied": "auth_error",
    "permission_error": "auth_error",
    "ramp_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "request_too_large": "bad_request",
    "resource_exhausted": "rate_limit",
    "resourcenotfoundexception": "model_unavailable",
    "server_error": "server_error",
    "service_disabled": "auth_error",
    "servicequotaexceededexception": "rate_limit",
    "serviceunavailableexception": "server_error",
    "throttlingexception": "rate_limit",
    "timeout_error": "timeout",
    "unauthenticated": "auth_error",
    "unavailable": "server_error",
    "unrecognizedclientexception": "auth_error",
    "usage_limit_reached": "rate_limit",
    "usage_not_included": "payment_required",
}

_OVERFLOW = re.compile(
    r"maximum context length is \d+ tokens"
    r"|prompt is too long: \d+ tokens > \d+ maximum"
    r"|input length and `max_tokens` exceed context limit: \d+ \+ \d+ > \d+"
    r"|input token count \(?\d+\)? exceeds the maximum number of tokens"
    r"|exceeds? the available context size"
    r"|input length exceeds the context length"
    r"|input is too long for requested model",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"the provided model identifier is invalid", re.IGNORECASE)
_UNPAID = re.compile(r"your credit balance is too low", re.IGNORECASE)
_OVERFLOW_STATUSES = (200, 400, 413, 422, 500)

# By the name of the exception or of a parent: the client library stays behind _http.
_BY_EXCEPTION: dict[str, FailureKind] = {
    "TimeoutError": "timeout",
    "OSError": "network_error",
    "ValueError": "bad_request",
}


def of_exception(error: BaseException, *, is_unsent: bool = False) -> TransportError:
    """Classify an exception; its text stays out, it may quote a header.

    `is_unsent` where it came before any byte of the request was given to a connection.
    """
    names = [parent.__name__ for parent in type(error).__mro__]
    kind: FailureKind = next((_BY_EXCEPTION[name] for name in names if name in _BY_EXCEPTION), "unknown")
    return TransportError(kind, f"the connection failed ({names[0]})", is_unsent=is_unsent)


def of_answer(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> Failure:
    """Classify an answer that is no success."""
    return of_error(status, _error_in(body), headers, now_ms)


def of_error(status: int, error: Any, headers: Mapping[str, str], now_ms: int) -> Failure:  # noqa: ANN401
    """Classify a provider's error record, also one inside an answer of status 200 or a stream."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = fields.get("message")
    text = message if isinstance(message, str) else ""
    code = fields.get("code")
    if status == 200 and isinstance(code, int) and 400 <= code < 600:
        status = code
    kind = _kind(status, fields, text)
    shown = status if status >= 400 else None
    wanted = retry_after_ms(headers, now_ms)
    return Failure(kind, shown, _retry_delay(fields) if wanted is None else wanted, text[:500])


def _kind(status: int, fields: Mapping[str, Any], text: str) -> FailureKind:
    named = next((_BY_CODE[word] for word in _words(fields) if word in _BY_CODE), None)
    if named is not None:
        return named
    if status in _OVERFLOW_STATUSES and _OVERFLOW.search(text):
        return "context_overflow"
    if status == 400 and _UNPAID.search(text):
        return "payment_required"
    if status == 400 and _NO_MODEL.search(text):
        return "model_unavailable"
    if status == 200:
        return "bad_request" if _BLAME.intersection(_words(fields)) else "server_error"
    return _BY_STATUS.get(status) or _BY_STATUS.get(status // 100) or "unknown"


# Inside an answer of status 200, where no status says whose fault it is.
_BLAME = frozenset({"invalid_request_error", "invalid_argument", "validationexception"})


def _words(fields: Mapping[str, Any]) -> list[str]:
    """Give a provider's own words for an error, the finest first."""
    given = [detail.get("reason") for detail in _details(fields)]
    given += [fields.get(name) for name in ("code", "type", "status")]
    return [word.lower() for word in given if isinstance(word, str)]


def _details(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give the records that Google adds to an error."""
    details = fields.get("details")
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _retry_delay(fields: Mapping[str, Any]) -> int | None:
    """Read Google's `RetryInfo`: `{"retryDelay": "34s"}`."""
    delays = (detail.get("retryDelay") for detail in _details(fields))
    waits = [_duration(delay) for delay in delays if isinstance(delay, str)]
    return _bounded(max((wait for wait in waits if wait is not None), default=None))


def _error_in(body: bytes) -> Any:  # noqa: ANN401 - whatever the provider sent
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body[:500].decode(errors="replace")
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return ""
    return data.get("error") or data.get("detail") or data.get("message") or data


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")
_RESETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    *(
        (f"anthropic-ratelimit-{what}-remaining", f"anthropic-ratelimit-{what}-reset")
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)
_MAX_RETRY_AFTER_MS = 24 * 3_600_000


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """Read when the provider wants to be asked again; None when it does not say."""
    wanted = _milliseconds(headers.get("retry-after-ms"))
    if wanted is None:
        wanted = _after(headers.get("retry-after"), now_ms)
    if wanted is None:
        resets = [_reset(headers.get(reset), now_ms) for left, reset in _RESETS if headers.get(left) == "0"]
        wanted = max((reset for reset in resets if reset is not None), default=None)
    return _bounded(wanted)


def _bounded(wanted: float | None) -> int | None:
    return None if wanted is None else min(max(0, round(wanted)), _MAX_RETRY_AFTER_MS)


def _milliseconds(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\d{1,12}(?:\.\d{1,9})?", text.strip()):
        return None
    return float(text)


def _after(text: str | None, now_ms: int) -> float | None:
    """Read seconds or an HTTP date."""
    if text is None:
        return None
    seconds = _milliseconds(text)
    if seconds is not None:
        return seconds * 1000
    try:
        return parsedate_to_datetime(text).timestamp() * 1000 - now_ms
    except (ValueError, TypeError, OverflowError):
        return None


def _reset(text: str | None, now_ms: int) -> float | None:
    """Read a duration, or a moment as RFC 3339 has it."""
    wait = _duration(text)
    if wait is not None or text is None:
        return wait
    try:
        return datetime.fromisoformat(text).timestamp() * 1000 - now_ms
    except (ValueError, OverflowError):
        return None


def _duration(text: str | None) -> float | None:
    """Read `1s`, `6m0s`, `20ms`."""
    match = _DURATION.match(text) if text else None
    if match is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
