"""Aspects: what filters can tell candidates and requests apart by, each with finitely many values.

A filter compares a number with its own constants and a name with its own names, nothing else. So a
number at each constant and one in each gap between them, and one name that nobody mentions, stand for
all others: a question about every candidate becomes one about finitely many, and nothing is lost.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_policy_host.core.language import Vocabulary
    from llm_policy_host.values import Plain

    from .routes import Route

ABSENT = None
"""The value of an aspect that a candidate does not have."""

_MAX = sys.float_info.max
_NOT_NEGATIVE = frozenset({"price_in", "price_out", "latency_ms", "tok_s", "success_rate", "context"})
_OF_THE_STATE = frozenset({"breaker_open", "disabled"})


@dataclass(frozen=True, slots=True)
class Domain:
    """What is assumed of candidates and requests besides what every config guarantees.

    `ranges` bounds fields where a candidate has them; `present` names fields that every candidate has;
    `required` is what every request requires at least; `routes` is what alone can be a candidate.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=nothing)
    present: frozenset[str] = frozenset()
    required: Mapping[str, Any] = field(default_factory=nothing)
    routes: tuple[Route, ...] | None = None

    def bounds(self, name: str) -> tuple[float, float]:
        """Give the least and the greatest number of a field; prices and the like are never negative."""
        low, high = self.ranges.get(name, (-_MAX, _MAX))
        return max(low, 0.0 if name in _NOT_NEGATIVE else -_MAX), min(high, _MAX)


def aspects(
    mentioned: Iterable[tuple[str, Plain]], vocabularies: Iterable[Vocabulary], domain: Domain
) -> dict[str, tuple[Plain, ...]]:
    """Give the values of each aspect that is mentioned; the first is what to show where any would do."""
    constants: dict[str, set[Any]] = {"provider_id": set(), "model_family": set()}
    for aspect, value in mentioned:
        constants.setdefault(aspect, set()).add(value)
    for aspect, values in constants.items():
        values.update(route.value(aspect) for route in domain.routes or () if route.fixes(aspect))
    known = [*vocabularies]
    found = {aspect: _values(aspect, values, known, domain) for aspect, values in constants.items()}
    if "capability:context" in found:  # the key that holds the number may hold the flag in its place
        found["field:context"] = (*found.get("field:context", (ABSENT,)), True)
        del found["capability:context"]
    return found


def _values(
    aspect: str, constants: set[Any], vocabularies: list[Vocabulary], domain: Domain
) -> tuple[Plain, ...]:
    kind, _, name = aspect.partition(":")
    if kind == "field":
        return _field_values(name, constants, vocabularies, domain)
    if kind == "capability":
        return (False, True)
    if kind in ("meets_req", "scope_matches"):
        return (True, False)
    if aspect == "tier":
        order = [tier for vocabulary in vocabularies for tier in vocabulary.tiers]
        names = dict.fromkeys((*order, *_sorted(constants)))
        return (*names, _fresh("unranked", {*names}), ABSENT)
    names = dict.fromkeys(_sorted(constants - {ABSENT}))
    other = {"provider_id": "other-provider", "model_family": "other-model", "peer": "other-peer"}[aspect]
    return (*([ABSENT] if aspect == "peer" else []), *names, _fresh(other, constants))


def _field_values(
    name: str, constants: set[Any], vocabularies: list[Vocabulary], domain: Domain
) -> tuple[Plain, ...]:
    absent = () if name in domain.present else (ABSENT,)
    if any(name in each.fields and each.fields[name]["sort"] == "Bool" for each in vocabularies):
        return (False, True) if name in _OF_THE_STATE else (False, True, *absent)
    numbers = {each for each in constants if each is not True and each is not ABSENT}
    return (*absent, *representatives(numbers, *domain.bounds(name)))


def representatives(constants: Iterable[float], low: float, high: float) -> list[float]:
    """Give the constants between two bounds, and one double of each gap beside and between them."""
    marks = sorted({number for number in constants if low <= number <= high})
    if not marks:
        return [0.0 if low <= 0 <= high else low] if low <= high else []
    gaps = (_between(left, right) for left, right in pairwise(marks))
    below = next((each for each in (marks[0] - 1, low) if low <= each < marks[0]), None)
    above = next((each for each in (marks[-1] + 1, high) if marks[-1] < each <= high), None)
    return sorted({*marks, *(each for each in (below, *gaps, above) if each is not None)})


def _between(low: float, high: float) -> float | None:
    """Give a double strictly between two, a short one where there is one."""
    middle = low / 2 + high / 2
    guesses = (
        math.floor(low) + 1.0,
        round(middle, 1),
        round(middle, 3),
        middle,
        math.nextafter(low, math.inf),
    )
    return next((guess for guess in guesses if low < guess < high), None)


def _fresh(name: str, known: set[Any]) -> str:
    """Give a name that is not known."""
    while name in known:
        name += "-2"
    return name


def _sorted(names: set[Any]) -> list[str]:
    return sorted(name for name in names if isinstance(name, str))
