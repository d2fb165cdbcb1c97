"""How differently policies decide: shared first choices, entropy, shared failures, and what it costs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from operator import add
from statistics import fmean
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .table import Row, Table

NOBODY = "nobody"
_THIRD = 1 / 3
_MAX_LOSSES = 200_000


@dataclass(frozen=True, slots=True)
class Loss:
    """What the loss of some providers does. Shares are of 1.

    `stopped` is how many validators are left without an answer and `moved` how many lose their
    first choice, both as means over contracts; `halted` is the share of contracts on which more
    than a third of all validators are stopped.
    """

    providers: tuple[str, ...]
    stopped: float
    moved: float
    halted: float


@dataclass(frozen=True, slots=True)
class Costs:
    """How much dearer a policy's first choices are than the cheapest policy's, as shares of 1."""

    p50: float
    p90: float
    most: float
    intent: float


@dataclass(frozen=True, slots=True)
class Report:
    """Policies over a corpus of contracts; those on which nobody calls anybody are left out.

    `same_first` is how often two validators choose the same route first, `same_provider` the same
    provider; `entropy_bits` is of the first choices on one contract, as a mean, and
    `effective_routes` the number of equally likely routes that has it. `orders` counts the policies
    that differ in a first choice on some contract. `stops` are the losses of 1, 2, … providers that
    stop most, `moves` those that take most first choices away; `intent_stops` and `intent_moves` are
    the worst ones where every validator runs the intent itself.
    """

    validators: int
    contracts: int
    decided: int
    orders: int
    same_first: float
    same_provider: float
    entropy_bits: float
    effective_routes: float
    firsts: Mapping[str, float]
    intent_firsts: Mapping[str, float]
    stops: Sequence[Loss]
    intent_stops: Sequence[Loss]
    moves: Sequence[Loss]
    intent_moves: Sequence[Loss]
    costs: Costs | None
    same_by_contract: Sequence[float] = field(repr=False)
    dearer: Sequence[float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Routes:
    """The catalog's candidates by their places from 1: names, providers, and what a call costs."""

    names: Sequence[str]
    providers: Sequence[str]
    prices: Sequence[float | None]


def report(table: Table, routes: Routes, most_lost: int) -> Report:
    """Sum up a table whose last policy is the intent."""
    validators = len(table.identities) - 1
    if validators < 2:
        raise UsageError("one policy differs from nobody: --n is at least 2")
    rows = [row for row in table.rows if any(row.firsts)]
    if not rows:
        raise UsageError("nobody calls anybody on any of these contracts")
    counts = [Counter(row.firsts[:-1]) for row in rows]
    same = [_pairs(count, validators) for count in counts]
    by_provider = [_pairs(_merged(count, routes.providers), validators) for count in counts]
    entropy = fmean(_entropy(count) for count in counts)
    dearer, intent = _dearer(rows, routes.prices)
    stops, moves = _losses(rows, table.sets, routes, slice(None, -1), most_lost)
    intent_stops, intent_moves = _losses(rows, table.sets, routes, slice(-1, None), most_lost)
    return Report(
        validators=validators,
        contracts=len(table.rows),
        decided=len(rows),
        orders=len(set(zip(*(row.firsts[:-1] for row in rows), strict=True))),
        same_first=fmean(same),
        same_provider=fmean(by_provider),
        entropy_bits=entropy,
        effective_routes=2**entropy,
        firsts=_named(counts, routes.names),
        intent_firsts=_named([Counter(row.firsts[-1:]) for row in rows], routes.names),
        stops=stops,
        intent_stops=intent_stops,
        moves=moves,
        intent_moves=intent_moves,
        costs=_costs(dearer, intent),
        same_by_contract=same,
        dearer=dearer,
    )


# First choices ------------------------------------------------------------------------------------


def _pairs(counts: Mapping[int, int] | Mapping[str, int], validators: int) -> float:
    """Give the share of pairs that choose alike; who calls nobody agrees with nobody."""
    alike = sum(count * (count - 1) for what, count in counts.items() if what not in (0, NOBODY))
    return alike / (validators * (validators - 1))


def _merged(counts: Mapping[int, int], names: Sequence[str]) -> Counter[str]:
    merged: Counter[str] = Counter()
    for place, count in counts.items():
        merged[names[place - 1] if place else NOBODY] += count
    return merged


