"""Bounds on waiting, by the host's clock: what waits too long is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from llm_policy_host.ports import Clock

T = TypeVar("T")


class ExpiredError(Exception):
    """The bound passed first."""


async def within(clock: Clock, ms: float | None, awaitable: Awaitable[T]) -> T:
    """Await, but no longer than `ms`; `ExpiredError` then, with the work cancelled and finished.

    The same care as `asyncio.timeout`: a cancellation from outside stays one, also when it
    comes in the same moment as the bound.
    """
    if ms is None:
        return await awaitable
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a bound needs a task to cancel")
    cancellings = task.cancelling()
    has_expired = False

    def expire() -> None:
        nonlocal has_expired
        has_expired = True
        task.cancel()

    timer = clock.call_later(ms, expire)
    try:
        return await awaitable
    except asyncio.CancelledError:
        if has_expired and task.cancelling() <= cancellings + 1:
            raise ExpiredError from None
        raise
    finally:
        timer.cancel()
        if has_expired:
            task.uncancel()
