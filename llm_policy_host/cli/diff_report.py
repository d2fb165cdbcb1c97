"""How `llm-policy diff` tells what it found: as lines, and as data."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .output import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_policy_host.analysis.changes import Change, Part
    from llm_policy_host.analysis.decisions import Decision, Moved
    from llm_policy_host.core.language import Language

_VERBS = ("filter", "scorer", "selector", "mutate", "failures")
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_WORDS = {
    "chosen": "another is chosen",
    "order": "another order",
    "rejected": "others are rejected",
    "reasons": "other reasons",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A change with its parts in plain words."""

    kind: str
    path: str
    verb: str
    before: str | None
    after: str | None
    change: Change


@dataclass(frozen=True, slots=True)
class Compared:
    """Two policies, and all that differs; `is_pair` is false where only one config has the profile."""

    name: str
    identities: Sequence[str | None]
    is_pair: bool
    changes: Sequence[Difference]
    decisions: Sequence[Moved]
    decided: int

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        is_one = self.is_pair and self.identities[0] == self.identities[1]
        return is_one and not self.changes and not self.decisions


def worded(language: Language, change: Change) -> Difference:
    """Put a change in plain words."""
    before, after = (_words(language, part) for part in (change.before, change.after))
    return Difference(change.kind, change.path, _verb(change.path), before, after, change)


def lines(compared: Compared, shown: int) -> Iterator[str]:
    """Describe a comparison."""
    yield compared.name
    for sign, identity in zip("AB", compared.identities, strict=True):
        yield f"  {sign}  {identity or ('no identity' if compared.is_pair else 'is not there')}"
    verb = None
    for each in compared.changes:
        if each.verb != verb:
            verb = each.verb
            yield f"  {verb}"
        sides = (text for text in (each.before, each.after) if text is not None)
        yield f"    {_SIGNS[each.kind]} {' -> '.join(sides)}"
    if compared.decided:
        yield from _decisions(compared, shown)


def _decisions(compared: Compared, shown: int) -> Iterator[str]:
    counts = Counter(what for each in compared.decisions for what in each.differs)
    told = [f"{_WORDS[what]} {counts[what]}" for what in _WORDS if counts[what]]
    yield f"  decisions: {len(compared.decisions)} of {compared.decided} differ" + "".join(
        f"; {each}" for each in told
    )
    for each in compared.decisions[:shown]:
        yield f"    {each.place}. {each.occasion.words()}"
        yield f"      A  {_decision(each.before)}"
        yield f"      B  {_decision(each.after)}"


def _decision(decision: Decision) -> str:
    order = ", ".join(decision.order) or decision.error or "nobody"
    rejected = ", ".join(f"{route} ({why})" for route, why in decision.rejected.items())
    return order + (f"; not {rejected}" if rejected else "")


def data(compared: Compared) -> dict[str, Any]:
    """Give a comparison as plain data."""
    return {
        "name": compared.name,
        "same": compared.is_same,
        "identities": list(compared.identities),
        "changes": [_difference(each) for each in compared.changes],
        "decided": compared.decided,
        "decisions": plain(list(compared.decisions)),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    sides = {
        side: None if part is None else {"path": part.path, "value": part.value, "words": words}
        for side, part, words in (
            ("before", difference.change.before, difference.before),
            ("after", difference.change.after, difference.after),
        )
    }
    return {"kind": difference.kind, "verb": difference.verb, **sides}


def _words(language: Language, part: Part | None) -> str | None:
    """Say what a part is: a term in the language's own words, a parameter with its label."""
    if part is None:
        return None
    if part.what == "Action":
        kind = part.path.rpartition(".")[2]
        told = language.describe(["always", part.value]).removeprefix("on any failure: ")
        return f"{'any other failure' if kind == 'unknown' else kind}: {told}"
    if part.what[0].isupper():
        return language.describe(part.value)
    return f"{part.what} {json.dumps(part.value, ensure_ascii=False)}"


def _verb(path: str) -> str:
    """Name the part of a policy that a path leads into."""
    if path.startswith("$.policy["):
        return _VERBS[int(path[len("$.policy[")]) - 1]
    return "term"
