"""Amazon Bedrock's Converse: blocks of camelCase words, and a stream of binary frames."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from typing import Any

from llm_policy_host.values import ToolCall, Usage
from tests.contracts.dialect import Ask, Dialect, Refuse, Tell, sent
from tests.contracts.scenarios import MODEL, SCHEMA

PATH = f"/model/{MODEL}/converse"
USAGE: dict[str, Any] = {"inputTokens": 11, "outputTokens": 3, "totalTokens": 14}
_NO_SCHEMA = {"type": "object", "properties": {}}


def frame(kind: str, data: Any, message: str = "event") -> bytes:
    """A frame as Amazon's event streams have it: lengths, headers, payload, two checksums."""
    payload = sent(data)
    headers = {
        f":{message}-type": kind,
        ":content-type": "application/json",
        ":message-type": message,
    }
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(text)) + text.encode()
        for name, text in headers.items()
    )
    prelude = struct.pack("!II", len(head) + len(payload) + 16, len(head))
    prelude += struct.pack("!I", crc32(prelude))
    whole = prelude + head + payload
    return whole + struct.pack("!I", crc32(whole))


def said_by(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"text": text} for text in texts]}


def spec(name: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"toolSpec": {"name": name, **more, "inputSchema": {"json": schema}}}


_HI = [said_by("user", "hi")]
_TOOLS = [spec("weather", SCHEMA, description="tells the weather"), spec("now", _NO_SCHEMA)]


def _ask(messages: list[dict[str, Any]] | None = None, **more: Any) -> Ask:
    return Ask(PATH, {"messages": messages or _HI, **more}, stream_path=f"{PATH}-stream")


def whole(*blocks: dict[str, Any], reason: str = "end_turn", usage: Any = USAGE) -> bytes:
    body = {"output": {"message": {"role": "assistant", "content": list(blocks)}}, "stopReason": reason}
    return sent({**body, "metrics": {"latencyMs": 5}, **({"usage": usage} if usage else {})})


