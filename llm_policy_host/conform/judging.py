"""Replays cases on what claims to decide as they say, and tells where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .cases import lines, read, shows
from .runtime import RuntimeFailedError, RuntimeRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .runtime import Player


@dataclass(frozen=True, slots=True)
class Difference:
    """A case that was answered otherwise: what it expects, and what was seen."""

    name: str
    about: str
    expected: Any
    seen: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a player stood: how many cases it was asked, and those that differ; or why it was not asked."""

    name: str
    asked: int = 0
    differing: tuple[Difference, ...] = field(default=())
    absent: str | None = None
    refused: str | None = None
    failed: str | None = None

    @property
    def conforms(self) -> bool:
        """Whether it was asked, and answered as expected."""
        return not (self.absent or self.refused or self.failed or self.differing)


def judge(player: Player, cases: Mapping[str, Any]) -> Outcome:
    """Replay cases on a player."""
    absent = player.available()
    if absent:
        return Outcome(player.name, absent=absent)
    try:
        answers = player.replay(lines(cases.values()))
    except RuntimeRefusedError as error:
        return Outcome(player.name, refused=error.reason)
    except RuntimeFailedError as error:
        return Outcome(player.name, failed=str(error))
    if len(answers) != len(cases):
        return Outcome(player.name, failed=f"{len(cases)} lines were asked, {len(answers)} answered")
    found = (_difference(name, case, text) for (name, case), text in zip(cases.items(), answers, strict=True))
    return Outcome(player.name, len(cases), tuple(each for each in found if each))


def _difference(name: str, case: Mapping[str, Any], text: str) -> Difference | None:
    try:
        seen = read(text)
    except (ValueError, RecursionError):
        seen = {"error": f"no JSON: {text[:200]}"}
    if shows(seen, case["expect"]):
        return None
    return Difference(name, case["about"], case["expect"], seen)
