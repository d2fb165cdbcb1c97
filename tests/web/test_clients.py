"""The official clients of OpenAI and Anthropic against a served gateway: scripted vendors, and a real model."""

from __future__ import annotations

import inspect
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from llm_policy_host.localmodel import (
    SMOLLM2,
    Bar,
    LocalModel,
    ModelUnavailable,
    cache_directory,
    check_server,
    obtain,
)

from .gateway import Running, running
from .shops import CITY, shop
from .vendor import Vendor, selling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
CAPABLE = {"context": 100_000, "supports_tools": True, "supports_vision": True, "supports_json_mode": True}


KEYS = {"TEAM_KEY": "team-1", "GUEST_KEY": "guest-1"}


class Weather(BaseModel):
    city: str
    degrees: int


def config(origin: str) -> dict[str, Any]:
    def only(name: str) -> dict[str, Any]:
        return {"filter": ["requirements", {"provider_in": [name]}]}

    return {
        "providers": {
            "openai": {"base_url": f"{origin}/openai/v1"},
            "anthropic": {"base_url": f"{origin}/anthropic/v1", "api_kind": "anthropic"},
            "script": {"api_kind": "scripted"},
        },
        "models": {
            "small": {"capabilities": CAPABLE, "served_by": [{"provider": "openai"}, {"provider": "script"}]},
            "claude": {
                "capabilities": CAPABLE,
                "served_by": [{"provider": "anthropic", "provider_model_id": "claude-sonnet-4-5"}],
            },
        },
        "profiles": {
            "openai": only("openai"),
            "anthropic": only("anthropic"),
            "script": only("script"),
            "nobody": only("nobody"),
            "hasty": {**only("openai"), "mutate": [{"set_param": {"timeout_ms": 50}}]},
        },
        "defaults": {"profile": "openai"},
        "host": {
            "limits": {"max_body_bytes": 4096},
            "keys": {
                "team": {"env": "TEAM_KEY", "may": ["metadata"]},
                "guest": {"env": "GUEST_KEY", "profiles": ["script"]},
            },
        },
    }


@pytest.fixture(scope="module")
def vendor_behind() -> Iterator[Vendor]:
    with selling(shop) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def gateway(vendor_behind: Vendor) -> Iterator[Running]:
    with running(config(vendor_behind.origin), KEYS) as gateway:
        yield gateway


VENDORS = pytest.mark.parametrize("vendor", ["openai", "anthropic"])
WAYS = pytest.mark.parametrize("way", ["sync", "async"])


class Clients:
    """Makes clients of a gateway, below one of its profiles, and closes them."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway
        self._made: list[Any] = []

    def openai(self, way: str, profile: str = "openai", **more: Any) -> Any:
        made = openai.OpenAI if way == "sync" else openai.AsyncOpenAI
        return self._keep(made, f"{self._gateway.url}/{profile}/v1", more)

    def anthropic(self, way: str, profile: str = "openai", **more: Any) -> Any:
        made = anthropic.Anthropic if way == "sync" else anthropic.AsyncAnthropic
        return self._keep(made, f"{self._gateway.url}/{profile}", more)

    def _keep(self, made: Any, url: str, more: dict[str, Any]) -> Any:
        self._made.append(made(**{"base_url": url, "api_key": "team-1", "max_retries": 0, **more}))
        return self._made[-1]

    async def close(self) -> None:
        for client in self._made:
            await done(client.close())


@pytest.fixture
async def clients(gateway: Running) -> AsyncIterator[Clients]:
    made = Clients(gateway)
    yield made
    await made.close()


async def done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(stream: Any) -> AsyncIterator[Any]:
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


async def through(manager: Any, last: str) -> tuple[list[Any], Any]:
    """Read a stream's events to the end, then what the client made of them."""
    if hasattr(manager, "__aenter__"):
        async with manager as stream:
            return [event async for event in each(stream)], await getattr(stream, last)()
    with manager as stream:
        return list(stream), getattr(stream, last)()


def said(content: str) -> list[Any]:
    return [{"role": "user", "content": content}]


# Chat completions ---------------------------------------------------------------------------------

CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


