"""Hostile requests get a 4xx and nothing else, and the gateway goes on."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.routing import Route

from llm_policy_host.web.openapi import document
from tests.contracts.dialects import dialects
from tests.contracts.vendor import Asked, Reply, flow, whole

from .caller import CHAT, Answer, Line, ask, chat, get
from .gateway import Running, running
from .oddities import altered
from .vendor import selling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIALECTS = dialects()
CONFIG: dict[str, Any] = {
    "providers": {"acme": {"api_kind": "scripted"}},
    "models": {
        "m": {"capabilities": {"embeddings": True}, "served_by": [{"provider": "acme", "price_in": 1}]}
    },
    "profiles": {"p": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}},
    "defaults": {"profile": "p"},
}

HI = [{"role": "user", "content": "hi"}]
GOOD: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"max_tokens": 10, "messages": HI},
    "/v1/messages/count_tokens": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/x/rank": {"messages": HI},
    "/x/explain": {"messages": HI},
    "/x/policy/normalize": {
        "policy_ir": ["policy", ["top"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]
    },
    "/x/flow/normalize": {
        "flow_ir": ["flow", {"q": {"kind": "input"}, "e": {"kind": "output", "inputs": ["q"]}}]
    },
    "/x/policy/templates/default": {},
}
"""Every path that takes a body, and one that it takes."""

EMPTY_IS_GOOD = ("/x/rank", "/x/explain", "/x/policy/templates/default")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Running]:
    with running(CONFIG) as gateway:
        yield gateway
        assert chat(gateway.url).status == 200


def _is_refused(told: Answer) -> bool:
    return 400 <= told.status < 500 and isinstance(told.error["message"], str) and told.error["type"] != ""


# Bytes --------------------------------------------------------------------------------------------


def _nested(depth: int, left: str = "[", right: str = "]") -> bytes:
    return f'{{"messages": {left * depth}{right * depth}}}'.encode()


BYTES: Mapping[str, bytes] = {
    "nothing": b"",
    "blank": b"  \n",
    "a list": b"[]",
    "a list of bodies": b'[{"messages": []}]',
    "null": b"null",
    "a number": b"7",
    "a text": b'"x"',
    "half": b'{"messages": [{"role": "user"',
    "two": b'{"a": 1}{"a": 1}',
    "a trailing comma": b'{"a": 1,}',
    "a comment": b'{"a": 1 /* x */}',
    "single quotes": b"{'a': 1}",
    "depth 65": _nested(65),
    "depth 65 of objects": _nested(65, '{"a":', "}").replace(b":}", b":1}"),
    "depth 100,000": _nested(100_000),
    "depth 100,000 unclosed": b"[" * 100_000,
    "depth 100,000 of objects": b'{"a":' * 100_000,
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "-Infinity": b'{"temperature": -Infinity}',
    "1e999": b'{"temperature": 1e999}',
    "a number of 5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "a duplicate key": b'{"model": "a", "model": "b"}',
    "a duplicate key without spaces": b'{"model":"a","model":"b"}',
    "a duplicate key inside": b'{"messages": [{"role": "user", "role": "system", "content": "x"}]}',
    "a duplicate key by escape": b'{"model": "a", "mod\\u0065l": "b"}',
    "a lone high surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "a lone low surrogate": b'{"messages": [{"role": "user", "content": "\\udc00 x"}]}',
    "a surrogate in a key": b'{"\\ud800": 1}',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"messages": []}',
    "a raw line end in a text": b'{"a": "\n"}',
    "a null byte": b'{"a": 1}\x00',
    "a form": b"model=x&messages=hi",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("path", GOOD)
def test_bytes_that_are_no_body_are_a_400(gateway: Running, path: str, name: str) -> None:
    if name == "nothing" and path in EMPTY_IS_GOOD:
        pytest.skip("this helper has defaults for everything")
    told = ask(gateway.url + path, content=BYTES[name])
    assert _is_refused(told), told
    assert told.status == 400


@pytest.mark.parametrize("path", GOOD)
def test_a_good_body_is_good(gateway: Running, path: str) -> None:
    told = ask(gateway.url + path, GOOD[path])
    assert told.status == 200, told.text


@pytest.mark.parametrize("path", GOOD)
def test_33_mib_are_a_413(gateway: Running, path: str) -> None:
    told = ask(gateway.url + path, content=b'{"a": "' + b"x" * 33 * 2**20 + b'"}')
    assert told.status == 413


def test_a_depth_of_64_is_no_reason(gateway: Running) -> None:
    body = {"messages": HI, "x": json.loads("[" * 63 + "]" * 63)}
    assert ask(gateway.url + CHAT, body).status == 200


# Types --------------------------------------------------------------------------------------------

VALUES: Mapping[str, Any] = {
    "whole": 7,
    "negative": -1,
    "fraction": 1.5,
    "huge": 10**40,
    "wide": 2**64,
    "flag": True,
    "empty text": "",
    "text": "x",
    "empty list": [],
    "texts": ["x"],
    "numbers": [7],
    "nulls": [None],
    "lists": [[]],
    "empty record": {},
    "record": {"x": 1},
    "records": [{}],
    "typed": {"type": "martian"},
    "typed seven": {"type": 7},
    "messages": [{"role": "martian", "content": "x"}],
    "contents": [{"role": "user", "content": 7}],
    "parts": [{"role": "user", "content": [7]}],
    "untyped parts": [{"role": "user", "content": [{"text": "x"}]}],
    "textless parts": [{"role": "user", "content": [{"type": "text", "text": 7}]}],
    "images": [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}],
    "calls": [{"role": "assistant", "tool_calls": [{"function": 7}]}],
    "argued": [
        {
            "role": "assistant",
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "x", "arguments": {}}}],
        }
    ],
}

SOME = ("whole", "huge", "flag", "text", "nulls", "texts", "record", "typed", "records", "argued")
"""One value of each kind."""

_NUMBER = {"whole", "negative", "fraction"}
_TEXT = {"text", "empty text"}
_CHAT: Mapping[str, set[str]] = {
    "messages": set(),
    "model": _TEXT,
    "stream": {"flag"},
    "stream_options": {"empty record", "record", "typed", "typed seven"},
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "max_tokens": {"whole"},
    "max_completion_tokens": {"whole"},
    "n": {"whole"},
    "seed": {"whole", "negative"},
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "reasoning_effort": _TEXT,
    "verbosity": _TEXT,
    "response_format": {"typed"},
    "tools": {
        "empty list",
        "records",
        "messages",
        "contents",
        "parts",
        "untyped parts",
        "textless parts",
        "images",
        "calls",
        "argued",
    },
    "models": {"empty list", "texts"},
    "provider": {"empty record"},
    "policy_ir": set(),
    "flow_ir": set(),
}
"""Of each field that this gateway reads: which of the values it may have."""

FIELDS: Mapping[str, Mapping[str, set[str]]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": {
        name: fits for name, fits in _CHAT.items() if name not in ("messages", "tools", "response_format")
    }
    | {"prompt": _TEXT | {"texts"}},
    "/v1/embeddings": {"input": {"text", "texts", "numbers"}, "model": _TEXT, "stream": set()},
    "/v1/responses": {
        "input": {"text", "empty text"},
        "model": _TEXT,
        "stream": {"flag"},
        "instructions": _TEXT,
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "max_output_tokens": {"whole"},
        "text": {"empty record", "record", "typed", "typed seven"},
        "reasoning": {"empty record", "record", "typed", "typed seven"},
        "previous_response_id": set(),
        "metadata": {"empty record", "record", "typed", "typed seven"},
        "policy_ir": set(),
    },
    "/v1/messages": {
        "messages": set(),
        "model": _TEXT,
        "max_tokens": {"whole"},
        "stream": {"flag"},
        "system": _TEXT | {"empty list"},
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "top_k": {"whole"},
        "stop_sequences": {"empty list", "texts"},
        "tools": {"empty list"},
        "tool_choice": {
            "empty record",
            "record",
            "typed",
            "typed seven",
        },  # for a vendor of the dialect to judge
        "policy_ir": set(),
    },
}


@pytest.mark.parametrize(
    ("path", "field"), [(path, field) for path, fields in FIELDS.items() for field in fields]
)
def test_a_field_of_a_wrong_type_is_a_400(gateway: Running, path: str, field: str) -> None:
    accepted, failed = set(), {}
    for name, value in VALUES.items():
        told = ask(gateway.url + path, {**GOOD[path], field: value})
        if told.status == 200:
            accepted.add(name)
        elif not _is_refused(told):
            failed[name] = told
    assert not failed
    assert accepted <= FIELDS[path][field]


MORE = frozenset(
    [
        "stop",
        "user",
        "metadata",
        "tool_choice",
        "parallel_tool_calls",
        "logit_bias",
        "logprobs",
        "store",
        "thinking",
        "include",
        "truncation",
        "functions",
        "modalities",
        "audio",
        "prediction",
        "service_tier",
        "encoding_format",
        "dimensions",
        "suffix",
        "echo",
        "route",
        "transforms",
        "plugins",
        "usage",
        "context_management",
        "container",
        "mcp_servers",
        "_openai",
        "_lost",
        "_filters",
        "timeout_ms",
        "ttft_ms",
        "idle_ms",
        "deadline_ms",
        "auth_override",
        "extra_candidates",
        "chain",
        "scope",
        "profile",
        "requirements",
        "top_logprobs",
        "prompt_cache_key",
    ]
)
"""Fields of some dialect that this gateway hands on, and names that are its own inside."""


def _vend(asked: Asked) -> Reply:
    dialect = DIALECTS[asked.path.split("/")[1]]
    told = dialect.told["text"]
    if "stream" in asked.path or asked.data.get("stream") is True:
        return flow(told.pieces or (), dialect.stream_kind)
    return whole(200, told.whole)


@pytest.fixture(scope="module")
def vended() -> Iterator[Running]:
    """Serve a profile for each adapter, over its vendor."""
    names = sorted({dialect.adapter for dialect in DIALECTS.values()})
    with selling(_vend, keeps=False) as vendor:
        providers = {
            name: {
                "api_kind": name,
                "base_url": f"{vendor.origin}/{name}{DIALECTS[name].base_path}",
                "auth": {"kind": "bearer", "env": "KEY"},
                **{key: DIALECTS[name].call[key] for key in ("region",) if key in DIALECTS[name].call},
            }
            for name in names
        }
        config = {
            "providers": providers,
            "models": {
                "m": {
                    "capabilities": {"embeddings": True},
                    "served_by": [
                        {
                            "provider": name,
                            "provider_model_id": DIALECTS[name].call.get("served_model_id", "served-1"),
                        }
                        for name in names
                    ],
                }
            },
            "profiles": {name: {"filter": [{"provider_in": [name]}]} for name in names},
            "defaults": {"circuit_breaker_threshold": 1_000_000},
        }
        with running(config, {"KEY": "sk-x"}) as gateway:
            yield gateway


@pytest.mark.parametrize(
    "path", [path for path in FIELDS if path not in ("/v1/embeddings", "/v1/completions")]
)
@pytest.mark.parametrize("adapter", sorted(DIALECTS))
def test_no_field_whatsoever_makes_a_5xx(vended: Running, adapter: str, path: str) -> None:
    """Neither read nor put into another dialect's words."""
    bad = []
    with closing(Line(vended.port)) as line:
        for field in {*FIELDS[path], *MORE}:
            for name in SOME:
                told = line.ask(f"/{adapter}{path}", {**GOOD[path], field: VALUES[name]})
                if told.status >= 500:
                    bad.append((field, name, told.text[:150]))
    assert not bad


