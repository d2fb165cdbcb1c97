"""The dialect of Amazon Bedrock's Converse, unary and streamed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from . import _vectors
from ._aws import BrokenFrameError, Frames, NoCredentialsError, Signer
from ._exchange import Ask, HttpAdapter, empty
from ._failure import of_error
from ._plain import count, encoded, parsed, record, records, text
from ._request import (
    Function,
    Image,
    Text,
    ToolUse,
    UnsayableError,
    conversation,
    functions,
    stops,
    tool_choice,
    unsaid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Call, Credential

    from ._http import Http
    from ._request import Conversation, Piece, ToolResult, Turn

_CONFIG: Final[Mapping[str, str]] = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP"}
_PARAMS = (*_CONFIG, "top_k", "reasoning_effort")
_SETTINGS = ("stop", "tool_choice")
_EFFORTS: Final[Mapping[str, str]] = {
    "minimal": "low",
    **{word: word for word in ("low", "medium", "high", "xhigh", "max")},
}
_FORMATS = ("png", "jpeg", "gif", "webp")
_FINISH: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


class Bedrock(HttpAdapter):
    """Speaks to a region's runtime, or to the endpoint that `base_url` names.

    With a secret it is a bearer, Bedrock's own API key; without one, calls are signed.
    """

    def __init__(self, http: Http, clock: Clock, signer: Signer) -> None:
        super().__init__(http, clock)
        self._signer = signer

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what Converse has no words for, or a model of vectors."""
        if call.kind == "embeddings":
            return unsaid(call, None, (), _vectors.SETTINGS)
        lost = list(unsaid(call, None, _PARAMS, _SETTINGS))
        if call.params.get("reasoning_effort") not in (None, *_EFFORTS):
            lost.append("reasoning_effort")
        if record(call.response_format).get("type") == "json_object":
            lost.append("response_format")
        return lost

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once; texts that a model takes one by one are asked so, until one fails."""
        if not _vectors.is_one_by_one(call):
            return await super().send(call, credential)
        answers = []
        for each in _vectors.split(call):
            answer = await super().send(each, credential)
            if isinstance(answer, Failure):
                return answer
            answers.append(answer)
        return _vectors.joined(answers)

    async def _prepare(self, call: Call, credential: Credential) -> None:
        del call
        if credential.secret is None:
            try:
                await self._signer.prepare()
            except NoCredentialsError as error:
                raise UnsayableError(str(error), "auth_error") from None

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        region = call.region or self._signer.region
        base = (call.base_url or _endpoint(region)).rstrip("/")
        # the model's name is one part of the path, also where it is an address with slashes
        is_embed = call.kind == "embeddings"
        path = "invoke" if is_embed else "converse-stream" if is_stream else "converse"
        url = f"{base}/model/{quote(call.served_model_id, safe='')}/{path}"
        body = encoded(_vectors.body_of(call) if is_embed else _body(call))
        if credential.secret is not None:
            return Ask(url, {"authorization": f"Bearer {credential.secret.reveal()}"}, body)
        if region is None:
            raise UnsayableError("a signature needs the provider's `aws_region`", "model_unavailable")
        headers = self._signer.headers(url, region, body, {"content-type": "application/json"})
        return Ask(url, headers, body)

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        data = record(parsed(body))
        code = headers.get("x-amzn-errortype") or text(data.get("__type")).rpartition("#")[2]
        message = data.get("message") or data.get("Message") or body[:500].decode(errors="replace")
        error = {"code": code.partition(":")[0], "message": message}
        return of_error(status, error, headers, self._clock.now_ms())

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        body = record(data)
        if call.kind == "embeddings":
            return _vectors.read(call, body, headers)
        message = record(record(body.get("output")).get("message"))
        if not isinstance(message.get("content"), list):
            return Failure("bad_response", detail="an answer without a message")
        response = _response(call, body, records(message["content"]))
        return empty(response.finish_reason) if response.is_empty else response

    def _reader(self, call: Call, headers: Mapping[str, str]) -> _StreamReader:
        return _StreamReader(call, headers, self._clock.now_ms())


def _endpoint(region: str | None) -> str:
    if region is None:
        raise UnsayableError("bedrock needs the provider's `aws_region` or `base_url`", "model_unavailable")
    if re.fullmatch(r"[a-z0-9-]{1,40}", region) is None:
        raise UnsayableError("the provider's `aws_region` is none", "model_unavailable")
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"https://bedrock-runtime.{region}.amazonaws.com{suffix}"


# Requests ---------------------------------------------------------------------------------------


def _body(call: Call) -> dict[str, Any]:
    talk = conversation(call)
    body: dict[str, Any] = {"messages": [_message(turn) for turn in talk.turns]}
    if talk.system:
        body["system"] = [{"text": words} for words in talk.system]
    config = {word: call.params[name] for name, word in _CONFIG.items() if call.params.get(name) is not None}
    if stops(call):
        config["stopSequences"] = stops(call)
    parts = {
        "inferenceConfig": config,
        "toolConfig": _tools(call, talk),
        "outputConfig": _output(call),
        "additionalModelRequestFields": _more(call),
    }
    return body | {name: part for name, part in parts.items() if part}


def _message(turn: Turn) -> dict[str, Any]:
    # a text of spaces alone is refused, also beside others
    pieces = [piece for piece in turn.pieces if not isinstance(piece, Text) or piece.text.strip()]
    return {"role": turn.role, "content": [_block(piece) for piece in pieces]}


def _block(piece: Piece) -> dict[str, Any]:
    if isinstance(piece, Text | Image):
        return _part(piece)
    if isinstance(piece, ToolUse):
        return {"toolUse": {"toolUseId": _id(piece), "name": piece.name, "input": dict(piece.arguments)}}
    return {"toolResult": {"toolUseId": _id(piece), "content": [_part(each) for each in piece.pieces]}}


def _part(piece: Text | Image) -> dict[str, Any]:
    if isinstance(piece, Text):
        return {"text": piece.text}
    if piece.data is None:
        raise UnsayableError("this provider's dialect has no images by address, only their bytes")
    kind = text(piece.media_type).removeprefix("image/").replace("jpg", "jpeg")
    if kind not in _FORMATS:
        raise UnsayableError(f"this provider's dialect has no images of type `{text(piece.media_type)[:40]}`")
    return {"image": {"format": kind, "source": {"bytes": piece.data}}}


def _id(piece: ToolUse | ToolResult) -> str:
    """Give a call's id in the letters that this dialect admits; other vendors' have dots and colons."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", piece.id)[:64] or "call"


