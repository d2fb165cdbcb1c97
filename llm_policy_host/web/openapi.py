"""What the gateway serves, as an OpenAPI 3.1 document.

Bodies are described as far as this gateway reads them; whatever else a caller writes goes to a
provider of the same dialect, so no record is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.account import RESOURCES, WINDOWS_MS
from llm_policy_host.ledger.caveats import CONTENT_LEVELS
from llm_policy_host.ledger.usage import BY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Json = dict[str, Any]

_MAX_EXACT: Final = 2**53


def document() -> Json:
    """Give the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llm-policy",
            "version": "1",
            "description": "OpenAI's and Anthropic's APIs over one policy that decides which model answers.",
        },
        "paths": {**_apis(""), **_apis("/{profile}"), **_HELPERS, **_OPERATIONS},
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"x-api-key": []}, {"api-key": []}],
    }


# Words ------------------------------------------------------------------------------------------------


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(**more: Any) -> Json:  # noqa: ANN401 - keywords of a schema
    return {"type": "string", **more}


def _maybe(schema: Json) -> Json:
    """Let it be absent or null, which mean the same."""
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Json, **more: Any) -> Json:  # noqa: ANN401
    return {"type": "array", "items": items, **more}


def _record(fields: Mapping[str, Json] | None = None, needed: Sequence[str] = ()) -> Json:
    record: Json = {"type": "object"}
    if fields:
        record["properties"] = dict(fields)
    if needed:
        record["required"] = list(needed)
    return record


_ANY: Final[Json] = {}
_NUMBER: Final[Json] = {"type": "number", "minimum": -_MAX_EXACT, "maximum": _MAX_EXACT}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0, "maximum": _MAX_EXACT}
_SEED: Final[Json] = {"type": "integer", "exclusiveMinimum": -_MAX_EXACT, "exclusiveMaximum": _MAX_EXACT}
_WORD: Final[Json] = _text(maxLength=64)
_TERM: Final[Json] = {
    "type": "array",
    "description": "a term of the policy language, `[operation, argument…]`",
}

_ROUTED: Final[Mapping[str, Json]] = {
    "model": _maybe(_text(description="empty, a family, `profile:`, `family:`, `pin:`, `flow:`")),
    "stream": _maybe({"type": "boolean"}),
    "models": _maybe(_list(_text())),
    "provider": _maybe(_record()),
    "policy_ir": _maybe(_TERM),
    "flow_ir": _maybe(_TERM),
}
"""Which model is meant: the same in every API."""

_SAMPLED: Final[Mapping[str, Json]] = {
    **{
        name: _maybe(_NUMBER)
        for name in (
            "temperature",
            "top_p",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
        )
    },
    **{name: _maybe(_COUNT) for name in ("top_k", "max_tokens", "max_completion_tokens", "n")},
    "seed": _maybe(_SEED),
    "reasoning_effort": _maybe(_WORD),
    "verbosity": _maybe(_WORD),
    "stream_options": _maybe(_record()),
}

_ERROR: Final = _record(
    {
        "message": _text(),
        "type": _text(),
        "code": _maybe(_text()),
        "param": _maybe(_text()),
        "metadata": _record(
            {
                "error_type": _text(),
                "retry_after": _maybe({"type": "integer", "minimum": 0}),
                "attempts": _COUNT,
                "excluded_by": _record(),
            },
            ("error_type", "retry_after"),
        ),
    },
    ("message", "type", "metadata"),
)

