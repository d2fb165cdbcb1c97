"""The dialect of OpenAI's chat completions, as most servers speak it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from ._failure import TransportError, of_answer, of_error
from ._sse import SseParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Call, Credential

    from ._http import HttpClient, HttpStream

_HOST_PARAMS = frozenset({"timeout_ms", "ttft_ms", "idle_ms"})
"""Parameters that the driver obeys and no provider is told."""

MAX_BAD_EVENTS = 16
"""Events of one stream that may be unreadable before the stream is given up."""


class OpenAICompatible:
    """Speaks to one kind of endpoint: `{base_url}/chat/completions`."""

    def __init__(self, http: HttpClient, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""
        try:
            answer = await self._http.send(_url(call), _headers(credential), _body(call, stream=False))
        except TransportError as error:
            return error.failure
        if answer.status != 200:
            return of_answer(answer.status, answer.headers, answer.body, self._clock.now_ms())
        return self._read_whole(answer.body, answer.headers)

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        """Answer a call in pieces; a failure is the last thing it yields."""
        try:
            async with self._http.post(_url(call), _headers(credential), _body(call, stream=True)) as stream:
                async for item in self._read_stream(stream):
                    yield item
        except TransportError as error:
            yield error.failure

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what this dialect has no words for: another dialect's own fields."""
        return () if call.dialect == "openai" else tuple(call.passthrough)

    async def close(self) -> None:
        """Give back what it holds: nothing, the connections are the wiring's."""

    async def _read_stream(self, stream: HttpStream) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        if stream.status != 200:
            yield of_answer(stream.status, stream.headers, await stream.read(), self._clock.now_ms())
            return
        if "json" in stream.headers.get("content-type", ""):
            whole = self._read_whole(await stream.read(), stream.headers)
            yield whole if isinstance(whole, Failure) else (_as_chunk(whole),)
            return
        reader = _StreamReader(stream.headers, self._clock.now_ms())
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

    def _read_whole(self, body: bytes, headers: Mapping[str, str]) -> Response | Failure:
        data = _record(_json(body))
        if data.get("error") and not data.get("choices"):
            return of_error(200, data["error"], headers, self._clock.now_ms())
        choice = _first(data.get("choices"))
        if choice is None:
            return Failure("bad_response", detail="an answer without a choice")
        if choice.get("error"):
            return of_error(200, choice["error"], headers, self._clock.now_ms())
        response = _response(data, choice)
        return _empty(response.finish_reason) if response.is_empty else response


class _StreamReader:
    """Reads the events of one stream into chunks, and knows whether the end was one."""

    def __init__(self, headers: Mapping[str, str], now_ms: int) -> None:
        self._headers = headers
        self._now_ms = now_ms
        self._sse = SseParser()
        self._bad_events = 0
        self._has_answer = False
        self._finish_reason: str | None = None
        self._has_failed = False
        self._saw_done = False

    @property
    def is_done(self) -> bool:
        """Whether nothing that follows can matter."""
        return self._saw_done or self._has_failed

    def feed(self, piece: bytes) -> tuple[list[StreamChunk], Failure | None]:
        """Give the chunks that the next bytes complete, and the failure that ended them."""
        chunks: list[StreamChunk] = []
        for event in self._sse.feed(piece):
            if event.data.strip() == "[DONE]":
                self._saw_done = True
                break
            item = self._item(event.data)
            if isinstance(item, Failure):
                return chunks, item
            if item is not None:
                chunks.append(item)
        return chunks, None

    def finish(self) -> Failure | None:
        """Say what is wrong with a stream that ended now, if anything."""
        if self._has_failed:
            return None
        if self._finish_reason is None and not self._saw_done:
            return Failure("network_error", detail="the stream ended before the answer did")
        return None if self._has_answer else _empty(self._finish_reason)

    def _item(self, text: str) -> StreamChunk | Failure | None:
        data = _json(text)
        if not isinstance(data, dict):
            self._bad_events += 1
            if self._bad_events <= MAX_BAD_EVENTS:
                return None
            return self._fail(Failure("bad_response", detail="a stream of unreadable events"))
        choice = _first(data.get("choices")) or {}
        error = data.get("error") or choice.get("error")
        if error:
            return self._fail(of_error(200, error, self._headers, self._now_ms))
        return self._note(_chunk(data, choice))

    def _fail(self, failure: Failure) -> Failure:
        self._has_failed = True
        return failure

    def _note(self, chunk: StreamChunk) -> StreamChunk:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        answers = chunk.text or chunk.tool_calls or chunk.refusal or chunk.finish_reason == "length"
        self._has_answer = self._has_answer or bool(answers)
        return chunk