@WAYS
@VENDORS
async def test_chat_answers_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    whole = await done(client.chat.completions.create(model="any", messages=said("hi")))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("you said hi", "stop")
    assert whole.usage.total_tokens == 14
    assert whole._request_id
    stream = await done(
        client.chat.completions.create(
            model="any", messages=said("hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    chunks = [chunk async for chunk in each(stream)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "you said hi"
    assert chunks[-1].usage.total_tokens == 14


@WAYS
@VENDORS
async def test_chat_calls_tools_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    more: Any = {"model": "any", "messages": said("how is it?"), "tools": [CHAT_TOOL]}
    whole = await done(client.chat.completions.create(**more))
    _, streamed = await through(client.chat.completions.stream(**more), "get_final_completion")
    for choice in (whole.choices[0], streamed.choices[0]):
        assert choice.finish_reason == "tool_calls"
        call = choice.message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("weather", CITY)
    turn = [
        *said("how is it?"),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [whole.choices[0].message.tool_calls[0].to_dict()],
        },
        {"role": "tool", "tool_call_id": whole.choices[0].message.tool_calls[0].id, "content": "sunny"},
    ]
    after = await done(client.chat.completions.create(model="any", messages=turn, tools=[CHAT_TOOL]))
    assert "sunny" in after.choices[0].message.content


@WAYS
@VENDORS
async def test_chat_fits_a_schema_and_sees_images(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    parsed = await done(
        client.chat.completions.parse(model="any", messages=said("where?"), response_format=Weather)
    )
    assert parsed.choices[0].message.parsed == Weather(**CITY)
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    seen = await done(
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": parts}])
    )
    assert seen.choices[0].message.content == "you said look and showed 1"


# Responses ----------------------------------------------------------------------------------------

RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}


@WAYS
@VENDORS
async def test_responses_answer_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    whole = await done(client.responses.create(model="any", input="hi", instructions="be brief", store=True))
    assert (whole.output_text, whole.status, whole.usage.total_tokens) == ("you said hi", "completed", 14)
    assert (whole.instructions, whole.store if hasattr(whole, "store") else False) == ("be brief", False)
    told, streamed = await through(client.responses.stream(model="any", input="hi"), "get_final_response")
    assert streamed.output_text == "you said hi"
    assert [event.sequence_number for event in told] == list(range(len(told)))


@WAYS
@VENDORS
async def test_responses_call_tools_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    more: Any = {"model": "any", "input": said("how is it?"), "tools": [RESPONSES_TOOL]}
    whole = await done(client.responses.create(**more))
    _, streamed = await through(client.responses.stream(**more), "get_final_response")
    for response in (whole, streamed):
        call = response.output[0]
        assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", CITY)
    call = whole.output[0]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turn = [*said("how is it?"), *(item.to_dict() for item in whole.output), output]
    after = await done(client.responses.create(model="any", input=turn, tools=[RESPONSES_TOOL]))
    assert "sunny" in after.output_text


@WAYS
@VENDORS
async def test_responses_fit_a_schema_and_see_images(clients: Clients, vendor: str, way: str) -> None:
    client = clients.openai(way, vendor)
    parsed = await done(client.responses.parse(model="any", input="where?", text_format=Weather))
    assert parsed.output_parsed == Weather(**CITY)
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    seen = await done(client.responses.create(model="any", input=[{"role": "user", "content": parts}]))
    assert seen.output_text == "you said look and showed 1"


# Messages -----------------------------------------------------------------------------------------

MESSAGES_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}


@WAYS
@VENDORS
async def test_messages_answer_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.anthropic(way, vendor)
    more: Any = {"model": "any", "max_tokens": 99, "messages": said("hi"), "system": "be brief"}
    whole = await done(client.messages.create(**more))
    told, streamed = await through(client.messages.stream(**more), "get_final_message")
    for message in (whole, streamed):
        assert (message.content[0].text, message.stop_reason) == ("you said hi", "end_turn")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 3)
    assert whole._request_id
    assert "".join(event.text for event in told if event.type == "text") == "you said hi"


@WAYS
@VENDORS
async def test_messages_call_tools_whole_and_in_pieces(clients: Clients, vendor: str, way: str) -> None:
    client = clients.anthropic(way, vendor)
    more: Any = {"model": "any", "max_tokens": 99, "messages": said("how is it?"), "tools": [MESSAGES_TOOL]}
    whole = await done(client.messages.create(**more))
    _, streamed = await through(client.messages.stream(**more), "get_final_message")
    for message in (whole, streamed):
        call = message.content[0]
        assert (message.stop_reason, call.type, call.name, call.input) == (
            "tool_use",
            "tool_use",
            "weather",
            CITY,
        )
    gave = {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "sunny"}
    turn = [
        *said("how is it?"),
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [gave]},
    ]
    after = await done(client.messages.create(**{**more, "messages": turn}))
    assert "sunny" in after.content[0].text


