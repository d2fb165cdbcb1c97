"""How text and whole numbers are spelled outside Python: as bytes, and as what a double holds."""

from __future__ import annotations

import math

EXACT = 2**53
"""Whole numbers up to here are doubles too."""


def encode(text: str) -> bytes:
    """Give the bytes of a text, whatever it holds; `decode` restores bytes that were no UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def decode(data: bytes) -> str:
    """Give the text of bytes, keeping what is no UTF-8 as lone surrogates."""
    return data.decode(errors="surrogateescape")


def number(value: int) -> int | float:
    """Keep exact integers; give any other as the double that the core would make of it."""
    if -EXACT <= value <= EXACT:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
