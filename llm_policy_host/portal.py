"""A way into asynchronous code for callers without an event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, MutableMapping

T = TypeVar("T")
Kept = TypeVar("Kept")

CLOSED: Final = "the host was closed"
_LAST_WORDS_S: Final = 5.0
"""How long what runs left behind may still take to say, before the thread ends."""


class Portal:
    """A thread with an event loop, through which callers without one get in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._calls: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.loop.run_forever, name="llm-policy", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work in there, and wait for it; a `UsageError` where the thread ends first."""
        with self._lock:  # what is handed in before the end is there when the end comes
            if self._is_closed:
                work.close()
                raise UsageError(CLOSED)
            future = asyncio.run_coroutine_threadsafe(self._do(work), self.loop)
        try:
            return future.result()
        except CancelledError:
            raise UsageError(CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    def close(
        self,
        kept: MutableMapping[asyncio.AbstractEventLoop, Kept],
        close_kept: Callable[[Kept], Coroutine[Any, Any, None]],
    ) -> None:
        """Cancel the calls under way, then end the thread, and what was kept for its loop."""
        with self._lock:
            self._is_closed = True
            ending = asyncio.run_coroutine_threadsafe(self._end(kept, close_kept), self.loop)
        try:
            ending.result()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - as `call` makes it
        self._calls.add(task)
        try:
            return await work
        finally:
            self._calls.discard(task)

    async def _end(
        self,
        kept: MutableMapping[asyncio.AbstractEventLoop, Kept],
        close_kept: Callable[[Kept], Coroutine[Any, Any, None]],
    ) -> None:
        calls = tuple(self._calls)
        await _cancel(calls)
        mine = kept.pop(self.loop, None)
        try:
            if mine is not None:
                await close_kept(mine)
        finally:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            if rest:
                _, rest = await asyncio.wait(rest, timeout=_LAST_WORDS_S)
            await _cancel(rest)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
