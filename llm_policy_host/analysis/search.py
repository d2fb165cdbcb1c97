"""Whether a formula over aspects can hold, without a solver: by trying values, one aspect after the other.

For the small questions that `check` asks of every config. What takes too many tries stays undecided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.errors import CoreError

from .formula import All, Among, Formula, Not, Some

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Plain

_TRIES = 20_000


def is_possible(formula: Formula, values: Mapping[str, Sequence[Plain]], tries: int = _TRIES) -> bool | None:
    """Say whether a value for each aspect makes the formula true; None where that stays undecided."""
    return _Search({name: len(known) for name, known in values.items()}, tries).run(formula)


class _Search:
    """One question: how many values each aspect has, which are chosen, and how many tries are left."""

    def __init__(self, sizes: Mapping[str, int], tries: int) -> None:
        self._sizes = sizes
        self._tries = tries
        self._chosen: dict[str, int] = {}

    def run(self, formula: Formula) -> bool | None:
        truth = self._truth(formula)
        if truth is not None:
            return truth
        aspect = self._open(formula)
        found: bool | None = False
        for place in range(self._sizes[aspect]):
            self._chosen[aspect] = place
            self._tries -= 1
            answer = None if self._tries < 0 else self.run(formula)
            if answer:
                found = True
                break
            if answer is None:
                found = None
                if self._tries < 0:
                    break
        del self._chosen[aspect]
        return found

    def _truth(self, formula: Formula) -> bool | None:
        """Give the truth of what no further choice can change; None for all else."""
        match formula:
            case Among(aspect, places):
                if aspect in self._chosen:
                    return self._chosen[aspect] in places
                return (len(places) > 0) if len(places) in (0, self._sizes[aspect]) else None
            case All(parts) | Some(parts):
                ends = isinstance(formula, Some)
                truths = {self._truth(part) for part in parts}
                return ends if ends in truths else None if None in truths else not ends
            case Not(part):
                truth = self._truth(part)
                return None if truth is None else not truth

    def _open(self, formula: Formula) -> str:
        """Name the first aspect whose value still matters."""
        match formula:
            case Among(aspect, _):
                return aspect
            case All(parts) | Some(parts):
                return self._open(next(part for part in parts if self._truth(part) is None))
            case Not(part):
                return self._open(part)
        raise CoreError(f"no formula: {formula}")
