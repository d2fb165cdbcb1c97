"""Lanes: a provider gets so many calls at once, in order; a full lane is passed by and blames nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import VirtualClock
from llm_policy_host.run.driver import Driver, Surroundings
from llm_policy_host.run.lanes import LaneBounds, Lanes
from llm_policy_host.values import Attempt, Contract, Failure, Response, StreamChunk
from llm_policy_host.wiring import Host
from tests.host.fakes import FakeAuth, FakeEngine, candidate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from llm_policy_host.values import Call, Credential


class Slow:
    """Answers after a while with the prompt; says how many it was asked at once."""

    def __init__(self, clock: VirtualClock, took_ms: float = 100) -> None:
        self._clock = clock
        self._took_ms = took_ms
        self.under_way = self.most = 0
        self.order: list[str] = []

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        del credential
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.order.append(call.prompt or "")
        try:
            await self._clock.sleep_ms(self._took_ms)
        finally:
            self.under_way -= 1
        return Response(text=call.prompt or "")

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        whole = await self.send(call, credential)
        assert isinstance(whole, Response)
        yield (StreamChunk(text=whole.text),)

    def unsaid(self, call: Call) -> Sequence[str]:
        return tuple(call.passthrough)

    async def close(self) -> None:
        """Nothing is held."""


def _driver(clock: VirtualClock, slow: Slow, bounds: LaneBounds, **around: Any) -> tuple[Driver, Lanes]:
    lanes = Lanes({"a": bounds})
    engine = FakeEngine([candidate("a")])
    surroundings = Surroundings(new_seed=lambda: 7, **around)
    return Driver(engine, {"scripted": slow}, FakeAuth(), clock, surroundings, lanes), lanes


async def test_a_lane_lets_so_many_through_and_keeps_the_order() -> None:
    clock = VirtualClock()
    slow = Slow(clock)
    driver, lanes = _driver(clock, slow, LaneBounds(2, 100))
    names = [str(number) for number in range(9)]
    results = await asyncio.gather(*(driver.run(Contract(prompt=name)) for name in names))
    assert [result.response.text for result in results if result.response] == names
    assert (slow.most, slow.order) == (2, names)
    assert clock.now_ms() == 500
    assert lanes.counts() == {"a": (0, 0)}


async def test_streams_keep_to_the_lane_too_and_give_their_turn_back_when_left() -> None:
    clock = VirtualClock()
    slow = Slow(clock)
    driver, lanes = _driver(clock, slow, LaneBounds(1, 100))

    async def first_piece(name: str) -> str:
        batches = driver.live(Contract(prompt=name)).batches()
        batch = await anext(batches)
        await batches.aclose()
        return batch[0].text

    assert await asyncio.gather(*(first_piece(name) for name in "abc")) == ["a", "b", "c"]
    assert slow.most == 1
    assert lanes.counts() == {"a": (0, 0)}


async def test_a_full_lane_is_told_to_the_plan_and_only_then() -> None:
    clock = VirtualClock()
    engine = FakeEngine([candidate("a")])
    lanes = Lanes({"a": LaneBounds(1, 1)})
    gathered = {"disabled": {"z": True}, "credits": {"a": 1}}
    surroundings = Surroundings(new_seed=lambda: 7, gather=lambda: gathered)
    driver = Driver(engine, {"scripted": Slow(clock)}, FakeAuth(), clock, surroundings, lanes)
    runs = [asyncio.ensure_future(driver.run(Contract(prompt=name))) for name in "ab"]
    await asyncio.sleep(0)
    driver.rank(Contract())
    await asyncio.gather(*runs)
    driver.rank(Contract())
    (_, first), _, (_, during), (_, after) = engine.contracts
    assert first.others is gathered
    assert during.others == {"disabled": {"z": True, "a": True}, "credits": {"a": 1}}
    assert after.others is gathered


async def test_the_runs_deadline_bounds_the_wait_in_line() -> None:
    clock = VirtualClock()
    driver, lanes = _driver(clock, Slow(clock, took_ms=10_000), LaneBounds(1, 9), deadline_ms=300)
    first, second = await asyncio.gather(driver.run(Contract()), driver.run(Contract()))
    assert (first.error, second.error) == ("timeout", "timeout")
    assert clock.now_ms() == 300
    assert lanes.counts() == {"a": (0, 0)}


async def test_each_attempt_is_told_with_its_times_and_how_it_ended() -> None:
    clock = VirtualClock(1000)
    told: list[Attempt] = []
    driver, _ = _driver(clock, Slow(clock), LaneBounds(1, 1), observe=told.append)
    await driver.run(Contract(prompt="x"))
    async for _ in driver.stream(Contract(prompt="y")):
        pass
    leaving = asyncio.ensure_future(driver.run(Contract(prompt="z")))
    await clock.sleep_ms(30)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    whole, streamed, left = told
    assert (whole.started_ms, whole.took_ms, whole.kind, whole.is_stream) == (1000, 100, None, False)
    assert (streamed.ttft_ms, streamed.is_stream) == (100, True)
    assert (left.kind, left.took_ms) == ("cancelled", 30)


async def test_what_a_policy_or_a_dialect_changes_is_named_in_the_result() -> None:
    clock = VirtualClock()
    engine = FakeEngine([candidate("a")], params={"temperature": 0.2, "seed": 5, "timeout_ms": 9000})
    driver = Driver(engine, {"scripted": Slow(clock)}, FakeAuth(), clock, Surroundings(new_seed=lambda: 7))
    contract = Contract(params={"temperature": 0.9, "top_p": 0.5}, passthrough={"logprobs": True})
    result = await driver.run(contract)
    seen = [(change.attempt, change.name, change.to, change.why) for change in result.changes]
    assert seen == [
        (1, "seed", 5, "policy"),
        (1, "temperature", 0.2, "policy"),
        (1, "top_p", None, "policy"),
        (1, "logprobs", None, "dialect"),
    ]


async def test_a_lane_that_is_full_when_a_run_falls_back_is_passed_by_then() -> None:
    clock = VirtualClock()
    config = {
        "providers": {name: {"api_kind": "scripted"} for name in "abc"},
        "models": {"m": {"served_by": [{"provider": name} for name in "abc"]}},
        "profiles": {"default": {"selector": "ordered"}},
        "host": {
            "lanes": {"b": {"max_in_flight": 1, "max_queue": 0}},
            "scripts": {
                "a": [{"failure": "timeout", "latency_ms": 10}],
                "b": [{"answer": "b", "latency_ms": 99}],
            },
        },
    }
    async with Host.from_data(config, clock=clock) as host:
        first, second = await asyncio.gather(host.run(Contract()), host.run(Contract()))
    assert first.chosen is not None
    assert second.chosen is not None
    assert (first.chosen["provider_id"], second.chosen["provider_id"]) == ("b", "c")
    events = [step["event"] for step in second.trace.decision_path]
    assert events == ["attempted", "skipped", "attempted"]
    assert [failure.kind for failure in second.failures] == ["timeout"]
