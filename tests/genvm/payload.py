"""What may cross from Lua into Rust, as serde would have it: plain data, or a complaint with its path."""

from __future__ import annotations

import math
from typing import Any

from lupa.lua53 import LuaRuntime, lua_type

_IDENTIFY = b"""
local ids, last = setmetatable({}, { __mode = "k" }), 0
return function(t)
  if not ids[t] then
    last = last + 1
    ids[t] = last
  end
  return ids[t]
end
"""


class PayloadError(Exception):
    """A value that the Rust side cannot take."""


class Reader:
    """Reads plain data of one Lua runtime: strings as text (or as bytes), numbers by their subtype."""

    def __init__(self, lua: LuaRuntime, *, is_text: bool = True, null: object = ...) -> None:
        self.identify: Any = lua.execute(_IDENTIFY)
        self._is_text, self._null = is_text, null

    def read(self, value: Any, path: str = "$", inside: tuple[int, ...] = ()) -> Any:
        """Read a value; `null` is nothing where that is allowed."""
        if value is self._null:
            return None
        if isinstance(value, float) and not math.isfinite(value):
            raise PayloadError(f"{path}: {value} is no number of JSON")
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes):
            return decoded(value, path) if self._is_text else value
        if lua_type(value) != "table":
            raise PayloadError(f"{path}: a {lua_type(value) or 'userdata'} does not cross")
        own = self.identify(value)
        if own in inside:
            raise PayloadError(f"{path}: a cycle")
        return self._read_table(dict(value.items()), path, (*inside, own))

    def _read_table(self, entries: dict[Any, Any], path: str, inside: tuple[int, ...]) -> Any:
        if entries and all(type(key) is int for key in entries):
            order = range(1, len(entries) + 1)
            if sorted(entries) != list(order):
                raise PayloadError(f"{path}: an array with a hole")
            return [self.read(entries[i], f"{path}[{i}]", inside) for i in order]
        out = {}
        for key, value in entries.items():
            if not isinstance(key, bytes):
                raise PayloadError(f"{path}: the key {key!r} is no string")
            name = decoded(key, path)
            out[name] = self.read(value, f"{path}.{name}", inside)
        return out


def decoded(value: bytes, path: str = "$") -> str:
    """Read text."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"{path}: text that is no UTF-8") from error


def check_calldata(value: Any, path: str = "$") -> None:
    """Refuse what a non-fatal error may not carry: contracts see integers only."""
    if isinstance(value, float) and not value.is_integer():
        raise PayloadError(f"{path}: {value} in a non-fatal error")
    if isinstance(value, dict):
        for key, each in value.items():
            check_calldata(each, f"{path}.{key}")
    elif isinstance(value, list):
        for i, each in enumerate(value, 1):
            check_calldata(each, f"{path}[{i}]")


def to_lua(lua: LuaRuntime, value: Any) -> Any:
    """Give plain data the form it has in Lua; what is not plain becomes a userdata."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        table = lua.table()
        for key, each in value.items():
            table[key.encode() if isinstance(key, str) else key] = to_lua(lua, each)
        return table
    if isinstance(value, list | tuple):
        return lua.table_from([to_lua(lua, each) for each in value])
    return value
