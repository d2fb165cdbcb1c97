"""How much the gateway takes on at once: beyond it callers wait in line, beyond that they are sent away."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .body import MAX_BODY_BYTES
from .errors import RefusedError

if TYPE_CHECKING:
    from llm_policy_host.ports import Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """The gateway's bounds, as `host.limits` sets them."""

    max_in_flight: int = 1024
    max_queue: int = 1024
    queue_ms: int = 5_000
    max_body_bytes: int = MAX_BODY_BYTES
    drain_ms: int = 30_000
    max_kept_bytes: int = 64 * 1024 * 1024
    kept_ms: int = 86_400_000


class Gate:
    """Counts what is under way. It belongs to one event loop."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """Count those in line."""
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether there is a place without waiting."""
        return self.in_flight < self._limits.max_in_flight

    async def enter(self) -> None:
        """Take a place; `RefusedError` (503) where the line is full or did not move in time."""
        if self.is_open:
            self.in_flight += 1
            return
        if len(self._waiting) >= self._limits.max_queue:
            raise self._busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        timer = self._clock.call_later(self._limits.queue_ms, lambda: _give_up(turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the turn came in the moment that its caller left
                raise
            if turn in self._waiting:
                self._waiting.remove(turn)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._busy() from None
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the place to the next in line."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.in_flight -= 1

    def _busy(self) -> RefusedError:
        return RefusedError(
            503, "overloaded", "the gateway has as much to do as it takes on", retry_after_ms=1000
        )


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.cancel()
