"""The market as a run sees it: offers by discovery id, a snapshot that is replaced whole.

Sources are polled in the background, never while planning. A snapshot's identity changes only where
its content does, so that an engine may keep what it made of it.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import NOTHING

from .peers import PeerHealth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_policy_host.ports import Clock, Fetcher
    from llm_policy_host.values import Attempt

    from .offers import Offer
    from .source import Source


class Market:
    """Everything that is on offer. One event loop polls it; any thread may read it.

    `markets` gives the discovery id of each marketplace provider, `most` the number of offers of one
    family and source that go into a snapshot.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        clock: Clock,
        markets: Mapping[str, str],
        most: Mapping[str, int] | None = None,
        health: PeerHealth | None = None,
    ) -> None:
        self.sources: Mapping[str, Source] = {source.plan.name: source for source in sources}
        self._clock = clock
        self._markets = dict(markets)
        self._most = dict(most or {})
        self._health = health or PeerHealth()
        self._offers: Mapping[str, Sequence[Mapping[str, Any]]] = NOTHING
        self._is_stale = False
        self._changes_at_ms = math.inf
        self.set_aside: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._polling: _Polling | None = None

    # What a run sees ----------------------------------------------------------------------------

    def offers(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Give the offers that are good now, by discovery id; the same mapping while none changed."""
        now_ms = self._clock.now_ms()
        if self._is_stale or now_ms >= self._changes_at_ms or self._has_news():
            with self._lock:
                self._renew(now_ms)
        return self._offers

    def note(self, attempt: Attempt) -> None:
        """Take what an attempt showed of a peer."""
        discovery_id = self._markets.get(attempt.provider_id)
        if discovery_id is None or attempt.served_by in (None, attempt.provider_id):
            return
        key = (discovery_id, attempt.model_family, attempt.served_by or "")
        with self._lock:
            if self._health.note(key, attempt, self._clock.now_ms()):
                self._is_stale = True

    def status(self) -> dict[str, Any]:
        """Give each source's state: plain data without anything of a feed's text."""
        return {
            name: {
                "discovery_id": source.plan.discovery_id,
                "kind": source.plan.kind,
                "offers": len(source.offers),
                "answered_ms": source.answered_ms,
                "failures": source.failures,
                "last_loss": source.last_loss,
                "dropped": dict(source.dropped),
                "lost": dict(source.lost),
                "set_aside": self.set_aside[name],
            }
            for name, source in self.sources.items()
        }

    def _has_news(self) -> bool:
        return any(source.has_news for source in self.sources.values())

    def _renew(self, now_ms: int) -> None:
        """Make the snapshot anew; keep the one there is where nothing differs."""
        self._is_stale = False
        self._changes_at_ms = math.inf
        found: dict[str, dict[tuple[str, str, str], Offer]] = {}
        for name, source in self.sources.items():
            source.has_news = False
            source.drop_expired(now_ms)
            self._wake_at(offer.until_ms for offer in source.offers)
            mine = found.setdefault(source.plan.discovery_id, {})
            for offer in self._chosen(name, source, now_ms):
                mine.setdefault(offer.key, offer)
        records = {
            discovery_id: [offer.record for _, offer in sorted(offers.items())]
            for discovery_id, offers in found.items()
        }
        if records != self._offers:
            self._offers = records

    def _chosen(self, name: str, source: Source, now_ms: int) -> Iterable[Offer]:
        """Give a source's offers, family by family: the unhealthy set aside first, then the cheapest."""
        families: dict[str, list[Offer]] = {}
        for offer in source.offers:
            families.setdefault(offer.family, []).append(offer)
        self.set_aside[name] = 0
        most = self._most.get(name)
        for offers in families.values():
            good = [offer for offer in offers if self._is_good(source.plan.discovery_id, offer, now_ms)]
            if good:
                self.set_aside[name] += len(offers) - len(good)
            # where nobody is healthy everybody stays: the policy sees the route's breaker, and decides
            yield from sorted(good or offers, key=lambda offer: (offer.price, offer.key))[:most]

    def _is_good(self, discovery_id: str, offer: Offer, now_ms: int) -> bool:
        until_ms = self._health.until_ms((discovery_id, offer.family, offer.peer_id), now_ms)
        if until_ms is not None:
            self._wake_at([until_ms])
        return until_ms is None

    def _wake_at(self, moments: Iterable[float]) -> None:
        self._changes_at_ms = min(self._changes_at_ms, min(moments, default=math.inf))

    # Polling ------------------------------------------------------------------------------------

    async def attend(self, fetcher: Fetcher) -> None:
        """Poll from now on in this loop, unless a live one does; wait until each source was asked once."""
        if not self.sources:
            return
        if self._polling is None or not self._polling.is_alive:
            self._polling = _Polling(self.sources.values(), self._clock, fetcher)
        await self._polling.first_round()

    async def close(self) -> None:
        """Stop polling, where this loop does it."""
        if self._polling is not None and self._polling.is_here:
            polling, self._polling = self._polling, None
            await polling.stop()


class _Polling:
    """The tasks that ask the sources, in the loop that made it."""

    def __init__(self, sources: Iterable[Source], clock: Clock, fetcher: Fetcher) -> None:
        self._clock = clock
        self._fetcher = fetcher
        self._loop = asyncio.get_running_loop()
        self._first = [asyncio.Event() for _ in sources]
        self._task = self._loop.create_task(self._run(tuple(sources)), name="llm-policy market")

    @property
    def is_alive(self) -> bool:
        return not (self._task.done() or self._loop.is_closed())

    @property
    def is_here(self) -> bool:
        return self._loop is asyncio.get_running_loop()

    async def first_round(self) -> None:
        if self.is_here:
            for asked in self._first:
                await asked.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self, sources: Sequence[Source]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for source, asked in zip(sources, self._first, strict=True):
                    group.create_task(self._attend(source, asked))
        finally:
            for asked in self._first:
                asked.set()

    async def _attend(self, source: Source, asked: asyncio.Event) -> None:
        while True:
            wait_ms = await source.poll(self._fetcher)
            asked.set()
            await self._clock.sleep_ms(wait_ms)