@WAYS
@VENDORS
async def test_messages_fit_a_schema_and_see_images(clients: Clients, vendor: str, way: str) -> None:
    client = clients.anthropic(way, vendor)
    more: Any = {"model": "any", "max_tokens": 99}
    parsed = await done(client.messages.parse(**more, messages=said("where?"), output_format=Weather))
    assert parsed.parsed_output == Weather(**CITY)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    parts = [{"type": "text", "text": "look"}, image]
    seen = await done(client.messages.create(**more, messages=[{"role": "user", "content": parts}]))
    assert seen.content[0].text == "you said look and showed 1"


@WAYS
async def test_tokens_are_counted_and_said_to_be_estimated(clients: Clients, way: str) -> None:
    client = clients.anthropic(way)
    raw = await done(client.messages.with_raw_response.count_tokens(model="any", messages=said("hi")))
    assert raw.headers["x-llm-policy-token-count"] == "estimated"
    counted = await done(raw.parse())
    assert 1 <= counted.input_tokens < 20


@WAYS
async def test_a_scripted_provider_answers_every_api(clients: Clients, way: str) -> None:
    spoken, written = (
        clients.openai(way, "script"),
        clients.anthropic(way, "script"),
    )
    chat = await done(spoken.chat.completions.create(model="any", messages=said("hi")))
    response = await done(spoken.responses.create(model="any", input="hi"))
    message = await done(written.messages.create(model="any", max_tokens=9, messages=said("hi")))
    texts = [chat.choices[0].message.content, response.output_text, message.content[0].text]
    assert texts == ["a scripted answer to: hi"] * 3


# What a dialect has of its own ---------------------------------------------------------------------

SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}


async def test_a_provider_of_the_dialect_gets_what_we_do_not_know(
    clients: Clients, vendor_behind: Vendor
) -> None:
    client = clients.anthropic("sync", "anthropic")
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    client.messages.create(
        model="any", max_tokens=2048, messages=said("hi"), thinking=thinking, tools=[SEARCH, MESSAGES_TOOL],
        extra_body={"new_field": {"a": 1}}, extra_headers={"anthropic-beta": "new-2030-01-01"},
    )  # fmt: skip
    told = vendor_behind.asked[-1]
    assert told.data == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 2048,
        "messages": said("hi"),
        "thinking": thinking,
        "tools": [SEARCH, MESSAGES_TOOL],
        "new_field": {"a": 1},
    }
    assert told.headers["anthropic-beta"] == "new-2030-01-01"
    assert told.headers.get("x-api-key") is None


async def test_an_effort_goes_to_the_dialect_as_it_was_said(clients: Clients, vendor_behind: Vendor) -> None:
    effort = {"output_config": {"effort": "low"}}
    clients.anthropic("sync", "anthropic").messages.create(
        model="any", max_tokens=9000, messages=said("hi"), extra_body=effort
    )
    assert vendor_behind.asked[-1].data == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9000,
        "messages": said("hi"),
        **effort,
    }


async def test_what_another_dialect_cannot_be_told_is_named(clients: Clients, vendor_behind: Vendor) -> None:
    headers = {"x-llm-policy-metadata": "full", "anthropic-beta": "new-2030-01-01"}
    message = clients.anthropic("sync").messages.create(
        model="any", max_tokens=9, messages=said("hi"), tools=[SEARCH, MESSAGES_TOOL], stop_sequences=["END"],
        extra_body={"new_field": 1}, extra_headers=headers,
    )  # fmt: skip
    changes = [change["name"] for change in message.to_dict()["x_router"]["changes"]]
    assert changes == ["new_field", "tools:web_search_20250305", "anthropic-beta"]
    told = vendor_behind.asked[-1].data
    assert told["stop"] == ["END"]
    assert [tool["function"]["name"] for tool in told["tools"]] == ["weather"]
    assert not {"new_field", "stop_sequences", "_lost", "_openai", "_betas"} & told.keys()
    response: Any = clients.openai("sync").responses.create(
        model="any", input="hi", tools=[{"type": "web_search"}, RESPONSES_TOOL], truncation="auto",
        parallel_tool_calls=False, extra_headers=headers,
    )  # fmt: skip
    assert [change["name"] for change in response.x_router["changes"]] == ["truncation", "tools:web_search"]
    assert vendor_behind.asked[-1].data["parallel_tool_calls"] is False


