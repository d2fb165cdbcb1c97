"""The SMT solver, asked about formulas over aspects: nothing else knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import UsageError

from .formula import All, Among, Formula, Not, Some

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain


class Solver:
    """Finds values that make a formula true; what it finds is as plain as can be."""

    UNDECIDED: Final[Mapping[str, int]] = {"undecided": -1}

    def __init__(self, timeout_ms: int = 30_000) -> None:
        try:
            import z3  # noqa: PLC0415 - an optional package of 30 MB
        except ImportError:
            raise UsageError(
                "`implies` needs the package `z3-solver`: pip install 'llm-policy[implies]'"
            ) from None
        self._z3: Any = z3
        self._timeout_ms = timeout_ms

    def find(self, formula: Formula, values: Mapping[str, Sequence[Plain]]) -> Mapping[str, int] | None:
        """Give a place for each aspect so that the formula holds; None where there is none.

        `UNDECIDED` is answered where the time ran out. Of many, one is given in which aspect after
        aspect has its first value where that is possible.
        """
        z3, solver, places = self._z3, self._z3.Solver(), {}
        solver.set("timeout", self._timeout_ms)
        for name, known in values.items():
            places[name] = z3.Int(name)
            solver.add(places[name] >= 0, places[name] < len(known))
        solver.add(self._told(formula, places))
        verdict = solver.check()
        if verdict == z3.unknown:
            return self.UNDECIDED
        if verdict == z3.unsat:
            return None
        return {name: self._settled(solver, places[name], len(values[name])) for name in places}

    def _settled(self, solver: Any, place: Any, count: int) -> int:  # noqa: ANN401 - z3 has no types
        """Fix an aspect at its first value that leaves a solution."""
        solver.check()
        now: int = solver.model().eval(place, model_completion=True).as_long()
        for each in range(min(now, count)):
            if solver.check(place == each) == self._z3.sat:
                now = each
                break
        solver.add(place == now)
        return now

    def _told(self, formula: Formula, places: Mapping[str, Any]) -> Any:  # noqa: ANN401 - z3 has no types
        z3 = self._z3
        match formula:
            case Among(aspect, chosen):
                runs = [z3.And(places[aspect] >= a, places[aspect] <= b) for a, b in _runs(sorted(chosen))]
                return z3.Or(*runs)
            case All(parts):
                return z3.And(*self._each(parts, places))
            case Some(parts):
                return z3.Or(*self._each(parts, places))
            case Not(part):
                return z3.Not(self._told(part, places))

    def _each(self, parts: Iterable[Formula], places: Mapping[str, Any]) -> list[Any]:
        return [self._told(part, places) for part in parts]


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the first and the last of each run of neighbours."""
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] != places[end - 1] + 1:
            yield places[start], places[end - 1]
            start = end
