"""The nearest known name to a mistyped one, and paths as messages show them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name at the smallest edit distance, or None when all are far."""
    limit = max(1, len(name) // 3 + 1)
    near = sorted((distance(name, other), other) for other in known)
    return near[0][1] if near and near[0][0] <= limit else None


def distance(left: str, right: str) -> int:
    """Count the single-character edits between two names."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


def path_text(at: Sequence[str | int]) -> str:
    """Write a path of keys as `$.profiles.cheap[2]`."""
    return "$" + "".join(_part(key) for key in at)


def _part(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if _PLAIN_KEY.match(key) else f'["{key}"]'
