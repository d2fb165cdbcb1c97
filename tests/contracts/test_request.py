"""A call read for foreign dialects: nothing of the question is dropped without a word."""

from __future__ import annotations

from typing import Any

import pytest

from llm_policy_host.providers._request import (
    Choice,
    Image,
    Text,
    ToolResult,
    ToolUse,
    Turn,
    UnsayableError,
    conversation,
    functions,
    image,
    stops,
    tool_choice,
    unsaid,
)
from llm_policy_host.values import Call


def _call(*messages: dict[str, Any], **fields: Any) -> Call:
    return Call("p", "f", "m", messages=messages, **fields)


def test_neighbours_of_one_role_are_one_turn_and_what_says_nothing_is_none() -> None:
    talk = conversation(
        _call(
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "user", "content": [{"type": "text", "text": ""}]},
            {"role": "assistant", "content": None},
            {"role": "user", "content": "c"},
            {"role": "system", "content": ""},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        )
    )
    assert talk.system == ("a",)
    assert talk.turns == (Turn("user", (Text("b"), Text("c"))), Turn("assistant", (Text("no"),)))


def test_a_result_knows_the_tool_that_was_called_last_by_its_id() -> None:
    def used(name: str) -> dict[str, Any]:
        return {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": name, "arguments": {}}}]}

    result = {"role": "tool", "tool_call_id": "1", "content": "x"}
    turns = conversation(_call(used("a"), result, used("b"), result)).turns
    assert [piece.name for turn in turns for piece in turn.pieces if isinstance(piece, ToolResult)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("given", "read"),
    [('{"a": 1}', {"a": 1}), ("", {}), (None, {}), ("[1]", {"arguments": "[1]"}), ("{", {"arguments": "{"})],
)
def test_a_models_broken_arguments_are_shown_to_it_again(given: object, read: dict[str, Any]) -> None:
    use = {"id": "1", "function": {"name": "f", "arguments": given}}
    ((piece,),) = [
        turn.pieces for turn in conversation(_call({"role": "assistant", "tool_calls": [use]})).turns
    ]
    assert piece == ToolUse("1", "f", read)


@pytest.mark.parametrize(
    ("messages", "fields", "word"),
    [
        ([{"role": "function", "content": "x"}], {}, "function"),
        ([{"role": "user", "content": [{"type": "video_url"}]}], {}, "video_url"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
                }
            ],
            {},
            "image",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "data:text/plain,x"}]}],
            {},
            "image",
        ),
        ([], {"tools": [{"type": "web_search"}]}, "web_search"),
    ],
)
def test_what_cannot_be_said_is_the_callers_mistake_by_name(
    messages: list[dict[str, Any]], fields: dict[str, Any], word: str
) -> None:
    call = _call(*messages, **fields)
    with pytest.raises(UnsayableError, match=word) as raised:
        functions(call), conversation(call)
    assert raised.value.failure.kind == "bad_request"


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("data:image/PNG;base64,AAAA", Image("image/png", "AAAA")),
        ("data:image/jpeg;charset=utf-8;base64,AA==", Image("image/jpeg", "AA==")),
        ("data:;base64,AAAA", Image("image/png", "AAAA")),
        ("https://x/y.png", Image(url="https://x/y.png")),
    ],
)
def test_a_data_url_is_taken_apart(url: str, read: Image) -> None:
    assert image(url) == read


@pytest.mark.parametrize("stop", [7, True, ["a", 1], {"a": 1}, [None]])
def test_an_end_that_is_no_text_is_refused(stop: Any) -> None:
    with pytest.raises(UnsayableError, match="`stop`"):
        stops(_call(passthrough={"stop": stop}))


def test_settings_are_read_from_wherever_the_callers_dialect_has_them() -> None:
    words = {"stop": ["a"], "tool_choice": {"type": "function", "function": {"name": "f"}}}
    for fields in (
        {"passthrough": words},
        {"dialect": "anthropic", "passthrough": {"_openai": words, "stop": "b"}},
    ):
        call = _call(**fields)
        assert stops(call) == ["a"]
        assert tool_choice(call) == Choice("one", "f")
    assert tool_choice(_call(passthrough={"tool_choice": {"type": "allowed_tools"}})) is None


def test_what_is_lost_is_named_once_and_what_asks_for_nothing_is_not() -> None:
    call = _call(
        params={"n": 1, "seed": 3, "min_p": None, "temperature": 1},
        dialect="anthropic",
        passthrough={"_openai": {"seed": 4, "user": "u"}, "_lost": ["thinking", "user"], "messages": []},
    )
    assert unsaid(call, "google", ("temperature",), ("stop",)) == ("seed", "user", "thinking")
    assert unsaid(call, "anthropic", ("temperature",), ("stop",)) == ("seed",)
