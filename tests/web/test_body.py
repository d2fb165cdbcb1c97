"""A body has one reading, whichever of the two readers took it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_policy_host.web.body import parse_record
from llm_policy_host.web.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

PIECES = st.sampled_from(
    [
        *'{}[]:,"',
        '"a"',
        '"b"',
        "1",
        "-0",
        "1.0",
        "1e3",
        "1e400",
        "9" * 20,
        "true",
        "null",
        " ",
        "\\u0061",
        "é",
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=2), inner, max_size=4)
    ),
)


def strict(data: bytes) -> dict[str, Any]:
    """Read a record naively; a `ValueError` for whatever has more than one meaning."""

    def record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def number(text: str) -> float:
        if not math.isfinite(float(text)):
            raise ValueError("too large")
        return float(text)

    value = json.loads(data.decode(), object_pairs_hook=record, parse_float=number, parse_constant=number)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no bytes
    if not isinstance(value, dict):
        raise TypeError("no record")
    return value


def shown(read: Callable[[bytes], Any], data: bytes) -> str:
    try:
        return repr(read(data))
    except (TypeError, ValueError, RefusedError):
        return "refused"


@example(b'{"a":1,"a":1}')
@example(b'{"a":-0,"b":1.0,"c":1e3}')
@example(b'{"a":18446744073709551616}')
@example(b'{"a":"\\ud800"}')
@given(
    st.one_of(
        st.lists(PIECES, max_size=12).map(lambda pieces: ("{" + "".join(pieces) + "}").encode()),
        VALUES.map(
            lambda value: json.dumps({"v": value}, separators=(",", ":"), ensure_ascii=False).encode(
                errors="replace"
            )
        ),
        VALUES.map(lambda value: json.dumps({"v": value}).encode()),
    )
)
@settings(max_examples=400)
def test_the_reading_is_the_strict_one(data: bytes) -> None:
    assert shown(parse_record, data) == shown(strict, data)


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(opened: str, closed: str, space: str) -> None:
    def nested(depth: int) -> bytes:
        return f'{{"a":{space}{opened * (depth - 1)}1{closed * (depth - 1)},"b":[[],{{}}]}}'.encode()

    assert parse_record(nested(64))
    with pytest.raises(RefusedError, match="nested deeper than 64"):
        parse_record(nested(65))