_SCHEMAS: Final[Mapping[str, Json]] = {
    "Error": _record({"error": _ERROR}, ("error",)),
    "Message": _record(
        {
            "role": {"enum": ["assistant", "developer", "function", "system", "tool", "user"]},
            "content": _maybe({"anyOf": [_text(), _list(_ref("Part"))]}),
            "tool_calls": _maybe(_list(_ref("ToolCall"))),
        },
        ("role",),
    ),
    "Part": {
        "oneOf": [
            _record({"type": {"const": "text"}, "text": _text()}, ("type", "text")),
            _record(
                {"type": {"const": "image_url"}, "image_url": _record({"url": _text()}, ("url",))},
                ("type", "image_url"),
            ),
            _record({"type": {"enum": ["input_audio", "file", "refusal"]}}, ("type",)),
        ]
    },
    "ToolCall": _record(
        {
            "id": _text(),
            "type": {"const": "function"},
            "function": _record({"name": _text(), "arguments": _text()}, ("name", "arguments")),
        },
        ("id", "type", "function"),
    ),
    "Tool": _record(
        {
            "type": {"const": "function"},
            "function": _record({"name": _text(), "parameters": _record()}, ("name",)),
        },
        ("type", "function"),
    ),
    "ChatBody": _record(
        {
            **_ROUTED,
            **_SAMPLED,
            "messages": _list(_ref("Message"), minItems=1),
            "tools": _maybe(_list(_ref("Tool"))),
            "response_format": _maybe(_record({"type": _text()}, ("type",))),
        },
        ("messages",),
    ),
    "Chat": _record(
        {
            "id": _text(),
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": _text(),
            "choices": _list(_record({"message": _record()}, ("message",))),
            "usage": _record(),
            "x_router": _record(),
        },
        ("id", "object", "created", "model", "choices"),
    ),
    "ResponsesBody": _record(
        {
            **_ROUTED,
            "input": {"anyOf": [_text(), _list(_ref("InputMessage"), minItems=1)]},
            "instructions": _maybe(_text()),
            "temperature": _maybe(_NUMBER),
            "top_p": _maybe(_NUMBER),
            "max_output_tokens": _maybe(_COUNT),
            "metadata": _maybe(_record()),
        },
        ("input",),
    ),
    "InputMessage": _record(
        {"role": {"enum": ["assistant", "developer", "system", "user"]}, "content": _text()},
        ("role", "content"),
    ),
    "Response": _record(
        {
            "id": _text(),
            "object": {"const": "response"},
            "status": {"enum": ["completed", "incomplete"]},
            "model": _text(),
            "output": _list(_record({"type": _text()}, ("type",))),
            "x_router": _record(),
        },
        ("id", "object", "status", "model", "output"),
    ),
    "MessagesBody": _record(
        {
            **_ROUTED,
            "max_tokens": _COUNT,
            "messages": _list(_ref("Turn"), minItems=1),
            "system": _maybe(_text()),
            "temperature": _maybe(_NUMBER),
            "top_p": _maybe(_NUMBER),
            "top_k": _maybe(_COUNT),
            "stop_sequences": _maybe(_list(_text())),
        },
        ("max_tokens", "messages"),
    ),
    "CountBody": _record(
        {"messages": _list(_ref("Turn"), minItems=1), "system": _maybe(_text())}, ("messages",)
    ),
    "Count": _record({"input_tokens": _COUNT}, ("input_tokens",)),
    "Turn": _record({"role": {"enum": ["assistant", "user"]}, "content": _text()}, ("role", "content")),
    "AnthropicMessage": _record(
        {
            "id": _text(),
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": _text(),
            "content": _list(_record({"type": _text()}, ("type",))),
            "stop_reason": _maybe(_text()),
            "usage": _record(
                {"input_tokens": _COUNT, "output_tokens": _COUNT}, ("input_tokens", "output_tokens")
            ),
            "x_router": _record(),
        },
        ("id", "type", "role", "model", "content", "stop_reason", "usage"),
    ),
    "CompletionsBody": _record({**_ROUTED, **_SAMPLED, "prompt": _text()}, ("prompt",)),
    "Completion": _record(
        {
            "id": _text(),
            "object": {"const": "text_completion"},
            "model": _text(),
            "choices": _list(_record({"text": _text()}, ("text",))),
        },
        ("id", "object", "model", "choices"),
    ),
    "EmbeddingsBody": _record(
        {
            **{name: schema for name, schema in _ROUTED.items() if name != "stream"},
            "input": {
                "anyOf": [
                    _text(minLength=1),
                    _list(_text(minLength=1), minItems=1, maxItems=2048),
                    _list(_COUNT, minItems=1),
                ]
            },
        },
        ("input",),
    ),
    "Embeddings": _record(
        {
            "object": {"const": "list"},
            "model": _text(),
            "data": _list(_record({"index": _COUNT, "embedding": _ANY}, ("index", "embedding"))),
            "usage": _record(),
        },
        ("object", "model", "data"),
    ),
    "Model": _record(
        {
            "id": _text(),
            "object": {"const": "model"},
            "owned_by": _text(),
            "context_length": {"type": "number"},
        },
        ("id", "object", "owned_by"),
    ),
    "Models": _record({"object": {"const": "list"}, "data": _list(_ref("Model"))}, ("object", "data")),
    "Usage": _record(
        {
            "object": {"const": "usage"},
            "key": _maybe(_text()),
            "accounts": _list(_ref("Account")),
            "remaining": _ref("Amounts"),
            "by": {"enum": [*BY]},
            "data": _list(_ref("Used")),
            "total": _ref("Used"),
        },
        ("object",),
    ),
    "Account": _record(
        {
            "account": _text(),
            "parent": _maybe(_text()),
            "window": {"enum": [*WINDOWS_MS]},
            "resets_at_ms": _maybe(_COUNT),
            "is_shadow": {"type": "boolean"},
            **{name: _ref("Amounts") for name in ("limits", "used", "held")},
        },
        ("account", "window", "limits", "used", "held"),
    ),
    "Amounts": _record(dict.fromkeys(RESOURCES, _COUNT)),
    "Used": _record(dict.fromkeys(("attempts", "failed", *RESOURCES), _COUNT)),
    "Record": _record(),
    "RankBody": _record({**_ROUTED, **_SAMPLED, "messages": _list(_ref("Message"), minItems=1)}),
    "Ranking": _record({"ordered": _list(_record()), "rejected": _list(_record())}, ("ordered", "rejected")),
    "PolicyBody": {
        "oneOf": [_record({"policy_ir": _TERM}, ("policy_ir",)), _record({"profile": _text()}, ("profile",))]
    },
    "FlowBody": _record({"flow_ir": _TERM}, ("flow_ir",)),
    "Identified": _record(
        {"identity": _text(pattern="^sha256:[0-9a-f]{64}$"), "encoding": _text()}, ("identity",)
    ),
    "Status": _record({"status": _text()}, ("status",)),
    "Waiting": _record(
        {
            "object": {"const": "approval"},
            "id": _text(),
            "run_id": _text(),
            "state": _text(),
            "gate": _text(),
            "reason": _text(),
            "expires_at_ms": _COUNT,
        },
        ("object", "id", "run_id", "state", "gate", "reason", "expires_at_ms"),
    ),
    "DecisionBody": _record(
        {"decision": {"enum": ["approve", "redirect", "deny"]}, "target": _maybe(_text())}, ("decision",)
    ),
    "SessionBody": _record(
        {
            "mode": {"enum": ["work", "steward"]},
            "max_turns": _maybe(_COUNT),
            "max_usd": _maybe({"type": "number"}),
        }
    ),
    "SessionChange": _record({"mode": {"enum": ["work", "steward"]}, "closed": {"type": "boolean"}}),
}


