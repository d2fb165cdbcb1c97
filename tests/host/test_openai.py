from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import SystemClock
from llm_policy_host.providers._exchange import MAX_BAD_EVENTS
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.providers.openai_compatible import OpenAICompatible
from llm_policy_host.values import Call, Credential, Failure, Response, Secret, StreamChunk

from .server import Reply, Server, answer, completion, delta, events, failing, http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def adapter() -> AsyncIterator[OpenAICompatible]:
    client = HttpClient()
    yield OpenAICompatible(client, SystemClock())
    await client.close()


def _call(base_url: str, **more: Any) -> Call:
    return Call(
        "p", "f", "served-id", base_url=base_url, messages=[{"role": "user", "content": "hi"}], **more
    )


async def _ask(adapter: OpenAICompatible, reply: Reply, **more: Any) -> Response | Failure:
    async with Server([reply]) as server:
        return await adapter.send(_call(server.base_url, **more), Credential())


async def _hear(adapter: OpenAICompatible, reply: Reply) -> list[StreamChunk | Failure]:
    async with Server([reply]) as server:
        items: list[StreamChunk | Failure] = []
        async for item in adapter.stream(_call(server.base_url), Credential()):
            items.extend([item] if isinstance(item, Failure) else item)
        return items


async def test_a_call_carries_model_messages_parameters_and_key(adapter: OpenAICompatible) -> None:
    async with Server([answer()]) as server:
        call = _call(
            server.base_url,
            params={"temperature": 0.5, "timeout_ms": 5, "idle_ms": 1, "ttft_ms": 2},
            passthrough={"stop": ["x"], "model": "evil", "messages": [], "stream": True},
            tools=[{"type": "function"}],
        )
        response = await adapter.send(call, Credential(Secret("k3y")))
        (asked,) = server.asked
    assert isinstance(response, Response)
    assert response.text == "hello"
    assert response.usage is not None
    assert response.usage.total_tokens == 10
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "bearer k3y"
    assert asked.body == {
        "stop": ["x"],
        "temperature": 0.5,
        "tools": [{"type": "function"}],
        "model": "served-id",
        "messages": [{"role": "user", "content": "hi"}],
    }


