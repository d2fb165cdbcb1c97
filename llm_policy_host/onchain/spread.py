"""How far validators agree: what a simulation's rounds amount to, against those where all is well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .validators import Answer, Round

NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Spread:
    """A scenario's outcome. Shares are of 1; `moved`, `fell_through` and `silent` count validators.

    `agree` is the mean share of validators, the leader apart, whose answer is the leader's;
    `same_model` only asks for the model; `majority` is the share of transactions where more than
    half of all, the leader among them, hold the leader's answer.
    """

    scenario: str
    first_choices: Mapping[str, float]
    served: Mapping[str, float]
    answers: float
    agree: float
    same_model: float
    majority: float
    moved: int
    fell_through: int
    silent: int
    attempts: float


def spread(scenario: str, rounds: Sequence[Round], baseline: Sequence[Round]) -> Spread:
    """Sum up a scenario's rounds; `baseline` are the same transactions where all is well."""
    each = [answer for one in rounds for answer in one.answers]
    return Spread(
        scenario,
        first_choices=_shares([answer.first for answer in each]),
        served=_shares([answer.served for answer in each]),
        answers=fmean(_distinct(one) for one in rounds),
        agree=fmean(_agreeing(one, lambda answer: answer.content) for one in rounds),
        same_model=fmean(_agreeing(one, lambda answer: answer.family) for one in rounds),
        majority=fmean(_has_majority(one) for one in rounds),
        moved=_count(rounds, baseline, lambda now, before: now.served != before.served),
        fell_through=_count(rounds, baseline, lambda now, _: now.attempts > 1),
        silent=_count(rounds, baseline, lambda now, _: now.content is None),
        attempts=fmean(answer.attempts for answer in each),
    )


def _shares(routes: Sequence[str | None]) -> dict[str, float]:
    """Give each route's share, the largest first."""
    counts = Counter(NOBODY if route is None else route for route in routes)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {route: count / len(routes) for route, count in ordered}


def _distinct(one: Round) -> int:
    return len({answer.content for answer in one.answers} - {None})


def _agreeing(one: Round, what: Callable[[Answer], object]) -> float:
    wanted = what(one.answers[one.leader])
    if wanted is None:
        return 0.0
    alike = sum(what(answer) == wanted for answer in one.answers) - 1
    return alike / (len(one.answers) - 1)


def _has_majority(one: Round) -> bool:
    wanted = one.answers[one.leader].content
    alike = sum(answer.content == wanted for answer in one.answers)
    return wanted is not None and alike * 2 > len(one.answers)


def _count(
    rounds: Sequence[Round], baseline: Sequence[Round], is_so: Callable[[Answer, Answer], bool]
) -> int:
    """Count the validators for whom something is so in any transaction."""
    by_node = zip(
        zip(*(one.answers for one in rounds), strict=True),
        zip(*(one.answers for one in baseline), strict=True),
        strict=True,
    )
    return sum(any(map(is_so, now, before)) for now, before in by_node)
