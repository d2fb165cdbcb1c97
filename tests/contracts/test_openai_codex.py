"""What only a ChatGPT subscription does: one stream for all, quotas, callers of the same dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.providers.openai_codex import OpenAICodex, read_quota
from llm_policy_host.values import Credential, Failure, Response, StreamChunk, ToolCall

from .conftest import Talk, meaning, together
from .dialects.openai_codex import (
    DIALECT,
    called,
    deltas,
    message,
    opening,
    response,
    said_by,
    told,
    use,
    words,
)
from .vendor import Reply, Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from llm_policy_host.ports import Provider

NOW_MS = 1_000_000
SCENARIOS = sorted(DIALECT.told)


class Notes:
    """Takes note of quotas."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, float, float, bool]] = []
        self.has_others = False

    def __call__(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        self.taken.append((provider_id, account, used, resets_ms, is_closed))
        return self.has_others


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def talk(notes: Notes) -> AsyncIterator[Talk]:
    http = HttpClient()
    yield Talk(DIALECT, {"openai_codex": OpenAICodex(http, VirtualClock(NOW_MS), notes)})
    await http.close()


async def _asked(talk: Talk, **fields: Any) -> Any:
    async with Vendor([whole(200, DIALECT.told["text"].whole)]) as vendor:
        outcome = await talk.send(vendor, fields)
    assert not isinstance(outcome, Failure), outcome.detail
    return vendor.asked[0].data


def _own(**body: Any) -> dict[str, Any]:
    return {
        "dialect": "openai_responses",
        "messages": [{"role": "user", "content": "x"}],
        "passthrough": body,
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_whole_answer_is_put_together_from_a_stream(talk: Talk, scenario: str) -> None:
    tell = DIALECT.told[scenario]
    streamed = await talk.ask(flow(tell.pieces or ()), {"prompt": "hi"})
    at_once = await talk.ask(whole(200, tell.whole), {"prompt": "hi"})
    assert isinstance(streamed, Response)
    assert isinstance(at_once, Response)
    assert meaning(streamed) == meaning(at_once)
    assert streamed.raw == at_once.raw


async def test_an_end_without_output_is_filled_from_its_items(talk: Talk) -> None:
    items = [message(words("let me see")), use("call_1", "now", "{}")]
    pieces = [
        *opening(),
        *deltas(0, items[0], "let me", " see"),
        *called(1, items[1], "{}"),
        told("completed", response=response()),
    ]
    answer = await talk.ask(flow(pieces), {"prompt": "hi"})
    assert isinstance(answer, Response)
    assert (answer.text, answer.tool_calls) == ("let me see", (ToolCall("call_1", "now", "{}"),))
    assert answer.finish_reason == "tool_calls"
    assert answer.raw["output"] == items


async def test_arguments_that_come_at_once_with_their_item_are_told_once(talk: Talk) -> None:
    item = use("call_1", "now", "{}")
    for events in (
        [
            told("output_item.added", output_index=0, item=item),
            told("output_item.done", output_index=0, item=item),
        ],
        [told("output_item.done", output_index=0, item=item)],
        called(0, item),
    ):
        end = told("completed", response=response(item))
        seen = together(await talk.hear(flow([*opening(), *events, end]), {"prompt": "hi"}))
        assert seen["tool_calls"] == (ToolCall("call_1", "now", "{}"),)


async def test_summaries_of_several_parts_are_parted(talk: Talk) -> None:
    at = {"output_index": 0, "item_id": "rs_1"}
    parts = [
        piece
        for index, text in enumerate(("one", "two"))
        for piece in (
            told("reasoning_summary_part.added", summary_index=index, **at),
            told("reasoning_summary_text.delta", summary_index=index, delta=text, **at),
        )
    ]
    end = told("completed", response=response(message(words("x"))))
    pieces = [*opening(), *parts, *deltas(1, message(words("x")), "x"), end]
    assert together(await talk.hear(flow(pieces), {"prompt": "hi"}))["reasoning"] == "one\n\ntwo"


async def test_a_refusal_is_told_as_one(talk: Talk) -> None:
    part = {"type": "refusal", "refusal": "no, sorry"}
    done = response(message(part))
    pieces = [*opening(), told("refusal.delta", delta="no, "), told("refusal.delta", delta="sorry")]
    heard = together(await talk.hear(flow([*pieces, told("completed", response=done)]), {"prompt": "hi"}))
    assert heard["refusal"] == "no, sorry"
    answer = await talk.ask(flow([*pieces, told("completed", response=done)]), {"prompt": "hi"})
    assert isinstance(answer, Response)
    assert answer.refusal == "no, sorry"


async def test_an_error_event_ends_a_stream(talk: Talk) -> None:
    pieces = [
        *opening(),
        b'data: {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}\n\n',
    ]
    heard = await talk.hear(flow(pieces), {"prompt": "hi"})
    assert isinstance(heard[-1], Failure)
    assert heard[-1].kind == "rate_limit"


# Requests ---------------------------------------------------------------------------------------


async def test_a_body_in_its_own_dialect_keeps_what_the_server_takes(talk: Talk) -> None:
    own = _own(
        model="asked",
        input="hi",
        instructions="be brief",
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "high", "summary": "detailed"},
        tools=[{"type": "web_search"}],
        max_output_tokens=5,
        truncation="auto",
        store=True,
        stream=False,
        _openai={"stop": "END"},
    )
    body = await _asked(talk, **own, params={"reasoning_effort": "low", "max_tokens": 5, "verbosity": "low"})
    assert body == {
        "model": "served-1",
        "instructions": "be brief",
        "input": [said_by("user", "hi")],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "detailed"},
        "text": {"verbosity": "low"},
        "tools": [{"type": "web_search"}],
        "store": False,
        "stream": True,
    }
    call = talk.call("http://127.0.0.1:1", {**own, "params": {"max_tokens": 5}})
    assert sorted(talk.adapter.unsaid(call)) == ["max_tokens", "truncation"]


