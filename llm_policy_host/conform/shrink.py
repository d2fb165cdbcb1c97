"""Cuts a case down to what matters: the smallest that still is what the caller looks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .escapes import Data

# A find is cut at most so often: each cut asks the runtimes once more.
ROUNDS = 200
_KEPT = ("kind", "name")
# A long list is cut by pieces until it is short enough to be cut entry by entry.
_MANY = 64
_PIECES = 4
# What may stand for a whole subterm; where its sort is another, the cut is refused and so not kept.
_LEAST = (["top"], ["zero"], ["argmax"], ["id"])


def shrunk(case: Data, keep: Callable[[Sequence[Data]], Sequence[bool]]) -> Data:
    """Cut a case as long as something smaller is kept; `keep` is asked of all cuts of a round at once."""
    for _ in range(ROUNDS):
        cuts = _distinct(_of_case(case), _size(case))
        kept = [cut for cut, is_kept in zip(cuts, keep(cuts), strict=True) if is_kept] if cuts else []
        if not kept:
            break
        case = min(kept, key=_size)
    return case


def _size(value: Data) -> tuple[int, str]:
    """Order values: the shorter text first, then by the text, so that every cut leads downwards."""
    text = json.dumps(value)
    return len(text), text


def _distinct(cuts: Iterator[Data], bound: tuple[int, str]) -> list[Data]:
    found = {size: cut for cut in cuts if (size := _size(cut)) < bound}
    return [found[size] for size in sorted(found)]


def _of_case(case: Data) -> Iterator[Data]:
    for key in case:
        if key not in _KEPT:
            yield {other: case[other] for other in case if other != key}
            for cut in _cuts(case[key]):
                yield {**case, key: cut}


def _cuts(value: Data) -> Iterator[Data]:
    """Give a value with one thing less, anywhere in it."""
    if isinstance(value, list):
        yield from _of_list(value)
    elif isinstance(value, dict):
        yield from _of_record(value)
    elif isinstance(value, str):
        yield from (value[: len(value) // 2], value[len(value) // 2 :], value[1:], value[:-1])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from (0, 1, -1, int(value), value / 2)


def _of_list(entries: list[Data]) -> Iterator[Data]:
    yield from (each for each in entries[:_MANY] if isinstance(each, list | dict))
    if entries and isinstance(entries[0], str):
        yield from _LEAST
    size = len(entries) // _PIECES
    if size:
        # the head stays: of a term it is the operation
        yield from (
            [entries[0], *entries[1:at], *entries[at + size :]] for at in range(1, len(entries), size)
        )
    if len(entries) > _MANY:
        return
    for place, each in enumerate(entries):
        before, after = entries[:place], entries[place + 1 :]
        yield [*before, *after]
        yield from ([*before, cut, *after] for cut in _cuts(each))


def _of_record(record: dict[str, Data]) -> Iterator[Data]:
    keys = list(record)
    if len(keys) > 3:
        half = len(keys) // 2
        yield from ({key: record[key] for key in part} for part in (keys[:half], keys[half:]))
    for key in keys:
        yield {other: record[other] for other in keys if other != key}
        yield from ({**record, key: cut} for cut in _cuts(record[key]))
