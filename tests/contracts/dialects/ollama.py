"""Ollama's own API: options under a name of their own, lines of JSON, no ids of tool calls."""

from __future__ import annotations

from typing import Any

from llm_policy_host.values import ToolCall, Usage
from tests.contracts.dialect import Ask, Dialect, Refuse, Tell, sent
from tests.contracts.scenarios import MODEL, SCHEMA

CHAT = "/api/chat"
_HI = [{"role": "user", "content": "hi"}]
_COUNTS: dict[str, Any] = {"prompt_eval_count": 11, "eval_count": 3}
_HEAD: dict[str, Any] = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z"}
_WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "tells the weather", "parameters": SCHEMA},
}
_NOW = {
    "type": "function",
    "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
}


def _ask(messages: list[dict[str, Any]], **more: Any) -> Ask:
    body = {"model": MODEL, "messages": messages, "stream": False, **more}
    return Ask(CHAT, body, stream_body={"stream": True})


def _line(message: dict[str, Any], **more: Any) -> bytes:
    return sent({**_HEAD, "message": {"role": "assistant", **message}, "done": False, **more}) + b"\n"


def _tell(*messages: dict[str, Any], reason: str = "stop", counts: Any = None, **but: Any) -> Tell:
    end = {
        "done": True,
        "done_reason": reason,
        "total_duration": 5,
        **(_COUNTS if counts is None else counts),
    }
    whole: dict[str, Any] = {"role": "assistant", "content": ""}
    for message in messages:
        whole |= {name: whole[name] + value if name in whole else value for name, value in message.items()}
    opening = _line({"content": ""})
    pieces = [opening, *(_line({"content": "", **each}) for each in messages), _line({"content": ""}, **end)]
    return Tell(sent({**_HEAD, "message": whole, **end}), pieces, but=but)


def _refuse(status: int, words: str, **headers: str) -> Refuse:
    return Refuse(
        status, sent({"error": words}), {key.replace("_", "-"): text for key, text in headers.items()}
    )


def _use(name: str, **arguments: str) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


_ENDED = {"done": True, "done_reason": "stop", **_COUNTS}

DIALECT = Dialect(
    adapter="ollama",
    base_path="",
    stream_kind="application/x-ndjson",
    garbage=b"{\n",
    asked={
        "prompt": _ask(_HI),
        "system": _ask(
            [
                {"role": "system", "content": "be brief\n\nin French"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "and\nnow?"},
            ]
        ),
        "tools": _ask(_HI, tools=[_WEATHER, _NOW]),
        "one_tool": _ask(_HI, tools=[_WEATHER]),
        "no_tool": _ask(_HI),
        "tool_results": _ask(
            [
                {"role": "user", "content": "weather and time in Oslo?"},
                {
                    "role": "assistant",
                    "content": "let me see",
                    "tool_calls": [_use("weather", city="Oslo"), _use("now")],
                },
                {"role": "tool", "tool_name": "weather", "content": "rain"},
                {"role": "tool", "tool_name": "now", "content": "noon"},
                {"role": "user", "content": "thanks"},
            ],
            tools=[_WEATHER, _NOW],
        ),
        "json_schema": _ask(_HI, format=SCHEMA),
        "params": _ask(
            _HI, options={"temperature": 0.5, "top_p": 0.9, "num_predict": 100, "stop": ["END", "FIN"]}
        ),
        "effort": _ask(_HI, think="low", options={"num_predict": 8000}),
        "elsewhere": _ask(_HI, options={"num_predict": 100, "stop": ["END"]}),
        "embeddings": Ask("/api/embed", {"model": MODEL, "input": ["one", "two"], "dimensions": 2}),
    },
    told={
        "text": _tell({"content": "Hello"}, {"content": ", wörld"}),
        "length": _tell({"content": "He"}, reason="length"),
        "reasoning": _tell(
            {"thinking": "six by"},
            {"thinking": " nine"},
            {"content": "42"},
            counts={"prompt_eval_count": 11, "eval_count": 23},
            usage=Usage(input_tokens=11, output_tokens=23),
        ),
        "tools": _tell(
            {"content": "let me see"},
            {"tool_calls": [_use("weather", city="Oslo")]},
            {"tool_calls": [_use("now")]},
            tool_calls=(
                ToolCall("call_0_0", "weather", '{"city":"Oslo"}'),
                ToolCall("call_0_1", "now", "{}"),
            ),
        ),
        "no_usage": _tell({"content": "Hello"}, counts={}),
        "embeddings": Tell(
            sent({"model": MODEL, "embeddings": [[0.5, -1.0], [0.25, 2.0]], "prompt_eval_count": 4})
        ),
    },
    refused={
        "unauthorized": _refuse(401, "unauthorized"),
        "unpaid": _refuse(402, "you have reached your usage limit"),
        "forbidden": _refuse(403, "forbidden"),
        "no_model": _refuse(404, "model 'served-1' not found"),
        "late": _refuse(408, "timeout"),
        "limited": _refuse(429, "too many concurrent requests"),
        "limited_until": _refuse(429, "too many concurrent requests", retry_after="7"),
        "invalid": _refuse(400, "invalid options: top_k"),
        "overflow": _refuse(400, "the input length exceeds the context length"),
        "broken": _refuse(500, "llama runner process has terminated: exit status 2"),
        "unavailable": _refuse(503, "server busy, please try again. maximum pending requests exceeded"),
        "overloaded": _refuse(529, "overloaded"),
        "empty": Refuse(
            200,
            sent({**_HEAD, "message": {"role": "assistant", "content": ""}, **_ENDED}),
            pieces=[_line({"content": ""}), _line({"content": ""}, **_ENDED)],
        ),
        "error_in_200": Refuse(
            200,
            sent({"error": "an error was encountered while running the model: unexpected EOF"}),
            pieces=[
                sent({"error": "an error was encountered while running the model: unexpected EOF"}) + b"\n"
            ],
        ),
    },
    unsaid={
        "everything": ("verbosity", "parallel_tool_calls", "user", "logit_bias"),
        "several": ("n",),
        "elsewhere": ("truncation",),
    },
    lacks={
        "images": "it takes no address of an image: test_ollama has their bytes",
        "cached": "it does not say what it had in its cache",
        "wrong_sum": "it reports no total",
        "filtered_late": "it has no filter",
        "filtered": "it has no filter",
    },
)
