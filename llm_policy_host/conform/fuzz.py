"""Searches for cases on which players differ: drawn by a seed, asked of all, cut down to the smallest.

Answers are compared as text, in which a number has all its digits: alike as text is alike to the bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .cases import lines
from .generator import KINDS, random_cases
from .runs import random_runs
from .shrink import shrunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.core.grammar import Grammar

    from .escapes import Data
    from .runtime import Player

# A slow player gets every so-many-th case.
SHARE_OF_THE_SLOW = 5
_RAISED = "!"


@dataclass(frozen=True, slots=True)
class Find:
    """A case on which players differ, without what it expects, and what each of two answered."""

    case: Data
    answers: Mapping[str, str]


def drawn(grammar: Grammar, seed: int, n: int) -> list[Data]:
    """Draw n cases, the kinds in turn: always the same for a seed."""
    share = -(-n // (len(KINDS) + 1))
    columns = [random_cases(grammar, seed, share, kind) for kind in KINDS]
    columns.append(random_runs(grammar, seed, share))
    return [case for row in zip(*columns, strict=True) for case in row if has_text(case)][:n]


def has_text(case: Data) -> bool:
    """Tell whether the canonical encoding has words for what a case passes through."""
    passed = json.dumps([each["request"] for each in case["cases"]]) if case["kind"] == "xform" else ""
    return not any(f'{{"$": "{word}"}}' in passed for word in ("nan", "inf", "-inf"))


def differing(players: Sequence[Player], cases: Sequence[Data]) -> list[Find]:
    """Ask every player every case, and give the cases on which two differ."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        columns = list(pool.map(lambda player: _answers(player, cases), players))
    finds = []
    for place, case in enumerate(cases):
        row = {
            player.name: each[place] for player, each in zip(players, columns, strict=True) if place in each
        }
        pair = _pair(row)
        if pair:
            finds.append(Find(case, pair))
    return finds


def _answers(player: Player, cases: Sequence[Data]) -> dict[int, str]:
    places = range(0, len(cases), SHARE_OF_THE_SLOW if player.is_slow else 1)
    return dict(zip(places, ask(player, [cases[place] for place in places]), strict=True))


def ask(player: Player, cases: Sequence[Data]) -> list[str]:
    """Give a player's answers, what it raised without its words: every runtime has its own."""
    answers = player.replay(lines(cases))
    told = [_RAISED if each.startswith(_RAISED) else each for each in answers]
    return [*told, *["(no answer)"] * (len(cases) - len(told))][: len(cases)]


def _pair(row: Mapping[str, str]) -> dict[str, str]:
    """Choose one of those who agree most, and one who does not agree."""
    votes = list(row.values())
    most = max(votes, key=votes.count)
    other = next((name for name, answer in row.items() if answer != most), None)
    if other is None:
        return {}
    usual = next(name for name, answer in row.items() if answer == most)
    return {usual: most, other: row[other]}


def smallest(find: Find, players: Sequence[Player]) -> Find:
    """Cut a find down to the smallest case on which the same two still differ in the same way."""
    two = [player for player in players if player.name in find.answers]
    way = _way([find.answers[player.name] for player in two])

    def keep(cuts: Sequence[Data]) -> list[bool]:
        answers = zip(*(ask(player, cuts) for player in two), strict=True)
        return [_way(each) == way for each in answers]

    case = _named(shrunk(find.case, keep), find)
    return Find(case, {player.name: ask(player, [case])[0] for player in two})


def _way(answers: Sequence[str]) -> tuple[object, ...]:
    """Say whether answers differ, and what each is: else a cut would lead from a find to another."""
    return (len(set(answers)) > 1, *map(_what, answers))


def _what(answer: str) -> str:
    is_refusal = answer.startswith(('{"refusal"', '{"refused"'))
    return "raised" if answer == _RAISED else "refused" if is_refusal else "decided"


def _named(case: Data, find: Find) -> Data:
    """Name a case after what it asks; what it claims is that all agree."""
    body = {key: value for key, value in case.items() if key not in ("name", "about")}
    name = f"{case['kind']}_{hashlib.sha256(json.dumps(body).encode()).hexdigest()[:8]}"
    about = f"Shows everywhere the same; found between {' and '.join(find.answers)}."
    kind = {"name": name, "kind": body.pop("kind"), "about": about}
    return kind | body
