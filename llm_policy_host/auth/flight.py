"""Single flight: work that several ask for at once is done once, and all get its outcome."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

T = TypeVar("T")


class _Abandoned:
    """The outcome of work whose event loop ended before it did."""


class Flights(Generic[T]):
    """Work under way by key, for the callers of any event loop.

    The work is a task of its own: a caller who leaves does not end it for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[Hashable, Future[T | _Abandoned]] = {}
        self._tasks: set[asyncio.Task[T]] = set()

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Give the outcome of the work under this key, begun now unless it is under way."""
        while True:
            outcome = await asyncio.shield(asyncio.wrap_future(self._flight(key, work)))
            if not isinstance(outcome, _Abandoned):
                return outcome

    def _flight(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T | _Abandoned]:
        with self._lock:
            flight = self._flying.get(key)
            if flight is None:
                flight = self._flying[key] = Future()
                task = asyncio.get_running_loop().create_task(work())
                self._tasks.add(task)
                task.add_done_callback(lambda done: self._land(key, done))
            return flight

    def _land(self, key: Hashable, task: asyncio.Task[T]) -> None:
        with self._lock:
            self._tasks.discard(task)
            flight = self._flying.pop(key)
        if task.cancelled():
            flight.set_result(_Abandoned())
            return
        error = task.exception()
        if error is None:
            flight.set_result(task.result())
        else:
            flight.set_exception(error)