def _url(call: Call) -> str:
    return (call.base_url or "").rstrip("/") + "/chat/completions"


def _headers(credential: Credential) -> dict[str, str]:
    if credential.secret is None:
        return {}
    return {"authorization": f"Bearer {credential.secret.reveal()}"}


def _body(call: Call, *, stream: bool) -> bytes:
    body: dict[str, Any] = dict(call.passthrough)
    body.update((name, value) for name, value in call.params.items() if name not in _HOST_PARAMS)
    if call.tools:
        body["tools"] = list(call.tools)
    if call.response_format is not None:
        body["response_format"] = dict(call.response_format)
    body["model"] = call.served_model_id
    body["messages"] = list(call.messages) or [{"role": "user", "content": call.prompt or ""}]
    body.pop("stream", None)
    body.pop("stream_options", None)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body, separators=(",", ":")).encode()


def _json(text: bytes | str) -> Any:  # noqa: ANN401 - whatever the provider sent
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _record(value: Any) -> dict[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _first(choices: Any) -> dict[str, Any] | None:  # noqa: ANN401
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _empty(finish_reason: str | None) -> Failure:
    if finish_reason == "content_filter":
        return Failure("content_filter", detail="the provider's filter left nothing of the answer")
    return Failure("empty_completion", detail="the answer holds nothing")


def _response(data: Mapping[str, Any], choice: Mapping[str, Any]) -> Response:
    message = _record(choice.get("message"))
    return Response(
        text=_content(message.get("content")) or _text(choice.get("text")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        tool_calls=tuple(_tool_call(item) for item in _records(message.get("tool_calls"))),
        refusal=_text(message.get("refusal")) or None,
        finish_reason=_text(choice.get("finish_reason")) or None,
        model=_text(data.get("model")) or None,
        usage=read_usage(data.get("usage")),
        raw=data,
    )


def _chunk(data: Mapping[str, Any], choice: Mapping[str, Any]) -> StreamChunk:
    delta = _record(choice.get("delta"))
    return StreamChunk(
        text=_content(delta.get("content")),
        reasoning=_text(delta.get("reasoning_content")) or _text(delta.get("reasoning")),
        tool_calls=tuple(_tool_delta(item) for item in _records(delta.get("tool_calls"))),
        refusal=_text(delta.get("refusal")) or None,
        finish_reason=_text(choice.get("finish_reason")) or None,
        model=_text(data.get("model")) or None,
        usage=read_usage(data.get("usage")),
    )


def _as_chunk(response: Response) -> StreamChunk:
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
    )


def _text(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else ""


def _content(value: Any) -> str:  # noqa: ANN401
    """Read text, also one given as a list of parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return _text(value)


def _records(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _tool_call(item: Mapping[str, Any]) -> ToolCall:
    function = _record(item.get("function"))
    return ToolCall(_text(item.get("id")), _text(function.get("name")), _text(function.get("arguments")))


def _tool_delta(item: Mapping[str, Any]) -> ToolCallDelta:
    function = _record(item.get("function"))
    return ToolCallDelta(
        index=_count(item.get("index")),
        id=_text(item.get("id")) or None,
        name=_text(function.get("name")) or None,
        arguments=_text(function.get("arguments")),
    )


def _count(value: Any) -> int:  # noqa: ANN401
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def read_usage(value: Any) -> Usage | None:  # noqa: ANN401
    """Split reported counts, which overlap, into disjoint classes."""
    usage = _record(value)
    if not usage:
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    prompt_details = _record(usage.get("prompt_tokens_details"))
    cached = min(_count(prompt_details.get("cached_tokens")), prompt)
    reasoning = min(
        _count(_record(usage.get("completion_tokens_details")).get("reasoning_tokens")), completion
    )
    total = usage.get("total_tokens")
    return Usage(
        input_tokens=prompt - cached,
        cached_read_tokens=cached,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
        reported_total_tokens=_count(total) if total is not None else None,
    )


def _conforms(adapter: OpenAICompatible) -> Provider:
    """Let the type checker prove the port."""
    return adapter
