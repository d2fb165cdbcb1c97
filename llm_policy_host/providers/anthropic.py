"""The dialect of Anthropic's Messages API: `{base_url}/messages`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from ._claude import bound_of, spoken
from ._exchange import Ask, HttpAdapter, SseReader, empty
from ._failure import of_error
from ._plain import count, encoded, record, records, text
from ._request import (
    BETAS,
    Image,
    Text,
    ToolResult,
    ToolUse,
    UnsayableError,
    conversation,
    functions,
    own_body,
    said,
    stops,
    tool_choice,
    unsaid,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Call, Credential

    from ._request import Function, Piece, Turn

VERSION = "2023-06-01"

_PARAMS = ("max_tokens", "temperature", "top_p", "top_k", "reasoning_effort")
_SETTINGS = ("stop", "tool_choice", "parallel_tool_calls", "user")

_FINISH: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # a turn that the vendor's own tools made too long: there is more of it to ask for
    "pause_turn": "length",
    "refusal": "content_filter",
}


class Anthropic(HttpAdapter):
    """Speaks to one kind of endpoint: `{base_url}/messages`."""

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what this dialect, or this generation of models, has no words for."""
        _, lost = spoken(call, own_body(call, "anthropic"))
        return tuple(dict.fromkeys((*unsaid(call, "anthropic", _PARAMS, _SETTINGS), *lost)))

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        if call.kind == "embeddings":
            raise UnsayableError("this provider's dialect has no embeddings")
        headers = {"anthropic-version": VERSION}
        betas = call.passthrough.get(BETAS) if own_body(call, "anthropic") is not None else None
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        if credential.secret is not None:
            headers["x-api-key"] = credential.secret.reveal()
        url = (call.base_url or "").rstrip("/") + "/messages"
        return Ask(url, headers, encoded(_body(call, is_stream=is_stream)))

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        del call
        body = record(data)
        if body.get("type") == "error" or ("error" in body and "content" not in body):
            return of_error(200, body.get("error"), headers, self._clock.now_ms())
        if not isinstance(body.get("content"), list):
            return Failure("bad_response", detail="an answer without content")
        response = _response(body)
        return empty(response.finish_reason) if response.is_empty else response

    def _reader(self, call: Call, headers: Mapping[str, str]) -> _StreamReader:
        del call
        return _StreamReader(headers, self._clock.now_ms())


# What is asked ----------------------------------------------------------------------------------


def _body(call: Call, *, is_stream: bool) -> dict[str, Any]:
    own = own_body(call, "anthropic")
    body = _translated(call) if own is None else own
    fields, lost = spoken(call, own)
    for name in lost:
        body.pop(name, None)
    config = {**record(body.get("output_config")), **fields.pop("output_config", {})}
    body.update(fields)
    if config:
        body["output_config"] = config
    body["model"] = call.served_model_id
    body["max_tokens"] = bound_of(call, own)
    body.pop("stream", None)
    if is_stream:
        body["stream"] = True
    return body


def _translated(call: Call) -> dict[str, Any]:
    """Put everything but the parameters into this dialect's words."""
    talk = conversation(call)
    system = "\n\n".join(talk.system)
    body: dict[str, Any] = {"messages": [_message(turn) for turn in talk.turns]}
    if not talk.turns:
        body["messages"] = [{"role": "user", "content": system}]
    elif system:
        body["system"] = system
    if call.tools:
        body["tools"] = [_tool(each) for each in functions(call)]
        body.update(_choice(call))
    if stops(call):
        body["stop_sequences"] = stops(call)
    user = said(call).get("user")
    if isinstance(user, str):
        body["metadata"] = {"user_id": user}
    return body


def _message(turn: Turn) -> dict[str, Any]:
    return {"role": turn.role, "content": _content(turn.pieces)}


def _content(pieces: Sequence[Piece]) -> str | list[dict[str, Any]]:
    if len(pieces) == 1 and isinstance(pieces[0], Text):
        return pieces[0].text
    return [_block(piece) for piece in pieces]


def _block(piece: Piece) -> dict[str, Any]:
    if isinstance(piece, Text):
        return {"type": "text", "text": piece.text}
    if isinstance(piece, Image):
        source = {"type": "base64", "media_type": piece.media_type, "data": piece.data}
        return {"type": "image", "source": source if piece.url is None else {"type": "url", "url": piece.url}}
    if isinstance(piece, ToolUse):
        return {"type": "tool_use", "id": _id(piece), "name": piece.name, "input": dict(piece.arguments)}
    return {"type": "tool_result", "tool_use_id": _id(piece), "content": _content(piece.pieces)}


