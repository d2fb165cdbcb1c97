"""What is Google's alone: thinking by generation, ids it does not give, answers that it breaks off."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from llm_policy_host.clock import SystemClock
from llm_policy_host.providers.google import UNSIGNED, Google
from llm_policy_host.values import Call, Credential, Failure, Response, Secret, StreamChunk

from .conftest import Talk, together
from .dialect import event, sent
from .dialects.google import DIALECT, _body
from .scenarios import CALLS, PNG
from .vendor import flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

ADAPTER = Google(cast("Any", None), SystemClock())
HI = [{"role": "user", "content": "hi"}]


def _ask(model: str = "gemini-2.5-flash", **fields: Any) -> tuple[dict[str, Any], list[str]]:
    call = Call("p", "f", model, **{"messages": HI, **fields})
    ask = ADAPTER._ask(call, Credential(), is_stream=False)
    return json.loads(ask.body), sorted(ADAPTER.unsaid(call))


@pytest.mark.parametrize(
    ("model", "effort", "said"),
    [
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.1-flash", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("models/gemini-3-pro", "medium", {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-3-pro-preview", "none", None),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "max", {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("gemini-2.5-pro", "none", None),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.0-flash", "low", None),
        ("gemma-3-27b-it", "low", None),
        ("gemini-2.5-flash", "odd", None),
    ],
)
def test_each_generation_is_told_how_much_to_think_in_its_words(
    model: str, effort: str, said: dict[str, Any] | None
) -> None:
    body, lost = _ask(model, params={"reasoning_effort": effort})
    assert body.get("generationConfig", {}).get("thinkingConfig") == said
    assert lost == ([] if said else ["reasoning_effort"])


def test_json_without_a_schema_is_asked_for_by_its_type() -> None:
    body, lost = _ask(response_format={"type": "json_object"})
    assert body["generationConfig"] == {"responseMimeType": "application/json"}
    assert lost == []
    assert "generationConfig" not in _ask(response_format={"type": "text"})[0]


def test_a_system_text_alone_is_what_the_user_says() -> None:
    body, _ = _ask(messages=[{"role": "system", "content": "tell a joke"}])
    assert body == {"contents": [{"role": "user", "parts": [{"text": "tell a joke"}]}]}


def test_a_call_that_came_from_elsewhere_is_marked_as_unsigned_once_a_turn() -> None:
    uses = [{"id": f"c{n}", "function": {"name": "now", "arguments": "{}"}} for n in (1, 2)]
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": "noon"} for n in (1, 2)]
    messages = [*HI, {"role": "assistant", "content": "so", "tool_calls": uses}, *results]
    body, _ = _ask("gemini-3-pro-preview", messages=messages)
    signatures = [part.get("thoughtSignature") for part in body["contents"][1]["parts"]]
    assert signatures == [None, UNSIGNED, None]
    assert UNSIGNED not in json.dumps(_ask("gemini-2.5-pro", messages=messages)[0])


def test_an_image_in_a_tools_result_stands_beside_it() -> None:
    use = {"id": "c1", "function": {"name": "draw", "arguments": "{}"}}
    url = {"url": f"data:image/png;base64,{PNG}"}
    content = [{"type": "text", "text": "done"}, {"type": "image_url", "image_url": url}]
    messages = [
        *HI,
        {"role": "assistant", "tool_calls": [use]},
        {"role": "tool", "tool_call_id": "c1", "content": content},
    ]
    body, _ = _ask(messages=messages)
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "draw", "response": {"output": "done"}}},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
    ]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("a?key=b#c d", "models/a%3Fkey%3Db%23c%20d"),
    ],
)
def test_a_models_name_stays_within_the_path(model: str, path: str) -> None:
    call = Call("p", "f", model, base_url="https://x/v1beta/", messages=HI)
    ask = ADAPTER._ask(call, Credential(Secret("k3y")), is_stream=True)
    assert ask.url == f"https://x/v1beta/{path}:streamGenerateContent?alt=sse"


def test_words_of_its_own_reach_it_beside_the_canonical_ones() -> None:
    passthrough = {"cachedContent": "c/1", "generationConfig": {"topK": 3, "temperature": 2}, "contents": []}
    body, lost = _ask(dialect="google", passthrough=passthrough, params={"temperature": 0.1, "min_p": 1})
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert body["cachedContent"] == "c/1"
    assert body["generationConfig"] == {"topK": 3, "temperature": 0.1}
    assert lost == ["min_p"]


def _used(*names: str, response_id: str = "r1", stop: str | None = "STOP") -> dict[str, Any]:
    parts = ({"functionCall": {"name": name, "args": {}}} for name in names)
    return {**_body(*parts, stop=stop), "responseId": response_id}


async def test_calls_without_ids_get_the_same_ones_each_time_and_no_two_alike(
    adapters: Mapping[str, Provider],
) -> None:
    talk = Talk(DIALECT, adapters)

    async def ids(body: dict[str, Any], scenario: str = "prompt") -> list[str]:
        answer = await talk.ask(whole(200, sent(body)), CALLS[scenario])
        assert isinstance(answer, Response)
        assert answer.finish_reason == "tool_calls"
        return [call.id for call in answer.tool_calls]

    once = await ids(_used("now", "now"))
    pieces = [event(_used("now", stop=None)), event(_used("now"))]
    heard = await talk.hear(flow(pieces), CALLS["prompt"])
    assert once == await ids(_used("now", "now")) == [call.id for call in together(heard)["tool_calls"]]
    others = await ids(_used("now", "now", response_id="r2")) + await ids(_used("now"), "system")
    assert len({*once, *others}) == 5
    assert all(len(each) <= 40 for each in once)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
async def test_an_answer_broken_off_by_the_vendor_is_a_bad_response(
    reason: str, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(DIALECT, adapters)
    answer = await talk.ask(whole(200, sent(_body({"text": "x"}, stop=reason))), CALLS["prompt"])
    pieces = [event(_body({"text": "x"}, stop=None)), event(_body(stop=reason))]
    heard = await talk.hear(flow(pieces), CALLS["prompt"])
    assert isinstance(heard[0], StreamChunk)
    for failure in (answer, heard[-1]):
        assert isinstance(failure, Failure)
        assert failure.kind == "bad_response"


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST"])
async def test_a_filter_that_left_nothing_is_a_failure_of_its_kind(
    reason: str, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(DIALECT, adapters)
    answer = await talk.ask(whole(200, sent(_body(stop=reason))), CALLS["prompt"])
    (*_, heard) = await talk.hear(flow([event(_body(stop=reason))]), CALLS["prompt"])
    for failure in (answer, heard):
        assert isinstance(failure, Failure)
        assert failure.kind == "content_filter"


@pytest.mark.parametrize(
    "embeddings",
    [None, [], [{"values": [1.0]}], [{"values": [1.0]}, {}], [{"values": []}] * 2, [{"values": ["x"]}] * 2],
)
async def test_vectors_that_are_not_one_for_each_text_are_a_bad_response(
    embeddings: object, adapters: Mapping[str, Provider]
) -> None:
    body = sent({"embeddings": embeddings})
    outcome = await Talk(DIALECT, adapters).ask(whole(200, body), CALLS["embeddings"])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_response"


async def test_vectors_are_packed_for_a_caller_who_wants_them_so(adapters: Mapping[str, Provider]) -> None:
    fields = {"kind": "embeddings", "embed": ["x"], "passthrough": {"encoding_format": "base64"}}
    outcome = await Talk(DIALECT, adapters).ask(
        whole(200, sent({"embeddings": [{"values": [1, 0.5]}]})), fields
    )
    assert isinstance(outcome, Response)
    assert outcome.embeddings == ("AACAPwAAAD8=",)


async def test_tokens_cannot_be_embedded(adapters: Mapping[str, Provider]) -> None:
    fields = {"kind": "embeddings", "embed": [[1, 2]]}
    outcome = await Talk(DIALECT, adapters).ask(whole(200, b"{}"), fields)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_request"