async def test_items_lose_the_ids_of_what_is_not_stored(talk: Talk) -> None:
    items = [
        {"type": "message", "role": "system", "content": "be brief", "id": "msg_1"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
    ]
    assert (await _asked(talk, **_own(input=items)))["input"] == [
        {"type": "message", "role": "developer", "content": "be brief"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hi", "previous_response_id": "resp_1"},
        {"input": "hi", "conversation": "conv_1"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
)
async def test_what_names_something_stored_fails_the_call(talk: Talk, body: dict[str, Any]) -> None:
    async with Vendor([whole(200, DIALECT.told["text"].whole)]) as vendor:
        outcome = await talk.send(vendor, _own(**body))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, vendor.asked) == ("bad_request", [])
    assert "stores nothing" in outcome.detail


async def test_tool_results_with_images_are_parts(talk: Talk) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    use_ = {"id": "c1", "type": "function", "function": {"name": "see", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": None, "tool_calls": [use_]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "here"}, image]},
    ]
    assert (await _asked(talk, messages=messages))["input"][-1] == {
        "type": "function_call_output",
        "call_id": "c1",
        "output": [
            {"type": "input_text", "text": "here"},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        ],
    }


async def test_embeddings_are_not_to_be_had(talk: Talk) -> None:
    async with Vendor([]) as vendor:
        outcome = await talk.send(vendor, {"kind": "embeddings", "embed": ["x"]})
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.detail) == ("model_unavailable", "a subscription has no embeddings")


# Quotas -----------------------------------------------------------------------------------------


def _with(reply: Reply, **headers: str) -> Reply:
    lines = "".join(f"x-codex-{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
    return Reply(reply.head[:-2] + lines.encode() + b"\r\n", reply.pieces, reply.then, reply.is_chunked)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_quota_of_the_window_used_most_is_noted(
    talk: Talk, notes: Notes, *, is_stream: bool
) -> None:
    reply = _with(
        flow(DIALECT.told["text"].pieces or ()),
        primary_used_percent="12.5",
        primary_reset_after_seconds="60",
        secondary_used_percent="80",
        secondary_reset_after_seconds="3600",
    )
    await (talk.hear if is_stream else talk.ask)(reply, {"prompt": "hi"})
    assert notes.taken == [("p", "work", 80.0, NOW_MS + 3_600_000, False)]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_limit_closes_the_account_until_it_ends(talk: Talk, notes: Notes, *, is_stream: bool) -> None:
    refuse = DIALECT.refused["limited_until"]
    reply = whole(429, refuse.body)
    outcome: Any = await (talk.hear if is_stream else talk.ask)(reply, {"prompt": "hi"})
    failure = outcome[-1] if is_stream else outcome
    assert (failure.kind, failure.retry_after_ms) == ("rate_limit", 7_000)
    assert notes.taken == [("p", "work", 100.0, NOW_MS + 7_000, True)]


async def test_a_limit_of_one_account_is_no_wait_where_another_serves(talk: Talk, notes: Notes) -> None:
    notes.has_others = True
    failure = await talk.ask(whole(429, DIALECT.refused["limited_until"].body), {"prompt": "hi"})
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retry_after_ms) == ("rate_limit", None)


async def test_a_limit_without_an_end_closes_the_account_for_a_minute(talk: Talk, notes: Notes) -> None:
    failed = response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"})
    await talk.hear(flow([*opening(), told("failed", response=failed)]), {"prompt": "hi"})
    assert notes.taken == [("p", "work", 100.0, NOW_MS + 60_000, True)]


async def test_without_an_account_nothing_is_noted(talk: Talk, notes: Notes) -> None:
    reply = _with(whole(429, DIALECT.refused["limited"].body), primary_used_percent="100")
    async with Vendor([reply]) as vendor:
        await talk.send(vendor, {"prompt": "hi"}, Credential())
    assert notes.taken == []
    assert "chatgpt-account-id" not in vendor.asked[0].headers


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({}, None),
        ({"primary-used-percent": "x"}, None),
        ({"primary-used-percent": "nan"}, None),
        ({"primary-used-percent": "-1"}, None),
        ({"primary-used-percent": "5"}, (5.0, NOW_MS + 3_600_000)),
        ({"primary-used-percent": "5", "primary-reset-at": "2000"}, (5.0, 2_000_000.0)),
        ({"secondary-used-percent": "5", "secondary-reset-after-seconds": "1"}, (5.0, NOW_MS + 1000)),
    ],
)
def test_quota_headers_are_read_totally(headers: dict[str, str], quota: object) -> None:
    assert read_quota({f"x-codex-{name}": text for name, text in headers.items()}, NOW_MS) == quota


async def test_every_event_reaches_callers_of_the_dialect(adapters: Mapping[str, Provider]) -> None:
    pieces = [
        *opening(),
        told("web_search_call.searching", item_id="ws_1"),
        *(DIALECT.told["text"].pieces or ())[2:],
    ]
    heard = await Talk(DIALECT, adapters).hear(flow(pieces), {"prompt": "hi"})
    kinds = [chunk.raw["type"] for chunk in heard if isinstance(chunk, StreamChunk) and chunk.raw is not None]
    assert "response.web_search_call.searching" in kinds
    assert len(kinds) == len(pieces)
