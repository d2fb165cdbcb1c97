"""Anthropic's Messages API."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.web.report import x_router

from . import messages_body
from ._blocks import Blocks, blocks_of
from ._events import event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract, Response, Result, StreamChunk, Usage
    from llm_policy_host.web.errors import Problem
    from llm_policy_host.web.skin import Asked

    from ._blocks import Block, Turn

_ERRORS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_STOPS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


class Messages:
    """`/v1/messages`."""

    path = "/messages"

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body."""
        betas = asked.headers.get(b"anthropic-beta", b"").decode("latin-1")
        return messages_body.read(body, betas, **aimed)

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer: the provider's own, where it is of this dialect."""
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        if response.dialect == "anthropic" and response.raw.get("type") == "message":
            body = dict(response.raw)
        else:
            content = [_block(block, asked) for block in blocks_of(response)]
            body = _message(content, _ending(response), _usage(response.usage))
        body["id"] = f"msg_{asked.request_id}"
        body["model"] = (result.chosen or {}).get("model_family") or asked.model
        if asked.wants_metadata:
            body["x_router"] = x_router(result)
        return body

    def encoder(self, asked: Asked) -> MessagesEncoder:
        """Give an encoder for one stream."""
        return MessagesEncoder(asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return anthropic_error(problem)


def anthropic_error(problem: Problem, request_id: str | None = None) -> dict[str, Any]:
    """Give an error in Anthropic's shape."""
    message = problem.message if problem.param is None else f"{problem.param}: {problem.message}"
    error = {
        "type": _ERRORS.get(problem.status, "invalid_request_error"),
        "message": message,
        "details": {"error_code": problem.code},
        "param": problem.param,
        "metadata": problem.as_metadata(),
    }
    body = {"type": "error", "error": error}
    return body if request_id is None else {**body, "request_id": request_id}


class MessagesEncoder:
    """Words one stream as Anthropic's events; those of a provider of this dialect pass as they are."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._model = asked.model
        self._blocks = Blocks()
        self._has_begun = False
        self._last: Mapping[str, Any] | None = None

    def begin(self, candidate: Mapping[str, Any]) -> None:
        """Learn who answers."""
        self._model = candidate.get("model_family") or self._asked.model

    def chunks(self, batch: Sequence[StreamChunk]) -> bytes:
        """Give the events of some pieces."""
        return b"".join([self._chunk(chunk) for chunk in batch])

    def end(self, result: Result) -> bytes:
        """Give the events that end an answer."""
        more = {"x_router": x_router(result)} if self._asked.wants_metadata else {}
        if self._last is not None:
            return event({**self._last, **more})
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        out = self._begin() + b"".join([self._turn(turn) for turn in self._blocks.finish()])
        data = {"type": "message_delta", "delta": _ending(response), "usage": _usage(response.usage)}
        return out + event(data) + event({"type": "message_stop", **more})

    def error(self, problem: Problem, result: Result) -> bytes:
        """Give a typed error, which is how a broken stream ends in this dialect."""
        del result
        return event(anthropic_error(problem, self._asked.request_id))

    def _chunk(self, chunk: StreamChunk) -> bytes:
        raw = chunk.raw
        if chunk.dialect == "anthropic" and raw is not None and raw.get("type") != "message":
            return self._forward(raw)
        turns = [self._turn(turn) for turn in self._blocks.feed(chunk)]
        return self._begin() + b"".join(turns) if turns else b""

    def _forward(self, raw: Mapping[str, Any]) -> bytes:
        kind = raw.get("type")
        if not isinstance(kind, str) or kind == "error":
            return b""  # a failure comes as one, and is worded then
        if kind == "message_start":
            message = raw.get("message")
            if not isinstance(message, dict):
                return self._begin()
            self._has_begun = True
            return event({**raw, "message": {**message, **self._identity()}})
        if kind == "message_stop":
            self._last = raw  # told when it is known how the answer came about
            return b""
        return event(raw)

    def _identity(self) -> dict[str, Any]:
        return {"id": f"msg_{self._asked.request_id}", "model": self._model}

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        ending = {"stop_reason": None, "stop_sequence": None}
        message = {**_message([], ending, _usage(None)), **self._identity()}
        return event({"type": "message_start", "message": message}) + event({"type": "ping"})

    def _turn(self, turn: Turn) -> bytes:
        act, block, text = turn
        if act == "open":
            start = _opening(block, self._asked)
            return event({"type": "content_block_start", "index": block.index, "content_block": start})
        if act == "close":
            return event({"type": "content_block_stop", "index": block.index})
        return event({"type": "content_block_delta", "index": block.index, "delta": _delta(block, text)})


def _delta(block: Block, text: str) -> dict[str, Any]:
    if block.kind == "tool":
        return {"type": "input_json_delta", "partial_json": text}
    if block.kind == "thinking":
        return {"type": "thinking_delta", "thinking": text}
    return {"type": "text_delta", "text": text}


def _opening(block: Block, asked: Asked) -> dict[str, Any]:
    if block.kind == "tool":
        given = _NOT_IN_ID.sub("_", block.id) or f"toolu_{asked.request_id}_{block.index}"
        return {"type": "tool_use", "id": given, "name": block.name, "input": {}}
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _block(block: Block, asked: Asked) -> dict[str, Any]:
    start = _opening(block, asked)
    if block.kind == "tool":
        return {**start, "input": _input(block.text)}
    return {**start, start["type"]: block.text}


def _input(arguments: str) -> dict[str, Any]:
    """Read a call's arguments; a model's broken JSON is kept as a text, for the caller to see."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}


def _message(content: list[dict[str, Any]], ending: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": content,
        **ending,
        "usage": usage,
    }


def _ending(response: Response) -> dict[str, Any]:
    """Say why the answer ended; some providers call a tool and say that they just stopped."""
    reason = _STOPS.get(response.finish_reason or "stop", "end_turn")
    if response.refusal:
        details = {"type": "refusal", "category": None, "explanation": response.refusal}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    if response.tool_calls and reason == "end_turn":
        reason = "tool_use"
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Give the counts; the dialect has no word for unknown ones, they are 0."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_read_tokens,
        "output_tokens": usage.output_tokens + usage.reasoning_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
