"""Where a validator's divergence comes from: a seed per (transaction, node, call).

INVARIANT: `call_seed` is the rule of `genvm/greybox/seeds.lua`, so that what is simulated here is
what a node does.
"""

from __future__ import annotations

import hashlib

from llm_policy_host.spelling import encode

_LIMIT = 2**31 - 1
_TAG = b"greybox-seed/v1"
_DIGITS = 12


def call_seed(transaction: str, node: str, call: int) -> int:
    """Give the seed of a node's call in a transaction, counted from 1: from 0, below 2^31 - 1."""
    return _number(_TAG + _framed(transaction) + _framed(node) + str(call).encode()) % _LIMIT


def draw(seed: int, *what: object) -> int:
    """Draw a number below 2^48, decided by a seed and by what it is for."""
    return _number(b"".join(_framed(str(part)) for part in (seed, *what)))


def _framed(text: str) -> bytes:
    """Give a text with its length, so that two neighbours cannot trade bytes."""
    data = encode(text)
    return str(len(data)).encode() + b":" + data


def _number(data: bytes) -> int:
    return int(hashlib.sha256(data).hexdigest()[:_DIGITS], 16)