_PNG = "data:image/png;base64,iVBORw0KGgo="
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}

RICH: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": _PNG}},
                ],
            },
            {
                "role": "assistant",
                "content": "let me see",
                "reasoning_content": "hm",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "x", "parameters": _SCHEMA, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": _SCHEMA, "strict": True},
        },
        "stop": ["END"],
        "stream_options": {"include_usage": True},
        "max_tokens": 10,
        "reasoning_effort": "low",
        "provider": {
            "order": ["x"],
            "max_price": {"prompt": 1},
            "sort": "price",
            "allow_fallbacks": True,
            "quantizations": ["fp8"],
        },
        "models": ["m"],
    },
    "/v1/responses": {
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hi"},
                    {"type": "input_image", "image_url": _PNG, "detail": "low"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "x",
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "let me see", "annotations": []}],
            },
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": "rain"}],
            },
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {"role": "developer", "content": "in French"},
        ],
        "instructions": "be brief",
        "tools": [
            {"type": "function", "name": "weather", "parameters": _SCHEMA, "strict": True},
            {"type": "custom", "name": "c", "format": {"type": "text"}},
        ],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "weather"}],
        },
        "text": {
            "format": {"type": "json_schema", "name": "place", "schema": _SCHEMA, "strict": True},
            "verbosity": "low",
        },
        "reasoning": {"effort": "low", "summary": "auto"},
        "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"],
        "truncation": "auto",
        "max_output_tokens": 20,
    },
    "/v1/messages": {
        "max_tokens": 2000,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hi"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://pictures.example/cat.jpg"}},
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                        "title": "t",
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "rain"}],
                        "is_error": False,
                    }
                ],
            },
        ],
        "tools": [
            {"name": "weather", "description": "x", "input_schema": _SCHEMA},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}},
    },
}
"""A body with something in most places."""


