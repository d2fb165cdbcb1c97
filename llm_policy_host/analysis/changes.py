"""What differs between two terms in normal form: clauses added, removed and changed, each with its place."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.core.language import Operation
    from llm_policy_host.values import Plain

_JOINS = {"Pred": "and", "Scorer": "add", "Xform": "seq"}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a term: where it stands, its sort or the label of a parameter, and what it is."""

    path: str
    what: str
    value: Plain


@dataclass(frozen=True, slots=True)
class Change:
    """A part of the first term, of the second, or one of each that take each other's place."""

    before: Part | None
    after: Part | None

    @property
    def kind(self) -> str:
        """Name the change."""
        if self.before is None:
            return "added"
        return "changed" if self.after is not None else "removed"

    @property
    def path(self) -> str:
        """Give where it stands: in the first term, or of what is added, in the second."""
        part = self.before or self.after
        return "" if part is None else part.path


class Comparison:
    """Compares terms by the signature of the language."""

    def __init__(self, signature: Mapping[str, Operation]) -> None:
        self._signature = signature

    def changes(self, first: Plain, second: Plain) -> list[Change]:
        """List what differs between two terms of one sort."""
        return [*self._compare(self._part("$", first), self._part("$", second))]

    def _part(self, path: str, term: Plain) -> Part:
        return Part(path, self._signature[term[0]].sort, term)

    def _compare(self, one: Part, other: Part) -> Iterator[Change]:
        if _text(one.value) == _text(other.value):
            return
        op, other_op = one.value[0], other.value[0]
        join = _JOINS.get(one.what)
        if one.what == "FailPlan":
            yield from _compare_plans(one, other)
        elif op == other_op and not self._is_atom(op):
            yield from self._within(one, other)
        elif join in (op, other_op):
            yield from self._pairs(join or op, self._children(one, join), self._children(other, join))
        else:
            yield Change(one, other)

    def _within(self, one: Part, other: Part) -> Iterator[Change]:
        """Compare the arguments of one operation."""
        op = one.value[0]
        if self._signature[op].is_variadic:
            yield from self._pairs(op, self._children(one, op), self._children(other, op))
            return
        for position, label in enumerate(self._signature[op].labels, 1):
            paths = [f"{part.path}.{op}[{position}]" for part in (one, other)]
            values = [part.value[position] for part in (one, other)]
            if self._signature[op].is_term(position):
                yield from self._compare(self._part(paths[0], values[0]), self._part(paths[1], values[1]))
            elif _text(values[0]) != _text(values[1]):
                yield Change(Part(paths[0], label, values[0]), Part(paths[1], label, values[1]))

    def _children(self, part: Part, op: str | None) -> list[Part]:
        """Give what an operation joins; what is no such operation stands alone."""
        if part.value[0] != op:
            return [part]
        return [
            self._part(f"{part.path}.{op}[{position}]", child)
            for position, child in enumerate(part.value[1:], 1)
        ]

    def _pairs(self, op: str, ones: list[Part], others: list[Part]) -> Iterator[Change]:
        """Pair what is equal, then what is alike, and give the rest as removed or added."""
        if not self._signature[op].is_commutative:
            yield from self._in_order(ones, others)
            return
        ones, others = _without_equals(ones, others)
        waiting: dict[str, list[Part]] = defaultdict(list)
        for other in others:
            waiting[self._likeness(other)].append(other)
        for one in ones:
            alike = waiting[self._likeness(one)]
            if alike:
                yield from self._compare(one, alike.pop(0))
            else:
                yield Change(one, None)
        for rest in waiting.values():
            yield from (Change(None, other) for other in rest)

    def _in_order(self, ones: list[Part], others: list[Part]) -> Iterator[Change]:
        texts = [[_text(part.value) for part in parts] for parts in (ones, others)]
        matcher = SequenceMatcher(a=texts[0], b=texts[1], autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag != "equal":
                yield from _side_by_side(ones[a:b], others[c:d])

    def _likeness(self, part: Part) -> str:
        """Give what two clauses share that are one clause changed: the operation and what it is about."""
        op = part.value[0]
        is_about = self._is_atom(op) and len(part.value) > 2
        return _text([op, part.value[1]] if is_about else [op])

    def _is_atom(self, op: str) -> bool:
        return not any(self._signature[op].terms)


def _side_by_side(ones: Sequence[Part], others: Sequence[Part]) -> Iterator[Change]:
    for place in range(max(len(ones), len(others))):
        yield Change(*(parts[place] if place < len(parts) else None for parts in (ones, others)))


def _without_equals(ones: list[Part], others: list[Part]) -> tuple[list[Part], list[Part]]:
    """Take away what stands on both sides, as often as it does."""
    rest, kept = [*others], []
    for one in ones:
        equal = next((other for other in rest if _text(other.value) == _text(one.value)), None)
        if equal is None:
            kept.append(one)
        else:
            rest.remove(equal)
    return kept, rest


def _compare_plans(one: Part, other: Part) -> Iterator[Change]:
    tables = [_plan_table(part) for part in (one, other)]
    for reason in sorted({*tables[0], *tables[1]}):
        before, after = (table.get(reason) for table in tables)
        if _text(before and before.value) != _text(after and after.value):
            yield Change(before, after)


def _plan_table(plan: Part) -> dict[str, Part]:
    """Give the action of each failure; the base stands under `unknown`."""
    table, term = {}, plan.value
    while term[0] == "override":
        table[term[2]] = Part(f"{plan.path}.{term[2]}", "Action", term[3])
        term = term[1]
    return {"unknown": Part(f"{plan.path}.unknown", "Action", term[1]), **table}


def _text(value: Any) -> str:  # noqa: ANN401 - any plain value
    """Tell values of normal forms apart, where `true` is not 1 (as Python has it)."""
    return json.dumps(value, sort_keys=True)
