"""OpenAI's Responses dialect: calls into `input` items, items and events into answers.

It knows no address and no credential: whoever speaks it posts `request_body` and reads with
`read_response` and `ResponsesReader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from ._exchange import SseReader, empty
from ._failure import of_error
from ._plain import count, encoded, record, records, text
from ._request import (
    Image,
    Text,
    ToolResult,
    ToolUse,
    conversation,
    functions,
    own_body,
    said,
    tool_choice,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_policy_host.values import Call

    from ._request import Function, Turn

DIALECT: Final = "openai_responses"

PARAMS = ("max_tokens", "temperature", "top_p", "reasoning_effort", "verbosity")
"""Parameters that the dialect has words for."""

SETTINGS = ("tool_choice", "parallel_tool_calls", "user", "metadata", "service_tier", "prompt_cache_key")
"""Settings besides parameters that it has words for."""

_SAME = ("parallel_tool_calls", "user", "metadata", "service_tier", "prompt_cache_key")
_PLAIN = {"max_tokens": "max_output_tokens", "temperature": "temperature", "top_p": "top_p"}
_FINISH: Final[Mapping[str, str]] = {"max_output_tokens": "length", "content_filter": "content_filter"}


# Requests ---------------------------------------------------------------------------------------


def request_body(call: Call) -> dict[str, Any]:
    """Put a call into the dialect's words; the caller's own body is kept where it is in them."""
    own = own_body(call, DIALECT)
    body = _translated(call) if own is None else own
    body["model"] = call.served_model_id
    for name, word in _PLAIN.items():
        if call.params.get(name) is not None:
            body[word] = call.params[name]
    effort, verbosity = call.params.get("reasoning_effort"), call.params.get("verbosity")
    if effort is not None:
        body["reasoning"] = {"summary": "auto", **record(body.get("reasoning")), "effort": effort}
    if verbosity is not None:
        body["text"] = {**record(body.get("text")), "verbosity": verbosity}
    body.pop("stream", None)
    body.pop("stream_options", None)
    return body


def _translated(call: Call) -> dict[str, Any]:
    talk = conversation(call)
    items = [item for turn in talk.turns for item in _items(turn)]
    body: dict[str, Any] = {"input": items}
    if talk.system:
        body["instructions"] = "\n\n".join(talk.system)
    if call.tools:
        body["tools"] = [_tool(function) for function in functions(call)]
        body.update(_choice(call))
    form = _form(record(call.response_format))
    if form is not None:
        body["text"] = {"format": form}
    settings = said(call)
    body.update((name, settings[name]) for name in _SAME if settings.get(name) is not None)
    return body


def _items(turn: Turn) -> Iterator[dict[str, Any]]:
    """Give a turn's items: its words as messages, calls and their results as items of their own."""
    content: list[dict[str, Any]] = []
    for piece in turn.pieces:
        if isinstance(piece, Text | Image):
            content.append(_part(piece, turn.role))
            continue
        if content:
            yield {"type": "message", "role": turn.role, "content": content}
            content = []
        yield _output(piece) if isinstance(piece, ToolResult) else _use(piece)
    if content:
        yield {"type": "message", "role": turn.role, "content": content}


def _part(piece: Text | Image, role: str) -> dict[str, Any]:
    if isinstance(piece, Text):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": piece.text}
    return {"type": "input_image", "image_url": piece.url or f"data:{piece.media_type};base64,{piece.data}"}


def _use(use: ToolUse) -> dict[str, Any]:
    arguments = encoded(dict(use.arguments)).decode()
    return {"type": "function_call", "call_id": use.id, "name": use.name, "arguments": arguments}


def _output(result: ToolResult) -> dict[str, Any]:
    output: Any = [_part(piece, "user") for piece in result.pieces]
    if not any(isinstance(piece, Image) for piece in result.pieces):
        output = "\n".join(piece["text"] for piece in output)
    return {"type": "function_call_output", "call_id": result.id, "output": output}


def _tool(function: Function) -> dict[str, Any]:
    # a tool of this dialect is strict unless it says otherwise
    return {
        "type": "function",
        "name": function.name,
        "description": function.description,
        "parameters": dict(function.parameters),
        "strict": bool(function.is_strict),
    }


def _choice(call: Call) -> dict[str, Any]:
    choice = tool_choice(call)
    if choice is None:
        return {}
    return {"tool_choice": {"type": "function", "name": choice.name} if choice.mode == "one" else choice.mode}


