"""How providers behave: turns as they are written down, or drawn by a seed.

INVARIANT: what a route does at a run's nth call of it follows from the seed, the run, the route and n
alone, so that two policies meet the same providers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import nothing

from .distribution import Distribution, constant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Turn = dict[str, Any]
"""One answer, failure or hang, as scripts have it."""

HANG = "hang"
_ANSWER: Turn = {"answer": "an answer"}


@dataclass(frozen=True, slots=True)
class Misfortune:
    """A way to fail: its kind or `hang`, how often, and how the failure looks."""

    kind: str
    share: float = 0.0
    latency_ms: Distribution | None = None
    http_status: int | None = None
    retry_after_ms: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every call fails, from the simulation's beginning on."""

    from_ms: float
    for_ms: float
    misfortune: Misfortune

    def is_on(self, at_ms: float) -> bool:
        """Whether it lasts at a moment."""
        return self.from_ms <= at_ms < self.from_ms + self.for_ms


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a route behaves: by `turns`, or by chance."""

    latency_ms: Distribution = field(default_factory=lambda: constant(0))
    failures: tuple[Misfortune, ...] = ()
    outages: tuple[Outage, ...] = ()
    turns: Sequence[Turn] | None = None

    def draw(self, at_ms: float, which: float, how_long: float) -> Turn:
        """Give the turn at a moment, for two uniform numbers."""
        for outage in self.outages:
            if outage.is_on(at_ms):
                return _failed(outage.misfortune, self.latency_ms, how_long)
        for misfortune in self.failures:
            if which < misfortune.share:
                return _failed(misfortune, self.latency_ms, how_long)
            which -= misfortune.share
        return {**_ANSWER, "latency_ms": round(self.latency_ms.at(how_long))}


def _failed(misfortune: Misfortune, latency_ms: Distribution, how_long: float) -> Turn:
    if misfortune.kind == HANG:
        return {HANG: True}
    turn: Turn = {
        "failure": misfortune.kind,
        "latency_ms": round((misfortune.latency_ms or latency_ms).at(how_long)),
    }
    if misfortune.http_status is not None:
        turn["http_status"] = misfortune.http_status
    if misfortune.retry_after_ms is not None:
        turn["retry_after_ms"] = round(misfortune.retry_after_ms.at(how_long))
    return turn


@dataclass(frozen=True, slots=True)
class Request:
    """What a run reads and writes, in tokens."""

    input_tokens: Distribution = field(default_factory=lambda: constant(1000))
    output_tokens: Distribution = field(default_factory=lambda: constant(300))


@dataclass(frozen=True, slots=True)
class Conduct:
    """All that a simulation is told of the world.

    `routes` is keyed by provider and model family, then by the provider alone. Without `every_ms`
    each run is alone; with it they come that far apart and share what providers did to them.
    `factors` say how a provider's prices move from run to run, by what the core knows them under.
    """

    routes: Mapping[tuple[str, str | None], Behaviour] = field(default_factory=dict)
    otherwise: Behaviour = field(default_factory=Behaviour)
    request: Request = field(default_factory=Request)
    every_ms: Distribution | None = None
    factors: Mapping[str, Distribution] = field(default_factory=nothing)

    def of(self, provider_id: str, family: str) -> Behaviour:
        """Find how a route behaves."""
        own = self.routes.get((provider_id, family))
        return own or self.routes.get((provider_id, None)) or self.otherwise


class World:
    """A conduct under way: who was asked how often."""

    def __init__(self, conduct: Conduct, seed: int) -> None:
        self.conduct = conduct
        self._seed = seed
        self._played: dict[tuple[str, str], int] = {}
        self._streams: dict[int, dict[tuple[str, str], random.Random]] = {}

    def renew(self) -> None:
        """Forget who was asked."""
        self._played.clear()
        self._streams.clear()

    def turn(self, run: int, candidate: Mapping[str, Any], at_ms: float) -> Turn:
        """Say what a route does when a run calls it now."""
        provider_id, family = candidate["provider_id"], candidate["model_family"]
        behaviour = self.conduct.of(provider_id, family)
        if behaviour.turns is not None:
            return self._scripted(behaviour.turns, (provider_id, candidate["served_model_id"]))
        streams = self._streams.setdefault(run, {})
        stream = streams.get((provider_id, family))
        if stream is None:
            stream = streams[provider_id, family] = self._stream(run, provider_id, family)
        return behaviour.draw(at_ms, stream.random(), stream.random())

    def leave(self, run: int) -> None:
        """Forget a run that is over."""
        self._streams.pop(run, None)

    def usage(self, run: int) -> dict[str, int]:
        """Give what a run reads and writes."""
        stream, request = self._stream(run, "request"), self.conduct.request
        return {
            "input": round(request.input_tokens.at(stream.random())),
            "output": round(request.output_tokens.at(stream.random())),
        }

    def factors(self, run: int) -> dict[str, float]:
        """Give the factors of the prices that a run meets."""
        return {
            name: factor.at(self._stream(run, "price", name).random())
            for name, factor in self.conduct.factors.items()
        }

    def seed_of(self, run: int) -> int:
        """Give the seed that a run's policy draws by."""
        return self._stream(run, "seed").randrange(2**31)

    def beginnings(self, runs: int) -> list[float]:
        """Say when runs begin."""
        every_ms = self.conduct.every_ms
        if every_ms is None:
            return [0.0] * runs
        stream, moments = self._stream("every"), [0.0]
        for _ in range(runs - 1):
            moments.append(moments[-1] + round(every_ms.at(stream.random())))
        return moments

    def _scripted(self, turns: Sequence[Turn], route: tuple[str, str]) -> Turn:
        self._played[route] = played = self._played.get(route, 0) + 1
        return turns[min(played, len(turns)) - 1] if turns else _ANSWER

    def _stream(self, *what: object) -> random.Random:
        return random.Random(f"{self._seed}/{what!r}")  # noqa: S311 - repeatable, not secret
