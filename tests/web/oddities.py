"""Bodies that are JSON but not what they ought to be: one odd value at a time, in every place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ODD: Sequence[Any] = (
    7,
    "x",
    True,
    None,
    [],
    {},
    [[]],
    [{"type": []}],
    {"type": {}},
    {"type": 7, "x": 10**30},
)


def altered(value: Any, odds: Sequence[Any] = ODD) -> Iterator[Any]:
    """Put an odd value into every place, one at a time; then leave each place out."""
    yield from odds
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        for odd in altered(part, odds):
            copy = value.copy()
            copy[key] = odd
            yield copy
        if isinstance(value, dict):
            yield {name: each for name, each in value.items() if name != key}
