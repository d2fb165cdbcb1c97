"""Work that several event loops ask for is done by one of them, and outlives none."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llm_policy_host.auth.flight import Flights


async def _forever() -> str:
    await asyncio.Event().wait()
    return "never"


async def _at_once() -> str:
    return "done"


async def test_work_whose_loop_ends_is_begun_anew_by_who_waits_in_another() -> None:
    flights: Flights[str] = Flights()
    is_under_way, may_end = threading.Event(), threading.Event()

    async def begin() -> None:
        task = asyncio.create_task(flights.join("key", _forever))
        await asyncio.sleep(0)
        is_under_way.set()
        await asyncio.to_thread(may_end.wait)
        task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(begin()))
    thread.start()
    await asyncio.to_thread(is_under_way.wait)
    waiting = asyncio.create_task(flights.join("key", _at_once))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    may_end.set()
    assert await asyncio.wait_for(waiting, 5) == "done"
    await asyncio.to_thread(thread.join)


async def test_other_keys_fly_alone_and_a_landed_one_flies_again() -> None:
    flights: Flights[str] = Flights()
    flown: list[str] = []

    async def fly(key: str) -> str:
        flown.append(key)
        await asyncio.sleep(0)
        return key

    joined = [flights.join(key, lambda key=key: fly(key)) for key in ("a", "b", "a")]  # type: ignore[misc]
    assert await asyncio.gather(*joined) == ["a", "b", "a"]
    assert flown == ["a", "b"]
    await flights.join("a", lambda: fly("a"))
    assert flown == ["a", "b", "a"]


async def test_a_defect_reaches_every_waiter() -> None:
    flights: Flights[str] = Flights()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    outcomes = await asyncio.gather(*(flights.join("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
    with pytest.raises(ZeroDivisionError):
        await flights.join("k", fail)
