"""Lanes: how many calls a provider gets at once; the others wait in line, first come first served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class LaneBounds:
    """How many calls a provider gets at once, and how many may wait."""

    max_in_flight: int
    max_queue: int


class Lane:
    """One provider's lane. It belongs to one event loop."""

    def __init__(self, bounds: LaneBounds) -> None:
        self._bounds = bounds
        self._turns = asyncio.Semaphore(bounds.max_in_flight)
        self.in_flight = 0
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether no further call should be sent this way."""
        return self._turns.locked() and self.waiting >= self._bounds.max_queue

    async def enter(self) -> None:
        """Wait for a turn; `leave` gives it back."""
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.in_flight += 1

    def leave(self) -> None:
        """Give the turn to the next one in line."""
        self.in_flight -= 1
        self._turns.release()


class Lanes:
    """The lanes of those providers that have bounds."""

    def __init__(self, bounds: Mapping[str, LaneBounds]) -> None:
        self._lanes = {name: Lane(bound) for name, bound in bounds.items()}

    def lane(self, provider_id: str) -> Lane | None:
        """Give a provider's lane; None where it is not bounded."""
        return self._lanes.get(provider_id)

    def full(self) -> Iterator[str]:
        """Name the providers that can take no more calls now.

        A plan made in this moment passes them by, as it does what is disabled: a full lane is
        evidence against nobody.
        """
        return (name for name, lane in self._lanes.items() if lane.is_full)

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Give each lane's calls under way and waiting."""
        return {name: (lane.in_flight, lane.waiting) for name, lane in self._lanes.items()}