# Answers ----------------------------------------------------------------------------------------------

_REFUSED: Final[Mapping[int, str]] = {
    400: "not a request that can be understood, or a refused term",
    401: "the caller's key is missing or not known",
    403: "the key may not do this",
    404: "no such profile or model, or nobody fits the request and its policy",
    413: "the body is too large",
}

_FAILED: Final[Mapping[int, str]] = {
    402: "no account pays for it: `metadata` names account and resource",
    409: "the request of this Idempotency-Key is under way, or its answer is no longer kept",
    422: "this Idempotency-Key came with another request",
    429: "every provider, or the key, limits its rate; see Retry-After",
    500: "the gateway failed",
    502: "the providers failed",
    503: "nobody is there for now, or the gateway has enough to do; see Retry-After",
    504: "no provider answered in time",
}

_BOOKED: Final = ("run-id", "remaining-usd", "remaining-tokens", "remaining-calls", "replayed")
"""Headers of a gateway with a ledger, where there is something to tell."""

_HEADERS: Final[Json] = {
    f"x-llm-policy-{name}": {"schema": _text()}
    for name in (
        "request-id",
        "provider",
        "model",
        "served-by",
        "attempts",
        "policy",
        "cost-usd",
        "cost-basis",
        "overhead-ms",
        *_BOOKED,
    )
}

_ONCE: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "where a ledger is kept: a repeat gets the answer that there was, and nobody is asked",
    "schema": _text(minLength=1, maxLength=255, pattern="^[ -~]+$"),
}

_KEPT: Final[Json] = {
    "name": "x-llm-policy-content",
    "in": "header",
    "description": "where what is said may be kept: the most that is kept of this request and its answer",
    "schema": _text(enum=[*CONTENT_LEVELS]),
}


def _json(words: str, schema: str, **more: Any) -> Json:  # noqa: ANN401
    return {"description": words, "content": {"application/json": {"schema": _ref(schema)}}, **more}


def _answers(schema: str, statuses: Mapping[int, str], **more: Any) -> Json:  # noqa: ANN401
    refused = {str(status): _json(words, "Error") for status, words in statuses.items()}
    return {"200": _json("the answer", schema, **more), **refused}


def _post(summary: str, body: str, answers: Json, *, is_needed: bool = True) -> Json:
    content = {"application/json": {"schema": _ref(body)}}
    return {
        "summary": summary,
        "requestBody": {"required": is_needed, "content": content},
        "responses": answers,
    }


def _skin(summary: str, body: str, schema: str, *, is_streamed: bool = True) -> Json:
    answers = _answers(schema, {**_REFUSED, **_FAILED}, headers=_HEADERS)
    if is_streamed:
        answers["200"]["content"]["text/event-stream"] = {}
    answers["202"] = _json("it waits for a person's approval", "Waiting")
    return {"post": {**_post(summary, body, answers), "parameters": [_ONCE, _KEPT]}}


def _get(summary: str, schema: str, statuses: Mapping[int, str]) -> Json:
    return {"get": {"summary": summary, "responses": _answers(schema, statuses)}}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _text(minLength=1)}


