"""OpenAI's Responses API as pure words: bodies read, answers written, streams encoded."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from openai.types.responses import Response as OpenAIResponse

from llm_policy_host.values import Contract, Response, StreamChunk, ToolCall
from llm_policy_host.web.errors import Problem, RefusedError
from llm_policy_host.web.skins.responses import Responses

from .streams import (
    ASKED,
    CHOSEN,
    USAGE,
    assembled,
    bodies,
    called,
    encoded,
    events,
    response_of,
    result,
    streams,
)

SKIN = Responses()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "tells it",
    "parameters": SCHEMA,
    "strict": True,
}
WEATHER_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "tells it", "parameters": SCHEMA, "strict": True},
}
NOW = {"type": "function", "name": "now", "parameters": None, "strict": None}
SEARCH = {"type": "web_search", "search_context_size": "low"}


def read(given: Any = "hi", **more: Any) -> Contract:
    return SKIN.read({"model": "m", "input": given, **more}, ASKED)


# Bodies -------------------------------------------------------------------------------------------


def test_a_conversation_is_read_into_the_canonical_words() -> None:
    contract = read(
        [
            {"role": "developer", "content": "be kind"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask"}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [
                    {"type": "input_text", "text": "sun"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
                ],
            },
            {"type": "function_call_output", "call_id": "c2", "output": "no city"},
            {"role": "assistant", "content": "it shines"},
            {"role": "assistant", "content": "and stays"},
        ],
        instructions="be brief",
    )
    assert contract.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "I ask",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "no city"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "(an image in the result of tool call c1)"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
            ],
        },
        {"role": "assistant", "content": "it shines"},
        {"role": "assistant", "content": "and stays"},
    ]


def test_a_text_is_what_the_user_says() -> None:
    assert read("hi").messages == [{"role": "user", "content": "hi"}]


def test_settings_are_read_into_parameters_and_openais_words() -> None:
    contract = read(
        temperature=0.5, top_p=0.9, max_output_tokens=9, reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False, user="u",
        store=True, metadata={"a": "b"}, truncation="disabled", background=False, previous_response_id=None,
    )  # fmt: skip
    assert contract.params == {
        "max_tokens": 9,
        "reasoning_effort": "low",
        "temperature": 0.5,
        "top_p": 0.9,
        "verbosity": "low",
    }
    assert contract.passthrough["_openai"] == {
        "user": "u",
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    }
    assert contract.tools == [WEATHER_TOOL]
    assert contract.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
    }
    assert contract.passthrough["_lost"] == []


def test_json_without_a_schema_is_asked_for() -> None:
    assert read(text={"format": {"type": "json_object"}}).response_format == {"type": "json_object"}
    assert read(text={"format": {"type": "text"}}).response_format is None


def test_one_of_some_tools_is_said_by_leaving_out_the_others() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    contract = read(tools=[WEATHER, NOW], tool_choice=choice)
    assert contract.tools == [WEATHER_TOOL]
    assert contract.passthrough["_openai"]["tool_choice"] == "required"


def test_the_whole_body_goes_to_a_provider_of_the_dialect_and_what_others_lose_is_named() -> None:
    body = {
        "model": "m", "input": [{"role": "user", "content": "hi", "new": 1}], "include": ["reasoning.encrypted_content"],
        "new_field": {"a": 1}, "truncation": "auto", "prompt_cache_key": "k", "tools": [WEATHER, SEARCH],
    }  # fmt: skip
    passthrough = SKIN.read(body, ASKED).passthrough
    assert {name: passthrough[name] for name in body} == body
    assert passthrough["_lost"] == [
        "include",
        "new_field",
        "truncation",
        "prompt_cache_key",
        "tools:web_search",
    ]


def test_tools_that_only_the_vendor_runs_are_kept_where_the_request_is_about_them() -> None:
    assert read(tools=[SEARCH]).tools == [SEARCH]
    assert read(tools=[WEATHER, SEARCH], tool_choice={"type": "web_search"}).tools == [WEATHER_TOOL, SEARCH]
    assert read(tools=[WEATHER, SEARCH]).tools == [WEATHER_TOOL]


def test_records_of_the_vendors_servers_are_left_out_elsewhere_and_named() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"role": "assistant", "content": "found"},
    ]
    contract = read(items)
    assert [message["content"] for message in contract.messages] == ["hi", "found"]
    assert contract.passthrough["_lost"] == ["input:reasoning", "input:web_search_call"]
    assert contract.passthrough["input"] == items


def test_an_item_without_a_canonical_word_is_there_for_others_to_refuse() -> None:
    item = {"type": "computer_call_output", "call_id": "c", "output": {}}
    assert read([item]).messages == [{"role": "user", "content": [item]}]


def test_a_thought_that_we_wrote_down_does_not_go_to_openai() -> None:
    thought = SKIN.whole(result(Response(reasoning="hm", text="x")), ASKED)["output"][0]
    kept = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    answer = {"role": "assistant", "content": "x"}
    contract = read([thought, answer, kept, answer])
    assert contract.passthrough["input"] == [answer, kept, answer]
    assert contract.messages[0] == {"role": "assistant", "reasoning_content": "hm", "content": "x"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    ],
)
def test_what_only_a_server_that_keeps_answers_could_do_is_refused_by_name(
    change: dict[str, Any], param: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        read(
            **{
                "given": "hi",
                **{("given" if name == "input" else name): value for name, value in change.items()},
            }
        )
    problem = refused.value.problem
    assert (problem.status, problem.code, problem.param) == (400, "unsupported_parameter", param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"given": None}, "input"),
        ({"given": []}, "input"),
        ({"given": [1]}, "input"),
        ({"given": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"given": [{"role": "user"}]}, "input[0].content"),
        ({"given": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"given": [{"type": "function_call", "call_id": "c", "name": "n"}]}, "input[0].arguments"),
        ({"given": [{"type": 1}]}, "input[0].type"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"reasoning": {"effort": 1}}, "reasoning_effort"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": "some"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read(**change)
    assert (refused.value.problem.status, refused.value.problem.param) == (400, param)


@settings(deadline=None)
@given(
    bodies(
        "input", "instructions", "tools", "tool_choice", "role", "content", "type", "text", "input_text", "input_image",
        "image_url", "function", "function_call", "function_call_output", "call_id", "output", "arguments", "reasoning",
        "summary", "message", "user", "assistant", "name", "format", "json_schema", "schema", "mode", "allowed_tools", "id",
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


def test_a_foreign_answer_is_a_response() -> None:
    response = Response(
        text="sun", reasoning="hm", usage=USAGE, finish_reason="stop", model="acme-small",
        tool_calls=(ToolCall("c1", "weather", '{"city": "Rome"}'),),
    )  # fmt: skip
    asked = dataclasses.replace(ASKED, body={"instructions": "be brief", "tools": [WEATHER], "store": True})
    body = SKIN.whole(result(response), asked)
    OpenAIResponse.model_validate(body)
    assert (body["id"], body["model"], body["status"], body["store"]) == (
        "resp_r1",
        "small",
        "completed",
        False,
    )
    assert (body["instructions"], body["tools"], body["tool_choice"]) == ("be brief", [WEATHER], "auto")
    assert [item["type"] for item in body["output"]] == ["reasoning", "message", "function_call"]
    assert body["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert body["output"][1]["content"][0]["text"] == "sun"
    assert (body["output"][2]["call_id"], body["output"][2]["arguments"]) == ("c1", '{"city": "Rome"}')
    assert body["usage"] == {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "output_tokens": 13,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 28,
    }


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_an_answer_that_was_cut_is_incomplete_whole_and_streamed(
    finish: str, status: str, reason: str | None
) -> None:
    body = SKIN.whole(result(Response(text="x", finish_reason=finish)), ASKED)
    assert (body["status"], (body["incomplete_details"] or {}).get("reason")) == (status, reason)
    last = events(encoded(SKIN, [[StreamChunk(text="x", finish_reason=finish)]]))[-1]
    assert last["type"] == f"response.{status}"
    assert last["response"]["incomplete_details"] == body["incomplete_details"]


def test_unknown_usage_is_null() -> None:
    assert SKIN.whole(result(Response(text="x")), ASKED)["usage"] is None


RAW = {
    "id": "resp_v", "object": "response", "created_at": 1, "model": "gpt-v", "status": "completed", "new_field": 1,
    "output": [{"type": "reasoning", "id": "rs_v", "summary": [], "encrypted_content": "x"}],
}  # fmt: skip


def test_an_answer_of_the_dialect_passes_as_it_is() -> None:
    body = SKIN.whole(result(Response(text="hi", raw=RAW, dialect="openai_responses")), ASKED)
    assert body == {**RAW, "id": "resp_r1", "model": "small"}


def test_the_record_of_the_decision_is_there_for_who_wants_it() -> None:
    asked = dataclasses.replace(ASKED, wants_metadata=True)
    assert SKIN.whole(result(Response(text="x")), asked)["x_router"]["provider"] == "acme"
    raw = {"type": "response.completed", "response": RAW}
    for chunk in (StreamChunk(text="x"), StreamChunk(text="x", raw=raw, dialect="openai_responses")):
        told = events(encoded(SKIN, [[chunk]], asked))
        assert told[-1]["response"]["x_router"]["provider"] == "acme"


# Streams ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(streams())
def test_any_cut_of_an_answer_gives_openais_client_the_same_response(
    batches: list[list[StreamChunk]],
) -> None:
    data = encoded(SKIN, batches)
    response = response_of(data)
    wanted = SKIN.whole(result(assembled(chunk for batch in batches for chunk in batch)), ASKED)
    assert response.status == wanted["status"]
    assert response.usage.to_dict() == wanted["usage"]
    # calls stand in the order in which they began
    told = events(data)
    assert sorted(map(_gist, told[-1]["response"]["output"])) == sorted(map(_gist, wanted["output"]))
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]


def _gist(item: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in item.items() if name != "id"}, sort_keys=True)


def test_the_events_come_in_openais_order() -> None:
    chunks = [
        StreamChunk(reasoning="hm"),
        StreamChunk(text="a"),
        called(0, '{"', "c", "f"),
        called(0, 'x": 1}'),
    ]
    told = [event["type"].removeprefix("response.") for event in events(encoded(SKIN, [chunks]))]
    assert told == [
        "created", "in_progress",
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip


def test_a_call_that_is_over_is_told_with_its_name() -> None:
    told = events(encoded(SKIN, [[called(0, "{}", "c", "f")]]))
    done = [event for event in told if event["type"] == "response.function_call_arguments.done"]
    assert [(event["name"], event["arguments"]) for event in done] == [("f", "{}")]


def test_a_refusal_is_streamed_as_one() -> None:
    told = events(encoded(SKIN, [[StreamChunk(refusal="n"), StreamChunk(refusal="o")]]))
    assert [event["delta"] for event in told if event["type"] == "response.refusal.delta"] == ["n", "o"]
    assert told[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]


def test_nothing_is_sent_before_there_is_content() -> None:
    encoder = SKIN.encoder(ASKED)
    assert encoder.chunks([StreamChunk(), StreamChunk(model="m")]) == b""


def test_events_of_the_dialect_pass_as_they_are_and_are_counted() -> None:
    raw: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**RAW, "status": "in_progress"}, "sequence_number": 0},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "rs_v"},
            "sequence_number": 3,
        },
        {"type": "response.new_event", "x": 1, "sequence_number": 4},
        {"type": "response.completed", "response": RAW, "sequence_number": 5},
    ]
    told = events(encoded(SKIN, [[StreamChunk(raw=event, dialect="openai_responses") for event in raw]]))
    assert [event["sequence_number"] for event in told] == [0, 1, 2, 3]
    assert [event["type"] for event in told] == [event["type"] for event in raw]
    assert (told[1]["item"], told[2]["x"]) == ({"id": "rs_v"}, 1)
    assert told[3]["response"] == {**RAW, "id": "resp_r1", "model": "small"}


def test_a_failure_of_the_dialect_is_worded_once_as_ours() -> None:
    raw: list[dict[str, Any]] = [{"type": "error", "code": "x"}, {"type": "response.failed", "response": RAW}]
    chunks = [StreamChunk(raw=event, dialect="openai_responses") for event in raw]
    assert SKIN.encoder(ASKED).chunks(chunks) == b""


def test_a_stream_of_the_dialect_without_its_last_event_gets_one() -> None:
    raw = {"type": "response.output_text.delta", "delta": "hi", "sequence_number": 0}
    told = events(encoded(SKIN, [[StreamChunk(text="hi", raw=raw, dialect="openai_responses")]]))
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("stream_interrupted", "server_error"),
        ("rate_limit", "rate_limit_exceeded"),
        ("context_length_exceeded", "context_length_exceeded"),
    ],
)
def test_a_broken_stream_ends_in_an_error_and_a_failed_response(code: str, word: str) -> None:
    encoder = SKIN.encoder(ASKED)
    encoder.begin(CHOSEN)
    problem = Problem(502, code, "the answer broke off")
    told = events(encoder.chunks([StreamChunk(text="x")]) + encoder.error(problem, result(Response())))
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert (told[-2]["code"], told[-2]["message"]) == (code, "the answer broke off")
    assert told[-1]["response"]["error"]["code"] == word
    assert told[-1]["response"]["output"][0]["status"] == "incomplete"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