def _form(given: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, schema = given.get("type"), record(given.get("json_schema"))
    if kind == "json_schema":
        words = ("name", "description", "schema", "strict")
        return {"type": kind, **{word: schema[word] for word in words if schema.get(word) is not None}}
    return {"type": kind} if kind == "json_object" else None


# Answers ----------------------------------------------------------------------------------------


def read_response(data: Mapping[str, Any], headers: Mapping[str, str], now_ms: int) -> Response | Failure:
    """Read a whole response object."""
    if data.get("error"):
        return of_error(200, data["error"], headers, now_ms)
    if not isinstance(data.get("output"), list):
        return Failure("bad_response", detail="an answer without output")
    response = _response(data)
    return empty(response.finish_reason) if response.is_empty else response


def _response(data: Mapping[str, Any]) -> Response:
    items = records(data.get("output"))
    uses = tuple(_tool_call(item) for item in items if item.get("type") == "function_call")
    return Response(
        text="".join(_said(items, "output_text", "text")),
        reasoning="\n\n".join(_thoughts(items)),
        tool_calls=uses,
        refusal="".join(_said(items, "refusal", "refusal")) or None,
        finish_reason=_finish(data, has_calls=bool(uses)),
        model=text(data.get("model")) or None,
        usage=read_usage(data.get("usage")),
        raw=data,
        dialect=DIALECT,
    )


def _said(items: Iterable[Mapping[str, Any]], kind: str, word: str) -> Iterator[str]:
    for item in items:
        if item.get("type") == "message":
            yield from (
                text(part.get(word)) for part in records(item.get("content")) if part.get("type") == kind
            )


def _thoughts(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for item in items:
        if item.get("type") == "reasoning":
            parts = records(item.get("summary")) or records(item.get("content"))
            yield from (text(part.get("text")) for part in parts)


def _tool_call(item: Mapping[str, Any]) -> ToolCall:
    return ToolCall(text(item.get("call_id")), text(item.get("name")), text(item.get("arguments")))


def _finish(data: Mapping[str, Any], *, has_calls: bool) -> str:
    if data.get("status") == "incomplete":
        return _FINISH.get(text(record(data.get("incomplete_details")).get("reason")), "length")
    return "tool_calls" if has_calls else "stop"


def read_usage(value: Any) -> Usage | None:  # noqa: ANN401 - whatever the provider sent
    """Split reported counts, which overlap, into disjoint classes."""
    usage = record(value)
    if not usage:
        return None
    given, made = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    details = record(usage.get("input_tokens_details"))
    cached = min(count(details.get("cached_tokens")), given)
    written = min(count(details.get("cache_write_tokens")), given - cached)
    thought = min(count(record(usage.get("output_tokens_details")).get("reasoning_tokens")), made)
    total = usage.get("total_tokens")
    return Usage(
        input_tokens=given - cached - written,
        cached_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=made - thought,
        reasoning_tokens=thought,
        reported_total_tokens=count(total) if total is not None else None,
    )


# Streams ----------------------------------------------------------------------------------------


class ResponsesReader(SseReader):
    """Reads the events of one response; each becomes a chunk, so that a skin can forward it."""

    def __init__(self, headers: Mapping[str, str], now_ms: int) -> None:
        super().__init__(headers, now_ms)
        self._calls: dict[int, int] = {}
        self._begun: set[int] = set()
        self._thoughts = 0
        self._items: list[dict[str, Any]] = []
        self._final: dict[str, Any] = {}

    def whole(self) -> Response | Failure:
        """Give the response that the events amount to, after the last one."""
        # servers that store nothing may leave the last event's output empty
        final = {**self._final, "output": records(self._final.get("output")) or self._items}
        return read_response(final, self._headers, self._now_ms)

    def _event(self, data: Mapping[str, Any]) -> StreamChunk | Failure | None:
        kind = text(data.get("type"))
        if kind in ("response.failed", "error"):
            return self._failure(data)
        if kind in ("response.completed", "response.incomplete", "response.done"):
            return self._end(data)
        reading = _READINGS.get(kind)
        fields = reading(self, data) if reading is not None else {}
        model = text(record(data.get("response")).get("model")) or None
        return StreamChunk(**fields, model=model, raw=data, dialect=DIALECT)

    def _failure(self, data: Mapping[str, Any]) -> Failure:
        error = record(data.get("response")).get("error") or data.get("error") or data
        return of_error(200, error, self._headers, self._now_ms)

    def _end(self, data: Mapping[str, Any]) -> StreamChunk:
        self._final = record(data.get("response"))
        self._has_ended = True
        return StreamChunk(
            finish_reason=_finish(self._final, has_calls=bool(self._calls)),
            model=text(self._final.get("model")) or None,
            usage=read_usage(self._final.get("usage")),
            raw=data,
            dialect=DIALECT,
        )

    def _text(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": text(data.get("delta"))}

    def _refusal(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"refusal": text(data.get("delta")) or None}

    def _thought(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"reasoning": text(data.get("delta"))}

    def _new_thought(self, data: Mapping[str, Any]) -> dict[str, Any]:
        del data
        self._thoughts += 1
        return {"reasoning": "\n\n"} if self._thoughts > 1 else {}

    def _added(self, data: Mapping[str, Any]) -> dict[str, Any]:
        item = record(data.get("item"))
        if item.get("type") != "function_call":
            return {}
        place = count(data.get("output_index"))
        index = self._calls.setdefault(place, len(self._calls))
        return self._delta(place, text(item.get("arguments")), item, index)

    def _arguments(self, data: Mapping[str, Any]) -> dict[str, Any]:
        place = count(data.get("output_index"))
        return self._delta(
            place, text(data.get("delta")), {}, self._calls.setdefault(place, len(self._calls))
        )

    def _item_done(self, data: Mapping[str, Any]) -> dict[str, Any]:
        item = record(data.get("item"))
        self._items.append(item)
        place = count(data.get("output_index"))
        if item.get("type") != "function_call" or place in self._begun:
            return {}
        return self._added(data)

    def _delta(self, place: int, arguments: str, item: Mapping[str, Any], index: int) -> dict[str, Any]:
        if arguments:
            self._begun.add(place)
        called, name = text(item.get("call_id")) or None, text(item.get("name")) or None
        return {"tool_calls": (ToolCallDelta(index, called, name, arguments),)}


_READINGS = {
    "response.output_text.delta": ResponsesReader._text,  # noqa: SLF001 - the reader's own table
    "response.refusal.delta": ResponsesReader._refusal,  # noqa: SLF001
    "response.reasoning_summary_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.reasoning_text.delta": ResponsesReader._thought,  # noqa: SLF001
    "response.reasoning_summary_part.added": ResponsesReader._new_thought,  # noqa: SLF001
    "response.output_item.added": ResponsesReader._added,  # noqa: SLF001
    "response.function_call_arguments.delta": ResponsesReader._arguments,  # noqa: SLF001
    "response.output_item.done": ResponsesReader._item_done,  # noqa: SLF001
}
