"""What is Anthropic's alone: generations of models, its callers' own bodies, its stream's details."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter

from llm_policy_host.clock import SystemClock
from llm_policy_host.providers.anthropic import Anthropic
from llm_policy_host.values import Call, Credential, Failure, Response, StreamChunk, ToolCallDelta, Usage

from .conftest import Talk, together
from .dialect import event
from .dialects.anthropic import DIALECT, _block, _event, _pieces, _says, _whole
from .scenarios import CALLS, SCHEMA
from .vendor import flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

ADAPTER = Anthropic(cast("Any", None), SystemClock())
HI = [{"role": "user", "content": "hi"}]
FORM = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
ADAPTIVE = {"thinking": {"type": "adaptive"}}
FORCED = {"tool_choice": "required"}
TOOL = [{"role": "assistant", "tool_calls": []}, {"role": "tool", "tool_call_id": "c", "content": "x"}]


def _ask(model: str = "claude-opus-5", **fields: Any) -> tuple[dict[str, Any], list[str]]:
    call = Call("p", "f", model, **{"messages": HI, **fields})
    ask = ADAPTER._ask(call, Credential(), is_stream=False)
    return json.loads(ask.body), sorted(ADAPTER.unsaid(call))


@pytest.mark.parametrize(
    ("model", "fields", "said", "lost"),
    [
        ("claude-3-5-haiku-20241022", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, []),
        ("claude-sonnet-4-20250514", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, []),
        ("claude-sonnet-4-6", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
        ("claude-sonnet-4-6", {"top_p": 0.9, "top_k": 4}, {"top_p": 0.9, "top_k": 4}, []),
        ("claude-sonnet-4-6", {"temperature": 1.5}, {}, ["temperature"]),
        ("claude-opus-4-7", {"temperature": 0.5, "top_k": 4}, {}, ["temperature", "top_k"]),
        ("anthropic/claude-opus-4.8", {"temperature": 0.5}, {}, ["temperature"]),
        ("claude-mythos-preview", {"temperature": 0.5}, {}, ["temperature"]),
        ("claude-haiku-5-5", {"top_p": 0.5}, {}, ["top_p"]),
        ("kimi-k3", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, []),
        ("claude-opus-5", {"reasoning_effort": "high"}, {**ADAPTIVE, "output_config": {"effort": "high"}}, []),
        ("claude-opus-4-6", {"reasoning_effort": "minimal"}, {**ADAPTIVE, "output_config": {"effort": "low"}}, []),
        ("claude-opus-5", {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, []),
        ("claude-opus-5", {"reasoning_effort": "odd"}, {}, ["reasoning_effort"]),
        ("claude-sonnet-4-5", {"reasoning_effort": "none"}, {}, []),
        ("claude-3-5-haiku-latest", {"reasoning_effort": "low", "max_tokens": 9000}, {"max_tokens": 9000}, ["reasoning_effort"]),
        ("claude-sonnet-4-5", {"reasoning_effort": "high", "max_tokens": 1024}, {"max_tokens": 1024}, ["reasoning_effort"]),
        (
            "claude-sonnet-4-5-20250929",
            {"reasoning_effort": "high", "temperature": 0.5},
            {"thinking": {"type": "enabled", "budget_tokens": 3276}},
            ["temperature"],
        ),
    ],
)  # fmt: skip
def test_each_generation_gets_the_parameters_that_it_takes(
    model: str, fields: dict[str, Any], said: dict[str, Any], lost: list[str]
) -> None:
    body, unsaid = _ask(model, params=fields)
    assert body == {"model": model, "messages": HI, "max_tokens": 4096, **said}
    assert unsaid == lost


@pytest.mark.parametrize(
    ("model", "fields", "said", "lost"),
    [
        ("claude-opus-5", {"passthrough": FORCED}, {"output_config": {"effort": "low"}}, []),
        ("claude-sonnet-4-5", {"passthrough": FORCED}, {}, ["reasoning_effort"]),
        ("claude-sonnet-4-5", {"messages": [*HI, *TOOL]}, {}, ["reasoning_effort"]),
        ("claude-opus-5", {"messages": [*HI, *TOOL]}, {**ADAPTIVE, "output_config": {"effort": "low"}}, []),
    ],
)
def test_a_thought_that_the_vendor_would_refuse_is_not_asked_for(
    model: str, fields: dict[str, Any], said: dict[str, Any], lost: list[str]
) -> None:
    body, unsaid = _ask(model, params={"reasoning_effort": "low", "max_tokens": 9000}, **fields)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == said
    assert unsaid == lost


@pytest.mark.parametrize(
    ("model", "form", "lost"),
    [
        ("claude-opus-5", FORM, []),
        ("claude-opus-5", {"type": "text"}, []),
        ("claude-opus-5", {"type": "json_object"}, ["response_format"]),
        ("claude-3-5-haiku-latest", FORM, ["response_format"]),
        ("kimi-k3", FORM, ["response_format"]),
    ],
)
def test_a_form_is_asked_for_where_there_are_words_for_it(
    model: str, form: dict[str, Any], lost: list[str]
) -> None:
    body, unsaid = _ask(model, response_format=form)
    assert unsaid == lost
    assert ("output_config" in body) == (form is FORM and not lost)


OWN: dict[str, Any] = {
    "model": "auto",
    "max_tokens": 50,
    "temperature": 0.9,
    "stream": False,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "d"}}]}
    ],
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    "_openai": {"stop": "END"},
    "_lost": ["thinking"],
    "_betas": ["context-1m-2025-08-07", "x-1"],
}


def test_a_callers_own_body_goes_as_it_is_but_for_what_was_decided() -> None:
    params = {"max_tokens": 40, "top_k": 4}
    body, lost = _ask("claude-3-5-haiku-latest", dialect="anthropic", passthrough=OWN, params=params)
    hidden = ("stream", "_openai", "_lost", "_betas")
    kept = {name: value for name, value in OWN.items() if name not in hidden}
    assert body == {**kept, "model": "claude-3-5-haiku-latest", "max_tokens": 40}
    # beside a budget for thought the vendor takes no sampling parameters
    assert lost == ["top_k"]


def test_a_parameter_that_the_chosen_model_refuses_leaves_a_callers_own_body() -> None:
    own = {"messages": HI, "temperature": 0.9, "max_tokens": 5}
    body, lost = _ask(dialect="anthropic", passthrough=own, params={"temperature": 0.9, "max_tokens": 5})
    assert body == {"model": "claude-opus-5", "messages": HI, "max_tokens": 5}
    assert lost == ["temperature"]


def test_a_policys_parameter_without_words_is_named_to_a_caller_of_this_dialect_too() -> None:
    body, lost = _ask(
        dialect="anthropic", passthrough={**OWN, "thinking": None}, params={"seed": 3, "top_p": 0.5}
    )
    assert "seed" not in body
    assert lost == ["seed", "top_p"]


def test_an_effort_that_the_policy_changed_reaches_a_callers_own_body() -> None:
    own = {"messages": HI, "thinking": {"type": "adaptive"}, "output_config": {"effort": "max", "format": 1}}
    body, _ = _ask(dialect="anthropic", passthrough=own, params={"reasoning_effort": "low"})
    assert body["output_config"] == {"effort": "low", "format": 1}
    assert body["thinking"] == {"type": "adaptive"}


def test_a_filtered_call_never_sends_the_callers_unfiltered_body() -> None:
    filters = {"text": {"recipe": ["NFC"]}}
    body, lost = _ask(dialect="anthropic", passthrough=OWN, filters=filters)
    assert body == {"model": "claude-opus-5", "messages": HI, "max_tokens": 4096, "stop_sequences": ["END"]}
    assert lost == ["thinking"]


def test_what_a_caller_turned_on_by_a_header_is_turned_on() -> None:
    call = Call("p", "f", "claude-opus-5", dialect="anthropic", passthrough=OWN)
    headers = ADAPTER._ask(call, Credential(), is_stream=True).headers
    assert headers["anthropic-beta"] == "context-1m-2025-08-07,x-1"


def test_ids_of_other_vendors_are_spelled_as_this_one_admits() -> None:
    use = {"id": "functions.now:0", "function": {"name": "now", "arguments": "not json"}}
    messages = [
        *HI,
        {"role": "assistant", "tool_calls": [use]},
        {"role": "tool", "tool_call_id": "functions.now:0", "content": "noon"},
    ]
    body, _ = _ask(messages=messages)
    (used,), (result,) = body["messages"][1]["content"], body["messages"][2]["content"]
    assert used["id"] == result["tool_use_id"] == "functions_now_0"
    assert used["input"] == {"arguments": "not json"}


def test_a_system_text_alone_is_what_the_user_says() -> None:
    body, _ = _ask(messages=[{"role": "system", "content": "tell a joke"}])
    assert body["messages"] == [{"role": "user", "content": "tell a joke"}]
    assert "system" not in body


def test_a_user_is_named_as_the_vendor_does() -> None:
    body, lost = _ask(passthrough={"user": "u-1"})
    assert body["metadata"] == {"user_id": "u-1"}
    assert lost == []


async def test_embeddings_are_the_callers_mistake(adapters: Mapping[str, Provider]) -> None:
    outcome = await Talk(DIALECT, adapters).ask(whole(200, b"{}"), CALLS["embeddings"])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_request"


async def test_a_pause_of_the_vendors_own_tools_is_an_answer_to_go_on_from(
    adapters: Mapping[str, Provider],
) -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    outcome = await Talk(DIALECT, adapters).ask(whole(200, _whole(block, stop="pause_turn")), CALLS["prompt"])
    assert isinstance(outcome, Response)
    assert outcome.finish_reason == "length"
    assert not outcome.tool_calls


async def test_a_tool_call_may_come_whole_and_the_vendors_own_are_not_the_callers(
    adapters: Mapping[str, Provider],
) -> None:
    pieces = _pieces(
        _block(
            0,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query":"x"}'},
        ),
        _block(1, {"type": "tool_use", "id": "c", "name": "now", "input": {"zone": "UTC"}}),
        stop="tool_use",
    )
    heard = await Talk(DIALECT, adapters).hear(flow(pieces), CALLS["prompt"])
    deltas = [delta for chunk in heard if isinstance(chunk, StreamChunk) for delta in chunk.tool_calls]
    assert deltas == [ToolCallDelta(0, "c", "now"), ToolCallDelta(0, arguments='{"zone":"UTC"}')]


async def test_the_newest_counts_of_a_stream_are_the_usage(adapters: Mapping[str, Provider]) -> None:
    pieces = _pieces(
        _says(0, "x"), usage={"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}
    )
    last = {"output_tokens": 9, "input_tokens": 6, "cache_read_input_tokens": None}
    pieces[-2] = _event("message_delta", delta={"stop_reason": "end_turn"}, usage=last)
    heard = await Talk(DIALECT, adapters).hear(flow(pieces), CALLS["prompt"])
    assert together(heard)["usage"] == Usage(6, 7, 0, 9)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("overloaded_error", "server_error"),
        ("rate_limit_error", "rate_limit"),
        ("invalid_request_error", "bad_request"),
        ("api_error", "server_error"),
        ("anything_new", "server_error"),
    ],
)
async def test_an_error_after_content_ends_the_stream_as_its_kind(
    word: str, kind: str, adapters: Mapping[str, Provider]
) -> None:
    pieces = _pieces(_says(0, "He"))[:4]
    error = event({"type": "error", "error": {"type": word, "message": "x"}}, "error")
    heard = await Talk(DIALECT, adapters).hear(flow([*pieces, error, *pieces]), CALLS["prompt"])
    assert together(heard[:-1])["text"] == "He"
    assert isinstance(heard[-1], Failure)
    assert heard[-1].kind == kind


# They outlive each test: what is iterable is checked when it is read.
ASKED = TypeAdapter[Any](MessageCreateParamsNonStreaming)
TOLD = TypeAdapter[Any](RawMessageStreamEvent)
SAMPLING = {"temperature", "top_p", "top_k"}
"""Words of older generations, which the vendor's newest types have no longer."""


@pytest.mark.parametrize("scenario", DIALECT.asked)
def test_the_vendors_own_types_admit_what_is_asked(scenario: str) -> None:
    body = {**DIALECT.asked[scenario].body}
    known = get_type_hints(MessageCreateParamsNonStreaming, include_extras=True).keys()
    assert body.keys() <= known | SAMPLING
    _consume(ASKED.validate_python(body))


def _consume(value: Any) -> None:
    """Walk a value to its leaves: the types check what is iterable only when it is read."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | bytes) and isinstance(value, Iterable):
        for each in value:
            _consume(each)


@pytest.mark.parametrize("scenario", DIALECT.told)
def test_the_vendors_own_types_admit_what_is_told(scenario: str) -> None:
    tell = DIALECT.told[scenario]
    if scenario != "no_usage":
        Message.model_validate_json(tell.whole, strict=False)
    for piece in tell.pieces or ():
        data = json.loads(piece.partition(b"data: ")[2])
        if data["type"] != "ping" and scenario != "no_usage":
            TOLD.validate_python(data)
