"""The Responses dialect as a ChatGPT subscription speaks it: always a stream, nothing stored."""

from __future__ import annotations

from typing import Any

from llm_policy_host.values import Credential, Secret
from tests.contracts.dialect import CANARY, Ask, Dialect, Refuse, Tell, event, sent
from tests.contracts.scenarios import MODEL, SCHEMA

PATH = "/backend-api/codex/responses"
USAGE: dict[str, Any] = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 14,
}
_WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "tells the weather",
    "parameters": SCHEMA,
    "strict": False,
}
_NOW = {
    "type": "function",
    "name": "now",
    "description": "",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


def said_by(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


def _ask(*items: dict[str, Any], **more: Any) -> Ask:
    body = {
        "model": MODEL,
        "instructions": "You are a helpful assistant.",
        "input": list(items) or [said_by("user", "hi")],
        "store": False,
        "stream": True,
        **more,
    }
    return Ask(
        PATH,
        body,
        headers={
            "chatgpt-account-id": "acc-1",
            "openai-beta": "responses=experimental",
            "originator": "llm_policy",
            "accept": "text/event-stream",
        },
    )


def response(
    *items: dict[str, Any], status: str = "completed", usage: Any = USAGE, **more: Any
) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": MODEL}
    return {**head, "output": list(items), "usage": usage, "error": None, "incomplete_details": None, **more}


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(parts),
    }


def words(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def use(called: str, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_{called}",
        "type": "function_call",
        "call_id": called,
        "name": name,
        "arguments": arguments,
    }


def thought(*texts: str) -> dict[str, Any]:
    return {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text} for text in texts],
        "encrypted_content": "gAAAA",
    }


def told(kind: str, **data: Any) -> bytes:
    return event({"type": f"response.{kind}", **data}, f"response.{kind}")


def opening() -> list[bytes]:
    begun = response(status="in_progress", usage=None)
    return [told("created", response=begun), told("in_progress", response=begun)]


def deltas(place: int, item: dict[str, Any], *texts: str) -> list[bytes]:
    """A message in pieces."""
    part = {"output_index": place, "content_index": 0, "item_id": item["id"]}
    return [
        told("output_item.added", output_index=place, item={**item, "content": []}),
        told("content_part.added", part=words(""), **part),
        *(told("output_text.delta", delta=text, **part) for text in texts),
        told("output_text.done", text="".join(texts), **part),
        told("output_item.done", output_index=place, item=item),
    ]


def called(place: int, item: dict[str, Any], *arguments: str) -> list[bytes]:
    """A function call in pieces."""
    at = {"output_index": place, "item_id": item["id"]}
    return [
        told("output_item.added", output_index=place, item={**item, "arguments": ""}),
        *(told("function_call_arguments.delta", delta=piece, **at) for piece in arguments),
        told("function_call_arguments.done", arguments="".join(arguments), **at),
        told("output_item.done", output_index=place, item=item),
    ]


def thinking(place: int, item: dict[str, Any], *texts: str) -> list[bytes]:
    """A summary of reasoning in pieces."""
    at = {"output_index": place, "item_id": "rs_1", "summary_index": 0}
    return [
        told("output_item.added", output_index=place, item={**item, "summary": []}),
        told("reasoning_summary_part.added", part={"type": "summary_text", "text": ""}, **at),
        *(told("reasoning_summary_text.delta", delta=text, **at) for text in texts),
        told("output_item.done", output_index=place, item=item),
    ]


def _tell(*texts: str, usage: Any = USAGE, **more: Any) -> Tell:
    item = message(words("".join(texts)))
    whole = response(item, usage=usage, **more)
    end = told("incomplete" if whole["status"] == "incomplete" else "completed", response=whole)
    return Tell(sent(whole), [*opening(), *deltas(0, item, *texts), end])


def _refuse(status: int, error: Any, **headers: str) -> Refuse:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refuse(status, sent({"error": error}), given)


_REASONED = {
    **USAGE,
    "output_tokens": 23,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 34,
}
_REASONING = response(thought("six by nine"), message(words("42")), usage=_REASONED)
_TOOLS = response(
    message(words("let me see")), use("call_1", "weather", '{"city":"Oslo"}'), use("call_2", "now", "{}")
)
_FAILED = response(status="failed", usage=None, error={"code": "server_error", "message": "upstream"})
_FILTERED = response(status="incomplete", incomplete_details={"reason": "content_filter"})

