"""Hypothesis strategies over the generator: each draws from its choices, so that cases shrink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from .generator import KINDS, Generator, random_cases

if TYPE_CHECKING:
    from tests.oracle.transport import Data

__all__ = ["KINDS", "cases", "generators", "random_cases", "terms"]


def generators() -> st.SearchStrategy[Generator]:
    """Draw a generator with a vocabulary of its own."""
    return st.randoms(use_true_random=False).map(Generator)


def cases(*kinds: str) -> st.SearchStrategy[dict[str, Data]]:
    """Draw whole cases, plain JSON, of the given kinds (all when none is given)."""
    return st.builds(
        lambda generator, kind: generator.case(kind), generators(), st.sampled_from(kinds or KINDS)
    )


def terms(sort: str, depth: int = 4) -> st.SearchStrategy[tuple[dict[str, Data], Data]]:
    """Draw a schema and an admissible term of the sort under it."""
    return generators().map(lambda generator: (generator.schema, generator.term(sort, depth)))
