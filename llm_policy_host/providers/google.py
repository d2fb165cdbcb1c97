"""The dialect of Google's Gemini API: `{base_url}/models/{model}:generateContent` and its kin."""

from __future__ import annotations

import hashlib
import mimetypes
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from ._exchange import Ask, HttpAdapter, SseReader, empty
from ._failure import of_error
from ._gemini import generation_of, thinking
from ._plain import count, encoded, record, records, text
from ._request import (
    Function,
    Image,
    Text,
    ToolResult,
    ToolUse,
    UnsayableError,
    as_asked,
    conversation,
    functions,
    json_schema,
    own_body,
    said,
    stops,
    tool_choice,
    unsaid,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Call, Credential

    from ._request import Piece, Turn

_WORDS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_PARAMS = (*_WORDS, "reasoning_effort")
_SETTINGS = ("stop", "tool_choice")
_VECTOR_SETTINGS = ("dimensions",)

_FINISH: Final[Mapping[str, str]] = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "MODEL_ARMOR",
        ),
        "content_filter",
    ),
}

# What it stopped in the midst of is no answer, whatever stands before it.
_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)

UNSIGNED = "skip_thought_signature_validator"
"""What the vendor takes in place of a thought's signature, for calls that came from elsewhere."""


class Google(HttpAdapter):
    """Speaks to one kind of endpoint: `{base_url}/models/{model}:…`."""

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what this dialect, or this model, has no words for."""
        if call.kind == "embeddings":
            return unsaid(call, "google", (), _VECTOR_SETTINGS)
        lost = unsaid(call, "google", _PARAMS, _SETTINGS)
        has_effort = call.params.get("reasoning_effort") is not None
        return (*lost, "reasoning_effort") if has_effort and not thinking(call) else lost

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        headers = {}
        if credential.secret is not None:
            headers["x-goog-api-key"] = credential.secret.reveal()
        verb = "streamGenerateContent?alt=sse" if is_stream else "generateContent"
        if call.kind == "embeddings":
            verb = "batchEmbedContents"
        body = _inputs(call) if call.kind == "embeddings" else _body(call)
        base = (call.base_url or "").rstrip("/")
        return Ask(f"{base}/{quote(_model(call))}:{verb}", headers, encoded(body))

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        body = record(data)
        if "error" in body:
            return of_error(200, body["error"], headers, self._clock.now_ms())
        if call.kind == "embeddings":
            return _vectors(call, body)
        blocked = _blocked(body)
        if blocked is not None:
            return blocked
        candidate = next(iter(records(body.get("candidates"))), None)
        if candidate is None:
            return Failure("bad_response", detail="an answer without a candidate")
        response = _response(call, body, candidate)
        if isinstance(response, Failure):
            return response
        return empty(response.finish_reason) if response.is_empty else response

    def _reader(self, call: Call, headers: Mapping[str, str]) -> _StreamReader:
        return _StreamReader(call, headers, self._clock.now_ms())


# What is asked ----------------------------------------------------------------------------------


def _model(call: Call) -> str:
    model = call.served_model_id
    return model if "/" in model else f"models/{model}"


def _body(call: Call) -> dict[str, Any]:
    talk = conversation(call)
    body = own_body(call, "google") or {}
    system = "\n\n".join(talk.system)
    body["contents"] = [_turn(turn, call) for turn in talk.turns]
    if not talk.turns:
        body["contents"] = [{"role": "user", "parts": [{"text": system}]}]
    elif system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if call.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(each) for each in functions(call)]}]
        body.update(_choice(call))
    settings = {**record(body.get("generationConfig")), **_settings(call)}
    if settings:
        body["generationConfig"] = settings
    return body


def _turn(turn: Turn, call: Call) -> dict[str, Any]:
    parts = [part for piece in turn.pieces for part in _parts(piece)]
    if turn.role == "user":
        return {"role": "user", "parts": parts}
    uses = (part for part in parts if "functionCall" in part)
    first = next(uses, None)
    if first is not None and generation_of(call.served_model_id) >= (3, 0):
        first["thoughtSignature"] = UNSIGNED
    return {"role": "model", "parts": parts}


def _parts(piece: Piece) -> Iterator[dict[str, Any]]:
    if isinstance(piece, Text):
        yield {"text": piece.text}
    elif isinstance(piece, Image):
        yield _picture(piece)
    elif isinstance(piece, ToolUse):
        yield {"functionCall": {"id": piece.id, "name": piece.name, "args": dict(piece.arguments)}}
    else:
        yield from _result(piece)


def _result(result: ToolResult) -> Iterator[dict[str, Any]]:
    """Give a result's texts as the tool's output, and its images beside it."""
    output = "".join(piece.text for piece in result.pieces if isinstance(piece, Text))
    given = {"id": result.id, "name": result.name, "response": {"output": output}}
    yield {"functionResponse": given}
    yield from (_picture(piece) for piece in result.pieces if isinstance(piece, Image))


def _picture(image: Image) -> dict[str, Any]:
    if image.url is None:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    kind = mimetypes.guess_type(image.url.partition("?")[0])[0]
    return {"fileData": {"fileUri": image.url, **({"mimeType": kind} if kind else {})}}


def _declaration(function: Function) -> dict[str, Any]:
    given: dict[str, Any] = {"name": function.name, "parametersJsonSchema": dict(function.parameters)}
    return {**given, "description": function.description} if function.description else given


def _choice(call: Call) -> dict[str, Any]:
    choice = tool_choice(call)
    if choice is None:
        return {}
    words = {"auto": "AUTO", "none": "NONE", "required": "ANY", "one": "ANY"}
    given: dict[str, Any] = {"mode": words[choice.mode]}
    if choice.mode == "one":
        given["allowedFunctionNames"] = [choice.name]
    return {"toolConfig": {"functionCallingConfig": given}}


def _settings(call: Call) -> dict[str, Any]:
    """Put parameters, stops and the answer's form into one record."""
    settings: dict[str, Any] = {
        _WORDS[name]: value for name, value in call.params.items() if name in _WORDS and value is not None
    }
    if stops(call):
        settings["stopSequences"] = stops(call)
    wish = thinking(call)
    if wish:
        settings["thinkingConfig"] = wish
    if record(call.response_format).get("type") in ("json_object", "json_schema"):
        settings["responseMimeType"] = "application/json"
        schema = json_schema(call)
        if schema is not None:
            settings["responseJsonSchema"] = dict(schema)
    return settings