def _tools(call: Call, talk: Conversation) -> dict[str, Any]:
    """Give the tools. Those of a conversation must be there, also where none may be called now."""
    choice = tool_choice(call)
    used = [piece.name for turn in talk.turns for piece in turn.pieces if isinstance(piece, ToolUse)]
    given = functions(call)
    if choice is not None and choice.mode == "none" and not used:
        return {}
    named = {function.name for function in given}
    given += [Function(name, "", {"type": "object"}) for name in dict.fromkeys(used) if name not in named]
    config: dict[str, Any] = {"tools": [_tool(function) for function in given]} if given else {}
    words: Mapping[str, Any] = {"auto": {"auto": {}}, "required": {"any": {}}}
    if given and choice is not None and choice.mode != "none":
        config["toolChoice"] = words.get(choice.mode) or {"tool": {"name": choice.name}}
    return config


def _tool(function: Function) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": function.name, "inputSchema": {"json": dict(function.parameters)}}
    if function.description:
        spec["description"] = function.description
    return {"toolSpec": spec if function.is_strict is None else spec | {"strict": function.is_strict}}


def _output(call: Call) -> dict[str, Any]:
    output: dict[str, Any] = {}
    form = record(record(call.response_format).get("json_schema"))
    if record(form.get("schema")):
        schema = {"schema": encoded(form["schema"]).decode(), "name": text(form.get("name")) or "answer"}
        if text(form.get("description")):
            schema["description"] = text(form["description"])
        output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    effort = _EFFORTS.get(str(call.params.get("reasoning_effort")))
    return output if effort is None else output | {"effort": effort}


def _more(call: Call) -> dict[str, Any]:
    """Give what the models themselves take besides; Nova has words of its own."""
    top_k = call.params.get("top_k")
    if top_k is None:
        return {}
    return {"inferenceConfig": {"topK": top_k}} if "nova" in call.served_model_id else {"top_k": top_k}


# Answers ----------------------------------------------------------------------------------------


def _response(call: Call, data: Mapping[str, Any], blocks: Iterable[Mapping[str, Any]]) -> Response:
    parts = list(blocks)
    uses = (record(block.get("toolUse")) for block in parts if block.get("toolUse"))
    return Response(
        text="".join(text(block.get("text")) for block in parts),
        reasoning="".join(_thoughts(parts)),
        tool_calls=tuple(_tool_call(use) for use in uses),
        finish_reason=_finish(data),
        model=call.served_model_id,
        usage=_usage(data.get("usage")),
        raw=data,
        dialect="bedrock",
    )


