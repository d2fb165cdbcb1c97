from __future__ import annotations

import asyncio
import time

import pytest

from llm_policy_host.clock import SystemClock, VirtualClock, standing
from llm_policy_host.run.deadline import ExpiredError, within


async def test_hours_of_virtual_waiting_cost_nothing() -> None:
    clock, started = VirtualClock(), time.monotonic()
    await asyncio.gather(*(clock.sleep_ms(hours * 3_600_000) for hours in range(100)))
    assert clock.now_ms() == 99 * 3_600_000
    assert time.monotonic() - started < 5


async def test_virtual_sleepers_wake_in_the_order_of_their_moments() -> None:
    clock, woken = VirtualClock(), []

    async def sleeper(ms: int) -> None:
        await clock.sleep_ms(ms)
        woken.append((ms, clock.now_ms()))

    await asyncio.gather(*(sleeper(ms) for ms in (300, 100, 200, 100)))
    assert woken == [(100, 100), (100, 100), (200, 200), (300, 300)]


async def test_virtual_time_stands_still_while_a_task_works() -> None:
    clock, seen = VirtualClock(), []

    async def worker() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
            seen.append(clock.now_ms())

    await asyncio.gather(worker(), clock.sleep_ms(1000))
    assert set(seen) == {0}


async def test_a_cancelled_virtual_sleeper_moves_no_time() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep_ms(1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.sleep_ms(10)
    assert clock.now_ms() == 10


def test_the_system_clock_tells_wall_time_and_never_goes_back() -> None:
    clock = SystemClock()
    first = clock.now_ms()
    assert abs(first - time.time() * 1000) < 1000
    assert clock.now_ms() >= first


@pytest.mark.parametrize("clock", [SystemClock(), VirtualClock()])
async def test_a_bound_that_passes_cancels_the_work(clock: SystemClock | VirtualClock) -> None:
    was_cancelled = False

    async def work() -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    with pytest.raises(ExpiredError):
        await within(clock, 20, work())
    assert was_cancelled
    await asyncio.sleep(0)  # the task itself is not cancelled


async def test_work_within_its_bound_gives_its_value() -> None:
    assert await within(VirtualClock(), 10, asyncio.sleep(0, "done")) == "done"
    assert await within(VirtualClock(), None, asyncio.sleep(0, "done")) == "done"


async def test_a_cancellation_from_outside_stays_one() -> None:
    clock = SystemClock()
    task = asyncio.create_task(within(clock, 10_000, asyncio.Event().wait()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_swallows_its_cancellation_leaves_none_behind() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "stubborn"
        return ""

    assert await within(VirtualClock(), 5, stubborn()) == "stubborn"
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_virtual_time_stands_while_a_thread_is_waited_for() -> None:
    clock = VirtualClock()
    woken = asyncio.ensure_future(clock.sleep_ms(10))
    await asyncio.sleep(0)
    with standing(clock):
        await asyncio.to_thread(time.sleep, 0.02)
        assert (clock.now_ms(), woken.done()) == (0, False)
    await woken
    assert clock.now_ms() == 10
    with standing(SystemClock()):
        pass
