"""Numbers that vary: what a file may say of them, each drawn from one uniform number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NORMAL = NormalDist()
_P99: Final = _NORMAL.inv_cdf(0.99)
_LEAST: Final = 2.0**-53
"""A uniform number of 0 would stand for minus infinity."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A shape and its numbers; the larger the uniform number, the larger what is drawn."""

    shape: str
    numbers: tuple[float, ...]

    def at(self, uniform: float) -> float:
        """Give the number at a share from 0 up to 1 of all."""
        return _DRAW[self.shape](self.numbers, uniform)


def constant(number: float) -> Distribution:
    """Give what never varies."""
    return Distribution("constant", (number,))


def _constant(numbers: tuple[float, ...], _uniform: float) -> float:
    return numbers[0]


def _uniform(numbers: tuple[float, ...], uniform: float) -> float:
    low, high = numbers
    return low + (high - low) * uniform


def _exponential(numbers: tuple[float, ...], uniform: float) -> float:
    return -numbers[0] * math.log1p(-uniform)


def _lognormal(numbers: tuple[float, ...], uniform: float) -> float:
    middle, high = numbers
    return middle * math.exp(math.log(high / middle) / _P99 * _NORMAL.inv_cdf(max(uniform, _LEAST)))


def _values(numbers: tuple[float, ...], uniform: float) -> float:
    return numbers[int(uniform * len(numbers))]


_DRAW: Mapping[str, Callable[[tuple[float, ...], float], float]] = {
    "constant": _constant,
    "uniform": _uniform,
    "exponential": _exponential,
    "lognormal": _lognormal,
    "values": _values,
}

SHAPES: Mapping[str, str] = {
    "uniform": "a list of two numbers: any between them is as likely",
    "exponential": "a number: the mean",
    "lognormal": "`{p50, p99}`: half are below the first, 99 of 100 below the second",
    "values": "a list of numbers, each as likely: what was measured, say",
}
"""Every shape that a file may name, and what stands after it."""
