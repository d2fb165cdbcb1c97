"""A ChatGPT subscription: the Responses dialect, always streamed and nothing stored.

The server is that of OpenAI's Codex. It takes fewer words than the platform's, names the quota
that is left in its headers, and wants the account's id beside the token.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure

from ._exchange import Ask, HttpAdapter, cleaned
from ._failure import TransportError, of_answer
from ._plain import count, encoded, parsed, record, text
from ._request import UnsayableError, own_body, unsaid
from ._responses import DIALECT, ResponsesReader, read_response, request_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Call, Credential, Response, StreamChunk

    from ._http import Http, Streamed
    from ._quota import NoteQuota

DEFAULT_URL = "https://chatgpt.com/backend-api/codex"

_WORDS = frozenset(
    {
        "model",
        "instructions",
        "input",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning",
        "text",
        "include",
        "prompt_cache_key",
        "service_tier",
    }
)
"""All that the server takes, besides how it is to answer."""

_PARAMS = ("reasoning_effort", "verbosity")
_SETTINGS = ("tool_choice", "parallel_tool_calls", "prompt_cache_key", "service_tier")
# the caller's own body says these, which are parameters, delivery, or what the server does anyway
_UNNAMED = ("temperature", "top_p", "max_output_tokens", "stream", "stream_options", "store", "background")
_STORED = ("previous_response_id", "conversation")

_INSTRUCTIONS = "You are a helpful assistant."
"""What stands where the caller has none: the server refuses a request without."""

_WINDOWS = ("primary", "secondary")
_UNKNOWN_WAIT_MS = 60_000
_UNKNOWN_WINDOW_MS = 3_600_000


class OpenAICodex(HttpAdapter):
    """Speaks to `{base_url}/responses`, and tells what is left of an account's quota."""

    def __init__(self, http: Http, clock: Clock, note_quota: NoteQuota) -> None:
        super().__init__(http, clock)
        self._note_quota = note_quota

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once, from a stream: the server gives nothing else."""
        try:
            ask = self._ask(call, credential, is_stream=True)
            async with self._http.post(ask.url, ask.headers, ask.body) as stream:
                outcome = await self._gathered(call, credential, stream)
        except (TransportError, UnsayableError) as error:
            outcome = error.failure
        return cleaned(outcome, credential) if isinstance(outcome, Failure) else outcome

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        """Answer a call in pieces; a failure is the last thing it yields."""
        try:
            ask = self._ask(call, credential, is_stream=True)
            async with self._http.post(ask.url, ask.headers, ask.body) as stream:
                refused = await self._begun(call, credential, stream)
                if refused is not None:
                    yield cleaned(refused, credential)
                    return
                async for item in self._items(call, stream):
                    yield self._told(call, credential, item) if isinstance(item, Failure) else item
        except (TransportError, UnsayableError) as error:
            yield cleaned(error.failure, credential)

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what the server refuses to be told: sampling and bounds, among others."""
        lost = unsaid(call, DIALECT, _PARAMS, _SETTINGS)
        own = own_body(call, DIALECT) or {}
        known = (*_WORDS, *_UNNAMED, *_STORED)
        return (*lost, *(name for name, value in own.items() if value is not None and name not in known))

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        if call.kind == "embeddings":
            raise UnsayableError("a subscription has no embeddings", "model_unavailable")
        headers = {
            "accept": "text/event-stream",
            "openai-beta": "responses=experimental",
            "originator": "llm_policy",
        }
        if credential.secret is not None:
            headers["authorization"] = f"Bearer {credential.secret.reveal()}"
        account = credential.extras.get("chatgpt_account_id")
        if isinstance(account, str):
            headers["chatgpt-account-id"] = account
        url = (call.base_url or DEFAULT_URL).rstrip("/") + "/responses"
        return Ask(url, headers, encoded(_body(call) | {"stream": is_stream}))

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        del call
        return read_response(record(data), headers, self._clock.now_ms())

    def _reader(self, call: Call, headers: Mapping[str, str]) -> ResponsesReader:
        del call
        return ResponsesReader(headers, self._clock.now_ms())

    async def _gathered(self, call: Call, credential: Credential, stream: Streamed) -> Response | Failure:
        refused = await self._begun(call, credential, stream)
        if refused is not None:
            return refused
        kind, body = stream.headers.get("content-type", ""), await stream.read()
        data = None if kind.startswith("text/event-stream") else parsed(body)
        if kind.startswith("text/html"):
            return Failure("bad_response", detail="a page in place of an answer")
        if isinstance(data, dict) or kind.startswith("application/json"):
            outcome = self._read(call, data, stream.headers)
        else:
            outcome = _told_at_once(self._reader(call, stream.headers), body)
        return self._told(call, credential, outcome) if isinstance(outcome, Failure) else outcome

    # Quotas -----------------------------------------------------------------------------------

    async def _begun(self, call: Call, credential: Credential, stream: Streamed) -> Failure | None:
        """Take note of what the headers say; give the failure where the status is one."""
        now_ms = self._clock.now_ms()
        quota = read_quota(stream.headers, now_ms)
        if quota is not None and credential.account is not None:
            self._note_quota(call.provider_id, credential.account, *quota)
        if stream.status == 200:
            return None
        body = await stream.read()
        failure = of_answer(stream.status, stream.headers, body, now_ms)
        if failure.kind == "rate_limit" and failure.retry_after_ms is None:
            failure = dataclasses.replace(failure, retry_after_ms=_resets_ms(body, now_ms))
        return self._told(call, credential, failure)

    def _told(self, call: Call, credential: Credential, failure: Failure) -> Failure:
        """Close an account that is used up: the next call goes to another at once, if there is one."""
        if failure.kind == "rate_limit" and credential.account is not None:
            wait_ms = failure.retry_after_ms or _UNKNOWN_WAIT_MS
            ends_ms = self._clock.now_ms() + wait_ms
            if self._note_quota(call.provider_id, credential.account, 100.0, ends_ms, is_closed=True):
                failure = dataclasses.replace(failure, retry_after_ms=None)
        return cleaned(failure, credential)