def _entropy(counts: Mapping[int, int]) -> float:
    whole = sum(counts.values())
    return sum(-count / whole * math.log2(count / whole) for count in counts.values()) + 0.0


def _named(counts: Iterable[Counter[int]], names: Sequence[str]) -> dict[str, float]:
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    whole = total.total()
    ordered = sorted(_merged(total, names).items(), key=lambda item: (-item[1], item[0]))
    return {name: count / whole for name, count in ordered}


# Losses -------------------------------------------------------------------------------------------


def _losses(
    rows: Sequence[Row], sets: Sequence[frozenset[str]], routes: Routes, who: slice, most: int
) -> tuple[list[Loss], list[Loss]]:
    """Find the losses of each size that stop most, and those that move most."""
    reached: Counter[frozenset[str]] = Counter()
    moved: Counter[str] = Counter()
    for row in rows:
        for number, count in Counter(row.reached[who]).items():
            reached[sets[number]] += count
        for place, count in Counter(row.firsts[who]).items():
            moved[routes.providers[place - 1] if place else NOBODY] += count
    reached.pop(frozenset(), None)
    providers = sorted(set().union(*reached)) if reached else []
    worst = [_chosen(providers, size, reached, moved) for size in range(1, min(most, len(providers)) + 1)]
    stops, moves = (
        [_worst(rows, sets, who, pair[place], reached, moved) for pair in worst] for place in (0, 1)
    )
    return stops, moves


def _chosen(
    providers: Sequence[str], size: int, reached: Mapping[frozenset[str], int], moved: Mapping[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the providers whose loss stops most, and those whose loss moves most."""
    if math.comb(len(providers), size) > _MAX_LOSSES:
        raise UsageError(f"too many sets of {size} of {len(providers)} providers: say a smaller --lost")

    def harm(lost: tuple[str, ...]) -> tuple[int, int]:
        whole = frozenset(lost)
        stopped = sum(count for whom, count in reached.items() if whom <= whole)
        return stopped, sum(moved.get(name, 0) for name in lost)

    harms = {lost: harm(lost) for lost in itertools.combinations(providers, size)}
    return max(harms, key=lambda lost: harms[lost]), max(harms, key=lambda lost: harms[lost][::-1])


def _worst(
    rows: Sequence[Row],
    sets: Sequence[frozenset[str]],
    who: slice,
    lost: tuple[str, ...],
    reached: Mapping[frozenset[str], int],
    moved: Mapping[str, int],
) -> Loss:
    whole, validators = frozenset(lost), len(rows[0].firsts[who])
    pairs = validators * len(rows)
    fatal = {number for number, each in enumerate(sets) if each and each <= whole}
    halted = sum(
        sum(count for number, count in Counter(row.reached[who]).items() if number in fatal)
        > validators * _THIRD
        for row in rows
    )
    return Loss(
        lost,
        sum(count for whom, count in reached.items() if whom <= whole) / pairs,
        sum(moved.get(name, 0) for name in lost) / pairs,
        halted / len(rows),
    )


# Costs --------------------------------------------------------------------------------------------


def _dearer(rows: Sequence[Row], prices: Sequence[float | None]) -> tuple[list[float], float]:
    """Say of each policy, and of the intent, how much dearer than the cheapest it is."""
    known = [(math.nan if price is None else price) for price in prices]
    by_place = [math.nan, *known]
    totals = [0.0] * len(rows[0].firsts)
    has_any = False
    for costs in _priced(rows, by_place):
        totals, has_any = list(map(add, totals, costs)), True
    least = min(totals)
    if not has_any or least <= 0:
        return [], 0.0
    *others, intent = (total / least - 1 for total in totals)
    return sorted(others), intent


def _priced(rows: Iterable[Row], by_place: Sequence[float]) -> Iterator[list[float]]:
    """Give the costs on those contracts where every first choice has a known price."""
    for row in rows:
        if not any(math.isnan(by_place[place]) for place in _distinct(row.firsts)):
            yield [by_place[place] for place in row.firsts]


def _distinct(firsts: array[int]) -> set[int]:
    return set(firsts)


def _costs(dearer: Sequence[float], intent: float) -> Costs | None:
    if not dearer:
        return None
    last = len(dearer) - 1
    p50, p90 = (dearer[math.ceil(share * len(dearer)) - 1] for share in (0.5, 0.9))
    return Costs(p50, p90, dearer[last], intent)