def _inputs(call: Call) -> dict[str, Any]:
    if not all(isinstance(each, str) for each in call.embed):
        raise UnsayableError("this provider's dialect takes texts to embed, no tokens")
    size = said(call).get("dimensions")
    more = {} if size is None else {"outputDimensionality": size}
    requests = (
        {"model": _model(call), "content": {"parts": [{"text": each}]}, **more} for each in call.embed
    )
    return {"requests": list(requests)}


# What is told -----------------------------------------------------------------------------------


def _blocked(body: Mapping[str, Any]) -> Failure | None:
    """Say that the question itself was refused."""
    reason = text(record(body.get("promptFeedback")).get("blockReason"))
    return Failure("content_filter", detail=f"the prompt was blocked: `{reason[:40]}`") if reason else None


def _response(call: Call, body: Mapping[str, Any], candidate: Mapping[str, Any]) -> Response | Failure:
    chunk = _chunk(call, body, candidate, 0)
    if isinstance(chunk, Failure):
        return chunk
    calls = (ToolCall(delta.id or "", delta.name or "", delta.arguments) for delta in chunk.tool_calls)
    return Response(
        text=chunk.text,
        reasoning=chunk.reasoning,
        tool_calls=tuple(calls),
        finish_reason=chunk.finish_reason,
        model=chunk.model,
        usage=chunk.usage,
        raw=body,
        dialect="google",
    )