def _told_at_once(reader: ResponsesReader, body: bytes) -> Response | Failure:
    """Read a stream that has ended; give what it amounts to."""
    _, failure = reader.feed(body)
    return failure or reader.finish() or reader.whole()


# Requests ---------------------------------------------------------------------------------------


def _body(call: Call) -> dict[str, Any]:
    given = request_body(call)
    if any(given.get(name) is not None for name in _STORED):
        raise UnsayableError("this provider stores nothing: a call must bring its whole conversation")
    body = {name: value for name, value in given.items() if name in _WORDS and value is not None}
    body["input"] = _unstored(body.get("input"))
    body["instructions"] = text(body.get("instructions")) or _INSTRUCTIONS
    body["store"] = False
    return body


def _unstored(given: Any) -> list[Any]:  # noqa: ANN401 - a text or items, as the caller wrote it
    """Give the items without ids, which name what a server has stored."""
    if isinstance(given, str):
        part = {"type": "input_text", "text": given}
        return [{"type": "message", "role": "user", "content": [part]}]
    return [_item(item) for item in given or () if isinstance(item, dict)]


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("type") == "item_reference":
        raise UnsayableError("this provider stores nothing: an item cannot be given by its id")
    kept = {name: value for name, value in item.items() if name != "id"}
    return kept | {"role": "developer"} if kept.get("role") == "system" else kept


# Quotas -----------------------------------------------------------------------------------------


def read_quota(headers: Mapping[str, str], now_ms: int) -> tuple[float, float] | None:
    """Read how many percent are used, of the window that is used most, and when it begins anew."""
    windows = [_window(headers, f"x-codex-{name}", now_ms) for name in _WINDOWS]
    return max((window for window in windows if window is not None), default=None)


def _window(headers: Mapping[str, str], prefix: str, now_ms: int) -> tuple[float, float] | None:
    used = _number(headers.get(f"{prefix}-used-percent"))
    if used is None:
        return None
    after = _number(headers.get(f"{prefix}-reset-after-seconds"))
    at = _number(headers.get(f"{prefix}-reset-at"))
    if after is not None:
        return used, now_ms + after * 1000
    return used, at * 1000 if at is not None else now_ms + _UNKNOWN_WINDOW_MS


def _number(given: str | None) -> float | None:
    try:
        value = float(given or "")
    except ValueError:
        return None
    return value if 0 <= value < 2**53 else None


def _resets_ms(body: bytes, now_ms: int) -> int | None:
    """Read the wait that an exhausted account's error names."""
    error = record(record(parsed(body)).get("error"))
    if "resets_in_seconds" in error:
        return count(error["resets_in_seconds"]) * 1000
    return max(0, count(error["resets_at"]) * 1000 - now_ms) if "resets_at" in error else None


def _conforms(adapter: OpenAICodex) -> Provider:
    """Let the type checker prove the port."""
    return adapter
