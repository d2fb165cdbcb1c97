"""Bodies as they arrive: bounded, and JSON in one reading only."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from .errors import RefusedError, invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

MAX_BODY_BYTES = 32 * 1024 * 1024
"""A body beyond this is refused (spec 3.6)."""

MAX_DEPTH = 64
"""A body nested deeper is refused (spec 3.6)."""


async def read_body(
    headers: Mapping[bytes, bytes], receive: Callable[[], Awaitable[MutableMapping[str, Any]]], max_bytes: int
) -> bytes:
    """Take a request's body; a promise of too much is refused before it is read."""
    promised = headers.get(b"content-length", b"0")
    if not promised.isdigit() or int(promised) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return _bounded(body, max_bytes)
    pieces = [body]
    size = len(body)
    while message.get("more_body") and size <= max_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(499, "client_closed_request", "the caller left before the body was whole")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
    return _bounded(b"".join(pieces), max_bytes)


def _bounded(body: bytes, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, "request_too_large", f"a body may have at most {max_bytes} bytes")


def parse_record(data: bytes) -> dict[str, Any]:
    """Read a JSON object: no duplicate key, no number beyond a double, no lone surrogate, depth bounded."""
    value = _read_plainly(data)
    if value is None:
        value = _read_strictly(data)
    if not isinstance(value, dict):
        raise invalid("the body must be a JSON object")
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise invalid(f"the body is nested deeper than {MAX_DEPTH}")
    return value


def _read_plainly(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Read what is the same when it is written again, as most clients' bodies are; None for all else.

    It has no duplicate key, then, and no number that a reader might take otherwise.
    """
    try:
        value = orjson.loads(data)
        return value if orjson.dumps(value) == data else None
    except (ValueError, TypeError):
        return None


def _read_strictly(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:
            orjson.loads(data)  # refuses lone surrogates, which the standard library lets through
    except RecursionError:
        raise invalid(f"the body is nested deeper than {MAX_DEPTH}") from None
    except UnicodeDecodeError:
        raise invalid("the body is not UTF-8") from None
    except ValueError as error:
        raise invalid(f"the body is no JSON: {_told(error)}") from None
    return value


def _told(error: ValueError) -> str:
    """Say where, without a word of the body."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at line {error.lineno}, column {error.colno}"
    return str(error) if isinstance(error, _OddJsonError) else "a number too long"


class _OddJsonError(ValueError):
    """JSON by its grammar, but of more than one meaning."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _OddJsonError("a duplicate key")
    return record


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _OddJsonError("a number beyond a double")
    return value


def _constant(_text: str) -> NoReturn:
    raise _OddJsonError("a number that is none")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)


def _is_deeper(value: dict[str, Any], depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth):
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [part for parts in inside for part in parts if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def write_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    """Write JSON, also numbers wider than 64 bits."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
