"""Google's Gemini API."""

from __future__ import annotations

from typing import Any

from llm_policy_host.values import Usage
from tests.contracts.dialect import Ask, Dialect, Refuse, Tell, event, sent
from tests.contracts.scenarios import MODEL, PNG, SCHEMA

GEMINI = "gemini-2.5-flash"
_MODEL = f"/v1beta/models/{GEMINI}"
_HI = {"role": "user", "parts": [{"text": "hi"}]}
_USAGE: dict[str, Any] = {"promptTokenCount": 11, "candidatesTokenCount": 3, "totalTokenCount": 14}
_WEATHER = {"name": "weather", "description": "tells the weather", "parametersJsonSchema": SCHEMA}
_NOW = {"name": "now", "parametersJsonSchema": {"type": "object", "properties": {}}}


def _ask(*contents: dict[str, Any], **more: Any) -> Ask:
    body = {"contents": list(contents) or [_HI], **more}
    stream = f"{_MODEL}:streamGenerateContent?alt=sse"
    return Ask(f"{_MODEL}:generateContent", body, stream_path=stream)


def _functions(*declarations: dict[str, Any], **config: Any) -> dict[str, Any]:
    tools: dict[str, Any] = {"tools": [{"functionDeclarations": list(declarations)}]}
    return {**tools, "toolConfig": {"functionCallingConfig": config}} if config else tools


def _body(*parts: dict[str, Any], stop: str | None = "STOP", usage: Any = _USAGE) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0}
    if parts:
        candidate["content"] = {"role": "model", "parts": list(parts)}
    if stop is not None:
        candidate["finishReason"] = stop
    body = {"candidates": [candidate], "modelVersion": MODEL, "responseId": "r1"}
    return body if usage is None else {**body, "usageMetadata": usage}


def _tell(*texts: str, stop: str = "STOP", usage: Any = _USAGE) -> Tell:
    early = None if usage is None else {**usage, "candidatesTokenCount": 1}
    pieces = [event(_body({"text": text}, stop=None, usage=early)) for text in texts[:-1]]
    last = event(_body({"text": texts[-1]}, stop=stop, usage=usage))
    return Tell(sent(_body({"text": "".join(texts)}, stop=stop, usage=usage)), [*pieces, last])


def _refuse(status: int, word: str, message: str, *details: dict[str, Any]) -> Refuse:
    error: dict[str, Any] = {"code": status, "message": message, "status": word}
    if details:
        error["details"] = list(details)
    return Refuse(status, sent({"error": error}))


_BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": MODEL}
_UNAVAILABLE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
_CACHED = {
    "promptTokenCount": 161,
    "cachedContentTokenCount": 100,
    "candidatesTokenCount": 3,
    "totalTokenCount": 164,
}
_REASONED = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 20,
    "totalTokenCount": 34,
}
_CALLS: list[dict[str, Any]] = [
    {
        "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}},
        "thoughtSignature": "c2ln",
    },
    {"functionCall": {"id": "call_2", "name": "now", "args": {}}},
]

