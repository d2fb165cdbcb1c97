"""What goes wrong on the wire is the same misfortune in every dialect, and never a duplicate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.values import Failure, StreamChunk

from .conftest import Talk, meaning, together
from .dialects import dialects
from .scenarios import ANSWERS, CALLS
from .vendor import Reply, Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

    from .dialect import Dialect

DIALECTS = dialects()
EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
PAGE = b"<!doctype html><title>502 Bad Gateway</title>" + b"<p>sorry" * 1000
HUGE = 9 * 1024 * 1024
HI = CALLS["prompt"]


def _pieces(dialect: Dialect) -> list[bytes]:
    return list(dialect.told["text"].pieces or ())


def _kind(outcome: object) -> str:
    assert isinstance(outcome, Failure), outcome
    return outcome.kind


@EVERY_DIALECT
async def test_a_page_of_html_is_no_answer(dialect: Dialect, adapters: Mapping[str, Provider]) -> None:
    talk = Talk(dialect, adapters)
    for status, kind in ((502, "server_error"), (403, "auth_error"), (200, "bad_response")):
        assert _kind(await talk.ask(whole(status, PAGE, "text/html; charset=utf-8"), HI)) == kind
        heard = await talk.hear(whole(status, PAGE, "text/html; charset=utf-8"), HI)
        assert [_kind(item) for item in heard] == [kind]


@EVERY_DIALECT
async def test_an_empty_or_broken_body_is_a_bad_response(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(dialect, adapters)
    for body in (b"", b"{", b"null", b"[]", b'"x"', b"{}", b"[" * 100_000, b"\xff\xfe", b"7"):
        assert _kind(await talk.ask(whole(200, body), HI)) == "bad_response", body[:10]
        assert _kind((await talk.hear(whole(200, body), HI))[-1]) == "bad_response", body[:10]


@EVERY_DIALECT
async def test_a_stream_of_nothing_is_a_network_error(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    heard = await Talk(dialect, adapters).hear(flow([], dialect.stream_kind), HI)
    assert [_kind(item) for item in heard] == ["network_error"]


@EVERY_DIALECT
@pytest.mark.parametrize("then", ["cut", "end"])
async def test_a_stream_that_stops_before_content_gives_none(
    dialect: Dialect, then: str, adapters: Mapping[str, Provider]
) -> None:
    pieces = _pieces(dialect)[: dialect.opening]
    reply = flow(pieces, dialect.stream_kind, then)  # type: ignore[arg-type]
    heard = await Talk(dialect, adapters).hear(reply, HI)
    assert _kind(heard[-1]) == "network_error"
    assert not any(isinstance(item, StreamChunk) and item.has_content for item in heard)


@EVERY_DIALECT
@pytest.mark.parametrize("then", ["cut", "end"])
async def test_a_stream_that_stops_after_content_gives_that_and_a_failure(
    dialect: Dialect, then: str, adapters: Mapping[str, Provider]
) -> None:
    pieces = _pieces(dialect)[: dialect.opening + 1]
    reply = flow(pieces, dialect.stream_kind, then)  # type: ignore[arg-type]
    heard = await Talk(dialect, adapters).hear(reply, HI)
    assert _kind(heard[-1]) == "network_error"
    text = together(heard[:-1])["text"]
    assert text
    assert ANSWERS["text"].text.startswith(text)
    assert text != ANSWERS["text"].text


@EVERY_DIALECT
async def test_a_whole_answer_that_is_cut_is_a_network_error(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    full = whole(200, dialect.told["text"].whole)
    cut = Reply(full.head, [full.pieces[0][:-5]], "cut", is_chunked=False)
    asked = await Talk(dialect, adapters).ask(cut, HI)
    heard = (await Talk(dialect, adapters).hear(cut, HI))[-1]
    assert _kind(asked) == _kind(heard) == "network_error"
    for failure in (asked, heard):
        # what was asked arrived: it may be charged
        assert isinstance(failure, Failure)
        assert not failure.is_unsent


@EVERY_DIALECT
@pytest.mark.parametrize("place", ["at once", "before content", "after content"])
async def test_leaving_a_stalled_stream_closes_its_connection(
    dialect: Dialect, place: str, adapters: Mapping[str, Provider]
) -> None:
    count = {"at once": 0, "before content": dialect.opening, "after content": dialect.opening + 1}[place]
    talk = Talk(dialect, adapters)
    async with Vendor([flow(_pieces(dialect)[:count], dialect.stream_kind, "hang")]) as vendor:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(talk.stream(vendor, HI), 0.2)
        await asyncio.wait_for(vendor.left.wait(), 5)


@EVERY_DIALECT
async def test_a_stream_is_over_at_its_own_end_though_the_connection_stays(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    if not dialect.ends_itself:
        return
    reply = flow(_pieces(dialect), dialect.stream_kind, "hang")
    heard = await asyncio.wait_for(Talk(dialect, adapters).hear(reply, HI), 5)
    assert together(heard)["text"] == ANSWERS["text"].text


@EVERY_DIALECT
async def test_leaving_a_call_closes_its_connection(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(dialect, adapters)
    async with Vendor([Reply(b"", then="hang", is_chunked=False)]) as vendor:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(talk.send(vendor, HI), 0.2)
        await asyncio.wait_for(vendor.left.wait(), 5)


@EVERY_DIALECT
async def test_a_little_garbage_in_a_stream_costs_no_answer(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    pieces = _pieces(dialect)
    middle = dialect.opening + 1
    garbled = [*pieces[:middle], dialect.garbage, *pieces[middle:]]
    heard = await Talk(dialect, adapters).hear(flow(garbled, dialect.stream_kind), HI)
    if dialect.survives_garbage:
        assert together(heard)["text"] == ANSWERS["text"].text
    else:
        assert _kind(heard[-1]) == "bad_response"


@EVERY_DIALECT
async def test_nothing_but_garbage_is_given_up(dialect: Dialect, adapters: Mapping[str, Provider]) -> None:
    reply = flow([dialect.garbage] * 200, dialect.stream_kind)
    heard = await asyncio.wait_for(Talk(dialect, adapters).hear(reply, HI), 10)
    assert _kind(heard[-1]) == "bad_response"


@EVERY_DIALECT
async def test_a_huge_line_is_dropped_and_the_answer_goes_on(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    if not dialect.stream_kind.startswith("text/event-stream"):
        return
    pieces = _pieces(dialect)
    huge = [b": " + b"x" * HUGE + b"\n", b"data: " + b"x" * HUGE + b"\n\n"]
    heard = await Talk(dialect, adapters).hear(flow([*pieces[:1], *huge, *pieces[1:]]), HI)
    assert together(heard)["text"] == ANSWERS["text"].text


@EVERY_DIALECT
async def test_an_endless_answer_is_refused(dialect: Dialect, adapters: Mapping[str, Provider]) -> None:
    blocks = [b" " * (1024 * 1024)] * 40
    reply = flow(blocks, "application/json")
    assert _kind(await Talk(dialect, adapters).ask(reply, HI)) == "bad_response"


@EVERY_DIALECT
async def test_a_redirect_is_not_followed(dialect: Dialect, adapters: Mapping[str, Provider]) -> None:
    talk = Talk(dialect, adapters)
    async with Vendor([whole(200, dialect.told["text"].whole)]) as other:
        for status in (301, 302, 307, 308):
            away = whole(status, b"", headers={"location": f"{other.origin}/v1/x"})
            assert _kind(await talk.ask(away, HI)) == "bad_response"
            assert [_kind(item) for item in await talk.hear(away, HI)] == ["bad_response"]
        assert not other.asked


@EVERY_DIALECT
async def test_the_content_type_of_an_answer_is_not_trusted(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    talk, tell = Talk(dialect, adapters), dialect.told["text"]
    assert meaning(await talk.ask(whole(200, tell.whole, "text/plain"), HI))["text"] == ANSWERS["text"].text
    heard = await talk.hear(flow(_pieces(dialect), "text/plain"), HI)
    assert together(heard)["text"] == ANSWERS["text"].text


@EVERY_DIALECT
async def test_a_whole_answer_in_place_of_a_stream_is_an_answer(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    if dialect.stream_kind == "application/json":
        return
    reply = whole(200, dialect.told["tools"].whole, "application/json; charset=utf-8")
    heard = await Talk(dialect, adapters).hear(reply, HI)
    wanted = dialect.told["tools"].but.get("tool_calls", ANSWERS["tools"].tool_calls)
    assert together(heard)["tool_calls"] == wanted


@EVERY_DIALECT
async def test_a_server_that_is_not_there_is_a_network_error(
    dialect: Dialect, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(dialect, adapters)
    async with Vendor([]) as vendor:
        call = talk.call(vendor.origin, HI)
    await asyncio.sleep(0)
    failures: list[object] = [await talk.adapter.send(call, dialect.credential)]
    failures += [item async for item in talk.adapter.stream(call, dialect.credential)]
    assert [_kind(item) for item in failures] == ["network_error"] * 2
    assert all(isinstance(item, Failure) and item.is_unsent for item in failures)


@EVERY_DIALECT
@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://[", "//x", "http://x:99999/"])
async def test_an_address_that_is_none_is_a_failure(
    dialect: Dialect, url: str, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(dialect, adapters)
    call = talk.call("", {**HI, "base_url": url})
    assert isinstance(await talk.adapter.send(call, dialect.credential), Failure)