def delta(place: int, **words: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": place, "delta": words, "p": "abc"})


def pieces(*middle: bytes, reason: str = "end_turn", usage: Any = USAGE) -> list[bytes]:
    end = {"metrics": {"latencyMs": 5}, **({"usage": usage} if usage else {})}
    return [
        frame("messageStart", {"role": "assistant", "p": "ab"}),
        *middle,
        frame("contentBlockStop", {"contentBlockIndex": 0}),
        frame("messageStop", {"stopReason": reason}),
        frame("metadata", end),
    ]


def _tell(*texts: str, reason: str = "end_turn", usage: Any = USAGE) -> Tell:
    block = {"text": "".join(texts)}
    told = pieces(*(delta(0, text=text) for text in texts), reason=reason, usage=usage)
    return Tell(whole(block, reason=reason, usage=usage), told)


def refuse(status: int, kind: str, message: str = "no", **headers: str) -> Refuse:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    error = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return Refuse(status, sent({"message": message}), {**error, **given})


def _use(called: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": called, "name": name, "input": arguments}}


def _start(place: int, called: str, name: str) -> bytes:
    start = {"toolUse": {"toolUseId": called, "name": name}}
    return frame("contentBlockStart", {"contentBlockIndex": place, "start": start})


_CACHED = {
    "inputTokens": 11,
    "outputTokens": 3,
    "totalTokens": 164,
    "cacheReadInputTokens": 100,
    "cacheWriteInputTokens": 50,
}
_THOUGHT = {"reasoningContent": {"reasoningText": {"text": "six by nine", "signature": "c2ln"}}}

DIALECT = Dialect(
    adapter="bedrock",
    base_path="",
    stream_kind="application/vnd.amazon.eventstream",
    garbage=b"\x00\x00\x00\x10garbage-garbage!",
    survives_garbage=False,
    asked={
        "prompt": _ask(),
        "system": _ask(
            [said_by("user", "hi"), said_by("assistant", "hello"), said_by("user", "and", "now?")],
            system=[{"text": "be brief"}, {"text": "in French"}],
        ),
        "tools": _ask(toolConfig={"tools": _TOOLS, "toolChoice": {"any": {}}}),
        "one_tool": _ask(toolConfig={"tools": _TOOLS[:1], "toolChoice": {"tool": {"name": "weather"}}}),
        "no_tool": _ask(),
        "tool_results": _ask(
            [
                said_by("user", "weather and time in Oslo?"),
                {
                    "role": "assistant",
                    "content": [
                        {"text": "let me see"},
                        _use("call_1", "weather", city="Oslo"),
                        _use("call_2", "now"),
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}]}},
                        {"toolResult": {"toolUseId": "call_2", "content": [{"text": "noon"}]}},
                        {"text": "thanks"},
                    ],
                },
            ],
            toolConfig={"tools": _TOOLS},
        ),
        "json_schema": _ask(
            outputConfig={
                "textFormat": {
                    "type": "json_schema",
                    "structure": {
                        "jsonSchema": {
                            "name": "place",
                            "schema": json.dumps(SCHEMA, separators=(",", ":")),
                        }
                    },
                }
            }
        ),
        "params": _ask(
            inferenceConfig={
                "temperature": 0.5,
                "topP": 0.9,
                "maxTokens": 100,
                "stopSequences": ["END", "FIN"],
            }
        ),
        "effort": _ask(inferenceConfig={"maxTokens": 8000}, outputConfig={"effort": "low"}),
        "elsewhere": _ask(inferenceConfig={"maxTokens": 100, "stopSequences": ["END"]}),
    },
    told={
        "text": _tell("Hello", ", wörld"),
        "length": _tell("He", reason="max_tokens"),
        "reasoning": Tell(
            whole(_THOUGHT, {"text": "42"}, usage={"inputTokens": 11, "outputTokens": 23, "totalTokens": 34}),
            pieces(
                delta(0, reasoningContent={"text": "six by"}),
                delta(0, reasoningContent={"text": " nine"}),
                delta(0, reasoningContent={"signature": "c2ln"}),
                delta(1, text="42"),
                usage={"inputTokens": 11, "outputTokens": 23, "totalTokens": 34},
            ),
            but={"usage": Usage(input_tokens=11, output_tokens=23)},
        ),
        "tools": Tell(
            whole(
                {"text": "let me see"},
                _use("call_1", "weather", city="Oslo"),
                _use("call_2", "now"),
                reason="tool_use",
            ),
            pieces(
                delta(0, text="let me see"),
                _start(1, "call_1", "weather"),
                delta(1, toolUse={"input": '{"city"'}),
                delta(1, toolUse={"input": ':"Oslo"}'}),
                _start(2, "call_2", "now"),
                delta(2, toolUse={"input": "{}"}),
                reason="tool_use",
            ),
        ),
        "cached": _tell("Hello", usage=_CACHED),
        "no_usage": _tell("Hello", usage=None),
        "wrong_sum": _tell("Hello", usage={**USAGE, "totalTokens": 99}),
        "filtered_late": _tell("He", reason="guardrail_intervened"),
    },
    refused={
        "unauthorized": refuse(401, "UnauthorizedException"),
        "forbidden": refuse(403, "AccessDeniedException", "You don't have access to the model"),
        "no_model": refuse(404, "ResourceNotFoundException", "The model was not found"),
        "late": refuse(408, "ModelTimeoutException"),
        "limited": refuse(429, "ThrottlingException", "Too many requests, please wait"),
        "limited_until": refuse(429, "ThrottlingException", retry_after="7"),
        "invalid": refuse(400, "ValidationException", "messages: text content blocks must be non-empty"),
        "overflow": refuse(400, "ValidationException", "Input is too long for requested model."),
        "broken": refuse(500, "InternalServerException"),
        "unavailable": refuse(503, "ServiceUnavailableException"),
        "filtered": Refuse(200, whole(reason="content_filtered"), pieces=pieces(reason="content_filtered")),
        "empty": Refuse(200, whole(), pieces=pieces()),
    },
    unsaid={
        "everything": (
            "min_p",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "verbosity",
            "parallel_tool_calls",
            "user",
            "logit_bias",
        ),
        "several": ("n",),
        "elsewhere": ("truncation",),
    },
    lacks={
        "images": "it takes no address of an image: test_bedrock has their bytes",
        "embeddings": "its vendors have bodies of their own: test_bedrock has Titan's and Cohere's",
        "unpaid": "it has no such status",
        "overloaded": "it has no such status",
        "error_in_200": "whole, it has none; test_bedrock has those of streams",
    },
)

TOOL_CALLS = (ToolCall("call_1", "weather", '{"city":"Oslo"}'), ToolCall("call_2", "now", "{}"))
