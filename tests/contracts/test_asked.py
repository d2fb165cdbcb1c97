"""What is asked reaches the vendor in the vendor's words, and what does not is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.providers.registry import ADAPTERS
from llm_policy_host.values import Failure, Secret

from .conftest import Talk
from .dialect import CANARY
from .dialects import dialects
from .scenarios import ANSWERS, CALLS, FAILURES, UNSAID
from .vendor import Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

    from .dialect import Dialect

DIALECTS = dialects()
ASKED = [(name, scenario) for name, dialect in DIALECTS.items() for scenario in dialect.asked]
UNNAMED = [(name, scenario) for name in DIALECTS for scenario in UNSAID]
EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


def test_every_adapter_over_the_wire_has_its_row() -> None:
    assert {dialect.adapter for dialect in DIALECTS.values()} == ADAPTERS.keys() - {"scripted"}


@EVERY_DIALECT
def test_a_dialect_has_every_scenario_or_says_why_not(dialect: Dialect) -> None:
    for given, known in (
        (dialect.asked, CALLS),
        (dialect.told, ANSWERS),
        (dialect.refused, FAILURES),
        (dialect.unsaid, UNSAID),
    ):
        assert given.keys() <= known.keys()
    wanted = CALLS.keys() | ANSWERS.keys() | FAILURES.keys() | UNSAID.keys()
    had = dialect.asked.keys() | dialect.told.keys() | dialect.refused.keys() | dialect.unsaid.keys()
    assert had | dialect.lacks.keys() == wanted
    assert not (had & dialect.lacks.keys())
    assert dialect.asked.keys() | dialect.lacks.keys() >= CALLS.keys()
    assert dialect.told.keys() | dialect.lacks.keys() >= ANSWERS.keys()


@pytest.mark.parametrize(("name", "scenario"), ASKED)
async def test_a_call_reaches_the_vendor_in_its_words(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    dialect, talk = DIALECTS[name], Talk(DIALECTS[name], adapters)
    ask = dialect.asked[scenario]
    answer = dialect.told["embeddings" if scenario == "embeddings" else "text"]
    async with Vendor([whole(200, answer.whole)]) as vendor:
        outcome = await talk.send(vendor, CALLS[scenario])
    assert not isinstance(outcome, Failure), outcome.detail
    (asked,) = vendor.asked
    assert asked.path == ask.path
    assert asked.data == ask.body
    assert asked.headers["content-type"] == "application/json"
    assert {key: asked.headers.get(key) for key in ask.headers} == ask.headers


@pytest.mark.parametrize(("name", "scenario"), ASKED)
async def test_a_stream_is_asked_for_in_the_same_words(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    dialect, talk = DIALECTS[name], Talk(DIALECTS[name], adapters)
    ask, answer = dialect.asked[scenario], dialect.told["text"]
    if scenario == "embeddings":
        return
    async with Vendor([flow(answer.pieces or (), dialect.stream_kind)]) as vendor:
        heard = await talk.stream(vendor, CALLS[scenario])
    assert not isinstance(heard[-1], Failure), heard[-1].detail
    (asked,) = vendor.asked
    assert asked.path == (ask.stream_path or ask.path)
    assert asked.data == {**ask.body, **ask.stream_body}


@EVERY_DIALECT
async def test_the_key_stands_where_the_vendor_looks_and_nowhere_else(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    async with Vendor([whole(200, dialect.told["text"].whole)]) as vendor:
        await Talk(dialect, adapters).send(vendor, CALLS["params"])
    (asked,) = vendor.asked
    holders = [name for name, value in asked.headers.items() if CANARY in value]
    assert holders == ([dialect.key_header] if dialect.key_header else [])
    assert CANARY not in asked.path
    assert CANARY.encode() not in asked.body


@EVERY_DIALECT
@pytest.mark.parametrize(
    "secret", ["k3y-c4nary\nx: y", "k3y-c4nary\r\n\r\n", "k3y-c4nary\u20ac", "k3y-c4nary\x00"]
)
async def test_a_key_that_no_header_can_hold_fails_without_being_quoted(
    dialect: Dialect, adapters: Mapping[str, Provider], secret: str
) -> None:
    credential = type(dialect.credential)(Secret(secret), None, dialect.credential.extras)
    async with Vendor([whole(200, dialect.told["text"].whole)]) as vendor:
        outcome = await Talk(dialect, adapters).send(vendor, CALLS["prompt"], credential)
        heard = await Talk(dialect, adapters).stream(vendor, CALLS["prompt"], credential)
    if dialect.key_header is not None:
        assert isinstance(outcome, Failure)
        assert isinstance(heard[-1], Failure)
        assert not vendor.asked
    assert "k3y-c4nary" not in _everything([outcome, *heard])


def _everything(values: list[Any]) -> str:
    return "".join(repr(value) + str(getattr(value, "detail", "")) for value in values)


@pytest.mark.parametrize(("name", "scenario"), UNNAMED)
def test_what_a_dialect_cannot_say_is_named(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(DIALECTS[name], adapters)
    if scenario in DIALECTS[name].lacks:
        return
    call = talk.call("http://127.0.0.1:1", UNSAID[scenario])
    assert sorted(talk.adapter.unsaid(call)) == sorted(DIALECTS[name].unsaid[scenario])


@EVERY_DIALECT
@pytest.mark.parametrize("part", ["input_audio", "file"])
async def test_a_part_that_a_foreign_dialect_cannot_carry_fails_the_call_by_name(
    dialect: Dialect, adapters: Mapping[str, Provider], part: str
) -> None:
    content = [{"type": "text", "text": "hear"}, {"type": part, part: {"data": "AAAA"}}]
    fields = {"messages": [{"role": "user", "content": content}]}
    reply = whole(200, dialect.told["text"].whole)
    async with Vendor([reply]) as vendor:
        outcome = await Talk(dialect, adapters).send(vendor, fields)
    if dialect.raw == "openai":
        assert vendor.asked[0].data["messages"] == fields["messages"]
        return
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_request"
    assert part in outcome.detail
    assert not vendor.asked
