"""Looks for texts in bytes, in the forms in which they could have been written, also across pieces."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def search(marks: Mapping[str, str], pieces: Iterable[bytes]) -> list[str]:
    """Name the marks whose text is somewhere in pieces of one whole."""
    wanted = {name: forms(text) for name, text in marks.items()}
    overlap = max((len(form) for each in wanted.values() for form in each), default=1) - 1
    found: dict[str, None] = {}
    rest = b""
    for piece in pieces:
        data = rest + piece
        for name, each in wanted.items():
            if name not in found and any(form in data for form in each):
                found[name] = None
        rest = data[-overlap:] if overlap else b""
    return list(found)


def forms(text: str) -> tuple[bytes, ...]:
    """Give the ways in which a text may have been written: as it is, in JSON, a URL, hexadecimal, base64."""
    data = text.encode()
    made = {
        data,
        json.dumps(text)[1:-1].encode(),
        quote(text, safe="").encode(),
        data.hex().encode(),
        data.hex().upper().encode(),
        text.encode("utf-16-le"),
        *(_within_base64(data, shift) for shift in range(3)),
    }
    return tuple(sorted(form for form in made if form))


def _within_base64(data: bytes, shift: int) -> bytes:
    """Give what is the same of a text's base64 wherever in a longer text it stands."""
    coded = base64.b64encode(bytes(shift) + data)
    first, last = (0, 2, 3)[shift], (len(data) + shift) * 8 // 6
    return coded[first:last]
