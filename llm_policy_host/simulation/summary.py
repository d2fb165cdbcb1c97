"""What many runs amount to: how many were answered, how fast, at what cost, by whom."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from .play import ANSWER, DEADLINE, WAIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .play import Played

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Half, 99 of 100 and all of what was seen are at most this; and its mean."""

    p50: float
    p99: float
    most: float
    mean: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A policy's runs. Latencies and costs are of the runs that were answered; shares are of 1.

    `deadline` is how much of the deadline runs used, of all of them; `waiting` is the share of all
    time that went by between calls. What a failed call costs is not known and counts as nothing;
    `unpriced` counts answers whose price is not known.
    """

    runs: int
    success: float
    latency_ms: Quantiles | None
    cost_usd: Quantiles | None
    unpriced: int
    deadline: Quantiles
    waiting: float
    attempts: float
    providers: Mapping[str, float]
    routes: Mapping[str, float]
    errors: Mapping[str, float]
    failures: Mapping[str, float]


def summarise(played: Sequence[Played], deadline_ms: float) -> Summary:
    """Sum up."""
    answered = [run for run in played if run.ok]
    costs = [run.cost_usd for run in answered if run.cost_usd is not None]
    spans = [span for run in played for span in run.spans]
    time = sum(run.took_ms for run in played)
    waited = sum(span.ends_ms - span.begins_ms for span in spans if span.end == WAIT)
    failed = Counter(span.end for span in spans if span.end not in (WAIT, ANSWER, DEADLINE))
    return Summary(
        runs=len(played),
        success=len(answered) / len(played),
        latency_ms=_quantiles([run.took_ms for run in answered]),
        cost_usd=_quantiles(costs),
        unpriced=len(answered) - len(costs),
        deadline=_quantiles([run.took_ms / deadline_ms for run in played]) or Quantiles(0, 0, 0, 0),
        waiting=waited / time if time else 0.0,
        attempts=fmean(run.attempts for run in played),
        providers=_shares((run.provider_id for run in answered), len(played)),
        routes=_shares((run.route for run in answered), len(played)),
        errors=_shares((run.error for run in played if not run.ok), len(played)),
        failures={kind: count / len(played) for kind, count in _ordered(failed)},
    )


def at_share(ordered: Sequence[N], share: float) -> N:
    """Give the least number that so great a share of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def telling(played: Sequence[Played], shares: Iterable[float]) -> list[tuple[float, Played]]:
    """Pick the runs that such shares of all do not take longer than, none twice, from the fastest on."""
    ordered = sorted(played, key=lambda run: (run.took_ms, run.number))
    picked = {at_share(range(len(ordered)), share): share for share in shares}
    return [(share, ordered[place]) for place, share in sorted(picked.items())]


def _quantiles(numbers: Iterable[float]) -> Quantiles | None:
    ordered = sorted(numbers)
    if not ordered:
        return None
    return Quantiles(at_share(ordered, 0.5), at_share(ordered, 0.99), ordered[-1], fmean(ordered))


def _shares(names: Iterable[str | None], whole: int) -> dict[str, float]:
    return {str(name): count / whole for name, count in _ordered(Counter(names))}


def _ordered(counts: Counter[str] | Counter[str | None]) -> list[tuple[str, int]]:
    return sorted(
        ((str(name), count) for name, count in counts.items()), key=lambda item: (-item[1], item[0])
    )
