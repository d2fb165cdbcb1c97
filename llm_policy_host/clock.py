"""Time: the machine's, or a virtual one in which waiting costs nothing."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from .ports import Clock, Timer

# Passes of the event loop with nothing runnable before virtual time moves: each polls the
# sockets once, so that bytes already on the way through loopback are seen first.
_QUIET_PASSES = 3


class SystemClock:
    """The machine's time: it starts at wall time, or at a given moment, and never goes back."""

    def __init__(self, now_ms: int | None = None) -> None:
        self._origin_ns = (time.time_ns() if now_ms is None else now_ms * 1_000_000) - time.monotonic_ns()

    def now_ms(self) -> int:
        """Give milliseconds since 1970."""
        return (self._origin_ns + time.monotonic_ns()) // 1_000_000

    def elapsed_ms(self) -> float:
        """Give finer milliseconds from an origin of its own."""
        return time.monotonic_ns() / 1_000_000

    async def sleep_ms(self, ms: float) -> None:
        """Return after `ms` milliseconds."""
        await asyncio.sleep(max(0.0, ms) / 1000)

    def call_later(self, ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` on the running event loop after `ms` milliseconds."""
        return asyncio.get_running_loop().call_later(max(0.0, ms) / 1000, action)


class _VirtualTimer:
    """An action that waits for its virtual moment."""

    __slots__ = ("action", "is_cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.is_cancelled = False

    def cancel(self) -> None:
        """Let it not happen."""
        self.is_cancelled = True


class VirtualClock:
    """Time that moves only when every task waits: hours of backoff cost nothing.

    It serves one event loop at a time. Work in other threads is invisible to it, unless time is `standing`.
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = float(now_ms)
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._pumped_loop: asyncio.AbstractEventLoop | None = None
        self._holds = 0

    def now_ms(self) -> int:
        """Give the virtual time."""
        return int(self._now_ms)

    def elapsed_ms(self) -> float:
        """Give the virtual time with its fractions."""
        return self._now_ms

    def advance(self, ms: float) -> None:
        """Let time pass; what falls due runs at the loop's next pass."""
        self._now_ms += ms

    async def sleep_ms(self, ms: float) -> None:
        """Return after `ms` virtual milliseconds."""
        if ms <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(ms, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` after `ms` virtual milliseconds."""
        timer = _VirtualTimer(action)
        heapq.heappush(self._timers, (self._now_ms + max(0.0, ms), next(self._order), timer))
        loop = asyncio.get_running_loop()
        if self._pumped_loop is not loop:
            self._pumped_loop = loop
            loop.call_soon(self._pump, loop, 0)
        return timer

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let time stand still."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def _pump(self, loop: asyncio.AbstractEventLoop, quiet_passes: int) -> None:
        """Watch the loop; when nothing else can run, move to the next moment."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            self._pumped_loop = None
            return
        is_due = self._timers[0][0] <= self._now_ms
        if not self._holds and (is_due or quiet_passes >= _QUIET_PASSES):
            self._run_next()
            quiet_passes = 0
        elif self._holds or _has_other_work(loop):
            quiet_passes = 0
        else:
            quiet_passes += 1
        loop.call_soon(self._pump, loop, quiet_passes)

    def _run_next(self) -> None:
        moment, _, timer = heapq.heappop(self._timers)
        self._now_ms = max(self._now_ms, moment)
        timer.action()


def standing(clock: Clock) -> AbstractContextManager[None]:
    """Let virtual time stand still while a thread or a disk is waited for, which take none of it."""
    return clock.hold() if isinstance(clock, VirtualClock) else nullcontext()


def _has_other_work(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a callback other than the one running is ready in this pass."""
    ready: Any = getattr(loop, "_ready", ())
    return len(ready) > 0


def _conforms(system: SystemClock, virtual: VirtualClock) -> tuple[Clock, Clock]:
    """Let the type checker prove that both are clocks."""
    return system, virtual