def _chunk(
    call: Call, body: Mapping[str, Any], candidate: Mapping[str, Any], so_far: int
) -> StreamChunk | Failure:
    """Read one event, or a whole answer, which has the same shape; `so_far` tool calls came before."""
    reason = text(candidate.get("finishReason"))
    if reason in _BROKEN:
        return Failure("bad_response", detail=f"the answer ended with `{reason}`")
    parts = records(record(candidate.get("content")).get("parts"))
    used = [record(part["functionCall"]) for part in parts if "functionCall" in part]
    calls = tuple(_delta(call, body, each, so_far + place) for place, each in enumerate(used))
    return StreamChunk(
        text="".join(text(part.get("text")) for part in parts if not part.get("thought")),
        reasoning="".join(text(part.get("text")) for part in parts if part.get("thought")),
        tool_calls=calls,
        finish_reason=_finish(reason, has_calls=bool(so_far + len(calls))),
        model=text(body.get("modelVersion")) or None,
        usage=read_usage(body.get("usageMetadata")),
        raw=body,
        dialect="google",
    )


def _finish(reason: str, *, has_calls: bool) -> str | None:
    if not reason or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    return _FINISH.get(reason, "tool_calls" if has_calls else "stop")


def _delta(call: Call, body: Mapping[str, Any], used: Mapping[str, Any], place: int) -> ToolCallDelta:
    name, arguments = text(used.get("name")), encoded(record(used.get("args"))).decode()
    given = text(used.get("id"))
    if not given:
        # the same answer gets the same id, another turn of the same conversation another one
        told = (len(call.messages), text(body.get("responseId")), place, name, arguments)
        given = "call_" + hashlib.sha256(encoded(told)).hexdigest()[:20]
    return ToolCallDelta(place, given, name, arguments)


def read_usage(value: Any) -> Usage | None:  # noqa: ANN401
    """Split the counts: what was cached is within the prompt's, thoughts and tools beside it."""
    usage = record(value)
    if not usage:
        return None
    prompt, total = count(usage.get("promptTokenCount")), usage.get("totalTokenCount")
    cached = min(count(usage.get("cachedContentTokenCount")), prompt)
    return Usage(
        input_tokens=prompt - cached + count(usage.get("toolUsePromptTokenCount")),
        cached_read_tokens=cached,
        output_tokens=count(usage.get("candidatesTokenCount")),
        reasoning_tokens=count(usage.get("thoughtsTokenCount")),
        reported_total_tokens=count(total) if total is not None else None,
    )


def _vectors(call: Call, body: Mapping[str, Any]) -> Response | Failure:
    vectors = [_numbers(each.get("values")) for each in records(body.get("embeddings"))]
    if len(vectors) != len(call.embed) or not all(vectors):
        return Failure("bad_response", detail="an answer without a vector for each text")
    usage = read_usage(body.get("usageMetadata"))
    return Response(embeddings=as_asked(call, vectors), usage=usage, raw=body, dialect="google")


def _numbers(values: Any) -> list[float]:  # noqa: ANN401
    """Give a vector; an empty one in place of anything else."""
    is_vector = isinstance(values, list) and all(type(each) in (int, float) for each in values)
    return values if is_vector else []


class _StreamReader(SseReader):
    """Reads the events of one answer, each a whole answer's shape with what is new."""

    def __init__(self, call: Call, headers: Mapping[str, str], now_ms: int) -> None:
        super().__init__(headers, now_ms)
        self._call = call
        self._calls = 0

    def _event(self, data: Mapping[str, Any]) -> StreamChunk | Failure | None:
        if "error" in data:
            return of_error(200, data["error"], self._headers, self._now_ms)
        blocked = _blocked(data)
        if blocked is not None:
            return blocked
        candidate = next(iter(records(data.get("candidates"))), {})
        chunk = _chunk(self._call, data, candidate, self._calls)
        if isinstance(chunk, StreamChunk):
            self._calls += len(chunk.tool_calls)
        return chunk


def _conforms(adapter: Google) -> Provider:
    """Let the type checker prove the port."""
    return adapter