@pytest.mark.parametrize("path", RICH)
@pytest.mark.parametrize("adapter", sorted(DIALECTS))
def test_no_place_of_a_body_makes_a_5xx(vended: Running, adapter: str, path: str) -> None:
    bad: dict[str, Any] = {}
    with closing(Line(vended.port)) as line:
        for body in altered(RICH[path]):
            told = line.ask(f"/{adapter}{path}", body)
            if told.status >= 500:
                bad.setdefault(told.text[:120], body)
    assert not bad


@pytest.mark.parametrize("path", ["/x/rank", "/x/explain", "/v1/messages/count_tokens"])
def test_no_place_of_what_is_only_looked_at_makes_a_5xx(gateway: Running, path: str) -> None:
    rich = RICH["/v1/messages" if "count" in path else "/v1/chat/completions"]
    with closing(Line(gateway.port)) as line:
        for body in altered(rich):
            told = line.ask(path, body)
            assert told.status < 500, body


@pytest.mark.parametrize("path", [path for path in GOOD if path.startswith("/x")])
def test_no_field_of_a_helper_makes_a_5xx(gateway: Running, path: str) -> None:
    for field in {*_CHAT, *GOOD[path], "source", "params", "requirements", "profile"}:
        for name, value in VALUES.items():
            told = ask(gateway.url + path, {**GOOD[path], field: value})
            assert told.status < 500, (field, name, told)


