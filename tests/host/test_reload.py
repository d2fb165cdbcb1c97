"""Reload: the new config whole, or the old one; health and runs under way are kept."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import HostError, UsageError
from llm_policy_host.reloading import Reloader, carry_health, watched
from llm_policy_host.values import StreamChunk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = """\
providers:
  a: {base_url: "https://a.test", api_kind: scripted}
  b: {base_url: "https://b.test", api_kind: scripted}
models:
  m: {served_by: [{provider: a, price_in: 1}, {provider: b, price_in: 2}]}
  n: {served_by: [{provider: b, price_in: 2}]}
profiles:
  cheap: {scorer: [neg, [normalize, [field, price_in]]]}
host:
  scripts:
    a: [{answer: "one"}]
    b: [{answer: "from b"}]
"""
TWO = GOOD.replace('"one"', '"two"')


class World:
    """A reloader over a file, and what it retired."""

    def __init__(self, tmp_path: Path, text: str = GOOD) -> None:
        self.path = tmp_path / "policy.yaml"
        self.path.write_text(text)
        self.clock = VirtualClock(1_000)
        self.retired: list[Host] = []
        self.reloader = Reloader(
            self.path, self.make(self.path), self.make, self.clock, self.retire, (("host", "limits"),)
        )

    def make(self, path: Path) -> Host:
        return Host.from_config(path, clock=self.clock, environment={})

    async def retire(self, host: Host) -> None:
        self.retired.append(host)
        await host.retire()

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    async def answer(self, host: Host | None = None) -> str:
        result = await (host or self.reloader.current).run(Contract(prompt="x", profile="cheap"))
        assert result.response is not None
        return result.response.text

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(400):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never held")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_good_file_takes_over_and_the_old_host_is_retired(world: World) -> None:
    first = world.reloader.current
    assert await world.answer() == "one"
    before = world.reloader.sha256
    world.write(TWO)
    assert await world.reloader.reload()
    assert await world.answer() == "two"
    await asyncio.sleep(0)
    assert (world.reloader.generation, world.retired) == (2, [first])
    assert world.reloader.sha256 != before
    await world.reloader.current.close()


async def test_a_host_that_was_retired_refuses_and_does_not_open_again(world: World) -> None:
    first = world.reloader.current
    assert await world.answer() == "one"
    world.write(TWO)
    assert await world.reloader.reload()
    await world.clock.sleep_ms(1_000)
    with pytest.raises(UsageError, match="closed"):
        await world.answer(first)
    with pytest.raises(UsageError, match="closed"):
        first.live(Contract(prompt="x", profile="cheap"))
    with pytest.raises(UsageError, match="closed"):
        first.waiting("approval")
    await world.reloader.current.close()


async def test_a_host_that_is_retired_when_the_process_ends_is_closed_all_the_same(world: World) -> None:
    first = world.reloader.current
    async with world.reloader:
        with first.in_use():
            world.write(TWO)
            assert await world.reloader.reload()
            await world.clock.sleep_ms(1_000)
            assert await world.answer(first) == "one"
            await world.reloader.__aexit__()
    with pytest.raises(UsageError, match="closed"):
        await world.answer(first)
    await world.reloader.current.close()


BAD = {
    "no yaml": "providers: [",
    "an unknown key": GOOD.replace("price_in: 1}", "prize_in: 1}"),
    "a host's setting": GOOD + "  deadline_ms: soon\n",
    "a script that is none": GOOD.replace('[{answer: "one"}]', '[{anser: "one"}]'),
    "empty": "",
    "a source that is none": GOOD + "  sources: {bazaar: {kind: json}}\n",
    "prices that are not there": GOOD + "  prices: absent.json\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
async def test_a_bad_file_changes_nothing_and_the_refusal_is_seen(
    world: World, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, sha256 = world.reloader.current, world.reloader.sha256
    world.write(text)
    assert not await world.reloader.reload()
    assert (world.reloader.current, world.reloader.generation, world.reloader.sha256) == (first, 1, sha256)
    assert await world.answer() == "one"
    error = world.reloader.state()["last_error"]
    assert all(str(world.path) in reason and reason in caplog.text for reason in error["reasons"])
    assert error["at_ms"] == 1_000
    world.write(TWO)
    assert await world.reloader.reload()
    assert world.reloader.state()["last_error"] is None
    await world.reloader.current.close()


async def test_a_file_that_is_gone_changes_nothing(world: World) -> None:
    world.path.unlink()
    assert not await world.reloader.reload()
    assert await world.answer() == "one"
    await world.reloader.current.close()


async def test_a_defect_while_reloading_changes_nothing_and_tells_no_text(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_path: Path) -> Host:
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(world.reloader, "_make", defect)
    assert not await world.reloader.reload()
    assert world.reloader.state()["last_error"]["reasons"] == ["the reload failed (ZeroDivisionError)"]


async def test_a_new_host_that_does_not_get_ready_is_let_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unready(_host: Host) -> None:
        raise HostError("not today")

    first = world.reloader.current
    monkeypatch.setattr(Host, "prepare", unready)
    assert not await world.reloader.reload()
    assert world.reloader.current is first
    assert len(world.retired) == 1
    assert world.retired[0] is not first


# Watching ----------------------------------------------------------------------------------------


async def test_a_change_is_seen_once_it_is_no_longer_written(world: World) -> None:
    world.write(TWO)
    looking = asyncio.ensure_future(world.reloader.look())
    await asyncio.sleep(0)
    world.write("half a fi")
    await looking
    assert (world.reloader.generation, world.reloader.refusal) == (1, None)
    world.write(TWO)
    await world.reloader.look()
    assert (world.reloader.generation, await world.answer()) == (2, "two")
    await world.reloader.current.close()


async def test_nothing_happens_where_nothing_changed(world: World) -> None:
    await world.reloader.look()
    os.utime(world.path, ns=(1, 1))
    await world.reloader.look()
    assert world.reloader.generation == 1


async def test_a_refused_file_is_not_read_again_before_it_changes(world: World) -> None:
    world.write("providers: [")
    await world.reloader.look()
    refusal = world.reloader.refusal
    await world.reloader.look()
    assert world.reloader.refusal is refusal is not None


async def test_files_that_the_config_names_are_watched_too(tmp_path: Path) -> None:
    script = tmp_path / "a.yaml"
    script.write_text('[{answer: "one"}]')
    world = World(tmp_path, GOOD.replace('[{answer: "one"}]', "a.yaml"))
    script.write_text('[{answer: "another"}]')
    await world.reloader.look()
    assert await world.answer() == "another"
    await world.reloader.current.close()


def test_secrets_and_prices_are_watched(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("[]")
    text = GOOD.replace("api_kind: scripted}", "api_kind: scripted, auth: {kind: bearer, file: key}}", 1)
    world = World(tmp_path, text + "  prices: prices.json\n")
    names = [path.name for path in watched(world.path, world.reloader.current.config)]
    assert names == ["policy.yaml", "key", "prices.json"]


async def test_a_secret_that_turns_up_enables_its_provider(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        GOOD.replace("api_kind: scripted}", "api_kind: scripted, auth: {kind: bearer, file: key}}", 1),
    )
    assert "a" in world.reloader.current.disabled
    (tmp_path / "key").write_text("s3cret")
    await world.reloader.look()
    assert world.reloader.current.disabled == {}
    await world.reloader.current.close()


async def test_the_file_is_watched_and_sighup_is_heard(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with world.reloader as reloader:
        world.write(TWO)
        await world.until(lambda: reloader.generation == 2)
        generation = reloader.generation
        os.kill(os.getpid(), signal.SIGHUP)
        await world.until(lambda: reloader.generation > generation)
    assert await world.answer() == "two"
    await world.reloader.current.close()
    assert len(asyncio.all_tasks()) == 1


async def test_what_only_a_restart_changes_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(GOOD + "  limits: {max_in_flight: 7}\n")
    assert await world.reloader.reload()
    assert world.reloader.state()["needs_restart"] == ["host.limits"]
    assert "`host.limits` changed: it needs a restart" in caplog.text
    world.write(GOOD)
    assert await world.reloader.reload()
    assert world.reloader.state()["needs_restart"] == []
    await world.reloader.current.close()


# Runs and health ---------------------------------------------------------------------------------


async def test_runs_under_way_end_on_the_host_they_began_on(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        GOOD.replace('{answer: "one"}', '{answer: "one", latency_ms: 60000}') + "  deadline_ms: 90000\n",
    )
    first = world.reloader.current
    contract = Contract(prompt="x", profile="cheap", timeout_ms=80_000)
    running = asyncio.ensure_future(first.run(contract))
    await asyncio.sleep(0)
    world.write(TWO)
    assert await world.reloader.reload()
    result = await running
    assert result.response is not None
    assert (result.response.text, await world.answer()) == ("one", "two")
    await world.until(lambda: not world.reloader._tasks)
    await world.reloader.current.close()


async def test_a_retired_host_waits_for_its_runs(tmp_path: Path) -> None:
    world = World(tmp_path, GOOD.replace('{answer: "one"}', '{answer: "one", latency_ms: 20000}'))
    host, started_ms = world.reloader.current, world.clock.now_ms()
    running = asyncio.ensure_future(host.run(Contract(prompt="x", profile="cheap")))
    await asyncio.sleep(0)
    await host.retire()
    assert (running.done(), world.clock.now_ms() >= started_ms + 20_000) == (True, True)


async def test_a_retired_host_waits_for_its_streams(world: World) -> None:
    host = world.reloader.current
    live = host.live(Contract(prompt="x", profile="cheap"))
    retiring = asyncio.ensure_future(host.retire())
    await world.clock.sleep_ms(60_000)
    assert not retiring.done()
    del live
    await retiring


async def test_a_stream_under_way_is_not_cut(tmp_path: Path) -> None:
    world = World(tmp_path, GOOD.replace('{answer: "one"}', '{answer: "one", chunks: 3, gap_ms: 1000}'))
    pieces = world.reloader.current.stream(Contract(prompt="x", profile="cheap"))
    texts = [(await anext(pieces)).text]
    world.write(TWO)
    assert await world.reloader.reload()
    last = StreamChunk()
    async for last in pieces:
        texts.append(last.text)
    assert "".join(texts) == "one"
    assert last.result is not None
    assert last.result.ok
    await world.until(lambda: not world.reloader._tasks)
    await world.reloader.current.close()


FAILING = GOOD.replace('a: [{answer: "one"}]', "a: [{failure: server_error}]")
OTHERS = {
    "another address": FAILING.replace("https://a.test", "https://c.test"),
    "another scope": FAILING.replace('https://a.test", ', 'https://a.test", scope: mine, '),
    "another dialect": FAILING.replace(
        '"https://a.test", api_kind: scripted', '"https://a.test", api_kind: ollama'
    ),
}
SAME = {
    "another price": FAILING.replace("price_in: 1", "price_in: 1.5"),
    "another tier": FAILING.replace('"https://a.test", ', '"https://a.test", tier: partner, '),
    "a provider more": FAILING.replace("providers:\n", 'providers:\n  c: {base_url: "https://c.test"}\n'),
}


async def _open(world: World) -> dict[str, Any]:
    for _ in range(3):
        await world.reloader.current.run(Contract(prompt="x", profile="cheap"))
    opened = world.reloader.current.open_until_ms()
    assert sorted(opened) == ["a", "a|m"]
    return opened


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
async def test_health_carries_over_to_a_route_that_is_the_same(tmp_path: Path, text: str) -> None:
    world = World(tmp_path, FAILING)
    opened = await _open(world)
    world.write(text)
    assert await world.reloader.reload()
    assert world.reloader.current.open_until_ms() == opened
    await world.reloader.current.close()


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
async def test_a_route_that_is_another_one_starts_anew(tmp_path: Path, text: str) -> None:
    world = World(tmp_path, FAILING)
    await _open(world)
    world.write(text)
    assert await world.reloader.reload()
    assert world.reloader.current.open_until_ms() == {}
    await world.reloader.current.close()


async def test_another_name_on_the_wire_keeps_the_providers_health_alone(tmp_path: Path) -> None:
    world = World(tmp_path, FAILING)
    opened = await _open(world)
    world.write(FAILING.replace("{provider: a, ", "{provider: a, provider_model_id: m2, "))
    assert await world.reloader.reload()
    assert world.reloader.current.open_until_ms() == {"a": opened["a"]}
    await world.reloader.current.close()


def test_prices_that_were_learned_carry_over_and_an_engine_without_a_state_carries_nothing() -> None:
    config = {
        "providers": {"a": {"base_url": "https://a.test"}, "b": {"base_url": "https://b.test"}},
        "models": {"m": {"served_by": [{"provider": "a"}, {"provider": "b"}]}},
    }
    old, new = (
        Host.from_data(config),
        Host.from_data({**config, "models": {"m": {"served_by": [{"provider": "a"}]}}}),
    )
    old.engine.restore_state(
        {
            **old.engine.dump_state(),
            "health": {"breakers": {}, "disabled": {}},
            "prices": {"a|m": {"price_in": 3}, "b|m": {"price_in": 4}},
        }
    )
    carry_health(old, new)
    assert new.engine.dump_state()["prices"] == {"a|m": {"price_in": 3}}

    class Bare:
        config = old.config
        engine = object()

        async def prepare(self) -> None:
            """Be ready."""

    carry_health(Bare(), new)
    carry_health(old, Bare())
