"""Anthropic's Messages API as pure words: bodies read, answers written, streams encoded."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given, settings

from llm_policy_host.values import Contract, Response, StreamChunk, ToolCall
from llm_policy_host.web.errors import Problem, RefusedError
from llm_policy_host.web.skins.counting import count_tokens
from llm_policy_host.web.skins.messages import Messages

from .streams import (
    ASKED,
    CHOSEN,
    USAGE,
    assembled,
    bodies,
    called,
    encoded,
    events,
    message_of,
    result,
    streams,
)

SKIN = Messages()
HI = {"role": "user", "content": "hi"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "tells it", "input_schema": SCHEMA}
WEATHER_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def read(*messages: dict[str, Any], **more: Any) -> Contract:
    return SKIN.read({"model": "m", "max_tokens": 9, "messages": list(messages) or [HI], **more}, ASKED)


# Bodies -------------------------------------------------------------------------------------------


def test_a_conversation_is_read_into_the_canonical_words() -> None:
    contract = read(
        {"role": "user", "content": [{"type": "text", "text": "look"}, PNG]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I "},
                {"type": "text", "text": "ask"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "sun"}, PNG],
                },
                {"type": "tool_result", "tool_use_id": "t2", "content": "no city", "is_error": True},
                {"type": "text", "text": "and now?"},
            ],
        },
        system=[{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
    )
    assert contract.messages == [
        {"role": "system", "content": "be brief\n\nbe kind"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, PNG_PART]},
        {
            "role": "assistant",
            "content": "I ask",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                },
                {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "sun"},
        {"role": "tool", "tool_call_id": "t2", "content": "error: no city"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "(an image in the result of tool call t1)"},
                PNG_PART,
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
         [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
        ({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
         [{"type": "text", "text": "T"}, {"type": "text", "text": "d"}]),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
         [{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]),
        ({"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "c"}]},
         [{"type": "text", "text": "T\nS\nc"}]),
        ({"type": "container_upload", "file_id": "f"}, [{"type": "container_upload", "file_id": "f"}]),
    ],
)  # fmt: skip
def test_each_block_of_a_users_has_its_canonical_part(block: dict[str, Any], parts: list[Any]) -> None:
    before = {"type": "text", "text": "before"}
    content = read({"role": "user", "content": [before, block]}).messages[0]["content"]
    assert content == [before, *parts]


def test_settings_are_read_into_parameters_and_openais_words() -> None:
    contract = read(
        temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["END"], metadata={"user_id": "u"},
        tools=[WEATHER], tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
    )  # fmt: skip
    assert contract.params == {
        "max_tokens": 9,
        "reasoning_effort": "low",
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.9,
    }
    assert contract.passthrough["_openai"] == {
        "stop": ["END"],
        "user": "u",
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    }
    assert contract.tools == [WEATHER_TOOL]
    assert contract.response_format is not None
    assert contract.response_format["json_schema"]["schema"] == SCHEMA
    assert contract.passthrough["_lost"] == []


@pytest.mark.parametrize(
    ("choice", "said"),
    [({"type": "any"}, "required"), ({"type": "auto"}, "auto"), ({"type": "none"}, "none")],
)
def test_the_choice_of_tools_has_openais_words(choice: dict[str, Any], said: str) -> None:
    assert read(tools=[WEATHER], tool_choice=choice).passthrough["_openai"] == {"tool_choice": said}


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, "low"),
        ({"type": "enabled", "budget_tokens": 10_000}, "medium"),
        ({"type": "enabled", "budget_tokens": 32_000}, "high"),
        ({"type": "adaptive"}, None),
        ({"type": "disabled"}, None),
    ],
)
def test_a_budget_of_thinking_is_an_effort(thinking: dict[str, Any], effort: str | None) -> None:
    assert read(thinking=thinking).params.get("reasoning_effort") == effort


def test_the_whole_body_goes_to_a_provider_of_the_dialect_and_what_others_lose_is_named() -> None:
    body = {
        "model": "m", "max_tokens": 9, "messages": [HI], "container": "c", "new_field": {"a": 1}, "service_tier": "auto",
        "tools": [WEATHER, SEARCH],
    }  # fmt: skip
    asked = dataclasses.replace(ASKED, headers={b"anthropic-beta": b"a-1, b-2"})
    passthrough = SKIN.read(body, asked).passthrough
    assert {name: passthrough[name] for name in body} == body
    assert passthrough["_lost"] == [
        "container",
        "new_field",
        "service_tier",
        "tools:web_search_20250305",
        "anthropic-beta",
    ]
    assert passthrough["_betas"] == ["a-1", "b-2"]


def test_tools_that_only_the_vendor_has_are_kept_where_the_request_is_about_them() -> None:
    assert read(tools=[SEARCH]).tools == [SEARCH]
    forced = read(tools=[WEATHER, SEARCH], tool_choice={"type": "tool", "name": "web_search"})
    assert forced.tools == [WEATHER_TOOL, SEARCH]
    assert read(tools=[WEATHER, SEARCH]).tools == [WEATHER_TOOL]


def test_records_of_the_vendors_servers_are_left_out_elsewhere_and_named() -> None:
    contract = read(
        HI,
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "text", "text": "found"},
            ],
        },
        HI,
    )
    assert contract.messages[1] == {"role": "assistant", "content": "found"}
    assert contract.passthrough["_lost"] == [
        "messages:redacted_thinking",
        "messages:server_tool_use",
        "messages:web_search_tool_result",
    ]
    assert len(contract.passthrough["messages"][1]["content"]) == 4


def test_two_turns_of_the_model_stay_two() -> None:
    use = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
    messages = read(
        HI, {"role": "assistant", "content": [use]}, {"role": "assistant", "content": "so"}
    ).messages
    assert [message["content"] for message in messages] == ["hi", None, "so"]


def test_the_form_of_an_answer_has_an_older_word() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    assert read(output_format=form).response_format == read(output_config={"format": form}).response_format
    assert read(output_format=form).response_format is not None


def test_a_thought_alone_is_no_message_elsewhere() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    messages = read(HI, {"role": "assistant", "content": [thought]}, HI).messages
    assert [message["role"] for message in messages] == ["user", "user"]


def test_a_thought_that_nobody_signed_does_not_go_to_anthropic() -> None:
    foreign = {"type": "thinking", "thinking": "hm", "signature": ""}
    signed = {"type": "thinking", "thinking": "so", "signature": "s"}
    text = {"type": "text", "text": "yes"}
    contract = read(
        HI, {"role": "assistant", "content": [foreign, text]}, HI,
        {"role": "assistant", "content": [foreign]}, HI, {"role": "assistant", "content": [signed, text]},
    )  # fmt: skip
    told = contract.passthrough["messages"]
    assert [message["content"] for message in told] == ["hi", [text], "hi", "hi", [signed, text]]
    assert contract.messages[1]["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        ({"system": [PNG]}, "system"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "9"}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read(**{"messages": [HI], **change})
    assert (refused.value.problem.status, refused.value.problem.param) == (400, param)


@settings(deadline=None)
@given(
    bodies(
        "messages", "system", "tools", "tool_choice", "role", "content", "type", "text", "image", "source", "base64",
        "tool_result", "tool_use", "tool_use_id", "thinking", "document", "user", "assistant", "name", "input", "id",
        "output_config", "format", "json_schema", "metadata", "stop_sequences", "data", "media_type", "max_tokens",
    )
)  # fmt: skip
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        contract = SKIN.read(body, ASKED)
    except RefusedError as refused:
        assert refused.problem.status == 400  # noqa: PT017 - either is right
    else:
        json.dumps([contract.messages, contract.tools])


# Whole answers ------------------------------------------------------------------------------------


def test_a_foreign_answer_is_a_message() -> None:
    response = Response(
        text="sun", reasoning="hm", usage=USAGE, finish_reason="stop", model="acme-small",
        tool_calls=(ToolCall("c.1:0", "weather", '{"city": "Rome"}'), ToolCall("", "broken", "{")),
    )  # fmt: skip
    body = SKIN.whole(result(response), ASKED)
    Message.model_validate(body)
    assert (body["id"], body["model"], body["stop_reason"]) == ("msg_r1", "small", "tool_use")
    assert body["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "sun"},
        {"type": "tool_use", "id": "c_1_0", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "toolu_r1_3", "name": "broken", "input": {"arguments": "{"}},
    ]
    assert body["usage"] == {
        "input_tokens": 7,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "output_tokens": 13,
        "output_tokens_details": {"thinking_tokens": 2},
    }


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(text="x", finish_reason="length"), "max_tokens"),
        (Response(text="x"), "end_turn"),
        (Response(text="x", finish_reason="content_filter"), "refusal"),
        (Response(refusal="no", finish_reason="stop"), "refusal"),
        (Response(tool_calls=(ToolCall("a", "b", ""),), finish_reason="tool_calls"), "tool_use"),
    ],
)
def test_each_end_has_its_word_whole_and_streamed(response: Response, reason: str) -> None:
    assert SKIN.whole(result(response), ASKED)["stop_reason"] == reason
    chunk = StreamChunk(
        text=response.text,
        refusal=response.refusal,
        finish_reason=response.finish_reason,
        tool_calls=tuple(
            delta for call in response.tool_calls for delta in called(0, "{}", call.id, call.name).tool_calls
        ),
    )
    assert message_of(encoded(SKIN, [[chunk]])).stop_reason == reason


RAW = {
    "id": "msg_v", "type": "message", "role": "assistant", "model": "claude-v", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi", "citations": [{"x": 1}]}], "usage": {"input_tokens": 1, "output_tokens": 2},
    "new_field": 1,
}  # fmt: skip


def test_an_answer_of_the_dialect_passes_as_it_is() -> None:
    body = SKIN.whole(result(Response(text="hi", raw=RAW, dialect="anthropic")), ASKED)
    assert body == {**RAW, "id": "msg_r1", "model": "small"}


def test_the_record_of_the_decision_is_there_for_who_wants_it() -> None:
    asked = dataclasses.replace(ASKED, wants_metadata=True)
    assert SKIN.whole(result(Response(text="x")), asked)["x_router"]["provider"] == "acme"
    own = StreamChunk(text="x", raw={"type": "message_stop"}, dialect="anthropic")
    for chunk in (StreamChunk(text="x"), own):
        told = events(encoded(SKIN, [[chunk]], asked))
        assert told[-1]["x_router"]["provider"] == "acme"


# Streams ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(streams())
def test_any_cut_of_an_answer_gives_anthropics_client_the_same_message(
    batches: list[list[StreamChunk]],
) -> None:
    data = encoded(SKIN, batches)
    message, wanted = message_of(data), SKIN.whole(result(assembled(c for b in batches for c in b)), ASKED)
    assert message.stop_reason == wanted["stop_reason"]
    assert message.usage.to_dict() == wanted["usage"]
    # calls stand in the order in which they began
    assert sorted(message.to_dict()["content"], key=_id) == sorted(wanted["content"], key=_id)
    opened: list[int] = []
    for event in events(data):
        if event["type"] == "content_block_start":
            assert event["index"] == len(opened)
            opened.append(event["index"])
        elif event["type"].startswith("content_block"):
            assert event["index"] == opened[-1], "one block at a time"


def _id(block: dict[str, Any]) -> str:
    return str(block.get("id") or block["type"])


def test_the_events_come_in_anthropics_order() -> None:
    chunks = [
        StreamChunk(reasoning="hm"),
        StreamChunk(text="a"),
        called(0, '{"', "c", "f"),
        called(0, 'x": 1}'),
    ]
    told = [event["type"] for event in events(encoded(SKIN, [chunks]))]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    call = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    assert told == ["message_start", "ping", *block, *block, *call, "message_delta", "message_stop"]


def test_nothing_is_sent_before_there_is_content() -> None:
    encoder = SKIN.encoder(ASKED)
    assert encoder.chunks([StreamChunk(), StreamChunk(model="m")]) == b""


def test_a_call_whose_pieces_come_late_is_whole() -> None:
    chunks = [
        called(0, '{"a"', "c0", "f"),
        called(1, "", "c1", "g"),
        called(0, ": 1}"),
        called(1, '{"b": 2}'),
    ]
    message = message_of(encoded(SKIN, [[chunk] for chunk in chunks]))
    assert [(block.id, block.input) for block in message.content] == [("c0", {"a": 1}), ("c1", {"b": 2})]


def test_events_of_the_dialect_pass_as_they_are() -> None:
    raw: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**RAW, "content": []}},
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "new_event", "x": 1},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    told = events(encoded(SKIN, [[StreamChunk(raw=event, dialect="anthropic") for event in raw]]))
    assert told[1:] == raw[1:]
    assert told[0]["message"] == {**RAW, "content": [], "id": "msg_r1", "model": "small"}


def test_an_error_of_the_dialect_is_worded_once_as_ours() -> None:
    raw = {"type": "error", "error": {"type": "overloaded_error", "message": "the vendor's words"}}
    assert SKIN.encoder(ASKED).chunks([StreamChunk(raw=raw, dialect="anthropic")]) == b""


@pytest.mark.parametrize(
    "raw", [None, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x"}}]
)
def test_a_broken_stream_ends_in_a_typed_error(raw: dict[str, Any] | None) -> None:
    encoder = SKIN.encoder(ASKED)
    encoder.begin(CHOSEN)
    chunk = StreamChunk(text="x", raw=raw, dialect="anthropic" if raw else None)
    problem = Problem(502, "stream_interrupted", "the answer broke off")
    told = events(encoder.chunks([chunk]) + encoder.error(problem, result(Response())))
    assert told[-1]["type"] == "error"
    assert told[-1]["error"]["type"] == "api_error"
    assert told[-1]["request_id"] == "r1"
    assert "message_stop" not in [event["type"] for event in told]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"), (403, "permission_error"),
        (404, "not_found_error"), (409, "invalid_request_error"), (413, "request_too_large"), (429, "rate_limit_error"),
        (500, "api_error"), (502, "api_error"), (503, "overloaded_error"), (504, "timeout_error"),
    ],
)  # fmt: skip
def test_each_status_has_anthropics_type(status: int, kind: str) -> None:
    error = SKIN.error(Problem(status, "c", "m", "p", metadata={"attempts": 2}))["error"]
    assert (error["type"], error["message"], error["details"]) == (kind, "p: m", {"error_code": "c"})
    assert error["metadata"]["attempts"] == 2


# Counts -------------------------------------------------------------------------------------------


def test_an_estimate_counts_everything_that_is_sent_and_never_less_for_more() -> None:
    base: dict[str, Any] = {"model": "m", "messages": [HI]}
    more: list[dict[str, Any]] = [
        {**base, "system": "be brief"},
        {**base, "tools": [WEATHER]},
        {**base, "messages": [HI, {"role": "assistant", "content": "hello there"}]},
        {**base, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, PNG]}]},
        {**base, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ]
    least = count_tokens(base)["input_tokens"]
    assert 1 <= least < 20
    assert all(count_tokens(body)["input_tokens"] > least for body in more)


@pytest.mark.parametrize(
    ("text", "tokens"),
    # as SmolLM2's tokenizer cuts them: a small vocabulary, which needs more tokens than a large one
    [("The quick brown fox jumps over the lazy dog. ", 10), ("for index in range(10):\n    print(index)\n", 14),
     ("1234567890", 10), ("人工智能是计算机科学的一个分支", 23)],
)  # fmt: skip
def test_an_estimate_is_on_the_high_side(text: str, tokens: int) -> None:
    body = {"messages": [{"role": "user", "content": text * 50}]}
    assert tokens * 50 <= count_tokens(body)["input_tokens"] <= tokens * 50 * 2
