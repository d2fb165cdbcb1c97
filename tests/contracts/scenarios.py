"""What is asked and what is meant, in canonical form: the same for every dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Response, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = "served-1"
PNG = "iVBORw0KGgo="
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

_HI = [{"role": "user", "content": "hi"}]
_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": "tells the weather", "parameters": SCHEMA},
}
_NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}


def _use(called: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": called, "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS: Mapping[str, dict[str, Any]] = {
    "prompt": {"prompt": "hi"},
    "system": {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "developer", "content": "in French"},
            {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "text", "text": "now?"}]},
        ]
    },
    "tools": {
        "messages": _HI,
        "tools": [_WEATHER, _NOW],
        "passthrough": {"tool_choice": "required", "parallel_tool_calls": False},
    },
    "one_tool": {
        "messages": _HI,
        "tools": [_WEATHER],
        "passthrough": {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
    },
    "no_tool": {"messages": _HI, "tools": [_WEATHER], "passthrough": {"tool_choice": "none"}},
    "tool_results": {
        "messages": [
            {"role": "user", "content": "weather and time in Oslo?"},
            {
                "role": "assistant",
                "content": "let me see",
                "tool_calls": [_use("call_1", "weather", '{"city": "Oslo"}'), _use("call_2", "now", "")],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
            {"role": "user", "content": "thanks"},
        ],
        "tools": [_WEATHER, _NOW],
    },
    "images": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.jpg"}},
                ],
            }
        ]
    },
    "json_schema": {
        "messages": _HI,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
        },
    },
    "params": {
        "messages": _HI,
        "params": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 100},
        "passthrough": {"stop": ["END", "FIN"]},
    },
    "effort": {"messages": _HI, "params": {"reasoning_effort": "low", "max_tokens": 8000}},
    "elsewhere": {
        # the caller's body is in a dialect that no adapter of the suite's first rows speaks
        "messages": _HI,
        "params": {"max_tokens": 100},
        "dialect": "openai_responses",
        "passthrough": {
            "input": "hi",
            "truncation": "auto",
            "_openai": {"stop": "END"},
            "_lost": ["truncation"],
        },
    },
    "embeddings": {"kind": "embeddings", "embed": ["one", "two"], "passthrough": {"dimensions": 2}},
}
"""Calls: the fields of `Call` besides the target."""

EVERYTHING: dict[str, Any] = {
    "messages": _HI,
    "params": {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "max_tokens": 100,
        "seed": 7,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "repetition_penalty": 1.1,
        "n": 1,
        "reasoning_effort": "low",
        "verbosity": "low",
    },
    "passthrough": {
        "stop": "END",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "user": "u",
        "logit_bias": {"1": 1},
        "logprobs": None,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}

UNSAID: Mapping[str, dict[str, Any]] = {
    "everything": EVERYTHING,
    "elsewhere": CALLS["elsewhere"],
    "several": {"messages": _HI, "params": {"n": 3}},
}
"""Calls whose losses a dialect must name."""

_USAGE = Usage(input_tokens=11, output_tokens=3)

ANSWERS: Mapping[str, Response] = {
    "text": Response(text="Hello, wörld", finish_reason="stop", model=MODEL, usage=_USAGE),
    "length": Response(text="He", finish_reason="length", model=MODEL, usage=_USAGE),
    "reasoning": Response(
        text="42",
        reasoning="six by nine",
        finish_reason="stop",
        model=MODEL,
        usage=Usage(input_tokens=11, output_tokens=3, reasoning_tokens=20),
    ),
    "tools": Response(
        text="let me see",
        tool_calls=(ToolCall("call_1", "weather", '{"city":"Oslo"}'), ToolCall("call_2", "now", "{}")),
        finish_reason="tool_calls",
        model=MODEL,
        usage=_USAGE,
    ),
    "cached": Response(
        text="Hello",
        finish_reason="stop",
        model=MODEL,
        usage=Usage(input_tokens=11, cached_read_tokens=100, cache_write_tokens=50, output_tokens=3),
    ),
    "no_usage": Response(text="Hello", finish_reason="stop", model=MODEL, usage=None),
    "wrong_sum": Response(
        text="Hello",
        finish_reason="stop",
        model=MODEL,
        usage=Usage(input_tokens=11, output_tokens=3, reported_total_tokens=99),
    ),
    "filtered_late": Response(text="He", finish_reason="content_filter", model=MODEL, usage=_USAGE),
    "embeddings": Response(embeddings=([0.5, -1.0], [0.25, 2.0]), model=MODEL, usage=Usage(input_tokens=4)),
}
"""What an answer means. `embeddings` is never streamed."""

FAILURES: Mapping[str, dict[str, Any]] = {
    "unauthorized": {"kind": "auth_error", "http_status": 401},
    "unpaid": {"kind": "payment_required", "http_status": 402},
    "forbidden": {"kind": "auth_error", "http_status": 403},
    "no_model": {"kind": "model_unavailable", "http_status": 404},
    "late": {"kind": "timeout", "http_status": 408},
    "limited": {"kind": "rate_limit", "http_status": 429},
    "limited_until": {"kind": "rate_limit", "http_status": 429, "retry_after_ms": 7000},
    "invalid": {"kind": "bad_request", "http_status": 400},
    "overflow": {"kind": "context_overflow", "http_status": 400},
    "broken": {"kind": "server_error", "http_status": 500},
    "unavailable": {"kind": "server_error", "http_status": 503},
    "overloaded": {"kind": "server_error", "http_status": 529},
    "filtered": {"kind": "content_filter"},
    "empty": {"kind": "empty_completion"},
    "error_in_200": {"kind": "server_error"},
}
"""What a refusal means. The last three come with status 200, whole and as pieces of a stream."""