# The wire -----------------------------------------------------------------------------------------


def _send(port: int, data: bytes, *, ends: bool = False) -> bytes:
    """Write bytes and read what comes until the other side is done or silent."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
        try:
            wire.sendall(data)
            if ends:
                wire.shutdown(socket.SHUT_WR)
            while piece := wire.recv(65536):
                heard += piece
        except (TimeoutError, ConnectionError):
            pass
    return heard


_BODY = json.dumps({"messages": HI}).encode()
_POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"

WIRE: Mapping[str, bytes] = {
    "a length below 0": _POST + b"content-length: -1\r\n\r\n" + _BODY,
    "a length that is a word": _POST + b"content-length: many\r\n\r\n" + _BODY,
    "a length beyond 64 bits": _POST + b"content-length: 99999999999999999999999\r\n\r\n" + _BODY,
    "a length in Arabic digits": _POST + "content-length: ٤٢\r\n\r\n".encode() + _BODY,
    "a length beyond the bound": _POST + b"content-length: 99999999999\r\n\r\n" + _BODY,
    "two lengths": _POST + b"content-length: 5\r\ncontent-length: 50\r\n\r\n" + _BODY,
    "a length and chunks": _POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks of junk": _POST + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk below 0": _POST + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "an endless chunk size": _POST + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n",
    "an unknown encoding": _POST + b"transfer-encoding: gzip\r\n\r\n" + _BODY,
    "a flood of headers": _POST + b"".join(b"x-%d: y\r\n" % place for place in range(20_000)) + b"\r\n",
    "a huge header": _POST + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n",
    "a huge path": b"POST /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "no HTTP": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a name": _POST + b": x\r\n\r\n",
    "a header of two lines": _POST + b"x: y\r\n z\r\ncontent-length: 0\r\n\r\n",
    "a null byte in a header": _POST + b"x: \x00\r\n\r\n",
}


@pytest.mark.parametrize("name", WIRE)
def test_what_is_no_request_gets_a_4xx_or_nothing(gateway: Running, name: str) -> None:
    heard = _send(gateway.port, WIRE[name])
    assert heard == b"" or heard.startswith(b"HTTP/1.1 4"), heard[:200]
    assert get(f"{gateway.url}/healthz").status == 200


def test_a_body_shorter_than_promised_is_no_request(gateway: Running) -> None:
    heard = _send(gateway.port, _POST + b"content-length: 1000\r\n\r\n" + _BODY, ends=True)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 4")
    assert chat(gateway.url).status == 200


def test_a_body_longer_than_promised_is_two_requests_of_which_one_is_none(gateway: Running) -> None:
    heard = _send(gateway.port, _POST + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY + b"junk" * 100)
    statuses = [line.split(b" ")[1] for line in heard.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses in ([b"200", b"400"], [b"200"], [b"400"])
    assert chat(gateway.url).status == 200


@pytest.mark.parametrize(
    "profile",
    [
        "%00",
        "%ff",
        "..",
        "%2e%2e",
        "a%2fb",
        "x" * 5000,
        "%F0%9F%A6%99",
        "p%0d%0ax:y",
        "'",
        "p;q",
        "profile:p",
    ],
)
def test_a_strange_profile_is_none(gateway: Running, profile: str) -> None:
    told = ask(f"{gateway.url}/{profile}{CHAT}", {"messages": HI})
    assert told.status in (400, 404), told
    assert "\n" not in told.headers.get("x", "")


@pytest.mark.parametrize(
    "model",
    [
        "\x00",
        "\r\nx: y",
        "🦙",
        "profile:",
        "pin:",
        "pin:/",
        "flow:x",
        "::",
        "x" * 10_000,
        "martian:x",
        "family:none",
        "profile:none",
    ],
)
def test_a_strange_model_is_told_or_the_default(gateway: Running, model: str) -> None:
    told = ask(gateway.url + CHAT, {"messages": HI, "model": model})
    assert told.status in (200, 400, 404), told
    assert set(told.own) >= {"request-id", "model"}


# The document -------------------------------------------------------------------------------------

SCHEMA = schemathesis.openapi.from_dict(document())
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


def test_the_document_is_served_and_valid(gateway: Running) -> None:
    told = get(f"{gateway.url}/openapi.json").data
    assert told == json.loads(json.dumps(document()))
    SCHEMA.validate()


def test_every_path_that_is_served_is_in_the_document(gateway: Running) -> None:
    routes: dict[str, set[str]] = {}
    for route in gateway.server._app._rest.routes:
        if isinstance(route, Route):
            methods = routes.setdefault(re.sub(r":path}", "}", route.path), set())
            methods |= route.methods or set()
    told = {
        path: {method.upper() for method in item if method in ("get", "post")}
        for path, item in document()["paths"].items()
    }
    assert {path: methods - {"HEAD"} for path, methods in routes.items() if methods} == told


@SCHEMA.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_it_does_what_its_document_says(gateway: Running, case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(base_url=gateway.url, checks=CHECKS, timeout=20)
