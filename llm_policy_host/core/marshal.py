"""Plain data across the Lua boundary, totally: every value crosses or is refused by name.

What lupa alone does not do: a `None` in a list would become a silent hole, an integer from 2^63
raises, text that is no UTF-8 raises, and any other Python object would be handed to Lua.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import MarshalError
from llm_policy_host.spelling import EXACT, decode, encode, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.values import Plain

MAX_DEPTH = 128
"""Beyond the core's own bound of 64, so that a term too deep is refused there, with its code."""

_SCALARS = frozenset({str, bool, float, bytes, int, type(None)})


def to_lua(lua: Any, value: Plain) -> Any:  # noqa: ANN401 - lupa has no types
    """Give plain data the form it has in a Lua runtime."""
    prepared = _flat(value) if type(value) is dict else None
    if prepared is not None:
        return lua.table_from(prepared)
    prepared = prepare(value)
    return lua.table_from(prepared, recursive=True) if isinstance(prepared, dict | list) else prepared


def _flat(value: dict[Any, Any]) -> dict[bytes, Any] | None:
    """Prepare a record of plain scalars, as most contracts are; nothing for any other."""
    record: dict[bytes, Any] = {}
    for key, item in value.items():
        if type(key) is not str or type(item) not in _SCALARS:
            return None
        if item is not None:
            record[encode(key)] = prepare(item)
    return record


def prepare(value: Plain, path: str = "$", depth: int = 1) -> Any:  # noqa: ANN401 - any plain value
    """Rewrite plain data so that lupa carries it without loss or surprise.

    A list that holds None gets the extra key `n`: no longer a pure sequence, it is refused
    wherever the core expects one, and never read as a shorter list.
    """
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, str):
        return encode(value)
    if isinstance(value, int):
        return number(value)
    if depth > MAX_DEPTH:
        raise MarshalError(f"{path}: nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return _record(value, path, depth)
    if isinstance(value, list | tuple):
        return _list(value, path, depth)
    raise MarshalError(f"{path}: neither text, number, boolean, list nor record")


def _record(value: Mapping[Any, Any], path: str, depth: int) -> dict[bytes, Any]:
    record = {}
    for key, item in value.items():
        if not isinstance(key, str | bytes):
            raise MarshalError(f"{path}: a key is not text")
        if item is not None:
            name = encode(key) if isinstance(key, str) else key
            record[name] = prepare(item, f"{path}.{decode(name)}", depth + 1)
    return record


def _list(value: list[Any] | tuple[Any, ...], path: str, depth: int) -> Any:  # noqa: ANN401 - list or record
    items = [prepare(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value, 1)]
    if None not in items:
        return items
    sparse: dict[Any, Any] = {index: item for index, item in enumerate(items, 1) if item is not None}
    return {**sparse, b"n": len(items)}


@dataclass(frozen=True, slots=True)
class Reader:
    """How values of one runtime are read: its types, and what to show for one that is not plain."""

    type_of: Callable[[object], str | None]
    show: Callable[[str], Plain] | None = None


def from_lua(reader: Reader, value: object, path: str = "$", depth: int = 1) -> Plain:
    """Give a Lua value the form it has in Python: an empty table is an empty dict.

    Integral numbers become ints, so that runtimes with and without the integer subtype
    answer alike.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= EXACT else value
    if isinstance(value, bytes):
        return decode(value)
    kind = reader.type_of(value)
    if kind != "table":
        shown = reader.show(kind) if reader.show and kind else None
        if shown is None:
            raise MarshalError(f"{path}: not plain data")
        return shown
    if depth > MAX_DEPTH:
        raise MarshalError(f"{path}: nested deeper than {MAX_DEPTH}")
    return _from_table(reader, value, path, depth)


def _from_table(reader: Reader, table: Any, path: str, depth: int) -> Plain:  # noqa: ANN401
    items: dict[Any, Any] = {}
    for key, item in table.items():
        name = decode(key) if isinstance(key, bytes) else key
        items[name] = from_lua(reader, item, f"{path}.{name}", depth + 1)
    if items and all(type(name) is int for name in items):
        count = len(items)
        if all(index in items for index in range(1, count + 1)):
            return [items[index] for index in range(1, count + 1)]
    if not all(isinstance(name, str) for name in items):
        raise MarshalError(f"{path}: neither a list nor a record")
    return items