def _thoughts(blocks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        yield text(record(record(block.get("reasoningContent")).get("reasoningText")).get("text"))


def _tool_call(use: Mapping[str, Any]) -> ToolCall:
    arguments = encoded(record(use.get("input"))).decode()
    return ToolCall(text(use.get("toolUseId")), text(use.get("name")), arguments)


def _finish(data: Mapping[str, Any]) -> str | None:
    reason = text(data.get("stopReason"))
    return _FINISH.get(reason, "stop") if reason else None


def _usage(value: Any) -> Usage | None:  # noqa: ANN401 - whatever the provider sent
    usage = record(value)
    if not usage:
        return None
    given, made, total = (count(usage.get(f"{name}Tokens")) for name in ("input", "output", "total"))
    read, written = count(usage.get("cacheReadInputTokens")), count(usage.get("cacheWriteInputTokens"))
    if total == given + made:
        # some models' total leaves out what the cache held
        total += read + written
    return Usage(given, read, written, made, reported_total_tokens=total if "totalTokens" in usage else None)


class _StreamReader:
    """Reads one stream's frames; the one with the usage is the last."""

    def __init__(self, call: Call, headers: Mapping[str, str], now_ms: int) -> None:
        self._model = call.served_model_id
        self._headers = headers
        self._now_ms = now_ms
        self._frames = Frames()
        self._calls: dict[int, int] = {}
        self._mute: set[int] = set()
        self._finish_reason: str | None = None
        self._has_answer = False
        self._has_failed = False
        self._has_ended = False

    @property
    def is_done(self) -> bool:
        """Whether nothing that follows can matter."""
        return self._has_ended or self._has_failed

    def feed(self, piece: bytes) -> tuple[list[StreamChunk], Failure | None]:
        """Give the chunks that the next bytes complete, and the failure that ended them."""
        chunks: list[StreamChunk] = []
        try:
            for headers, payload in self._frames.feed(piece):
                item = self._frame(headers, record(parsed(payload)), payload)
                if isinstance(item, Failure):
                    return chunks, self._fail(item)
                chunks.append(item)
        except BrokenFrameError:
            return chunks, self._fail(Failure("bad_response", detail="a stream of broken frames"))
        return chunks, None

    def finish(self) -> Failure | None:
        """Say what is wrong with a stream that ended now, if anything."""
        if self._has_failed:
            return None
        if self._finish_reason is None:
            return Failure("network_error", detail="the stream ended before the answer did")
        return None if self._has_answer else empty(self._finish_reason)

    def _fail(self, failure: Failure) -> Failure:
        self._has_failed = True
        return failure

    def _frame(
        self, headers: Mapping[str, Any], data: dict[str, Any], payload: bytes
    ) -> StreamChunk | Failure:
        if headers.get(":message-type") in ("exception", "error"):
            code = text(headers.get(":exception-type")) or text(headers.get(":error-code"))
            shown = payload[:500].decode(errors="replace")
            message = data.get("message") or headers.get(":error-message") or shown
            return of_error(200, {"code": code, "message": message}, self._headers, self._now_ms)
        kind = text(headers.get(":event-type"))
        fields = self._fields(kind, data)
        return StreamChunk(**fields, raw={kind: data}, dialect="bedrock")

    def _fields(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        if kind.startswith("contentBlock"):
            return self._block(kind, count(data.get("contentBlockIndex")), data)
        if kind == "messageStart":
            return {"model": self._model}
        if kind == "messageStop":
            self._finish_reason = _finish(data) or "stop"
            self._has_answer = self._has_answer or self._finish_reason == "length"
            return {"finish_reason": self._finish_reason}
        if kind == "metadata":
            self._has_ended = True
            return {"usage": _usage(data.get("usage"))}
        return {}

    def _block(self, kind: str, place: int, data: Mapping[str, Any]) -> dict[str, Any]:
        if kind == "contentBlockStart":
            return self._start(place, record(record(data.get("start")).get("toolUse")))
        if kind == "contentBlockDelta":
            return self._delta(place, record(data.get("delta")))
        # a call without arguments may come without a word of them
        return self._argue(place, "{}") if place in self._mute else {}

    def _start(self, place: int, use: Mapping[str, Any]) -> dict[str, Any]:
        if not use:
            return {}
        self._has_answer = True
        index = self._calls.setdefault(place, len(self._calls))
        self._mute.add(place)
        return {"tool_calls": (ToolCallDelta(index, text(use.get("toolUseId")), text(use.get("name"))),)}

    def _argue(self, place: int, words: str) -> dict[str, Any]:
        if words:
            self._mute.discard(place)
        return {"tool_calls": (ToolCallDelta(self._calls.get(place, 0), arguments=words),)}

    def _delta(self, place: int, delta: Mapping[str, Any]) -> dict[str, Any]:
        if "toolUse" in delta:
            return self._argue(place, text(record(delta["toolUse"]).get("input")))
        words = text(delta.get("text"))
        self._has_answer = self._has_answer or bool(words)
        return {"text": words, "reasoning": text(record(delta.get("reasoningContent")).get("text"))}


def _conforms(adapter: Bedrock) -> Provider:
    """Let the type checker prove the port."""
    return adapter
