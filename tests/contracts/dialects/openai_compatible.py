"""OpenAI's chat completions: the canonical form itself, so little is translated."""

from __future__ import annotations

from typing import Any

from tests.contracts.dialect import Ask, Dialect, Refuse, Tell, event, sent
from tests.contracts.scenarios import CALLS, MODEL

CHAT = "/v1/chat/completions"
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
_USAGE: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def _ask(scenario: str, **more: Any) -> Ask:
    messages = CALLS[scenario].get("messages")
    return Ask(CHAT, {"model": MODEL, "messages": messages, **more}, stream_body=_STREAM)


def _whole(message: dict[str, Any], finish: str = "stop", usage: Any = _USAGE) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
        "logprobs": None,
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
    }
    return sent({**body, "usage": usage} if usage is not None else body)


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return event({**head, "choices": [choice], "usage": None})


def _pieces(*deltas: dict[str, Any], finish: str = "stop", usage: Any = _USAGE) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    last = [event({**head, "choices": [], "usage": usage})] if usage is not None else []
    chunks = [_chunk(delta) for delta in deltas]
    opening = _chunk({"role": "assistant", "content": "", "refusal": None})
    return [opening, *chunks, _chunk({}, finish), *last, event("[DONE]")]


def _tell(*texts: str, finish: str = "stop", usage: Any = _USAGE) -> Tell:
    pieces = _pieces(*({"content": text} for text in texts), finish=finish, usage=usage)
    return Tell(_whole({"content": "".join(texts)}, finish, usage), pieces)


def _use(called: str, name: str, arguments: str, index: int | None = None) -> dict[str, Any]:
    use = {"id": called, "type": "function", "function": {"name": name, "arguments": arguments}}
    return use if index is None else {"index": index, **use}


def _refuse(status: int, error: Any, **headers: str) -> Refuse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refuse(status, sent({"error": error}), given)


_CACHED = {
    "prompt_tokens": 161,
    "completion_tokens": 3,
    "total_tokens": 164,
    "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 50},
}
_REASONED = {
    "prompt_tokens": 11,
    "completion_tokens": 23,
    "total_tokens": 34,
    "completion_tokens_details": {"reasoning_tokens": 20},
}

DIALECT = Dialect(
    adapter="openai_compatible",
    raw="openai",
    asked={
        "prompt": Ask(
            CHAT, {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}, stream_body=_STREAM
        ),
        "system": _ask("system"),
        "tools": _ask(
            "tools", tools=CALLS["tools"]["tools"], tool_choice="required", parallel_tool_calls=False
        ),
        "one_tool": _ask(
            "one_tool",
            tools=CALLS["one_tool"]["tools"],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        ),
        "no_tool": _ask("no_tool", tools=CALLS["no_tool"]["tools"], tool_choice="none"),
        "tool_results": _ask("tool_results", tools=CALLS["tool_results"]["tools"]),
        "images": _ask("images"),
        "json_schema": _ask("json_schema", response_format=CALLS["json_schema"]["response_format"]),
        "params": _ask("params", temperature=0.5, top_p=0.9, max_tokens=100, stop=["END", "FIN"]),
        "effort": _ask("effort", reasoning_effort="low", max_tokens=8000),
        "elsewhere": _ask("elsewhere", max_tokens=100, stop="END"),
        "embeddings": Ask("/v1/embeddings", {"model": MODEL, "input": ["one", "two"], "dimensions": 2}),
    },
    told={
        "text": _tell("Hello", ", wörld"),
        "length": _tell("He", finish="length"),
        "reasoning": Tell(
            _whole({"content": "42", "reasoning_content": "six by nine"}, usage=_REASONED),
            _pieces(
                {"reasoning_content": "six by"},
                {"reasoning_content": " nine"},
                {"content": "42"},
                usage=_REASONED,
            ),
        ),
        "tools": Tell(
            _whole(
                {
                    "content": "let me see",
                    "tool_calls": [_use("call_1", "weather", '{"city":"Oslo"}'), _use("call_2", "now", "{}")],
                },
                "tool_calls",
            ),
            _pieces(
                {"content": "let me see"},
                {"tool_calls": [_use("call_1", "weather", '{"city"', 0)]},
                {"tool_calls": [{"index": 0, "function": {"arguments": ':"Oslo"}'}}]},
                {"tool_calls": [_use("call_2", "now", "{}", 1)]},
                finish="tool_calls",
            ),
        ),
        "cached": _tell("Hello", usage=_CACHED),
        "no_usage": _tell("Hello", usage=None),
        "wrong_sum": _tell("Hello", usage={**_USAGE, "total_tokens": 99}),
        "filtered_late": _tell("He", finish="content_filter"),
        "embeddings": Tell(
            sent(
                {
                    "object": "list",
                    "model": MODEL,
                    "data": [
                        {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
                        {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
                    ],
                    "usage": {"prompt_tokens": 4, "total_tokens": 4},
                }
            )
        ),
    },
    refused={
        "unauthorized": _refuse(401, {"message": "Incorrect API key provided", "code": "invalid_api_key"}),
        "unpaid": _refuse(402, {"message": "no credits", "code": 402}),
        "forbidden": _refuse(403, {"message": "not for your country"}),
        "no_model": _refuse(404, {"message": "The model `x` does not exist", "code": "model_not_found"}),
        "late": _refuse(408, {"message": "timed out"}),
        "limited": _refuse(429, {"message": "Rate limit reached", "type": "requests"}),
        "limited_until": _refuse(429, {"message": "Rate limit reached"}, retry_after="7"),
        "invalid": _refuse(
            400, {"message": "Unknown parameter", "type": "invalid_request_error", "param": "x"}
        ),
        "overflow": _refuse(
            400,
            {
                "message": "This model's maximum context length is 8192 tokens. However, your messages resulted"
                " in 9001 tokens.",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            },
        ),
        "broken": _refuse(500, {"message": "The server had an error", "type": "server_error"}),
        "unavailable": _refuse(503, {"message": "The engine is currently overloaded"}),
        "overloaded": _refuse(529, {"message": "overloaded"}),
        "filtered": Refuse(
            200, _whole({"content": None}, "content_filter"), pieces=_pieces(finish="content_filter")
        ),
        "empty": Refuse(200, _whole({"content": ""}), pieces=_pieces()),
        "error_in_200": Refuse(
            200,
            sent({"error": {"code": 502, "message": "upstream"}}),
            pieces=[_pieces()[0], event({"error": {"code": 502, "message": "upstream"}})],
        ),
    },
    unsaid={"everything": (), "several": (), "elsewhere": ("truncation",)},
)
