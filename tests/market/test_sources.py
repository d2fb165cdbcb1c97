"""Sources over time: polled, failing, going stale, never asked twice for the same."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.market import source as sources
from llm_policy_host.market.feeds import MAX_BYTES, CommandFeed, Fetched, FileFeed, Lost
from llm_policy_host.market.offers import Rules
from llm_policy_host.market.source import endpoint_path
from llm_policy_host.values import Missing, Secret

from .feed import FAMILIES, Script, offer, source, told

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = 60_000


def held(found: sources.Source) -> list[str]:
    return [one.peer_id for one in found.offers]


async def test_a_poll_takes_the_good_offers_and_counts_the_bad_ones_by_reason() -> None:
    clock = VirtualClock(1_000)
    found = source(clock)
    bad = [3, offer("a", price=-1), offer("p"), offer("b", expires_at_ms=1)]
    wait_ms = await found.poll(Script([told([offer("p"), *bad, offer("z", family="unwanted")])]))
    assert (held(found), wait_ms) == (["p"], MINUTE)
    assert found.dropped == {"shape": 1, "price": 1, "duplicate": 1, "expired": 1}


async def test_what_is_known_is_asked_for_conditionally_and_a_304_keeps_it_fresh() -> None:
    clock = VirtualClock(1_000)
    found = source(clock, ttl_ms=100_000)
    script = Script([told([offer(), 3], etag='"1"', last_modified="Sat"), told([], 304)])
    await found.poll(script)
    found.has_news = False
    clock.advance(90_000)
    await found.poll(script)
    assert script.asked[1][1]["if-none-match"] == '"1"'
    assert script.asked[1][1]["if-modified-since"] == "Sat"
    clock.advance(90_000)
    found.drop_expired(clock.now_ms())
    assert (held(found), found.has_news, found.dropped.total()) == (["peer-1"], False, 1)


async def test_a_304_that_nobody_asked_for_is_no_answer() -> None:
    found = source(VirtualClock())
    await found.poll(Script([told([], 304)]))
    assert found.last_loss == "status"


async def test_the_same_offers_again_are_no_news() -> None:
    found = source(VirtualClock())
    await found.poll(Script([told([offer()])]))
    found.has_news = False
    await found.poll(Script([told([offer()])]))
    assert not found.has_news
    await found.poll(Script([told([offer(price=2)])]))
    assert found.has_news


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("refused"), "network"),
        (told([], 500), "status"),
        (told([], 404), "not_found"),
        (told(b"<html>"), "not_json"),
        (told(b'[{"price": NaN}]'), "not_json"),
        (told(b"[" * 100_000), "not_json"),
        (told({"nothing": "here"}), "shape"),
        (told(b" " * (MAX_BYTES + 1)), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_source_that_fails_keeps_its_offers_and_says_why(answer: Any, reason: str) -> None:
    found = source(VirtualClock())
    await found.poll(Script([told([offer()])]))
    await found.poll(Script([answer]))
    assert (held(found), found.last_loss, found.failures, found.lost) == (["peer-1"], reason, 1, {reason: 1})


async def test_a_source_that_goes_on_failing_loses_its_offers_when_they_end() -> None:
    clock = VirtualClock(1_000)
    found = source(clock, ttl_ms=100_000)
    await found.poll(Script([told([offer()])]))
    await found.poll(Script([OSError()]))
    clock.advance(100_000)
    found.drop_expired(clock.now_ms())
    assert (held(found), found.dropped) == ([], {"expired": 1})


async def test_a_source_that_hangs_is_given_up() -> None:
    clock = VirtualClock()

    async def hang() -> None:
        await clock.sleep_ms(1e9)

    found = source(clock)
    await found.poll(Script([hang]))
    assert (found.last_loss, clock.now_ms()) == ("timeout", 5_000)


async def test_failures_are_asked_again_ever_more_slowly_and_by_chance() -> None:
    async def waits(draw: float) -> list[float]:
        found, script = source(VirtualClock(), draw=lambda: draw), Script([OSError()])
        return [await found.poll(script) for _ in range(12)]

    least, most = await waits(0.0), await waits(1.0)
    assert most[:4] == [1_000, 2_000, 4_000, 8_000]
    assert least[:4] == [500, 1_000, 2_000, 4_000]
    assert (most[-1], least[-1]) == (300_000, 150_000)


async def test_a_source_that_says_when_is_not_asked_before() -> None:
    found = source(VirtualClock())
    assert await found.poll(Script([told([], 429, retry_after="120")])) == 120_000
    assert await found.poll(Script([told([], 503, retry_after="999999")])) == 3_600_000
    assert await found.poll(Script([told([], 503, retry_after="-5")])) < 4_000


async def test_a_success_after_failures_is_asked_at_its_own_pace_again() -> None:
    found = source(VirtualClock(), every_ms=10_000, draw=lambda: 0.0)
    await found.poll(Script([OSError()]))
    assert await found.poll(Script([told([])])) == 9_000
    assert (found.failures, found.last_loss) == (0, None)


async def test_a_feed_that_is_bad_and_then_unchanged_stays_bad() -> None:
    found = source(VirtualClock())
    await found.poll(Script([told({"odd": 1}, etag="1")]))
    await found.poll(Script([told([], 304)]))
    assert (found.failures, found.last_loss) == (2, "shape")


async def test_a_token_goes_in_a_header_and_one_that_is_missing_asks_nobody() -> None:
    script = Script([told([])])
    await source(VirtualClock(), token=lambda: Secret("s3cret")).poll(script)
    assert script.asked[0][1]["authorization"] == "Bearer s3cret"
    found = source(VirtualClock(), token=lambda: Missing("not set"))
    await found.poll(script)
    assert (found.last_loss, len(script.asked)) == ("credential", 1)


async def test_a_feed_larger_than_its_bounds_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_OFFERS", 3)
    monkeypatch.setattr(sources, "MAX_RECORDS", 5)
    found = source(VirtualClock())
    await found.poll(Script([told([offer(f"p{i}") for i in range(9)])]))
    assert (held(found), found.dropped) == (["p0", "p1", "p2"], {"too_many": 3})


async def test_a_large_feed_is_judged_beside_the_event_loop() -> None:
    found = source(VirtualClock())
    await found.poll(Script([told([offer(f"p{i}") for i in range(2_000)])]))
    assert len(found.offers) == 2_000


async def test_of_several_places_one_may_be_gone_but_no_other_fault_is_overlooked() -> None:
    found = source(VirtualClock(), paths=("/a", "/b"))
    await found.poll(Script([told([offer("a")]), told([offer("b")])]))
    assert held(found) == ["a", "b"]
    await found.poll(Script([told([offer("a")]), told([], 404)]))
    assert held(found) == ["a"]
    await found.poll(Script([told([]), told([], 500)]))
    assert (held(found), found.last_loss) == (["a"], "status")
    await found.poll(Script([told([], 404)]))
    assert (held(found), found.last_loss) == (["a"], "not_found")


def test_a_models_name_cannot_leave_its_place_in_the_address() -> None:
    assert endpoint_path("acme/small-1:free") == "/models/acme/small-1:free/endpoints"
    assert endpoint_path("a?b#c d") == "/models/a%3Fb%23c%20d/endpoints"


# Files and commands ------------------------------------------------------------------------------


async def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path, nobody = tmp_path / "offers.json", Script([])
    feed = FileFeed(path)
    assert await feed.read(nobody) == Lost("file")
    path.write_text("[1]")
    assert await feed.read(nobody) == Fetched([1])
    assert await feed.read(nobody) == Fetched(is_new=False)
    path.write_text("[1")
    assert await feed.read(nobody) == Lost("not_json")
    path.write_text("[12]")
    os.utime(path, ns=(1, 1))
    assert await feed.read(nobody) == Fetched([12])


def command(text: str, timeout_ms: int = 20_000) -> CommandFeed:
    return CommandFeed([sys.executable, "-c", text], SystemClock(), timeout_ms, {"SEEN": "yes"})


async def test_a_commands_output_is_read_and_it_sees_nothing_of_our_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_KEY", "s3cret")
    text = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read()]))"
    found = await command(text).read(Script([]))
    assert isinstance(found, Fetched)
    assert (found.data[0]["SEEN"], "s3cret" in json.dumps(found.data), found.data[1]) == ("yes", False, "")


async def test_a_command_that_fails_hangs_or_is_not_there_is_lost_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    nobody = Script([])
    assert await CommandFeed([str(tmp_path / "absent")], SystemClock(), 1_000, {}).read(nobody) == Lost(
        "command"
    )
    assert await command("print('[]'); raise SystemExit(3)").read(nobody) == Lost("command")
    assert await command("print('no json')").read(nobody) == Lost("not_json")
    pid = tmp_path / "pid"
    text = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    reading = asyncio.ensure_future(command(text, 2_000).read(nobody))
    assert await reading == Lost("timeout")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_command_that_prints_without_end_is_stopped() -> None:
    text = "import sys\nwhile True: sys.stdout.write(' ' * 65536)"
    assert await command(text).read(Script([])) == Lost("too_large")


def test_rules_of_nothing_take_nothing() -> None:
    assert Rules().families.get(next(iter(FAMILIES))) is None