def _id(piece: ToolUse | ToolResult) -> str:
    """Give a call's id in the letters that this dialect admits; other vendors' have dots and colons."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", piece.id) or "call"


def _tool(function: Function) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": function.name, "input_schema": dict(function.parameters)}
    if function.description:
        tool["description"] = function.description
    return tool if function.is_strict is None else {**tool, "strict": function.is_strict}


def _choice(call: Call) -> dict[str, Any]:
    choice = tool_choice(call)
    is_single = said(call).get("parallel_tool_calls") is False
    if choice is None and not is_single:
        return {}
    words = {"auto": "auto", "none": "none", "required": "any", "one": "tool"}
    given: dict[str, Any] = {"type": words[choice.mode] if choice else "auto"}
    if choice and choice.mode == "one":
        given["name"] = choice.name
    if is_single and given["type"] != "none":
        given["disable_parallel_tool_use"] = True
    return {"tool_choice": given}


# What is told -----------------------------------------------------------------------------------


def _response(body: Mapping[str, Any]) -> Response:
    blocks = records(body.get("content"))
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    return Response(
        text="".join(text(block.get("text")) for block in blocks if block.get("type") == "text"),
        reasoning="".join(text(block.get("thinking")) for block in blocks if block.get("type") == "thinking"),
        tool_calls=tuple(
            ToolCall(text(call.get("id")), text(call.get("name")), _arguments(call.get("input")))
            for call in calls
        ),
        finish_reason=_finish(body.get("stop_reason")),
        model=text(body.get("model")) or None,
        usage=read_usage(body.get("usage")),
        raw=body,
        dialect="anthropic",
    )


def _arguments(given: Any) -> str:  # noqa: ANN401
    return encoded(record(given)).decode()


def _finish(reason: Any) -> str | None:  # noqa: ANN401
    """Read why it stopped; a word that is not known is taken for a plain end."""
    return _FINISH.get(reason, "stop") if isinstance(reason, str) and reason else None


def read_usage(value: Any) -> Usage | None:  # noqa: ANN401
    """Read the classes, of which this vendor overlaps only thinking with output."""
    usage = record(value)
    if not usage:
        return None
    output = count(usage.get("output_tokens"))
    thinking = min(count(record(usage.get("output_tokens_details")).get("thinking_tokens")), output)
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        cached_read_tokens=count(usage.get("cache_read_input_tokens")),
        cache_write_tokens=count(usage.get("cache_creation_input_tokens")),
        output_tokens=output - thinking,
        reasoning_tokens=thinking,
    )


class _StreamReader(SseReader):
    """Reads the events of one answer; every one is kept as it came."""

    def __init__(self, headers: Mapping[str, str], now_ms: int) -> None:
        super().__init__(headers, now_ms)
        self._usage: dict[str, Any] = {}
        # block number to the place of the tool call, and the arguments that it brought at its start
        self._places: dict[int, int] = {}
        self._whole: dict[int, str] = {}
        self._readers: Mapping[str, Callable[[Mapping[str, Any]], StreamChunk]] = {
            "message_start": self._opening,
            "content_block_start": self._start,
            "content_block_delta": self._delta,
            "content_block_stop": self._stop,
            "message_delta": self._ending,
        }

    def _event(self, data: Mapping[str, Any]) -> StreamChunk | Failure | None:
        kind = text(data.get("type"))
        if kind == "error" or "error" in data:
            return of_error(200, data.get("error"), self._headers, self._now_ms)
        self._has_ended = kind == "message_stop"
        read = self._readers.get(kind)
        return StreamChunk(raw=data, dialect="anthropic") if read is None else read(data)

    def _opening(self, data: Mapping[str, Any]) -> StreamChunk:
        message = record(data.get("message"))
        usage = self._noted_usage(message.get("usage"))
        model = text(message.get("model")) or None
        return StreamChunk(model=model, usage=usage, raw=data, dialect="anthropic")

    def _ending(self, data: Mapping[str, Any]) -> StreamChunk:
        reason = _finish(record(data.get("delta")).get("stop_reason"))
        usage = self._noted_usage(data.get("usage"))
        return StreamChunk(finish_reason=reason, usage=usage, raw=data, dialect="anthropic")

    def _noted_usage(self, given: Any) -> Usage | None:  # noqa: ANN401
        """Take the counts so far: each event brings the newest of some."""
        self._usage.update((name, value) for name, value in record(given).items() if value is not None)
        return read_usage(self._usage)

    def _start(self, data: Mapping[str, Any]) -> StreamChunk:
        block, index = record(data.get("content_block")), count(data.get("index"))
        if block.get("type") != "tool_use":
            return StreamChunk(
                text=text(block.get("text")),
                reasoning=text(block.get("thinking")),
                raw=data,
                dialect="anthropic",
            )
        place = self._places.setdefault(index, len(self._places))
        self._whole[index] = _arguments(block.get("input"))
        delta = ToolCallDelta(place, text(block.get("id")) or None, text(block.get("name")) or None)
        return StreamChunk(tool_calls=(delta,), raw=data, dialect="anthropic")

    def _delta(self, data: Mapping[str, Any]) -> StreamChunk:
        delta, index = record(data.get("delta")), count(data.get("index"))
        pieces = text(delta.get("partial_json"))
        calls: tuple[ToolCallDelta, ...] = ()
        if pieces and index in self._places:
            self._whole.pop(index, None)
            calls = (ToolCallDelta(self._places[index], arguments=pieces),)
        return StreamChunk(
            text=text(delta.get("text")),
            reasoning=text(delta.get("thinking")),
            tool_calls=calls,
            raw=data,
            dialect="anthropic",
        )

    def _stop(self, data: Mapping[str, Any]) -> StreamChunk:
        """Complete a tool call that came without pieces of arguments."""
        index = count(data.get("index"))
        whole = self._whole.pop(index, None)
        calls = (ToolCallDelta(self._places[index], arguments=whole),) if whole is not None else ()
        return StreamChunk(tool_calls=calls, raw=data, dialect="anthropic")


def _conforms(adapter: Anthropic) -> Provider:
    """Let the type checker prove the port."""
    return adapter