# Paths ------------------------------------------------------------------------------------------------

_KEYED: Final = {status: _REFUSED[status] for status in (401, 403)}
_HELPED: Final = {**_REFUSED, 500: _FAILED[500]}
_LISTED: Final = {**_KEYED, 500: _FAILED[500]}
_NO_LEDGER: Final = "no ledger is kept here"
_DECIDED: Final = {
    **_HELPED,
    404: "no such approval",
    409: "it was decided already, or its time is over",
    422: "the policy does not list the route",
}

_V1: Final[Mapping[str, Json]] = {
    "/v1/chat/completions": _skin("OpenAI's chat completions", "ChatBody", "Chat"),
    "/v1/responses": _skin("OpenAI's Responses API", "ResponsesBody", "Response"),
    "/v1/messages": _skin("Anthropic's Messages API", "MessagesBody", "AnthropicMessage"),
    "/v1/messages/count_tokens": {
        "post": _post("an estimate of a body's tokens", "CountBody", _answers("Count", _HELPED))
    },
    "/v1/completions": _skin("OpenAI's completions", "CompletionsBody", "Completion"),
    "/v1/embeddings": _skin("OpenAI's embeddings", "EmbeddingsBody", "Embeddings", is_streamed=False),
    "/v1/usage": {
        "get": {
            "summary": "what the key's accounts have left; with `by`, what was used over a period",
            "parameters": [
                {"name": "by", "in": "query", "schema": {"enum": [*BY]}},
                *({"name": name, "in": "query", "schema": _COUNT} for name in ("from_ms", "to_ms")),
            ],
            "responses": _answers("Usage", {**_LISTED, 400: _REFUSED[400], 404: "no ledger is kept here"}),
        }
    },
    "/v1/models": _get("every family, and every profile as `profile:NAME`", "Models", _LISTED),
    "/v1/models/{name}": {
        **_get("one of them", "Model", {**_LISTED, 404: "no such model"}),
        "parameters": [_in_path("name")],
    },
}


def _apis(base: str) -> Json:
    """Give the APIs, at the root or below a profile."""
    if not base:
        return dict(_V1)
    own = [_in_path("profile")]
    return {
        base + path: {**item, "parameters": [*own, *item.get("parameters", [])]} for path, item in _V1.items()
    }


_HELPERS: Final[Mapping[str, Json]] = {
    "/x/rank": {
        "post": _post("who would serve a chat", "RankBody", _answers("Ranking", _HELPED), is_needed=False)
    },
    "/x/explain": {
        "post": _post("the same, and why", "RankBody", _answers("Ranking", _HELPED), is_needed=False)
    },
    "/x/policy/normalize": {
        "post": _post("a policy in normal form", "PolicyBody", _answers("Identified", _HELPED))
    },
    "/x/flow/normalize": {
        "post": _post("a flow in normal form", "FlowBody", _answers("Identified", _HELPED))
    },
    "/x/policy/templates": _get("policies to start from", "Record", _LISTED),
    "/x/policy/templates/{template}": {
        "post": _post("a policy of a template", "Record", _answers("Identified", _HELPED), is_needed=False),
        "parameters": [_in_path("template")],
    },
    "/x/fields": _get("what policies may observe", "Record", _LISTED),
    "/x/health/routes": _get("the health of every route", "Record", _LISTED),
    "/x/approvals": _get("what waits for this approver", "Record", {**_LISTED, 404: _NO_LEDGER}),
    "/x/approvals/{approval}": {
        **_get("the state of what waits, or no longer does", "Waiting", {**_LISTED, 404: "no such approval"}),
        "post": _post("a decision on it", "DecisionBody", _answers("Waiting", _DECIDED)),
        "parameters": [_in_path("approval")],
    },
    "/x/sessions": {"post": _post("a session of this key's own", "SessionBody", _answers("Record", _HELPED))},
    "/x/sessions/{session}": {
        **_get("its mode, turns and limits", "Record", {**_LISTED, 404: "no such session"}),
        "post": _post("another mode, or its end", "SessionChange", _answers("Record", _HELPED)),
        "parameters": [_in_path("session")],
    },
}

_OPERATIONS: Final[Mapping[str, Json]] = {
    "/healthz": _get("whether it lives", "Status", {}),
    "/readyz": {
        "get": {
            "summary": "whether it takes requests",
            "responses": {"200": _json("it does", "Status"), "503": _json("it is draining", "Status")},
        }
    },
    "/metrics": {
        "get": {
            "summary": "what it counts, for Prometheus",
            "responses": {
                "200": {"description": "the counts", "content": {"text/plain": {"schema": _text()}}}
            },
        }
    },
    "/openapi.json": _get("this document", "Record", {}),
}