# Errors -------------------------------------------------------------------------------------------

ERRORS = [
    # what is said, to whom, and the class of each client's exception with its status
    ("fail 400", "openai", "BadRequestError", 400),
    ("fail 401", "openai", "InternalServerError", 502),
    ("fail 429", "openai", "RateLimitError", 429),
    ("fail 500", "openai", "InternalServerError", 502),
    ("fail 529", "anthropic", "InternalServerError", 502),
    ("hang", "hasty", "InternalServerError", 504),
    ("hi", "nobody", "NotFoundError", 404),
    ("hi", "unheard-of", "NotFoundError", 404),
    ("", "openai", "BadRequestError", 400),
    ("x" * 5000, "openai", "APIStatusError", 413),
]


CALLS = ["chat", "responses", "messages"]


def asking(clients: Clients, name: str, way: str, profile: str, content: str, **more: Any) -> tuple[Any, Any]:
    """Give the library of an API, and a call of it; an empty content is no message at all."""
    key = {"api_key": more.pop("api_key")} if "api_key" in more else {}
    if name == "messages":
        client = clients.anthropic(way, profile, **key)
        messages = said(content) if content else []
        return anthropic, lambda: client.messages.create(model="any", max_tokens=9, messages=messages, **more)
    client = clients.openai(way, profile, **key)
    if name == "responses":
        return openai, lambda: client.responses.create(model="any", input=content or [], **more)
    messages = said(content) if content else []
    return openai, lambda: client.chat.completions.create(model="any", messages=messages, **more)


@WAYS
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ERRORS, ids=[" ".join([case[0][:9], case[1]]) for case in ERRORS])
async def test_each_error_is_the_clients_own_class(
    clients: Clients, way: str, name: str, more: dict[str, Any], case: tuple[str, str, str, int]
) -> None:
    content, profile, error, status = case
    library, call = asking(clients, name, way, profile, content, **more)
    with pytest.raises(getattr(library, error)) as caught:
        await done(call())
    assert caught.value.status_code == status
    assert caught.value.request_id
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"


@WAYS
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("key", "error"), [("unknown", "AuthenticationError"), ("guest-1", "PermissionDeniedError")]
)
async def test_a_key_that_is_none_or_may_not_is_the_clients_own_class(
    clients: Clients, way: str, name: str, key: str, error: str
) -> None:
    library, call = asking(clients, name, way, "openai", "hi", api_key=key)
    with pytest.raises(getattr(library, error)):
        await done(call())


@WAYS
@VENDORS
async def test_a_stream_that_breaks_off_raises_or_says_so(clients: Clients, way: str, vendor: str) -> None:
    _, chat = asking(clients, "chat", way, vendor, "cut me short", stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        _ = [chunk async for chunk in each(await done(chat()))]
    _, messages = asking(clients, "messages", way, vendor, "cut me short", stream=True)
    with pytest.raises(anthropic.APIStatusError, match="broke off") as caught:
        _ = [event async for event in each(await done(messages()))]
    assert caught.value.type == "api_error"
    _, responses = asking(clients, "responses", way, vendor, "cut me short", stream=True)
    told = [event async for event in each(await done(responses()))]
    assert [event.type for event in told[-2:]] == ["error", "response.failed"]
    assert told[-1].response.error.code == "server_error"


@WAYS
async def test_what_needs_kept_answers_is_refused_by_name(clients: Clients, way: str) -> None:
    client = clients.openai(way)
    with pytest.raises(openai.BadRequestError) as caught:
        await done(client.responses.create(model="any", input="hi", previous_response_id="resp_1"))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "previous_response_id")


@WAYS
async def test_both_clients_list_the_models(clients: Clients, way: str) -> None:
    for client in (clients.openai(way), clients.anthropic(way)):
        names = {model.id async for model in each(await done(client.models.list()))}
        assert {"small", "claude", "profile:openai"} <= names


# A real model -------------------------------------------------------------------------------------

JAPAN = "What is the capital of Japan? Answer in one sentence."


