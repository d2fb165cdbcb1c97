"""OpenAI's chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Contract
from llm_policy_host.web.body import write_json
from llm_policy_host.web.errors import invalid
from llm_policy_host.web.report import x_router

from ._fields import PARAMS, records, take_params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Response, Result, StreamChunk, ToolCallDelta, Usage
    from llm_policy_host.web.errors import Problem
    from llm_policy_host.web.skin import Asked

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class Chat:
    """`/v1/chat/completions`."""

    path = "/chat/completions"

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body."""
        del asked
        rest = dict(body)
        messages = rest.pop("messages", None)
        _check_messages(messages)
        tools = records(rest.pop("tools", None), "tools")
        form = rest.pop("response_format", None)
        if form is not None and not (isinstance(form, dict) and isinstance(form.get("type"), str)):
            raise invalid("must be an object with a `type`", "response_format")
        for name in ("model", "stream", "stream_options"):
            rest.pop(name, None)
        longest = rest.get("max_completion_tokens")
        params = take_params(rest, PARAMS)
        if longest is not None:
            rest["max_completion_tokens"] = longest  # the word by which a provider of this dialect is told
        return Contract(
            messages=messages, tools=tools, response_format=form, params=params, passthrough=rest, **aimed
        )

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer: the provider's own, where it is of this dialect."""
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        chosen = result.chosen or {}
        if response.dialect == "openai" and "choices" in response.raw:
            body = dict(response.raw)
        else:
            body = _body(response)
        body["id"] = f"chatcmpl-{asked.request_id}"
        body["object"] = "chat.completion"
        body.setdefault("created", asked.created)
        body["model"] = chosen.get("model_family") or asked.model
        if asked.wants_metadata:
            body["x_router"] = x_router(result)
        return body

    def encoder(self, asked: Asked) -> ChatEncoder:
        """Give an encoder for one stream."""
        return ChatEncoder(asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return openai_error(problem)


def openai_error(problem: Problem) -> dict[str, Any]:
    """Give an error in OpenAI's shape."""
    return {
        "error": {
            "message": problem.message,
            "type": problem.type,
            "code": problem.code,
            "param": problem.param,
            "metadata": problem.as_metadata(),
        }
    }


def _check_messages(messages: Any) -> None:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(messages, list) or not messages:
        raise invalid("must be a list with at least one message", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid("must be an object", f"messages[{index}]")
        role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
        if not isinstance(role, str) or role not in _ROLES:
            raise invalid(f"must be one of {', '.join(sorted(_ROLES))}", f"messages[{index}].role")
        if content is not None and not isinstance(content, str):
            _check_parts(content, f"messages[{index}].content")
        if calls is not None:
            _check_calls(calls, f"messages[{index}].tool_calls")


def _check_parts(content: Any, at: str) -> None:  # noqa: ANN401
    if not isinstance(content, list):
        raise invalid("must be a text or a list of parts", at)
    for index, part in enumerate(content):
        if not (isinstance(part, dict) and isinstance(part.get("type"), str)):
            raise invalid("must be an object with a `type`", f"{at}[{index}]")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise invalid("must be a text", f"{at}[{index}].text")
        if part["type"] == "image_url" and not _is_image(part.get("image_url")):
            raise invalid("must be an object with a `url`", f"{at}[{index}].image_url")


def _is_image(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and isinstance(value.get("url"), str)


def _check_calls(calls: Any, at: str) -> None:  # noqa: ANN401
    for index, call in enumerate(records(calls, at)):
        function = call.get("function")
        if call.get("type", "function") == "function" and not (
            isinstance(function, dict)
            and isinstance(function.get("name"), str)
            and isinstance(function.get("arguments", ""), str)
        ):
            raise invalid("must be an object with `name` and `arguments`", f"{at}[{index}].function")


def _body(response: Response) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": response.text or None}
    if response.reasoning:
        message["reasoning_content"] = response.reasoning
    message["refusal"] = response.refusal
    if response.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in response.tool_calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": response.finish_reason or "stop",
    }
    body: dict[str, Any] = {"choices": [choice]}
    if response.usage is not None:
        body["usage"] = openai_usage(response.usage)
    return body


def openai_usage(usage: Usage) -> dict[str, Any]:
    """Join the disjoint classes as OpenAI counts: prompts with what was cached, answers with reasoning."""
    prompt = usage.input_tokens + usage.cached_read_tokens + usage.cache_write_tokens
    completion = usage.output_tokens + usage.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


class ChatEncoder:
    """Words one stream as `chat.completion.chunk`s."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head = {
            "id": f"chatcmpl-{asked.request_id}",
            "object": "chat.completion.chunk",
            "created": asked.created,
            "model": asked.model,
        }
        self._has_begun = False
        self._has_finished = False

    def begin(self, candidate: Mapping[str, Any]) -> None:
        """Learn who answers."""
        self._head["model"] = candidate.get("model_family") or self._asked.model

    def chunks(self, batch: Sequence[StreamChunk]) -> bytes:
        """Give the events of some pieces."""
        return b"".join([self._event(chunk) for chunk in batch])

    def end(self, result: Result) -> bytes:
        """Give the events that end an answer."""
        out = b""
        if not self._has_finished:
            out += self._wire(self._choice({}, "stop"))
        usage = result.response.usage if result.response else None
        if self._asked.wants_usage and usage is not None:
            out += self._wire({"choices": [], "usage": openai_usage(usage)})
        if self._asked.wants_metadata:
            out += self._wire({"choices": [], "x_router": x_router(result)})
        return out + b"data: [DONE]\n\n"

    def error(self, problem: Problem, result: Result) -> bytes:
        """Give a typed error, then the dialect's own end."""
        del result
        event = {**openai_error(problem), **self._choice({}, "error")}
        return self._wire(event) + b"data: [DONE]\n\n"

    def _event(self, chunk: StreamChunk) -> bytes:
        if chunk.finish_reason:
            self._has_finished = True
        if chunk.dialect == "openai" and chunk.raw is not None:
            if not chunk.raw.get("choices"):
                return b""  # usage comes at the end, if it was asked for
            self._has_begun = True
            event = {**chunk.raw, **self._head}
            event.pop("usage", None)
            return b"data: " + write_json(event) + b"\n\n"
        delta = self._delta(chunk)
        if not delta and not chunk.finish_reason:
            return b""
        return self._wire(self._choice(delta, chunk.finish_reason))

    def _delta(self, chunk: StreamChunk) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if not self._has_begun:
            self._has_begun = True
            delta["role"] = "assistant"
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.refusal:
            delta["refusal"] = chunk.refusal
        if chunk.tool_calls:
            delta["tool_calls"] = [_call_delta(call) for call in chunk.tool_calls]
        return delta

    @staticmethod
    def _choice(delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    def _wire(self, event: Mapping[str, Any]) -> bytes:
        return b"data: " + write_json({**event, **self._head}) + b"\n\n"


def _call_delta(call: ToolCallDelta) -> dict[str, Any]:
    delta: dict[str, Any] = {"index": call.index}
    if call.id:
        delta |= {"id": call.id, "type": "function"}
    function = {"name": call.name} if call.name else {}
    return {**delta, "function": {**function, "arguments": call.arguments}}
