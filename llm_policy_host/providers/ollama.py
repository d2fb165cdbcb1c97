"""The dialect of Ollama's own API: chat, generate and embed, streamed as lines of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from ._exchange import MAX_BAD_EVENTS, Ask, HttpAdapter, empty
from ._failure import of_error
from ._plain import count, encoded, parsed, record, records, text
from ._request import (
    Image,
    Text,
    ToolResult,
    ToolUse,
    UnsayableError,
    conversation,
    functions,
    json_schema,
    said,
    stops,
    tool_choice,
    unsaid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Call, Credential

    from ._request import Function, Turn

DEFAULT_URL = "http://127.0.0.1:11434"
"""Where Ollama listens on its own machine."""

_MAX_LINE = 8 * 1024 * 1024

_OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "max_tokens": "num_predict",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repeat_penalty",
}
_EFFORTS = ("low", "medium", "high")
_SETTINGS = frozenset({"stop", "tool_choice", "dimensions", "keep_alive", "options"})
_REASONS: Mapping[str, str] = {"stop": "stop", "length": "length"}


class Ollama(HttpAdapter):
    """Speaks to one server."""

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what it has no words for: `tool_choice` but `none`, efforts but its three."""
        lost = unsaid(call, None, {*_OPTIONS, "reasoning_effort"}, _SETTINGS)
        choice = tool_choice(call)
        more = ["tool_choice"] if choice is not None and choice.mode in ("required", "one") else []
        return (*lost, *more)

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        base = (call.base_url or DEFAULT_URL).rstrip("/").removesuffix("/api")
        key = credential.secret
        headers = {} if key is None else {"authorization": f"Bearer {key.reveal()}"}
        if call.kind == "embeddings":
            return Ask(f"{base}/api/embed", headers, encoded(_embed_body(call)))
        body = _body(call) | {"stream": is_stream}
        path = "generate" if call.kind == "completion" else "chat"
        return Ask(f"{base}/api/{path}", headers, encoded(body))

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        given = record(data)
        if given.get("error"):
            return of_error(200, given["error"], headers, self._clock.now_ms())
        if call.kind == "embeddings":
            return _read_vectors(given)
        if "message" not in given and "response" not in given:
            return Failure("bad_response", detail="an answer without a message")
        response = _response(call, given)
        return empty(response.finish_reason) if response.is_empty else response

    def _reader(self, call: Call, headers: Mapping[str, str]) -> LineReader:
        return LineReader(call, headers, self._clock.now_ms())


class LineReader:
    """Reads a stream of lines, each a JSON record; the one with `done` is the last."""

    def __init__(self, call: Call, headers: Mapping[str, str], now_ms: int) -> None:
        self._call = call
        self._headers = headers
        self._now_ms = now_ms
        self._rest = b""
        self._bad_lines = 0
        self._calls = 0
        self._has_answer = False
        self._finish_reason: str | None = None
        self._has_failed = False
        self._is_over = False

    @property
    def is_done(self) -> bool:
        """Whether nothing that follows can matter."""
        return self._is_over or self._has_failed

    def feed(self, piece: bytes) -> tuple[list[StreamChunk], Failure | None]:
        """Give the chunks that the next bytes complete, and the failure that ended them."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        chunks: list[StreamChunk] = []
        if len(self._rest) > _MAX_LINE:
            return chunks, self._fail(Failure("bad_response", detail="a line without an end"))
        for line in lines:
            item = self._line(line)
            if isinstance(item, Failure):
                return chunks, self._fail(item)
            if item is not None:
                chunks.append(item)
        return chunks, None

    def finish(self) -> Failure | None:
        """Say what is wrong with a stream that ended now, if anything."""
        if self._has_failed:
            return None
        if not self._is_over:
            return Failure("network_error", detail="the stream ended before the answer did")
        return None if self._has_answer else empty(self._finish_reason)

    def _fail(self, failure: Failure) -> Failure:
        self._has_failed = True
        return failure

    def _line(self, line: bytes) -> StreamChunk | Failure | None:
        if self._is_over or not line.strip():
            return None
        data = parsed(line)
        if not isinstance(data, dict):
            self._bad_lines += 1
            is_many = self._bad_lines > MAX_BAD_EVENTS
            return Failure("bad_response", detail="a stream of unreadable lines") if is_many else None
        if data.get("error"):
            return of_error(200, data["error"], self._headers, self._now_ms)
        return self._noted(_response(self._call, data, self._calls), data)

    def _noted(self, part: Response, data: Mapping[str, Any]) -> StreamChunk:
        deltas = tuple(
            ToolCallDelta(self._calls + place, call.id, call.name, call.arguments)
            for place, call in enumerate(part.tool_calls)
        )
        self._calls += len(deltas)
        self._is_over = data.get("done") is True
        reason = part.finish_reason
        if self._calls and reason == "stop":
            reason = "tool_calls"
        self._finish_reason = reason
        self._has_answer = bool(self._has_answer or part.text or deltas or reason == "length")
        return StreamChunk(
            text=part.text,
            reasoning=part.reasoning,
            tool_calls=deltas,
            finish_reason=reason,
            model=part.model,
            usage=part.usage,
            raw=data,
            dialect="ollama",
        )


# Requests ---------------------------------------------------------------------------------------


def _body(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = {"model": call.served_model_id}
    if call.kind == "completion":
        body["prompt"] = call.prompt or ""
    else:
        body["messages"] = list(_messages(call))
        if call.tools and not _is_without_tools(call):
            body["tools"] = [_tool(function) for function in functions(call)]
    form = _form(call)
    if form is not None:
        body["format"] = form
    options = _options(call)
    if options:
        body["options"] = options
    think = _think(call)
    if think is not None:
        body["think"] = think
    if said(call).get("keep_alive") is not None:
        body["keep_alive"] = said(call)["keep_alive"]
    return body


def _is_without_tools(call: Call) -> bool:
    choice = tool_choice(call)
    return choice is not None and choice.mode == "none"


def _options(call: Call) -> dict[str, Any]:
    """Give its options: the caller's own, in its words, under what was decided."""
    options = dict(record(said(call).get("options")))
    options.update(
        (_OPTIONS[name], value)
        for name, value in call.params.items()
        if name in _OPTIONS and value is not None
    )
    if stops(call):
        options["stop"] = stops(call)
    return options


