"""What every policy of a set decides on every contract of a corpus, on all processors at hand."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.core.batch import Batch
from llm_policy_host.onchain.seeds import call_seed, draw
from llm_policy_host.values import Inputs

if TYPE_CHECKING:
    from array import array
    from collections.abc import Mapping, Sequence

    from llm_policy_host.analysis.corpus import Occasion
    from llm_policy_host.values import Plain

_NOW_MS = 1
_LATER_MS = 1_000_000
_MANY_FAILURES = 1_000_000
_LEAST_PAIRS = 50_000
"""Below this many decisions another process costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is decided: policies as terms over a config's core part; nodes draw by `seed`."""

    core: Mapping[str, Any]
    terms: Sequence[Plain]
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One contract: each policy's first candidate by its place from 1, or 0, and whom it can reach.

    `reached` are places in the table's list of sets.
    """

    firsts: array[int]
    reached: array[int]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in the order of the contracts; the last policy is the intent, where it was given last."""

    identities: Sequence[str]
    rows: Sequence[Row]
    sets: Sequence[frozenset[str]]


def decide_all(work: Work, occasions: Sequence[Occasion], jobs: int) -> Table:
    """Decide all contracts by all policies; the outcome is the same for any number of jobs."""
    if jobs < 2 or len(occasions) * len(work.terms) < _LEAST_PAIRS:
        return _joined([_decide(work, occasions, 0)])
    size = -(-len(occasions) // jobs)
    parts = [(occasions[start : start + size], start) for start in range(0, len(occasions), size)]
    # a fresh interpreter: a forked one would share this one's Lua runtimes and threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), mp_context=context) as pool:
        done = [pool.submit(_decide, work, part, start) for part, start in parts]
        return _joined([each.result() for each in done])


def _decide(work: Work, occasions: Sequence[Occasion], start: int) -> Table:
    """Decide some contracts; `start` is the place of the first among all."""
    engine = bare_engine(work.core)
    batch = Batch(engine)
    identities = [batch.add(term) for term in work.terms]
    draws = any(_has_draw(term[3]) for term in work.terms)
    nodes = [f"0x{draw(work.seed, 'node', place):040x}" for place in range(len(identities))]
    rows = []
    for place, occasion in enumerate(occasions, start):
        breaker = {"failures": _MANY_FAILURES, "until_ms": _LATER_MS}
        health = {"breakers": dict.fromkeys(occasion.open, breaker), "disabled": {}}
        engine.restore_state({"v": 1, "health": health})
        contract = {name: value for name, value in occasion.contract.items() if name != "seed"}
        seeds = None
        if draws:
            transaction = f"0x{draw(work.seed, 'transaction', place):064x}"
            seeds = [call_seed(transaction, node, 1) for node in nodes]
        decided = batch.decide(contract, Inputs(_NOW_MS, 0, others=_others(occasion)), seeds)
        rows.append(Row(decided.firsts, decided.reached))
    return Table(identities, rows, batch.sets())


def _others(occasion: Occasion) -> dict[str, Any]:
    others: dict[str, Any] = {}
    if occasion.disabled:
        others["disabled"] = dict.fromkeys(occasion.disabled, True)
    if occasion.credits:
        others["credits"] = occasion.credits
    return others


def _has_draw(selector: Plain) -> bool:
    return selector[0] == "sample" or (selector[0] in ("top_k", "prefer") and _has_draw(selector[2]))


def _joined(parts: Sequence[Table]) -> Table:
    """Put tables below each other; what a number of a set means becomes one list's place."""
    sets: dict[frozenset[str], int] = {}
    rows = []
    for part in parts:
        places = [0, *(sets.setdefault(each, len(sets)) for each in part.sets)]
        for row in part.rows:
            moved = type(row.reached)("H", (places[number] for number in row.reached))
            rows.append(Row(row.firsts, moved))
    return Table(parts[0].identities, rows, list(sets))
