"""The dialect of OpenAI's chat completions and its kin, as most servers speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

from . import _request
from ._exchange import Ask, HttpAdapter, SseReader, empty
from ._failure import of_error
from ._plain import count, encoded, record, records, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Call, Credential

    from ._exchange import Reader
    from ._http import Http

_HOST_PARAMS = frozenset({"timeout_ms", "ttft_ms", "idle_ms"})
"""Parameters that the driver obeys and no provider is told."""

_PATHS = {"chat": "/chat/completions", "completion": "/completions", "embeddings": "/embeddings"}


PIN_IN_BODY = "provider.only"
"""How OpenRouter is told the one endpoint that may serve a call."""


class OpenAICompatible(HttpAdapter):
    """Speaks to one kind of endpoint: `{base_url}/chat/completions` and those beside it.

    `pins` says how a call to each marketplace provider names the peer that was chosen: the name of a
    header, or `provider.only`.
    """

    def __init__(self, http: Http, clock: Clock, pins: Mapping[str, str] | None = None) -> None:
        super().__init__(http, clock)
        self._pins = dict(pins or {})

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what this dialect has no words for: another dialect's own fields."""
        if call.dialect == "openai":
            return ()
        return _request.unsaid(call, "openai", call.params, _request.said(call))

    def _ask(self, call: Call, credential: Credential, *, is_stream: bool) -> Ask:
        url = (call.base_url or "").rstrip("/") + _PATHS[call.kind]
        headers, body = _headers(credential), _body(call, is_stream=is_stream)
        pin, peer = self._pins.get(call.provider_id), call.offer.get("peer_id")
        if pin == PIN_IN_BODY and peer:
            body["provider"] = {"only": [peer], "allow_fallbacks": False}
        elif pin and peer:
            headers[pin] = peer
        return Ask(url, headers, encoded(body))

    def _read(self, call: Call, data: Any, headers: Mapping[str, str]) -> Response | Failure:  # noqa: ANN401
        answer = record(data)
        if answer.get("error") and not answer.get("choices"):
            return of_error(200, answer["error"], headers, self._clock.now_ms())
        if call.kind == "embeddings":
            return _vectors(answer)
        choice = _first(answer.get("choices"))
        if choice is None:
            return Failure("bad_response", detail="an answer without a choice")
        if choice.get("error"):
            return of_error(200, choice["error"], headers, self._clock.now_ms())
        response = _response(answer, choice)
        return empty(response.finish_reason) if response.is_empty else response

    def _reader(self, call: Call, headers: Mapping[str, str]) -> Reader:
        del call
        return _StreamReader(headers, self._clock.now_ms())


class _StreamReader(SseReader):
    """Reads the events of one stream into chunks; the provider's own go along."""

    def _event(self, data: Mapping[str, Any]) -> StreamChunk | Failure | None:
        choice = _first(data.get("choices")) or {}
        error = data.get("error") or choice.get("error")
        if error:
            return of_error(200, error, self._headers, self._now_ms)
        return _chunk(data, choice)


def _headers(credential: Credential) -> dict[str, str]:
    if credential.secret is None:
        return {}
    return {"authorization": f"Bearer {credential.secret.reveal()}"}


