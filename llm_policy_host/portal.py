"""A way into asynchronous code for callers without an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, MutableMapping

T = TypeVar("T")
Kept = TypeVar("Kept")


class Portal:
    """A thread with an event loop, through which callers without one get in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-policy", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work in there, and wait for it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(
        self,
        kept: MutableMapping[asyncio.AbstractEventLoop, Kept],
        close_kept: Callable[[Kept], Coroutine[Any, Any, None]],
    ) -> None:
        """End the thread, and what was kept for its loop."""
        mine = kept.pop(self._loop, None)
        if mine is not None:
            asyncio.run_coroutine_threadsafe(close_kept(mine), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
