"""Two scripted vendors behind one door, in exact bytes: `/openai` and `/anthropic`.

What they answer depends on what they are asked: with tools, a call of the first; with a schema,
JSON that fits; else an echo that names the images. `fail STATUS` fails, `cut` breaks off, `hang`
says nothing more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.contracts.vendor import Reply, flow, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contracts.vendor import Asked

CITY: dict[str, Any] = {"city": "Rome", "degrees": 21}


@dataclass(frozen=True, slots=True)
class Wish:
    """A body of either dialect, as far as the vendors care."""

    text: str
    images: int
    tool: str | None
    wants_json: bool
    is_stream: bool


def shop(asked: Asked) -> Reply:
    """Reply in the dialect of the path."""
    is_anthropic = asked.path.startswith("/anthropic/")
    data = asked.data
    wish = _wish(data, is_anthropic=is_anthropic)
    word, _, rest = wish.text.partition(" ")
    if word == "fail":
        return _failure(int(rest), is_anthropic=is_anthropic)
    pieces = _anthropic(wish) if is_anthropic else _openai(wish)
    if word == "hang":
        return flow(pieces[:1], then="hang")
    if word == "cut":
        return flow(pieces[:3], then="cut")
    if wish.is_stream:
        return flow(pieces)
    return whole(200, json.dumps(_anthropic_whole(wish) if is_anthropic else _openai_whole(wish)).encode())


def _wish(data: dict[str, Any], *, is_anthropic: bool) -> Wish:
    content = data["messages"][-1]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = " ".join(_said(part) for part in parts)
    kind = "image" if is_anthropic else "image_url"
    tools = data.get("tools") or []
    has_result = data["messages"][-1]["role"] == "tool" or any(
        part["type"] == "tool_result" for part in parts
    )
    name = None if not tools or has_result else (tools[0] if is_anthropic else tools[0]["function"])["name"]
    wants = "format" in data.get("output_config", {}) if is_anthropic else "response_format" in data
    images = sum(part["type"] == kind for part in parts)
    return Wish(text.strip(), images, name, wants, bool(data.get("stream")))


def _said(part: dict[str, Any]) -> str:
    inner = part.get("content")
    return str(part.get("text") or (inner if isinstance(inner, str) else ""))


def _answer(wish: Wish) -> str:
    if wish.wants_json:
        return json.dumps(CITY)
    seen = f" and showed {wish.images}" if wish.images else ""
    return f"you said {wish.text}{seen}"


def _failure(status: int, *, is_anthropic: bool) -> Reply:
    error = {"type": "some_error", "message": f"the vendor's words for {status}"}
    body = {"type": "error", "error": error} if is_anthropic else {"error": error}
    headers = {"retry-after": "7"} if status == 429 else {}
    return whole(status, json.dumps(body).encode(), headers=headers)


def _halves(text: str) -> Sequence[str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


# OpenAI -------------------------------------------------------------------------------------------

_COUNTS = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def _call(wish: Wish, arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": wish.tool, "arguments": arguments}}


def _openai_whole(wish: Wish) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if wish.tool else _answer(wish)}
    if wish.tool:
        message["tool_calls"] = [_call(wish, json.dumps(CITY))]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if wish.tool else "stop"}
    head = {"id": "v-1", "object": "chat.completion", "created": 1, "model": "served"}
    return {**head, "choices": [choice], "usage": _COUNTS}


def _openai(wish: Wish) -> list[bytes]:
    head = {"id": "v-1", "object": "chat.completion.chunk", "created": 1, "model": "served"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: " + json.dumps({**head, "choices": choices}).encode() + b"\n\n"

    out = [chunk({"role": "assistant", "content": ""})]
    if wish.tool:
        first, second = _halves(json.dumps(CITY))
        out.append(chunk({"tool_calls": [{"index": 0, **_call(wish, first)}]}))
        out.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": second}}]}))
    else:
        out += [chunk({"content": piece}) for piece in _halves(_answer(wish))]
    usage = json.dumps({**head, "choices": [], "usage": _COUNTS}).encode()
    return [
        *out,
        chunk({}, "tool_calls" if wish.tool else "stop"),
        b"data: " + usage + b"\n\n",
        b"data: [DONE]\n\n",
    ]


# Anthropic ----------------------------------------------------------------------------------------


def _anthropic_head(**more: Any) -> dict[str, Any]:
    head = {"id": "msg_v", "type": "message", "role": "assistant", "model": "served", "stop_sequence": None}
    return {
        **head,
        "stop_reason": None,
        "content": [],
        "usage": {"input_tokens": 11, "output_tokens": 1},
        **more,
    }


def _anthropic_whole(wish: Wish) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": _answer(wish)}
    if wish.tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": wish.tool, "input": CITY}
    reason = "tool_use" if wish.tool else "end_turn"
    return _anthropic_head(
        content=[block], stop_reason=reason, usage={"input_tokens": 11, "output_tokens": 3}
    )


def _anthropic(wish: Wish) -> list[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **data}).encode())

    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": piece} for piece in _halves(_answer(wish))]
    if wish.tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": wish.tool, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _halves(json.dumps(CITY))]
    reason = {"stop_reason": "tool_use" if wish.tool else "end_turn", "stop_sequence": None}
    return [
        event("message_start", message=_anthropic_head()),
        event("content_block_start", index=0, content_block=block),
        *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
        event("content_block_stop", index=0),
        event("message_delta", delta=reason, usage={"output_tokens": 3}),
        event("message_stop"),
    ]
