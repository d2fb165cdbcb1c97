"""OpenAI's Responses API, without anything kept between requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import NOTHING
from llm_policy_host.web.report import x_router

from . import responses_body
from ._blocks import Blocks, blocks_of
from ._events import event
from .chat import openai_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract, Response, Result, StreamChunk, Usage
    from llm_policy_host.web.errors import Problem
    from llm_policy_host.web.skin import Asked

    from ._blocks import Block, Turn

# What an answer repeats of its request, and what it says where the request says nothing.
_REPEATED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}

_INCOMPLETE: Final[Mapping[str | None, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}

_CODES: Final[Mapping[str, str]] = {
    "rate_limit": "rate_limit_exceeded",
    "context_length_exceeded": "context_length_exceeded",
    "bad_request": "invalid_prompt",
    "content_filter": "invalid_prompt",
}
"""A problem's code to the word that a failed response has for it; any other is `server_error`."""


class Responses:
    """`/v1/responses`."""

    path = "/responses"

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body."""
        del asked
        return responses_body.read(body, **aimed)

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer: the provider's own, where it is of this dialect."""
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        model = (result.chosen or {}).get("model_family") or asked.model
        if response.dialect == "openai_responses" and response.raw.get("object") == "response":
            body = {**response.raw, "id": f"resp_{asked.request_id}", "model": model}
        else:
            status, details = _ending(response)
            body = {
                **_head(asked, model),
                "status": status,
                "incomplete_details": details,
                "output": _items(response, asked),
                "usage": _usage(response.usage),
            }
        if asked.wants_metadata:
            body["x_router"] = x_router(result)
        return body

    def encoder(self, asked: Asked) -> ResponsesEncoder:
        """Give an encoder for one stream."""
        return ResponsesEncoder(asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return openai_error(problem)


class ResponsesEncoder:
    """Words one stream as OpenAI's events; those of a provider of this dialect pass as they are."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._model = asked.model
        self._blocks = Blocks()
        self._count = 0
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
            return self._resent(self._last, more)
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        status, details = _ending(response)
        out = self._begin() + b"".join([self._turn(turn) for turn in self._blocks.finish()])
        whole = {"incomplete_details": details, "usage": _usage(response.usage), **more}
        output = self._output("completed") or _items(response, self._asked)
        return out + self._state(status, status, output, whole)

    def error(self, problem: Problem, result: Result) -> bytes:
        """Give a typed error, then the failed response."""
        del result
        told = openai_error(problem)["error"]
        out = self._begin() + self._event("error", **{name: told[name] for name in told if name != "type"})
        code = _CODES.get(problem.code, "server_error")
        failed = {"error": {"code": code, "message": problem.message, "type": problem.type}}
        return out + self._state("failed", "failed", self._output("incomplete"), failed)

    # Events -----------------------------------------------------------------------------------

    def _chunk(self, chunk: StreamChunk) -> bytes:
        raw = chunk.raw
        if chunk.dialect == "openai_responses" and raw is not None and raw.get("object") != "response":
            return self._forward(raw)
        turns = [self._turn(turn) for turn in self._blocks.feed(chunk)] if chunk.has_content else []
        return b"".join(turns)

    def _forward(self, raw: Mapping[str, Any]) -> bytes:
        kind = raw.get("type")
        if not isinstance(kind, str) or kind in ("error", "response.failed"):
            return b""  # a failure comes as one, and is worded then
        self._has_begun = True
        if kind in ("response.completed", "response.incomplete"):
            self._last = raw  # told when it is known how the answer came about
            return b""
        return self._resent(raw)

    def _resent(self, raw: Mapping[str, Any], more: Mapping[str, Any] = NOTHING) -> bytes:
        data = {**raw, "sequence_number": self._next()}
        if isinstance(raw.get("response"), dict):
            own = {"id": f"resp_{self._asked.request_id}", "model": self._model}
            data["response"] = {**raw["response"], **own, **more}
        return event(data)

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._state("created", "in_progress", []) + self._state("in_progress", "in_progress", [])

    def _state(
        self, kind: str, status: str, output: list[dict[str, Any]], more: Mapping[str, Any] = NOTHING
    ) -> bytes:
        head = _head(self._asked, self._model)
        return self._event(f"response.{kind}", response={**head, "status": status, "output": output, **more})

    def _event(self, kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - any JSON
        return event({"type": kind, **fields, "sequence_number": self._next()})

    def _next(self) -> int:
        number = self._count
        self._count += 1
        return number

    def _output(self, last: str) -> list[dict[str, Any]]:
        blocks = self._blocks.opened
        return [
            _item(block, self._asked, last if index == len(blocks) - 1 else "completed")
            for index, block in enumerate(blocks)
        ]

    # Blocks -----------------------------------------------------------------------------------

    def _turn(self, turn: Turn) -> bytes:
        act, block, text = turn
        if act == "add":
            return self._delta(block, text)
        at = {"item_id": _item_id(block, self._asked), "output_index": block.index}
        if act == "open":
            return self._begin() + self._opened(block, at)
        return self._closed(block, at)

    def _opened(self, block: Block, at: dict[str, Any]) -> bytes:
        item = _item(block, self._asked, "in_progress", is_new=True)
        out = self._event("response.output_item.added", output_index=block.index, item=item)
        if block.kind == "tool":
            return out
        kind, place = _PARTS[block.kind]
        return out + self._event(f"response.{kind}.added", **at, **place, part=_part(block, ""))

    def _delta(self, block: Block, text: str) -> bytes:
        kind, place = _DELTAS[block.kind]
        more: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
        return self._event(
            f"response.{kind}.delta",
            item_id=_item_id(block, self._asked),
            output_index=block.index,
            **place,
            delta=text,
            **more,
        )

    def _closed(self, block: Block, at: dict[str, Any]) -> bytes:
        kind, place = _DELTAS[block.kind]
        text = block.text
        said: dict[str, Any] = {_WORDS[block.kind]: text}
        if block.kind == "tool":
            said["name"] = block.name
        elif block.kind == "text":
            said["logprobs"] = []
        out = self._event(f"response.{kind}.done", **at, **place, **said)
        if block.kind != "tool":
            part, place = _PARTS[block.kind]
            out += self._event(f"response.{part}.done", **at, **place, part=_part(block, text))
        item = _item(block, self._asked, "completed")
        return out + self._event("response.output_item.done", output_index=block.index, item=item)


_CONTENT: Final[Mapping[str, int]] = {"content_index": 0}
_SUMMARY: Final[Mapping[str, int]] = {"summary_index": 0}

_PARTS: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = {
    "text": ("content_part", _CONTENT),
    "refusal": ("content_part", _CONTENT),
    "thinking": ("reasoning_summary_part", _SUMMARY),
}

_DELTAS: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = {
    "text": ("output_text", _CONTENT),
    "refusal": ("refusal", _CONTENT),
    "thinking": ("reasoning_summary_text", _SUMMARY),
    "tool": ("function_call_arguments", {}),
}

_WORDS: Final[Mapping[str, str]] = {
    "text": "text",
    "refusal": "refusal",
    "thinking": "text",
    "tool": "arguments",
}


def _head(asked: Asked, model: str) -> dict[str, Any]:
    """Give what a response says of itself and its request; nothing is stored, whatever was asked."""
    told = asked.body
    repeated = {name: absent if told.get(name) is None else told[name] for name, absent in _REPEATED.items()}
    return {
        "id": f"resp_{asked.request_id}",
        "object": "response",
        "created_at": asked.created,
        "model": model,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "store": False,
        "usage": None,
        **repeated,
    }


def _items(response: Response, asked: Asked) -> list[dict[str, Any]]:
    return [_item(block, asked, "completed") for block in blocks_of(response)]


def _item_id(block: Block, asked: Asked) -> str:
    prefix = {"thinking": responses_body.OWN_THOUGHT, "tool": "fc_"}.get(block.kind, "msg_")
    return f"{prefix}{asked.request_id}_{block.index}"


def _item(block: Block, asked: Asked, status: str, *, is_new: bool = False) -> dict[str, Any]:
    given = _item_id(block, asked)
    text = "" if is_new else block.text
    if block.kind == "tool":
        call = {"call_id": block.id or f"call_{given}", "name": block.name, "arguments": text}
        return {"id": given, "type": "function_call", "status": status, **call}
    parts = [] if is_new else [_part(block, text)]
    if block.kind == "thinking":
        return {"id": given, "type": "reasoning", "status": status, "summary": parts}
    return {"id": given, "type": "message", "role": "assistant", "status": status, "content": parts}


def _part(block: Block, text: str) -> dict[str, Any]:
    if block.kind == "thinking":
        return {"type": "summary_text", "text": text}
    if block.kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _ending(response: Response) -> tuple[str, dict[str, str] | None]:
    reason = _INCOMPLETE.get(response.finish_reason)
    return ("completed", None) if reason is None else ("incomplete", {"reason": reason})


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    """Join the disjoint classes as OpenAI counts; unknown counts are null."""
    if usage is None:
        return None
    given = usage.input_tokens + usage.cached_read_tokens + usage.cache_write_tokens
    made = usage.output_tokens + usage.reasoning_tokens
    details = {"cached_tokens": usage.cached_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": given,
        "input_tokens_details": details,
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": given + made,
    }