@pytest.fixture(scope="module")
def real() -> Iterator[Running]:
    """Serve the demo's model behind the gateway."""
    try:
        check_server()
        path = obtain(cache_directory(os.environ), os.environ, Bar("SmolLM2-135M", sys.stderr), SMOLLM2)
    except ModelUnavailable as missing:
        pytest.skip(str(missing))
    with LocalModel.start(path, ctx_tokens=2048) as model:
        smol = {"capabilities": {**CAPABLE, "context": 2048}, "served_by": [{"provider": "local"}]}
        data = {
            "providers": {"local": {"base_url": model.base_url}},
            "models": {"smol": smol},
            "profiles": {"default": {"filter": ["requirements"]}},
        }
        with running(data) as gateway:
            yield gateway


@pytest.fixture
async def real_clients(real: Running) -> AsyncIterator[Clients]:
    made = Clients(real)
    yield made
    await made.close()


@pytest.mark.realmodel
@WAYS
async def test_the_real_model_answers_every_api_whole_and_in_pieces(real_clients: Clients, way: str) -> None:
    spoken, written = real_clients.openai(way, "default"), real_clients.anthropic(way, "default")
    chat: Any = {"model": "smol", "messages": said(JAPAN), "temperature": 0, "max_tokens": 24}
    asked: Any = {"model": "smol", "input": JAPAN, "temperature": 0, "max_output_tokens": 24}
    # the newest models take no temperature, and the client forgot the word
    wrote: Any = {
        "model": "smol",
        "messages": said(JAPAN),
        "max_tokens": 24,
        "extra_body": {"temperature": 0},
    }
    completion = await done(spoken.chat.completions.create(**chat))
    response = await done(spoken.responses.create(**asked))
    message = await done(written.messages.create(**wrote))
    texts = [completion.choices[0].message.content, response.output_text, message.content[0].text]
    assert all("Tokyo" in text for text in texts)
    assert (
        completion.usage.completion_tokens == response.usage.output_tokens == message.usage.output_tokens > 0
    )
    _, chat_end = await through(spoken.chat.completions.stream(**chat), "get_final_completion")
    told = [event async for event in each(await done(spoken.responses.create(**asked, stream=True)))]
    _, message_end = await through(written.messages.stream(**wrote), "get_final_message")
    streamed = "".join(event.delta for event in told if event.type == "response.output_text.delta")
    assert [chat_end.choices[0].message.content, streamed, message_end.content[0].text] == texts


@pytest.mark.realmodel
@WAYS
async def test_the_real_model_fits_a_schema_in_every_api(real_clients: Clients, way: str) -> None:
    spoken, written = real_clients.openai(way, "default"), real_clients.anthropic(way, "default")
    where = "Name a city and its temperature in degrees."
    more: Any = {"model": "smol", "extra_body": {"temperature": 0}}
    chat = await done(
        spoken.chat.completions.parse(**more, messages=said(where), response_format=Weather, max_tokens=200)
    )
    response = await done(
        spoken.responses.parse(**more, input=where, text_format=Weather, max_output_tokens=200)
    )
    message = await done(
        written.messages.parse(**more, messages=said(where), output_format=Weather, max_tokens=200)
    )
    for parsed in (chat.choices[0].message.parsed, response.output_parsed, message.parsed_output):
        assert isinstance(parsed, Weather)


@pytest.mark.realmodel
@WAYS
async def test_the_real_model_reads_tools_calls_and_results_in_every_api(
    real_clients: Clients, way: str
) -> None:
    """A model this small calls no tool of its own: what is shown is that nothing of such a talk is refused."""
    spoken, written = real_clients.openai(way, "default"), real_clients.anthropic(way, "default")
    arguments = json.dumps(CITY)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    chat: list[Any] = [
        *said("How is Rome?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    items: list[Any] = [
        *said("How is Rome?"),
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": arguments},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    turns: list[Any] = [
        *said("How is Rome?"),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": CITY}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]},
    ]
    completion = await done(
        spoken.chat.completions.create(model="smol", messages=chat, tools=[CHAT_TOOL], max_tokens=16)
    )
    response = await done(
        spoken.responses.create(model="smol", input=items, tools=[RESPONSES_TOOL], max_output_tokens=16)
    )
    message = await done(
        written.messages.create(model="smol", messages=turns, tools=[MESSAGES_TOOL], max_tokens=16)
    )
    assert completion.choices[0].message.content
    assert response.output_text
    assert message.content[0].text


@pytest.mark.realmodel
@WAYS
async def test_what_is_too_long_for_the_real_model_is_a_bad_request(real_clients: Clients, way: str) -> None:
    for name in CALLS:
        library, call = asking(real_clients, name, way, "default", "hello " * 4000)
        with pytest.raises(library.BadRequestError):
            await done(call())
