"""Bounds on waiting, by the host's clock: what waits too long is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llm_policy_host.ports import Clock, Timer

T = TypeVar("T")


class ExpiredError(Exception):
    """The bound passed first."""


class Watch:
    """Bounds a series of waits by one timer, looked at again when it fires.

    `left_ms` says how long the present wait may still take, None for ever; it is asked at a wait's
    start only while no timer runs, and whenever the timer fires. A bound that may shorten while a
    timer runs is announced by `reset`. The same care as `asyncio.timeout`: a cancellation from
    outside stays one, also when it comes in the same moment as the bound.
    """

    def __init__(self, clock: Clock, left_ms: Callable[[], float | None]) -> None:
        self._clock = clock
        self._left_ms = left_ms
        self._timer: Timer | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._has_expired = False

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await, within the bound; `ExpiredError` beyond it, with the work cancelled and finished."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a bound needs a task to cancel")
        if self._timer is None:
            self._arm()
        cancellings = task.cancelling()
        self._waiting = task
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._has_expired and task.cancelling() <= cancellings + 1:
                raise ExpiredError from None
            raise
        finally:
            self._waiting = None
            if self._has_expired:
                task.uncancel()

    def reset(self) -> None:
        """Ask for the bound anew at the next wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        left_ms = self._left_ms()
        if left_ms is not None:
            self._timer = self._clock.call_later(left_ms, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        left_ms = self._left_ms()
        if left_ms is None or left_ms > 0:
            self._arm()
            return
        self._has_expired = True
        self._waiting.cancel()


async def within(clock: Clock, ms: float | None, awaitable: Awaitable[T]) -> T:
    """Await, but no longer than `ms`; `ExpiredError` then, with the work cancelled and finished."""
    if ms is None:
        return await awaitable
    started_ms = clock.elapsed_ms()
    watch = Watch(clock, lambda: ms - (clock.elapsed_ms() - started_ms))
    try:
        return await watch.wait(awaitable)
    finally:
        watch.reset()
