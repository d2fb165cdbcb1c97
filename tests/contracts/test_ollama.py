"""What only Ollama's dialect does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.values import Credential, Failure, Response, StreamChunk

from .conftest import Talk, together
from .dialects.ollama import DIALECT
from .scenarios import MODEL, PNG
from .vendor import Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

TEXT = DIALECT.told["text"]


async def _asked(adapters: Mapping[str, Provider], body: bytes = TEXT.whole, **fields: Any) -> Any:
    async with Vendor([whole(200, body)]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, fields)
    assert not isinstance(outcome, Failure), outcome.detail
    return vendor.asked[0]


def _user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


async def test_an_image_is_sent_as_its_bytes(adapters: Mapping[str, Provider]) -> None:
    parts = ({"type": "text", "text": "what is this?"}, _image(f"data:image/png;base64,{PNG}"))
    asked = await _asked(adapters, messages=_user(*parts))
    assert asked.data["messages"] == [{"role": "user", "content": "what is this?", "images": [PNG]}]


async def test_an_image_by_address_fails_the_call(adapters: Mapping[str, Provider]) -> None:
    async with Vendor([whole(200, TEXT.whole)]) as vendor:
        fields = {"messages": _user(_image("https://pictures.example/cat.jpg"))}
        outcome = await Talk(DIALECT, adapters).send(vendor, fields)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, vendor.asked) == ("bad_request", [])
    assert "images by address" in outcome.detail


async def test_a_completion_goes_to_generate(adapters: Mapping[str, Provider]) -> None:
    body = json.dumps({"model": MODEL, "response": "upon a time", "done": True, "done_reason": "stop"})
    fields = {"kind": "completion", "prompt": "once", "params": {"max_tokens": 5}}
    async with Vendor([whole(200, body.encode())]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, fields)
    (asked,) = vendor.asked
    assert asked.path == "/api/generate"
    assert asked.data == {"model": MODEL, "prompt": "once", "stream": False, "options": {"num_predict": 5}}
    assert isinstance(outcome, Response)
    assert (outcome.text, outcome.finish_reason) == ("upon a time", "stop")


async def test_a_callers_own_options_stand_under_what_was_decided(adapters: Mapping[str, Provider]) -> None:
    own = {"options": {"num_ctx": 8192, "temperature": 1}, "keep_alive": "10m"}
    asked = await _asked(adapters, prompt="hi", params={"temperature": 0.2}, passthrough=own)
    assert asked.data["options"] == {"num_ctx": 8192, "temperature": 0.2}
    assert asked.data["keep_alive"] == "10m"


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high")],
)
async def test_an_effort_is_one_of_three_or_none(
    adapters: Mapping[str, Provider], effort: str, think: object
) -> None:
    asked = await _asked(adapters, prompt="hi", params={"reasoning_effort": effort})
    assert asked.data["think"] == think


async def test_json_without_a_schema_is_a_word(adapters: Mapping[str, Provider]) -> None:
    asked = await _asked(adapters, prompt="hi", response_format={"type": "json_object"})
    assert asked.data["format"] == "json"


async def test_a_key_for_a_hosted_server_is_a_bearer(adapters: Mapping[str, Provider]) -> None:
    asked = await _asked(adapters, prompt="hi")
    assert asked.headers["authorization"].startswith("Bearer ")
    async with Vendor([whole(200, TEXT.whole)]) as vendor:
        await Talk(DIALECT, adapters).send(vendor, {"prompt": "hi"}, Credential())
    assert "authorization" not in vendor.asked[0].headers


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_choice_of_tools_that_it_cannot_force_is_named(
    adapters: Mapping[str, Provider], choice: object
) -> None:
    talk = Talk(DIALECT, adapters)
    call = talk.call("http://127.0.0.1:1", {"prompt": "hi", "passthrough": {"tool_choice": choice}})
    assert talk.adapter.unsaid(call) == ("tool_choice",)


async def test_embedding_tokens_fails_by_name(adapters: Mapping[str, Provider]) -> None:
    async with Vendor([whole(200, b"{}")]) as vendor:
        fields = {"kind": "embeddings", "embed": [[1, 2, 3]]}
        outcome = await Talk(DIALECT, adapters).send(vendor, fields)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.detail) == (
        "bad_request",
        "this provider's dialect embeds texts, not tokens",
    )


async def test_an_error_after_content_ends_the_stream_in_a_failure(adapters: Mapping[str, Provider]) -> None:
    pieces = [*(TEXT.pieces or ())[:2], b'{"error": "unexpected EOF"}\n', *(TEXT.pieces or ())[2:]]
    heard = await Talk(DIALECT, adapters).hear(flow(pieces, DIALECT.stream_kind), {"prompt": "hi"})
    assert together(heard[:-1])["text"] == "Hello"
    assert isinstance(heard[-1], Failure)
    assert (heard[-1].kind, heard[-1].detail) == ("server_error", "unexpected EOF")


async def test_a_line_without_an_end_is_given_up(adapters: Mapping[str, Provider]) -> None:
    pieces = [*(TEXT.pieces or ())[:2], *[b"x" * 1024 * 1024] * 9, b"\n", *(TEXT.pieces or ())[2:]]
    heard = await Talk(DIALECT, adapters).hear(flow(pieces, DIALECT.stream_kind), {"prompt": "hi"})
    assert isinstance(heard[-1], Failure)
    assert (heard[-1].kind, heard[-1].detail) == ("bad_response", "a line without an end")


async def test_what_follows_the_end_is_ignored(adapters: Mapping[str, Provider]) -> None:
    pieces = [b"".join([*(TEXT.pieces or ()), b"{\n", b'{"error": "late"}\n'])]
    heard = await Talk(DIALECT, adapters).hear(flow(pieces, DIALECT.stream_kind), {"prompt": "hi"})
    assert all(isinstance(item, StreamChunk) for item in heard)