def _body(call: Call, *, is_stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = dict(_request.said(call))
    body.update((name, value) for name, value in call.params.items() if name not in _HOST_PARAMS)
    if "max_completion_tokens" in body:
        longest = body.pop("max_tokens", None)  # one number, by the word that the caller chose for it
        body["max_completion_tokens"] = longest
        if longest is None:
            del body["max_completion_tokens"]
    if call.tools:
        body["tools"] = list(call.tools)
    if call.response_format is not None:
        body["response_format"] = dict(call.response_format)
    body["model"] = call.served_model_id
    body.update(_question(call))
    body.pop("stream", None)
    body.pop("stream_options", None)
    if is_stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def _question(call: Call) -> dict[str, Any]:
    if call.kind == "embeddings":
        return {"input": list(call.embed)}
    if call.kind == "completion":
        return {"prompt": call.prompt or ""}
    return {"messages": list(call.messages) or [{"role": "user", "content": call.prompt or ""}]}


def _first(choices: Any) -> dict[str, Any] | None:  # noqa: ANN401
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _vectors(data: Mapping[str, Any]) -> Response | Failure:
    """Read vectors in the order of their inputs: numbers, or base64 where that was asked for."""
    entries = sorted(records(data.get("data")), key=lambda entry: count(entry.get("index")))
    vectors: tuple[Any, ...] = tuple(entry.get("embedding") for entry in entries)
    if not vectors or not all(isinstance(vector, list | str) and vector for vector in vectors):
        return Failure("bad_response", detail="an answer without vectors")
    usage = record(data.get("usage"))
    return Response(
        embeddings=vectors,
        model=text(data.get("model")) or None,
        usage=read_usage(usage),
        cost_usd=_cost(usage),
        raw=data,
        dialect="openai",
    )


def _response(data: Mapping[str, Any], choice: Mapping[str, Any]) -> Response:
    message = record(choice.get("message"))
    return Response(
        text=_content(message.get("content")) or text(choice.get("text")),
        reasoning=text(message.get("reasoning_content")) or text(message.get("reasoning")),
        tool_calls=tuple(_tool_call(item) for item in records(message.get("tool_calls"))),
        refusal=text(message.get("refusal")) or None,
        finish_reason=text(choice.get("finish_reason")) or None,
        model=text(data.get("model")) or None,
        usage=read_usage(data.get("usage")),
        cost_usd=_cost(record(data.get("usage"))),
        raw=data,
        dialect="openai",
    )


def _chunk(data: Mapping[str, Any], choice: Mapping[str, Any]) -> StreamChunk:
    delta, usage = record(choice.get("delta")), data.get("usage")
    calls = delta.get("tool_calls")
    return StreamChunk(
        text=_content(delta.get("content")) or text(choice.get("text")),
        reasoning=text(delta.get("reasoning_content") or delta.get("reasoning")),
        tool_calls=tuple([_tool_delta(item) for item in records(calls)]) if calls else (),
        refusal=text(delta.get("refusal")) or None,
        finish_reason=text(choice.get("finish_reason")) or None,
        model=text(data.get("model")) or None,
        usage=read_usage(usage) if usage else None,
        cost_usd=_cost(record(usage)) if usage else None,
        raw=data,
        dialect="openai",
    )


def _cost(usage: Mapping[str, Any]) -> float | None:
    """Read what the provider says it charged, as OpenRouter does: USD."""
    cost: Any = usage.get("cost")
    is_number = isinstance(cost, int | float) and not isinstance(cost, bool)
    return float(cost) if is_number and 0 <= cost < 1e9 else None


def _content(value: Any) -> str:  # noqa: ANN401
    """Read text, also one given as a list of parts."""
    if isinstance(value, list):
        return "".join(text(part.get("text")) for part in value if isinstance(part, dict))
    return text(value)


def _tool_call(item: Mapping[str, Any]) -> ToolCall:
    function = record(item.get("function"))
    return ToolCall(text(item.get("id")), text(function.get("name")), text(function.get("arguments")))


def _tool_delta(item: Mapping[str, Any]) -> ToolCallDelta:
    function = record(item.get("function"))
    return ToolCallDelta(
        index=count(item.get("index")),
        id=text(item.get("id")) or None,
        name=text(function.get("name")) or None,
        arguments=text(function.get("arguments")),
    )


def read_usage(value: Any) -> Usage | None:  # noqa: ANN401
    """Split reported counts, which overlap, into disjoint classes."""
    usage = record(value)
    if not usage:
        return None
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    prompt_details = record(usage.get("prompt_tokens_details"))
    cached = min(count(prompt_details.get("cached_tokens")), prompt)
    reasoning = min(count(record(usage.get("completion_tokens_details")).get("reasoning_tokens")), completion)
    written = min(count(prompt_details.get("cache_write_tokens")), prompt - cached)
    total = usage.get("total_tokens")
    return Usage(
        input_tokens=prompt - cached - written,
        cached_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
        reported_total_tokens=count(total) if total is not None else None,
    )


def _conforms(adapter: OpenAICompatible) -> Provider:
    """Let the type checker prove the port."""
    return adapter
