from __future__ import annotations

import json
from email.utils import formatdate

import pytest

from llm_policy_host.providers._failure import of_answer, retry_after_ms


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "bad"}, "bad_request"),
        (401, {"message": "no"}, "auth_error"),
        (402, {}, "payment_required"),
        (403, {}, "auth_error"),
        (404, {"code": "model_not_found"}, "model_unavailable"),
        (408, {}, "timeout"),
        (413, {}, "bad_request"),
        (422, {}, "bad_request"),
        (429, {}, "rate_limit"),
        (429, {"code": "insufficient_quota"}, "payment_required"),
        (500, {}, "server_error"),
        (503, {}, "server_error"),
        (504, {}, "timeout"),
        (529, {"type": "overloaded_error"}, "server_error"),
        (302, {}, "bad_response"),
        (400, {"code": "content_policy_violation"}, "content_filter"),
        (400, {"code": "context_length_exceeded"}, "context_overflow"),
        (400, {"message": "This model's maximum context length is 4096 tokens."}, "context_overflow"),
        (400, {"message": "the request exceeds the available context size"}, "context_overflow"),
        (400, {"type": "exceed_context_size_error"}, "context_overflow"),
        (400, {"message": "the context of your question is too long"}, "bad_request"),
        (429, {"message": "maximum context length is 4096 tokens"}, "rate_limit"),
        (403, {"type": "billing_error"}, "payment_required"),
        (413, {"type": "request_too_large"}, "bad_request"),
        (404, {"type": "not_found_error"}, "model_unavailable"),
        (
            400,
            {"type": "invalid_request_error", "message": "Your credit balance is too low to"},
            "payment_required",
        ),
        (
            400,
            {"message": "input length and `max_tokens` exceed context limit: 9 + 5 > 10"},
            "context_overflow",
        ),
        (400, {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}, "auth_error"),
        (400, {"status": "FAILED_PRECONDITION", "message": "User location is not supported"}, "auth_error"),
        (400, {"status": "INVALID_ARGUMENT", "details": "x"}, "bad_request"),
        (500, {"status": "RESOURCE_EXHAUSTED"}, "rate_limit"),
        (200, {"status": "UNAVAILABLE"}, "server_error"),
        (200, {"type": "invalid_request_error"}, "bad_request"),
        (200, {"code": "timeout_error"}, "timeout"),
    ],
)
def test_status_and_body_tell_the_kind(status: int, error: dict[str, str], kind: str) -> None:
    failure = of_answer(status, {}, json.dumps({"error": error}).encode(), 0)
    assert (failure.kind, failure.http_status) == (kind, status if status >= 400 else None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"[" * 100_000, b"\xff", b'{"error": [1]}'])
def test_a_body_that_is_no_error_record_still_has_a_kind(body: bytes) -> None:
    assert of_answer(500, {}, body, 0).kind == "server_error"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"retry-after": "2"}, 2000),
        ({"retry-after": "1.5"}, 1500),
        ({"retry-after-ms": "250", "retry-after": "2"}, 250),
        ({"retry-after": formatdate(1_000_010, usegmt=True)}, 10_000),
        ({"retry-after": formatdate(999_000, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "99999999999"}, 86_400_000),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360_000),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 20),
        ({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "6m0s"}, None),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "1970-01-12T13:46:45Z",
            },
            5000,
        ),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "soon"}, None),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "9",
                "anthropic-ratelimit-tokens-reset": "1970-01-12T13:46:45Z",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_headers_tell_when_to_ask_again(headers: dict[str, str], wanted: int | None) -> None:
    assert retry_after_ms(headers, 1_000_000_000) == wanted


@pytest.mark.parametrize(
    ("details", "wanted"),
    [
        ([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}], 34_000),
        ([{"reason": "x"}, {"retryDelay": "1.5s"}], 1500),
        ([{"retryDelay": "soon"}, "x", {"retryDelay": 3}], None),
        ({"retryDelay": "34s"}, None),
    ],
)
def test_google_tells_in_the_body_when_to_ask_again(details: object, wanted: int | None) -> None:
    body = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).encode()
    assert of_answer(429, {}, body, 0).retry_after_ms == wanted
    assert of_answer(429, {"retry-after": "1"}, body, 0).retry_after_ms == 1000
