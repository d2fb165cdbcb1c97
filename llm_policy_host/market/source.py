"""One source: polled in the background, it keeps what it last had until that ends by itself."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from .feeds import SAME, Fetched, Lost
from .offers import Offer, Rules, read_offer
from .readers import READERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_policy_host.ports import Clock, Fetcher

    from .feeds import Feed

MAX_RECORDS: Final = 20_000
"""What follows in one feed is dropped unread."""

MAX_OFFERS: Final = 5_000
"""What one source may hold."""

_FIRST_RETRY_MS = 1_000
_SLOWEST_RETRY_MS = 300_000
_INLINE_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source is told of itself: whom it feeds, how often it asks, what its offers are held against."""

    name: str
    discovery_id: str
    kind: str
    every_ms: int = 60_000
    ttl_ms: int = 180_000
    rules: Rules = field(default_factory=Rules)
    paths: tuple[str, ...] = ("",)
    settings: Mapping[str, Any] = field(default_factory=dict)


class Source:
    """Offers of one feed. `offers` is what it has; `has_news` says that they changed since asked."""

    def __init__(self, plan: Plan, feed: Feed, clock: Clock, draw: Callable[[], float]) -> None:
        self.plan = plan
        self.offers: tuple[Offer, ...] = ()
        self.dropped: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.answered_ms: int | None = None
        self.failures = 0
        self.last_loss: str | None = None
        self.has_news = False
        self._feed = feed
        self._clock = clock
        self._draw = draw
        self._raw: dict[str, list[Any]] = {}
        self._lock = threading.Lock()

    async def poll(self, fetcher: Fetcher) -> float:
        """Ask once; give how long to wait before asking again."""
        answers = {path: await self._feed.read(fetcher, path) for path in self.plan.paths}
        loss = self._lost(answers) or self._keep(answers)
        if loss is None:
            await self._take(is_new=any(answer is not SAME for answer in answers.values()))
            return self._next_ms()
        self.failures += 1
        self.last_loss = loss.reason
        self.lost[loss.reason] += 1
        return self._retry_ms(loss)

    def drop_expired(self, now_ms: int) -> None:
        """Drop and count what ended since the last poll."""
        with self._lock:
            kept = tuple(offer for offer in self.offers if offer.until_ms > now_ms)
            self.dropped["expired"] += len(self.offers) - len(kept)
            self.offers = kept

    def _lost(self, answers: Mapping[str, Fetched | Lost]) -> Lost | None:
        """Give why this poll is none; of several places one may be gone, but not all."""
        losses = [answer for answer in answers.values() if isinstance(answer, Lost)]
        is_gone = len(losses) < len(answers) and all(loss.reason == "not_found" for loss in losses)
        return losses[0] if losses and not is_gone else None

    def _keep(self, answers: Mapping[str, Fetched | Lost]) -> Lost | None:
        for path, answer in answers.items():
            if answer is SAME and path in self._raw:
                continue
            records = self._records(answer.data) if isinstance(answer, Fetched) else []
            if records is None or answer is SAME:
                self._raw.pop(path, None)
                return Lost("shape")
            self._raw[path] = records
        return None

    def _records(self, data: Any) -> list[Any] | None:  # noqa: ANN401 - foreign
        records = READERS[self.plan.kind](data, self.plan.settings)
        if records is None:
            return None
        kept = []
        for place, record in enumerate(records):
            if place >= MAX_RECORDS:
                self.dropped["too_many"] += 1
                break
            kept.append(record)
        return kept

    async def _take(self, *, is_new: bool) -> None:
        """Read every record: anew also where none changed, since what names no end is good once more."""
        now_ms = self._clock.now_ms()
        raw = [record for path in self.plan.paths for record in self._raw.get(path, ())]
        if len(raw) > _INLINE_RECORDS:
            offers, dropped = await asyncio.to_thread(_read, raw, self.plan, now_ms)
        else:
            offers, dropped = _read(raw, self.plan, now_ms)
        if is_new:
            self.dropped.update(dropped)
        self.answered_ms, self.failures, self.last_loss = now_ms, 0, None
        with self._lock:
            is_news = [offer.record for offer in offers] != [offer.record for offer in self.offers]
            self.offers = offers
        self.has_news = self.has_news or is_news

    def _next_ms(self) -> float:
        """Spread the polls of many hosts: a tenth more or less."""
        return self.plan.every_ms * (0.9 + 0.2 * self._draw())

    def _retry_ms(self, loss: Lost) -> float:
        """Wait twice as long after each failure, half of it by chance; and as long as the source wants."""
        slowest_ms = max(self.plan.every_ms, _SLOWEST_RETRY_MS)
        wait_ms = min(slowest_ms, _FIRST_RETRY_MS << min(self.failures - 1, 20))
        return max(wait_ms * (0.5 + 0.5 * self._draw()), loss.retry_after_ms or 0)


def _read(raw: Iterable[Any], plan: Plan, now_ms: int) -> tuple[tuple[Offer, ...], Counter[str]]:
    """Judge every record of a poll."""
    offers: dict[tuple[str, str, str], Offer] = {}
    dropped: Counter[str] = Counter()
    for record in raw:
        offer = read_offer(record, plan.rules, now_ms, plan.ttl_ms)
        if isinstance(offer, str):
            dropped[offer] += 1
        elif offer is None:
            continue
        elif offer.key in offers:
            dropped["duplicate"] += 1
        elif len(offers) >= MAX_OFFERS:
            dropped["too_many"] += 1
        else:
            offers[offer.key] = offer
    return tuple(offers.values()), dropped


def endpoint_path(model_id: str) -> str:
    """Give where OpenRouter lists who serves a model."""
    return f"/models/{quote(model_id, safe='/:.')}/endpoints"
