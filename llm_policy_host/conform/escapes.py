"""What a Lua table can hold and JSON cannot: the escapes `{"$": word}` of a case, written.

The words are `nan`, `inf`, `-inf`, `-0`, `hole` (a position left nil), `cycle` (the decoded root
itself) and `function` (a host function).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, TypeAlias

# Plain data: what a Lua table, string, number or boolean is in Python.
Data: TypeAlias = Any


class Sentinel(Enum):
    """A value that plain JSON has no word for."""

    HOLE = "hole"
    CYCLE = "cycle"
    FUNCTION = "function"


HOLE, CYCLE, FUNCTION = Sentinel.HOLE, Sentinel.CYCLE, Sentinel.FUNCTION


def encode(value: Data) -> Data:
    """Write a value so that strict JSON can carry it."""
    if isinstance(value, list):
        return [encode(each) for each in value]
    if isinstance(value, dict):
        return {key: encode(each) for key, each in value.items()}
    if value is None or isinstance(value, Sentinel):
        return {"$": (value or HOLE).value}
    if isinstance(value, float) and value == 0 and math.copysign(1, value) < 0:
        return {"$": "-0"}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "nan" if math.isnan(value) else str(value)}
    return value