async def test_no_secret_sends_no_authorization(adapter: OpenAICompatible) -> None:
    async with Server([answer()]) as server:
        await adapter.send(_call(server.base_url), Credential())
        assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failing(503, {"message": "down"}), "server_error"),
        (failing(429, {}, "retry-after: 3\r\n"), "rate_limit"),
        (http(200, b"<html>"), "bad_response"),
        (http(200, b"[" * 50_000), "bad_response"),
        (http(200, b'{"choices": []}'), "bad_response"),
        (http(200, b'{"error": {"code": 429, "message": "slow"}}'), "rate_limit"),
        (http(200, b'{"error": {"message": "upstream"}}'), "server_error"),
        (http(200, json.dumps(completion("")).encode()), "empty_completion"),
        (http(200, json.dumps(completion(None, "content_filter")).encode()), "content_filter"),
        (Reply([b""]), "network_error"),
        (Reply([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{"]), "network_error"),
        (Reply([b"nonsense\r\n\r\n"]), "network_error"),
        (http(302, b"", "location: http://127.0.0.1:1/\r\n"), "bad_response"),
    ],
)
async def test_a_misfortune_is_a_failure_of_its_kind(
    adapter: OpenAICompatible, reply: Reply, kind: str
) -> None:
    failure = await _ask(adapter, reply)
    assert isinstance(failure, Failure)
    assert failure.kind == kind


async def test_a_refused_connection_is_a_network_error(adapter: OpenAICompatible) -> None:
    async with Server([answer()]) as server:
        url = server.base_url
    failure = await adapter.send(_call(url), Credential())
    assert isinstance(failure, Failure)
    assert failure.kind == "network_error"


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://[", "//x", "http://x:99999/"])
async def test_an_address_that_is_none_is_a_failure(adapter: OpenAICompatible, url: str) -> None:
    assert isinstance(await adapter.send(_call(url), Credential()), Failure)


async def test_no_failure_quotes_the_key(adapter: OpenAICompatible) -> None:
    for secret in ("k3y\nx", "k3y\u20ac", "k3y"):
        failure = await adapter.send(_call("http://127.0.0.1:1/v1"), Credential(Secret(secret)))
        assert "k3y" not in repr(failure) + getattr(failure, "detail", "")


async def test_a_length_stop_without_text_is_an_answer(adapter: OpenAICompatible) -> None:
    response = await _ask(adapter, http(200, json.dumps(completion("", "length")).encode()))
    assert isinstance(response, Response)


async def test_usage_is_split_into_disjoint_classes(adapter: OpenAICompatible) -> None:
    body = completion("x")
    body["usage"] |= {
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    response = await _ask(adapter, http(200, json.dumps(body).encode()))
    assert isinstance(response, Response)
    usage = response.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cached_read_tokens, usage.output_tokens, usage.reasoning_tokens) == (
        3,
        4,
        1,
        2,
    )
    assert usage.is_consistent


async def test_a_stream_gives_its_pieces(adapter: OpenAICompatible) -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'
    items = await _hear(
        adapter, events(delta("", role="assistant"), delta("he"), delta("llo"), delta(None, "stop"), usage)
    )
    chunks = [item for item in items if isinstance(item, StreamChunk)]
    assert "".join(chunk.text for chunk in chunks) == "hello"
    assert chunks[-2].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert len(chunks) == len(items)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (failing(503, {}), "server_error"),
        (events(done=False), "network_error"),
        (events(), "empty_completion"),
        (events(delta("", role="assistant"), delta(None, "stop")), "empty_completion"),
        (events(delta("he"), done=False), "network_error"),
        (events(delta("he"), b'data: {"error": {"code": 502, "message": "gone"}}\n\n'), "server_error"),
        (events(*[b"data: {\n\n"] * (MAX_BAD_EVENTS + 1)), "bad_response"),
        (
            Reply(
                [
                    b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\ncontent-type: text/event-stream\r\n\r\n",
                    delta("x"),
                ]
            ),
            "network_error",
        ),
    ],
)
async def test_a_stream_that_fails_ends_in_a_failure(
    adapter: OpenAICompatible, reply: Reply, kind: str
) -> None:
    items = await _hear(adapter, reply)
    assert isinstance(items[-1], Failure)
    assert items[-1].kind == kind
    assert not any(isinstance(item, Failure) for item in items[:-1])


async def test_a_stream_tolerates_a_few_bad_events_and_a_missing_done(adapter: OpenAICompatible) -> None:
    reply = events(b"data: {\n\n", b"rubbish\n\n", delta("ok"), delta(None, "stop"), done=False)
    items = await _hear(adapter, reply)
    assert [item.text for item in items if isinstance(item, StreamChunk)] == ["ok", ""]


async def test_a_whole_answer_to_a_stream_request_is_one_chunk(adapter: OpenAICompatible) -> None:
    (item,) = await _hear(adapter, answer("whole"))
    assert isinstance(item, StreamChunk)
    assert item.text == "whole"


async def test_tool_calls_stream_as_deltas(adapter: OpenAICompatible) -> None:
    first = delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a"'}}])
    second = delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}])
    items = await _hear(adapter, events(first, second, delta(None, "tool_calls")))
    deltas = [part for item in items if isinstance(item, StreamChunk) for part in item.tool_calls]
    assert "".join(part.arguments for part in deltas) == '{"a":1}'
    assert deltas[0].name == "f"


async def test_leaving_a_stream_closes_its_connection(adapter: OpenAICompatible) -> None:
    async with Server([events(delta("a"), done=False, hang=True)]) as server:
        stream = adapter.stream(_call(server.base_url), Credential())
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        for _ in range(100):
            await asyncio.sleep(0.01)
            if server.closed_by_peer:
                break
        assert server.closed_by_peer == 1