DIALECT = Dialect(
    adapter="google",
    raw="google",
    base_path="/v1beta",
    key_header="x-goog-api-key",
    # each event holds an answer's shape: the first one has content
    opening=0,
    ends_itself=False,
    asked={
        "prompt": _ask(),
        "system": _ask(
            _HI,
            {"role": "model", "parts": [{"text": "hello"}]},
            {"role": "user", "parts": [{"text": "and"}, {"text": "now?"}]},
            systemInstruction={"parts": [{"text": "be brief\n\nin French"}]},
        ),
        "tools": _ask(**_functions(_WEATHER, _NOW, mode="ANY")),
        "one_tool": _ask(**_functions(_WEATHER, mode="ANY", allowedFunctionNames=["weather"])),
        "no_tool": _ask(**_functions(_WEATHER, mode="NONE")),
        "tool_results": _ask(
            {"role": "user", "parts": [{"text": "weather and time in Oslo?"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "let me see"},
                    {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}}},
                    {"functionCall": {"id": "call_2", "name": "now", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "rain"}}},
                    {"functionResponse": {"id": "call_2", "name": "now", "response": {"output": "noon"}}},
                    {"text": "thanks"},
                ],
            },
            **_functions(_WEATHER, _NOW),
        ),
        "images": _ask(
            {
                "role": "user",
                "parts": [
                    {"text": "what is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": PNG}},
                    {"fileData": {"fileUri": "https://pictures.example/cat.jpg", "mimeType": "image/jpeg"}},
                ],
            }
        ),
        "json_schema": _ask(
            generationConfig={"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        ),
        "params": _ask(
            generationConfig={
                "temperature": 0.5,
                "topP": 0.9,
                "maxOutputTokens": 100,
                "stopSequences": ["END", "FIN"],
            }
        ),
        "effort": _ask(
            generationConfig={
                "maxOutputTokens": 8000,
                "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
            }
        ),
        "elsewhere": _ask(generationConfig={"maxOutputTokens": 100, "stopSequences": ["END"]}),
        "embeddings": Ask(
            f"{_MODEL}:batchEmbedContents",
            {
                "requests": [
                    {
                        "model": f"models/{GEMINI}",
                        "content": {"parts": [{"text": each}]},
                        "outputDimensionality": 2,
                    }
                    for each in ("one", "two")
                ]
            },
        ),
    },
    told={
        "text": _tell("Hello", ", wörld"),
        "length": _tell("He", stop="MAX_TOKENS"),
        "reasoning": Tell(
            sent(_body({"text": "six by nine", "thought": True}, {"text": "42"}, usage=_REASONED)),
            [
                event(_body({"text": "six by", "thought": True}, stop=None, usage=None)),
                event(_body({"text": " nine", "thought": True}, stop=None, usage=None)),
                event(_body({"text": "42"}, usage=_REASONED)),
            ],
        ),
        "tools": Tell(
            sent(_body({"text": "let me see"}, *_CALLS)),
            [
                event(_body({"text": "let me see"}, stop=None, usage=None)),
                event(_body(_CALLS[0], stop=None, usage=None)),
                event(_body(_CALLS[1], stop=None, usage=None)),
                event(_body({"text": ""})),
            ],
        ),
        "cached": Tell(
            sent(_body({"text": "Hello"}, usage=_CACHED)),
            [event(_body({"text": "Hello"}, usage=_CACHED))],
            # what is written to a cache is not told apart
            but={"usage": Usage(input_tokens=61, cached_read_tokens=100, output_tokens=3)},
        ),
        "no_usage": _tell("Hello", usage=None),
        "wrong_sum": _tell("Hello", usage={**_USAGE, "totalTokenCount": 99}),
        "filtered_late": _tell("He", stop="SAFETY"),
        "embeddings": Tell(
            sent(
                {
                    "embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}],
                    "usageMetadata": {"promptTokenCount": 4},
                }
            ),
            but={"model": None},
        ),
    },
    refused={
        # the vendor says of a wrong key that the request is invalid
        "unauthorized": _refuse(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            },
        ),
        "unpaid": _refuse(402, "FAILED_PRECONDITION", "billing", {"reason": "BILLING_DISABLED"}),
        "forbidden": _refuse(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers"),
        "no_model": _refuse(404, "NOT_FOUND", "models/x is not found for API version v1beta"),
        "late": Refuse(408, b""),
        "limited": _refuse(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota"),
        "limited_until": _refuse(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota",
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
        ),
        "invalid": _refuse(400, "INVALID_ARGUMENT", "Unknown name"),
        "overflow": _refuse(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "broken": _refuse(500, "INTERNAL", "An internal error has occurred"),
        "unavailable": _refuse(503, "UNAVAILABLE", "The model is overloaded."),
        "overloaded": Refuse(529, b""),
        "filtered": Refuse(200, sent(_BLOCKED), pieces=[event(_BLOCKED)]),
        "empty": Refuse(200, sent(_body()), pieces=[event(_body())]),
        "error_in_200": Refuse(200, sent(_UNAVAILABLE), pieces=[event(_UNAVAILABLE)]),
    },
    unsaid={
        "everything": (
            "min_p",
            "repetition_penalty",
            "verbosity",
            "parallel_tool_calls",
            "user",
            "logit_bias",
        ),
        "several": ("n",),
        "elsewhere": ("truncation",),
    },
    call={"served_model_id": GEMINI},
)
