"""The package's generator over the oracle's signature: what is drawn must not follow from what is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.conform import generator, runs
from llm_policy_host.conform.generator import KINDS
from llm_policy_host.conform.terms import FAMILIES, PROVIDERS
from llm_policy_host.core.grammar import Grammar, Row
from tests.oracle.signature import CORE_BOOLEANS, CORE_NUMBERS, PARAMS, SIGNATURE, SORTS, TIERS

if TYPE_CHECKING:
    import random

    from tests.oracle.transport import Data

__all__ = ["FAMILIES", "GRAMMAR", "KINDS", "PROVIDERS", "Generator", "random_cases", "random_runs"]

GRAMMAR = Grammar(
    rows={op: Row(row.args, row.sort, row.variadic) for op, row in SIGNATURE.items()},
    sorts=SORTS,
    numbers=tuple(CORE_NUMBERS),
    booleans=CORE_BOOLEANS,
    tiers=TIERS,
    params=tuple(sorted(PARAMS)),
)


class Generator(generator.Generator):
    """A generator that needs to be told no grammar."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, GRAMMAR)


def random_cases(seed: int, n: int, kind: str) -> list[dict[str, Data]]:
    """Answer n cases of a kind, always the same for a seed."""
    return generator.random_cases(GRAMMAR, seed, n, kind)


def random_runs(seed: int, n: int) -> list[Data]:
    """Answer n cases of runs, always the same for a seed."""
    return runs.random_runs(GRAMMAR, seed, n)
