"""One call as one POST, unary and streamed: what every dialect over HTTP has in common."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llm_policy_host.quick import quick
from llm_policy_host.values import Failure, Response, Secret, StreamChunk, ToolCallDelta

from ._failure import TransportError, of_answer
from ._plain import parsed
from ._request import UnsayableError
from ._sse import SseParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import Call, Credential

    from ._http import Http, Streamed

MAX_BAD_EVENTS = 16
"""Events of one stream that may be unreadable before the stream is given up."""


@quick
@dataclass(frozen=True, slots=True)
class Ask:
    """What is posted. A key stands in a header, never in the address."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Reader(Protocol):
    """Reads one stream's bytes into chunks, and knows whether its end was one."""

    @property
    def is_done(self) -> bool:
        """Whether nothing that follows can matter."""

    def feed(self, piece: bytes) -> tuple[list[StreamChunk], Failure | None]:
        """Give the chunks that the next bytes complete, and the failure that ended them."""

    def finish(self) -> Failure | None:
        """Say what is wrong with a stream that ended now, if anything; nothing after a failure."""


class HttpAdapter(ABC):
    """A dialect that posts JSON: an adapter says what is asked and how an answer is read."""

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    @abstractmethod
    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        """Put a call into the dialect's words; what it has no words for is an `UnsayableError`."""

    @abstractmethod
    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        """Read the whole body of status 200, parsed; None for what was no JSON."""

    @abstractmethod
    def _reader(self, call: Call, headers: Mapping[str, str]) -> Reader:
        """Give a reader for one stream."""

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""
        try:
            await self._prepare(call, credential)
            ask = self._ask(call, credential, is_stream=False)
            answer = await self._http.send(ask.url, ask.headers, ask.body)
        except (TransportError, UnsayableError) as error:
            return cleaned(error.failure, credential)
        if answer.status != 200:
            return cleaned(self._refused(answer.status, answer.headers, answer.body), credential)
        read = self._read(call, parsed(answer.body), answer.headers)
        return cleaned(read, credential) if isinstance(read, Failure) else read

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        """Answer a call in pieces; a failure is the last thing it yields."""
        try:
            await self._prepare(call, credential)
            ask = self._ask(call, credential, is_stream=True)
            async with self._http.post(ask.url, ask.headers, ask.body) as stream:
                async for item in self._items(call, stream):
                    yield cleaned(item, credential) if isinstance(item, Failure) else item
        except (TransportError, UnsayableError) as error:
            yield cleaned(error.failure, credential)

    async def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what it holds: nothing, the connections are the wiring's."""

    async def _prepare(self, call: Call, credential: Credential) -> None:  # noqa: B027 - most need nothing
        """Fetch what asking needs; where it cannot be had, an `UnsayableError` says why."""

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify an answer that is no success."""
        return of_answer(status, headers, body, self._clock.now_ms())

    async def _items(self, call: Call, stream: Streamed) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        kind = stream.headers.get("content-type", "")
        if stream.status != 200:
            yield self._refused(stream.status, stream.headers, await stream.read())
        elif kind.startswith("application/json"):
            whole = self._read(call, parsed(await stream.read()), stream.headers)
            yield whole if isinstance(whole, Failure) else (as_chunk(whole),)
        elif kind.startswith("text/html"):
            yield Failure("bad_response", detail="a page in place of a stream")
        else:
            async for item in _pieces(stream, self._reader(call, stream.headers)):
                yield item


async def _pieces(stream: Streamed, reader: Reader) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
    async for piece in stream.pieces():
        chunks, failure = reader.feed(piece)
        if chunks:
            yield chunks
        if failure is not None:
            yield failure
        if reader.is_done:
            break
    ending = reader.finish()
    if ending is not None:
        yield ending


def cleaned(failure: Failure, credential: Credential) -> Failure:
    """Take the call's own secrets out of a provider's words: some quote what they refuse."""
    detail = failure.detail
    for secret in (credential.secret, *credential.extras.values()):
        if isinstance(secret, Secret) and secret.reveal():
            detail = _without(detail, secret.reveal())
    return failure if detail == failure.detail else dataclasses.replace(failure, detail=detail)


def _without(detail: str, secret: str) -> str:
    """Take a secret out of a text, also its beginning where the text was cut in its midst."""
    detail = detail.replace(secret, "…")
    parts = (size for size in range(len(secret) - 1, 3, -1) if detail.endswith(secret[:size]))
    size = next(parts, 0)
    return detail[:-size] + "…" if size else detail


def as_chunk(response: Response) -> StreamChunk:
    """Give a whole answer as the only chunk of a stream."""
    calls = (
        ToolCallDelta(index, call.id, call.name, call.arguments)
        for index, call in enumerate(response.tool_calls)
    )
    return StreamChunk(
        text=response.text,
        reasoning=response.reasoning,
        tool_calls=tuple(calls),
        refusal=response.refusal,
        finish_reason=response.finish_reason,
        model=response.model,
        usage=response.usage,
        cost_usd=response.cost_usd,
    )


class SseReader(ABC):
    """A stream of server-sent events whose data are JSON records."""

    def __init__(self, headers: Mapping[str, str], now_ms: int) -> None:
        self._headers = headers
        self._now_ms = now_ms
        self._sse = SseParser()
        self._bad_events = 0
        self._has_answer = False
        self._finish_reason: str | None = None
        self._has_failed = False
        self._has_ended = False

    @abstractmethod
    def _event(self, data: Mapping[str, Any]) -> StreamChunk | Failure | None:
        """Read one event. Set `_has_ended` where it is the dialect's own end of a stream."""

    @property
    def is_done(self) -> bool:
        """Whether nothing that follows can matter."""
        return self._has_ended or self._has_failed

    def feed(self, piece: bytes) -> tuple[list[StreamChunk], Failure | None]:
        """Give the chunks that the next bytes complete, and the failure that ended them."""
        chunks: list[StreamChunk] = []
        for event in self._sse.feed(piece):
            if event.data.strip() == "[DONE]":
                self._has_ended = True
                break
            item = self._item(event.data)
            if isinstance(item, Failure):
                self._has_failed = True
                return chunks, item
            if item is not None:
                chunks.append(self._noted(item))
        return chunks, None

    def finish(self) -> Failure | None:
        """Say what is wrong with a stream that ended now, if anything."""
        if self._has_failed:
            return None
        if self._finish_reason is None and not self._has_ended:
            return Failure("network_error", detail="the stream ended before the answer did")
        return None if self._has_answer else empty(self._finish_reason)

    def _item(self, text: str) -> StreamChunk | Failure | None:
        data = parsed(text)
        if isinstance(data, dict):
            return self._event(data)
        self._bad_events += 1
        if self._bad_events <= MAX_BAD_EVENTS:
            return None
        return Failure("bad_response", detail="a stream of unreadable events")

    def _noted(self, chunk: StreamChunk) -> StreamChunk:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        answers = chunk.text or chunk.tool_calls or chunk.refusal or chunk.finish_reason == "length"
        self._has_answer = self._has_answer or bool(answers)
        return chunk


def empty(finish_reason: str | None) -> Failure:
    """Say why an answer holds nothing."""
    if finish_reason == "content_filter":
        return Failure("content_filter", detail="the provider's filter left nothing of the answer")
    return Failure("empty_completion", detail="the answer holds nothing")
