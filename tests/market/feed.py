"""A feed in memory, and what tests of the market share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.market.feeds import HttpFeed
from llm_policy_host.market.market import Market
from llm_policy_host.market.offers import Rules
from llm_policy_host.market.source import Plan, Source
from llm_policy_host.values import Attempt, HttpAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.clock import VirtualClock

FAMILIES = {"m": "m", "n": "n", "m-on-wire": "m"}


def offer(peer: str = "peer-1", family: str = "m", price: Any = 1.0, **more: Any) -> dict[str, Any]:
    return {"peer_id": peer, "model_family": family, "price_in_usd_per_mtok": price, **more}


def told(offers: Any, status: int = 200, **headers: str) -> HttpAnswer:
    body = offers if isinstance(offers, bytes) else json.dumps(offers).encode()
    return HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@dataclass
class Script:
    """A fetcher that answers in turn, the last one for ever; an exception is raised."""

    answers: list[Any]
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        assert (method, body) == ("GET", None)
        self.asked.append((url, headers))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, HttpAnswer)
        return answer


def source(
    clock: VirtualClock, name: str = "feed", draw: Callable[[], float] = lambda: 0.5, **plan: Any
) -> Source:
    given = {"discovery_id": "d", "kind": "json", "rules": Rules(FAMILIES), **plan}
    token = given.pop("token", None)
    return Source(Plan(name, **given), HttpFeed("https://feed.test/offers", clock, 5_000, token), clock, draw)


def market(clock: VirtualClock, *sources: Source, **more: Any) -> Market:
    return Market(sources, clock, {"bazaar": "d"}, **more)


def attempt(peer: str = "peer-1", kind: str | None = None, **more: Any) -> Attempt:
    given = {"provider_id": "bazaar", "model_family": "m", "started_ms": 0, "took_ms": 100.0, **more}
    return Attempt(served_by=peer, kind=kind, **given)


def peers(market: Market, family: str = "m") -> list[str]:
    return [one["peer_id"] for one in market.offers().get("d", ()) if one["model_family"] == family]