def _think(call: Call) -> bool | str | None:
    """Say how much it should think: its models know three efforts, or only whether."""
    effort = call.params.get("reasoning_effort")
    if effort in (None, "none"):
        return None if effort is None else False
    return str(effort) if effort in _EFFORTS else ("low" if effort == "minimal" else "high")


def _form(call: Call) -> Any:  # noqa: ANN401 - a schema, or the word
    schema = json_schema(call)
    if schema is not None:
        return dict(schema)
    kind = record(call.response_format).get("type")
    return "json" if kind in ("json_object", "json_schema") else None


def _tool(function: Function) -> dict[str, Any]:
    words = {
        "name": function.name,
        "description": function.description,
        "parameters": dict(function.parameters),
    }
    return {"type": "function", "function": words}


def _messages(call: Call) -> Iterator[dict[str, Any]]:
    """Give the messages: the system's first, each tool result as a message of its own."""
    talk = conversation(call)
    if talk.system:
        yield {"role": "system", "content": "\n\n".join(talk.system)}
    for turn in talk.turns:
        yield from _turn(turn)


def _turn(turn: Turn) -> Iterator[dict[str, Any]]:
    for piece in turn.pieces:
        if isinstance(piece, ToolResult):
            said_by_tool = "\n".join(part.text for part in piece.pieces if isinstance(part, Text))
            if any(isinstance(part, Image) for part in piece.pieces):
                raise UnsayableError("this provider's dialect has no images in tool results")
            yield {"role": "tool", "tool_name": piece.name, "content": said_by_tool}
    words = "\n".join(piece.text for piece in turn.pieces if isinstance(piece, Text))
    images = [_image(piece) for piece in turn.pieces if isinstance(piece, Image)]
    uses = [piece for piece in turn.pieces if isinstance(piece, ToolUse)]
    message: dict[str, Any] = {"role": turn.role, "content": words}
    if images:
        message["images"] = images
    if uses:
        message["tool_calls"] = [
            {"function": {"name": use.name, "arguments": dict(use.arguments)}} for use in uses
        ]
    if words or images or uses:
        yield message


def _image(image: Image) -> str:
    if image.data is None:
        raise UnsayableError("this provider's dialect has no images by address, only their bytes")
    return image.data


def _embed_body(call: Call) -> dict[str, Any]:
    if not all(isinstance(item, str) for item in call.embed):
        raise UnsayableError("this provider's dialect embeds texts, not tokens")
    body = {"model": call.served_model_id, "input": list(call.embed)}
    dimensions = said(call).get("dimensions")
    return body if dimensions is None else body | {"dimensions": dimensions}


# Answers ----------------------------------------------------------------------------------------


def _response(call: Call, data: Mapping[str, Any], before: int = 0) -> Response:
    message = record(data.get("message"))
    uses = tuple(_tool_calls(call, records(message.get("tool_calls")), before))
    reason = text(data.get("done_reason")) if data.get("done") is True else ""
    finish = _REASONS.get(reason, "stop" if data.get("done") is True else "")
    return Response(
        text=text(message.get("content")) or text(data.get("response")),
        reasoning=text(message.get("thinking")) or text(data.get("thinking")),
        tool_calls=uses,
        finish_reason=("tool_calls" if uses and finish == "stop" else finish) or None,
        model=text(data.get("model")) or None,
        usage=_usage(data),
        raw=data,
        dialect="ollama",
    )


def _tool_calls(call: Call, items: Iterable[Mapping[str, Any]], before: int) -> Iterator[ToolCall]:
    """Read tool calls; one without an id gets one that no earlier turn of the conversation has."""
    for place, item in enumerate(items, before):
        function = record(item.get("function"))
        called = text(item.get("id")) or f"call_{len(call.messages)}_{place}"
        arguments = function.get("arguments")
        words = arguments if isinstance(arguments, str) else encoded(record(arguments)).decode()
        yield ToolCall(called, text(function.get("name")), words)


def _usage(data: Mapping[str, Any]) -> Usage | None:
    """Read the counts; a prompt that was wholly in its cache is not counted by older servers."""
    if "eval_count" not in data and "prompt_eval_count" not in data:
        return None
    return Usage(
        input_tokens=count(data.get("prompt_eval_count")), output_tokens=count(data.get("eval_count"))
    )


def _read_vectors(data: Mapping[str, Any]) -> Response | Failure:
    vectors = data.get("embeddings")
    if not (isinstance(vectors, list) and vectors and all(isinstance(vector, list) for vector in vectors)):
        return Failure("bad_response", detail="an answer without vectors")
    used = data.get("prompt_eval_count")
    return Response(
        embeddings=tuple(vectors),
        model=text(data.get("model")) or None,
        usage=Usage(input_tokens=count(used)) if used is not None else None,
        raw=data,
        dialect="ollama",
    )


def _conforms(adapter: Ollama) -> Provider:
    """Let the type checker prove the port."""
    return adapter
