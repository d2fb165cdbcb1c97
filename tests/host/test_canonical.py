"""Canonical text: it reads back to the same data, is its own canonical text, and keeps every comment."""

from __future__ import annotations

import json
import random
from typing import Any

import lupa.lua54
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.config.bracket_text import json_text, lua_text
from llm_policy_host.config.canonical import canonical, comments_of, lost
from llm_policy_host.config.key_order import ordered
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.core.marshal import Reader, from_lua
from llm_policy_host.errors import HostError
from llm_policy_host.spelling import encode
from tests.docs.pages import pages
from tests.docs.running import is_config

ODD = (
    "",
    "no",
    "null",
    "1e3",
    "~",
    "- a",
    "a: b",
    "#",
    "a #b",
    "\n",
    "\x00",
    "\x85",
    "é",
    "😀\n",
    "\udc80",
    "0x1",
    "*a",
    "<<",
    "{",
)
TEXTS = st.one_of(st.sampled_from(ODD), st.text(max_size=12))
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans())
KEYS = st.one_of(
    st.sampled_from(("providers", "models", "profiles", "filter", "unknown", "end", "-1")), TEXTS
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=25,
)
RECORDS = st.dictionaries(KEYS, PLAIN, min_size=1, max_size=5)


def comparable(value: Any) -> Any:
    """Give data in which an empty table is one thing, and a number one, whichever type carries it."""
    if isinstance(value, list | dict):
        if not value:
            return []
        if isinstance(value, list):
            return [comparable(each) for each in value]
        return {key: comparable(each) for key, each in value.items()}
    return (type(value) is bool, float(value) if isinstance(value, int | float) else value)


@given(RECORDS)
@settings(max_examples=300, deadline=None)
def test_yaml_reads_back_to_the_same_data_and_is_its_own_canonical_text(data: Any) -> None:
    text = canonical(data, "yaml")
    document = parse_yaml(text, "a file")
    assert not document.problems
    assert comparable(document.data) == comparable(data)
    assert canonical(document.data, "yaml") == text


@given(PLAIN)
@settings(max_examples=200, deadline=None)
def test_json_reads_back_to_the_same_data_and_is_its_own_canonical_text(data: Any) -> None:
    text = json_text(data)
    assert comparable(json.loads(text)) == comparable(data)
    assert json_text(json.loads(text)) == text


@given(PLAIN)
@settings(max_examples=200, deadline=None)
def test_lua_reads_back_to_the_same_data_and_is_its_own_canonical_text(data: Any) -> None:
    text = lua_text(data)
    lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True, encoding=None)
    value = from_lua(Reader(lupa.lua54.lua_type), lua.execute(encode(text)))
    assert comparable(value) == comparable(data)
    assert lua_text(value) == text


def test_a_line_ends_in_one_comment() -> None:
    text = "a:\n  - z: {k: 1}  # of the item\n    b: [1]  # of its first key\n"
    document = parse_yaml(text, "a file")
    once = canonical(document.data, "yaml", comments_of(text, document))
    assert once == "a:\n  # of the item\n  - b: [1]  # of its first key\n    z: {k: 1}\n"
    assert lost(once, comments_of(text, document)) == []


CONFIGS = [
    block.text for page in pages() for block in page.blocks if block.language == "yaml" and is_config(block)
]


@given(st.sampled_from(CONFIGS), st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_comments_anywhere_are_kept_and_kept_again(text: str, seed: int) -> None:
    commented = "".join(_commented(text.splitlines(), random.Random(seed)))  # noqa: S311 - no secret
    document = parse_yaml(commented, "a file")
    comments = comments_of(commented, document)
    assert len(comments.texts()) == sum("#" in line for line in commented.splitlines())
    once = canonical(document.data, "yaml", comments)
    again = parse_yaml(once, "a file")
    assert again.data == document.data
    assert lost(once, comments) == []
    assert canonical(again.data, "yaml", comments_of(once, again)) == once


def _commented(lines: list[str], rng: random.Random) -> Any:
    for number, line in enumerate(lines):
        if rng.random() < 0.2:
            yield f"{' ' * rng.randint(0, 6)}# told {number}\n"
        yield f"{line}  # told {number} behind\n" if rng.random() < 0.2 and "#" not in line else f"{line}\n"
    yield "# told last\n" if rng.random() < 0.5 else ""


def formatted(text: str) -> str:
    document = parse_yaml(text, "a file")
    return canonical(document.data, "yaml", comments_of(text, document))


def test_a_comment_goes_along_with_what_it_is_about() -> None:
    text = """\
providers:
  zulu: {api_kind: scripted}  # the last
  # the first
  alpha:
    tier: partner   # of old
    api_kind: scripted
    # nobody
models: # none yet
  {}
chain:
  - {provider: a, model: b}  # first
  # second
  - provider: c
    model: d
"""
    assert (
        formatted(text)
        == """\
providers:
  # the first
  alpha:
    api_kind: scripted
    tier: partner  # of old
  zulu: {api_kind: scripted}  # the last
# nobody
models: {}  # none yet
chain:
  - {model: b, provider: a}  # first
  # second
  - {model: d, provider: c}
"""
    )


def test_a_number_sign_in_a_text_is_no_comment() -> None:
    assert formatted('a: "x # y"\nb: x#y\nc: |\n  # z\n') == 'a: "x # y"\nb: "x#y"\nc: "# z\\n"\n'


def test_a_comment_behind_the_sign_of_a_block_is_kept() -> None:
    assert formatted("c: | # why\n  z\n") == 'c: "z\\n"  # why\n'


def test_short_things_stand_on_one_line_and_long_ones_on_several() -> None:
    chain = [{"provider": f"provider-{n}", "model": "a-model"} for n in range(4)]
    assert canonical({"profiles": {"p": {"chain": chain[:1], "extends": "q"}}}, "yaml") == (
        "profiles:\n  p:\n    extends: q\n    chain: [{provider: provider-0, model: a-model}]\n"
    ).replace("{provider: provider-0, model: a-model}", "{model: a-model, provider: provider-0}")
    assert canonical({"chain": chain[:2]}, "yaml").count("\n") == 3
    assert canonical({"filter": ["requirements", {"is": "no_log"}]}, "yaml").count("\n") == 1
    assert canonical({"notes": ["x" * 60, "y" * 60]}, "yaml").count("\n") == 3


def test_known_keys_come_in_the_order_of_the_manual_and_names_in_that_of_their_bytes() -> None:
    assert ordered({"host": 1, "models": 1, "zeta": 1, "providers": 1}, ()) == [
        "providers",
        "models",
        "host",
        "zeta",
    ]
    assert ordered({"models": 1, "filter": 1, "a": 1, "É": 1}, ("profiles",)) == [
        "a",
        "filter",
        "models",
        "É",
    ]
    assert ordered({"price_in": 1, "provider": 1}, ("models", "m", "served_by", 1)) == [
        "provider",
        "price_in",
    ]


def test_what_would_not_be_read_back_is_no_text() -> None:
    with pytest.raises(HostError, match="no text as yaml"):
        canonical({"a": {"b": [None]}}, "yaml")


def test_every_config_of_the_documentation_means_the_same_when_it_is_formatted() -> None:
    assert len(CONFIGS) > 5
    for text in CONFIGS:
        assert parse_yaml(formatted(text), "a file").data == parse_yaml(text, "a file").data


def test_the_width_is_kept() -> None:
    for text in CONFIGS:
        document = parse_yaml(text, "a file")
        for form in ("yaml", "lua", "json"):
            lines = canonical(document.data, form).splitlines()
            assert all(len(line) <= 100 for line in lines if line.count('"') < 4)
