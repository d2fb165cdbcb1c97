"""What a Lua table can hold and JSON cannot: the escapes `{"$": word}` of a case.

The words are `nan`, `inf`, `-inf`, `-0`, `hole` (a position left nil), `cycle` (the decoded root
itself) and `function` (a host function).
"""

from __future__ import annotations

import math

from llm_policy_host.conform.escapes import CYCLE, FUNCTION, HOLE, Data, Sentinel, encode

__all__ = ["CYCLE", "FUNCTION", "HOLE", "Data", "Sentinel", "decode", "encode"]

_WORDS: dict[str, Data] = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-0": -0.0,
    **{each.value: each for each in Sentinel},
}


def decode(value: Data) -> Data:
    """Read the escapes of a value; a hole at a list's end or in a record is no entry at all."""
    return _link(root := _decode(value), root)


def _decode(value: Data) -> Data:
    if value is None:
        return HOLE
    if isinstance(value, list):
        entries = [_decode(each) for each in value]
        while entries and entries[-1] is HOLE:
            entries.pop()
        return entries
    if isinstance(value, dict):
        word = value.get("$")
        if len(value) == 1 and isinstance(word, str) and word in _WORDS:
            return _WORDS[word]
        pairs = {key: _decode(each) for key, each in value.items()}
        return {key: each for key, each in pairs.items() if each is not HOLE}
    return value


def _link(value: Data, root: Data) -> Data:
    """Put the root where `CYCLE` stands, in place."""
    if isinstance(value, list | dict):
        places = list(enumerate(value)) if isinstance(value, list) else list(value.items())
        for place, each in places:
            if each is CYCLE:
                value[place] = root
            else:
                _link(each, root)
    return value
