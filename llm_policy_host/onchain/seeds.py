"""Where a validator's divergence comes from: a seed per (transaction, node, call)."""

from __future__ import annotations

import hashlib

_MODULUS = 2**31 - 1


def call_seed(transaction: str, node: str, call: int) -> int:
    """Give the seed of a call: not negative, below 2^31 - 1, the one `genvm/dispatch.lua` takes."""
    return _number(f"{transaction}|{node}|{call}") % _MODULUS


def draw(seed: int, *what: object) -> int:
    """Draw a large number, decided by a seed and by what it is for."""
    return _number("/".join(map(str, (seed, *what))))


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
