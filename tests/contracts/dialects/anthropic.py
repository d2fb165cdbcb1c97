"""Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

from tests.contracts.dialect import Ask, Dialect, Refuse, Tell, event, sent
from tests.contracts.scenarios import MODEL, PNG, SCHEMA

PATH = "/v1/messages"
CLAUDE = "claude-sonnet-4-5"
_HI = [{"role": "user", "content": "hi"}]
_USAGE: dict[str, Any] = {"input_tokens": 11, "output_tokens": 3}
_WEATHER = {"name": "weather", "description": "tells the weather", "input_schema": SCHEMA}
_NOW = {"name": "now", "input_schema": {"type": "object", "properties": {}}}


def _ask(*messages: dict[str, Any], **more: Any) -> Ask:
    body = {"model": CLAUDE, "max_tokens": 4096, "messages": list(messages) or _HI, **more}
    return Ask(PATH, body, {"anthropic-version": "2023-06-01"}, stream_body={"stream": True})


def _whole(*content: dict[str, Any], stop: str = "end_turn", usage: Any = _USAGE) -> bytes:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
    body = {**head, "content": list(content), "stop_reason": stop, "stop_sequence": None}
    return sent(body if usage is None else {**body, "usage": usage})


def _event(kind: str, **data: Any) -> bytes:
    return event({"type": kind, **data}, kind)


def _block(index: int, block: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        _event("content_block_start", index=index, content_block=block),
        *(_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _event("content_block_stop", index=index),
    ]


def _pieces(*blocks: list[bytes], stop: str = "end_turn", usage: Any = _USAGE) -> list[bytes]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    first = {} if usage is None else {"usage": {**usage, "output_tokens": 1}}
    last = {} if usage is None else {"usage": {"output_tokens": usage["output_tokens"]}}
    if usage and "output_tokens_details" in usage:
        last["usage"]["output_tokens_details"] = usage["output_tokens_details"]
    return [
        _event("message_start", message={**head, "stop_reason": None, **first}),
        _event("ping"),
        *(piece for block in blocks for piece in block),
        _event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, **last),
        _event("message_stop"),
    ]


def _says(index: int, *texts: str) -> list[bytes]:
    deltas = ({"type": "text_delta", "text": text} for text in texts)
    return _block(index, {"type": "text", "text": ""}, *deltas)


def _tell(*texts: str, stop: str = "end_turn", usage: Any = _USAGE) -> Tell:
    block = {"type": "text", "text": "".join(texts)}
    return Tell(_whole(block, stop=stop, usage=usage), _pieces(_says(0, *texts), stop=stop, usage=usage))


def _refuse(status: int, kind: str, message: str, **headers: str) -> Refuse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return Refuse(status, sent(error), given)


_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_REASONED = {
    "input_tokens": 11,
    "output_tokens": 23,
    "output_tokens_details": {"thinking_tokens": 20},
}
_CACHED = {
    "input_tokens": 11,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 3,
}

DIALECT = Dialect(
    adapter="anthropic",
    raw="anthropic",
    key_header="x-api-key",
    opening=3,
    asked={
        "prompt": _ask(),
        "system": _ask(
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "text", "text": "now?"}]},
            system="be brief\n\nin French",
        ),
        "tools": _ask(tools=[_WEATHER, _NOW], tool_choice={"type": "any", "disable_parallel_tool_use": True}),
        "one_tool": _ask(tools=[_WEATHER], tool_choice={"type": "tool", "name": "weather"}),
        "no_tool": _ask(tools=[_WEATHER], tool_choice={"type": "none"}),
        "tool_results": _ask(
            {"role": "user", "content": "weather and time in Oslo?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
                    {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "noon"},
                    {"type": "text", "text": "thanks"},
                ],
            },
            tools=[_WEATHER, _NOW],
        ),
        "images": _ask(
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://pictures.example/cat.jpg"},
                    },
                ],
            }
        ),
        "json_schema": _ask(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
        # this generation takes one of temperature and top_p
        "params": _ask(temperature=0.5, max_tokens=100, stop_sequences=["END", "FIN"]),
        "effort": _ask(max_tokens=8000, thinking={"type": "enabled", "budget_tokens": 1600}),
        "elsewhere": _ask(max_tokens=100, stop_sequences=["END"]),
    },
    told={
        "text": _tell("Hello", ", wörld"),
        "length": _tell("He", stop="max_tokens"),
        "reasoning": Tell(
            _whole(
                {"type": "thinking", "thinking": "six by nine", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "AAAA"},
                {"type": "text", "text": "42"},
                usage=_REASONED,
            ),
            _pieces(
                _block(
                    0,
                    {"type": "thinking", "thinking": "", "signature": ""},
                    {"type": "thinking_delta", "thinking": "six by"},
                    {"type": "thinking_delta", "thinking": " nine"},
                    {"type": "signature_delta", "signature": "c2ln"},
                ),
                _block(1, {"type": "redacted_thinking", "data": "AAAA"}),
                _says(2, "42"),
                usage=_REASONED,
            ),
        ),
        "tools": Tell(
            _whole(
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
                stop="tool_use",
            ),
            _pieces(
                _says(0, "let me see"),
                _block(
                    1,
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
                    {"type": "input_json_delta", "partial_json": ""},
                    {"type": "input_json_delta", "partial_json": '{"city"'},
                    {"type": "input_json_delta", "partial_json": ':"Oslo"}'},
                ),
                _block(2, {"type": "tool_use", "id": "call_2", "name": "now", "input": {}}),
                stop="tool_use",
            ),
        ),
        "cached": _tell("Hello", usage=_CACHED),
        "no_usage": _tell("Hello", usage=None),
        "filtered_late": _tell("He", stop="refusal"),
    },
    refused={
        "unauthorized": _refuse(401, "authentication_error", "invalid x-api-key"),
        "unpaid": _refuse(402, "billing_error", "your account cannot be billed"),
        "forbidden": _refuse(403, "permission_error", "not for your workspace"),
        "no_model": _refuse(404, "not_found_error", "model: served-1"),
        "late": _refuse(408, "timeout_error", "Request timed out"),
        "limited": _refuse(429, "rate_limit_error", "this would exceed your rate limit"),
        "limited_until": _refuse(429, "rate_limit_error", "this would exceed it", retry_after="7"),
        "invalid": _refuse(400, "invalid_request_error", "max_tokens: must be positive"),
        "overflow": _refuse(
            400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"
        ),
        "broken": _refuse(500, "api_error", "Internal server error"),
        "unavailable": _refuse(503, "api_error", "unavailable"),
        "overloaded": _refuse(529, "overloaded_error", "Overloaded"),
        "filtered": Refuse(200, _whole(stop="refusal"), pieces=_pieces(stop="refusal")),
        "empty": Refuse(200, _whole(), pieces=_pieces()),
        "error_in_200": Refuse(200, sent(_OVERLOADED), pieces=[*_pieces()[:2], event(_OVERLOADED, "error")]),
    },
    unsaid={
        "everything": (
            "top_p",
            "min_p",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            # its bound of 100 tokens leaves no room for the smallest budget
            "reasoning_effort",
            "verbosity",
            "logit_bias",
        ),
        "several": ("n",),
        "elsewhere": ("truncation",),
    },
    lacks={
        "wrong_sum": "it reports no total",
        "embeddings": "it has none",
    },
    call={"served_model_id": CLAUDE},
)