DIALECT = Dialect(
    adapter="openai_codex",
    raw="openai_responses",
    base_path="/backend-api/codex",
    credential=Credential(Secret(CANARY), "work", {"chatgpt_account_id": "acc-1"}),
    opening=4,
    asked={
        "prompt": _ask(),
        "system": _ask(
            said_by("user", "hi"),
            said_by("assistant", "hello"),
            said_by("user", "and", "now?"),
            instructions="be brief\n\nin French",
        ),
        "tools": _ask(tools=[_WEATHER, _NOW], tool_choice="required", parallel_tool_calls=False),
        "one_tool": _ask(tools=[_WEATHER], tool_choice={"type": "function", "name": "weather"}),
        "no_tool": _ask(tools=[_WEATHER], tool_choice="none"),
        "tool_results": _ask(
            said_by("user", "weather and time in Oslo?"),
            said_by("assistant", "let me see"),
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
            {"type": "function_call", "call_id": "call_2", "name": "now", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
            {"type": "function_call_output", "call_id": "call_2", "output": "noon"},
            said_by("user", "thanks"),
            tools=[_WEATHER, _NOW],
        ),
        "images": _ask(
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what is this?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
                    {"type": "input_image", "image_url": "https://pictures.example/cat.jpg"},
                ],
            }
        ),
        "json_schema": _ask(
            text={"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        ),
        "params": _ask(),
        "effort": _ask(reasoning={"effort": "low", "summary": "auto"}),
    },
    told={
        "text": _tell("Hello", ", wörld"),
        "length": _tell("He", status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        "reasoning": Tell(
            sent(_REASONING),
            [
                *opening(),
                *thinking(0, thought("six by nine"), "six by", " nine"),
                *deltas(1, message(words("42")), "42"),
                told("completed", response=_REASONING),
            ],
        ),
        "tools": Tell(
            sent(_TOOLS),
            [
                *opening(),
                *deltas(0, message(words("let me see")), "let me see"),
                *called(1, use("call_1", "weather", '{"city":"Oslo"}'), '{"city"', ':"Oslo"}'),
                *called(2, use("call_2", "now", "{}"), "{}"),
                told("completed", response=_TOOLS),
            ],
        ),
        "cached": _tell(
            "Hello",
            usage={
                **USAGE,
                "input_tokens": 161,
                "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 50},
                "total_tokens": 164,
            },
        ),
        "no_usage": _tell("Hello", usage=None),
        "wrong_sum": _tell("Hello", usage={**USAGE, "total_tokens": 99}),
        "filtered_late": _tell("He", status="incomplete", incomplete_details={"reason": "content_filter"}),
    },
    refused={
        "unauthorized": _refuse(
            401, {"message": "Your authentication token has expired.", "code": "token_expired"}
        ),
        "unpaid": _refuse(403, {"type": "usage_not_included", "message": "your plan has no Codex"}),
        "forbidden": _refuse(403, {"message": "forbidden"}),
        "no_model": Refuse(404, sent({"detail": "Not Found"})),
        "late": _refuse(408, {"message": "timed out"}),
        "limited": Refuse(429, sent({"detail": "Too many requests"})),
        "limited_until": _refuse(
            429,
            {
                "type": "usage_limit_reached",
                "message": "The usage limit has been reached",
                "resets_in_seconds": 7,
            },
        ),
        "invalid": Refuse(400, sent({"detail": "Unsupported parameter: max_output_tokens"})),
        "overflow": _refuse(
            400,
            {
                "message": "Your input exceeds the context window of this model.",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            },
        ),
        "broken": _refuse(500, {"message": "The server had an error"}),
        "unavailable": _refuse(503, {"message": "overloaded"}),
        "overloaded": _refuse(529, {"message": "overloaded"}),
        "filtered": Refuse(200, sent(_FILTERED), pieces=[*opening(), told("incomplete", response=_FILTERED)]),
        "empty": Refuse(200, sent(response()), pieces=[*opening(), told("completed", response=response())]),
        "error_in_200": Refuse(200, sent(_FAILED), pieces=[*opening(), told("failed", response=_FAILED)]),
    },
    unsaid={
        "everything": (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "max_tokens",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "stop",
            "user",
            "logit_bias",
        ),
        "several": ("n",),
    },
    lacks={
        "elsewhere": "its callers' own dialect is meant there: test_openai_codex",
        "embeddings": "a subscription has none",
    },
)
