"""Total readings of what a provider sent: whatever it is, each gives a value of its type."""

from __future__ import annotations

import json
from typing import Any

import orjson


def parsed(data: bytes | str) -> Any:  # noqa: ANN401 - whatever the provider sent
    """Read JSON; None for what is none."""
    try:
        return orjson.loads(data)
    except ValueError:
        return _parsed_leniently(data)


def _parsed_leniently(data: bytes | str) -> Any:  # noqa: ANN401 - as above
    """Read what the strict reader refuses and some providers send: lone surrogates, NaN, UTF-16."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def encoded(value: Any) -> bytes:  # noqa: ANN401 - plain data
    """Write JSON without spaces, also numbers wider than 64 bits and lone surrogates."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def record(value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Give a record; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def records(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Give the records of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:  # noqa: ANN401
    """Give a text; an empty one in place of anything else."""
    return value if isinstance(value, str) else ""


def count(value: Any) -> int:  # noqa: ANN401
    """Give a number of tokens or an index; 0 in place of anything else."""
    return value if value.__class__ is int and value >= 0 else 0
