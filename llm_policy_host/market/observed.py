"""How each route does, measured attempt by attempt: `success_rate`, `latency_ms` and `tok_s`.

Plain windows, no decay: the last attempts of a route within some minutes. Medians, since one slow
answer says little. A number is told once enough attempts stand behind it, and is absent before, as for
a route that nobody tried.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from llm_policy_host.quick import quick
from llm_policy_host.values import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import Attempt

UNTOLD: Final = frozenset(
    {"bad_request", "content_filter", "context_overflow", "empty_completion", "cancelled"}
)
"""Ends of an attempt that say nothing of the route: the request's fault, nobody's, or the caller left."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much is kept and told: attempts of a route, for how long, of how many routes, from how many on."""

    attempts: int = 100
    age_ms: int = 600_000
    routes: int = 1_000
    least: int = 3
    every_ms: int = 250


@quick
@dataclass(frozen=True, slots=True)
class _Sample:
    """What one attempt showed; what it did not show is None."""

    at_ms: float
    is_good: bool
    latency_ms: float | None = None
    tok_s: float | None = None


@dataclass(slots=True)
class _Route:
    """A route's window, and what was told of it last."""

    samples: deque[_Sample]
    told: Mapping[str, float] = field(default_factory=dict)
    is_told: bool = False


class Observed:
    """Measures routes; `routes` gives them as the core takes them, keyed `provider|family`."""

    def __init__(self, clock: Clock, window: Window | None = None) -> None:
        self._clock = clock
        self._window = window or Window()
        self._routes: OrderedDict[str, _Route] = OrderedDict()
        self._told: Mapping[str, Mapping[str, float]] = NOTHING
        self._next_ms = 0
        self._lock = threading.Lock()

    def note(self, attempt: Attempt) -> None:
        """Take an attempt that is over."""
        sample = _sample(attempt)
        if sample is None:
            return
        key = f"{attempt.provider_id}|{attempt.model_family}"
        with self._lock:
            route = self._routes.get(key)
            if route is None:
                route = self._routes[key] = _Route(deque(maxlen=self._window.attempts))
            route.samples.append(sample)
            route.is_told = False
            self._routes.move_to_end(key)
            if len(self._routes) > self._window.routes:
                self._routes.popitem(last=False)

    def routes(self) -> Mapping[str, Mapping[str, float]]:
        """Give what is known of each route; the same mapping for a while, and while nothing changed."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._next_ms:
            with self._lock:
                self._next_ms = now_ms + self._window.every_ms
                self._renew(now_ms)
        return self._told

    def _renew(self, now_ms: int) -> None:
        oldest_ms = now_ms - self._window.age_ms
        for key in [key for key, route in self._routes.items() if self._is_over(route, oldest_ms)]:
            del self._routes[key]
        told = {key: route.told for key, route in self._routes.items() if route.told}
        if told != self._told:
            self._told = told

    def _is_over(self, route: _Route, oldest_ms: float) -> bool:
        """Bring a route up to date; whether nothing is left of it."""
        while route.samples and route.samples[0].at_ms < oldest_ms:
            route.samples.popleft()
            route.is_told = False
        if not route.is_told:
            route.told, route.is_told = _summary(route.samples, self._window.least), True
        return not route.samples


def _sample(attempt: Attempt) -> _Sample | None:
    ended_ms = attempt.started_ms + attempt.took_ms
    if attempt.kind is not None:
        is_untold = attempt.kind in UNTOLD or attempt.is_callers_fault
        return None if is_untold else _Sample(ended_ms, is_good=False)
    waited_ms = attempt.took_ms if attempt.ttft_ms is None else attempt.ttft_ms
    return _Sample(ended_ms, is_good=True, latency_ms=waited_ms, tok_s=_tok_s(attempt))


_LEAST_MS = 0.001
"""What came within less came at once: no clock here tells a speed of it."""


def _tok_s(attempt: Attempt) -> float | None:
    """Give tokens a second while they came: after the first of a stream, over the whole of a unary answer."""
    spent_ms = attempt.took_ms - (attempt.ttft_ms or 0)
    if not attempt.output_tokens or spent_ms < _LEAST_MS:
        return None
    return attempt.output_tokens * 1000 / spent_ms


def _summary(samples: Iterable[_Sample], least: int) -> dict[str, float]:
    """Sum a window up, rounded, so that noise below notice is no news."""
    everything = list(samples)
    measures: dict[str, tuple[list[float], Callable[[list[float]], float], int]] = {
        "success_rate": ([float(sample.is_good) for sample in everything], _mean, 3),
        "latency_ms": (_known(sample.latency_ms for sample in everything), median, 0),
        "tok_s": (_known(sample.tok_s for sample in everything), median, 1),
    }
    return {
        name: round(sum_up(values), digits)
        for name, (values, sum_up, digits) in measures.items()
        if len(values) >= least
    }


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
