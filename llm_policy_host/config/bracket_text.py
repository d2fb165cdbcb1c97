"""Plain data written with brackets, as JSON or as a Lua chunk: on one line where it fits."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.spelling import encode

from .key_order import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_policy_host.values import Plain

    from .key_order import At

WIDTH = 100
"""As long as a line may be that holds more than one scalar."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LUA_WORDS = frozenset(
    [
        *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in"),
        *("local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    ]
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a notation writes what brackets hold."""

    list_brackets: str
    record_brackets: str
    padding: str
    key: Callable[[str], str]
    text: Callable[[str], str]
    nothing: str | None
    has_last_comma: bool


def json_text(data: Plain) -> str:
    """Write plain data as JSON."""
    return "\n".join(_Writer(_JSON).lines(data, (), 0)) + "\n"


def lua_text(data: Plain) -> str:
    """Write plain data as a Lua chunk that returns it; what is null is absent."""
    first, *rest = _Writer(_LUA).lines(data, (), len("return "))
    return "\n".join([f"return {first}", *rest]) + "\n"


def number_text(number: float) -> str:
    """Write a number with the fewest digits that read back to it."""
    if isinstance(number, int):
        return str(number)
    return str(int(number)) if number.is_integer() and abs(number) <= 2**53 else repr(number)


class _Writer:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def lines(self, value: Plain, at: At, used: int) -> list[str]:
        """Write a value, the first line after as many columns as are used."""
        inline = self._inline(value, at)
        if not isinstance(value, dict | list) or not value or used + len(inline) <= WIDTH:
            return [inline]
        brackets = self._brackets(value)
        return [brackets[0], *self._entries(value, at), brackets[1]]

    def _entries(self, value: Any, at: At) -> Iterator[str]:  # noqa: ANN401 - list or record
        parts = list(self._parts(value, at))
        for place, (name, item, below) in enumerate(parts, 1):
            is_last = place == len(parts) and not self._dialect.has_last_comma
            first, *rest = self.lines(item, below, 2 * (len(at) + 1) + len(name) + 1)
            text = [name + first, *rest]
            text[-1] += "" if is_last else ","
            yield from (f"  {line}" for line in text)

    def _parts(self, value: Any, at: At) -> Iterator[tuple[str, Plain, At]]:  # noqa: ANN401 - list or record
        if isinstance(value, list):
            yield from (("", item, (*at, place)) for place, item in enumerate(value, 1))
            return
        for key in ordered(value, at):
            if value[key] is not None or self._dialect.nothing is not None:
                yield self._dialect.key(key), value[key], (*at, key)

    def _inline(self, value: Plain, at: At) -> str:
        if isinstance(value, dict | list):
            parts = [name + self._inline(item, below) for name, item, below in self._parts(value, at)]
            pad = self._dialect.padding if parts else ""
            brackets = self._brackets(value)
            return f"{brackets[0]}{pad}{', '.join(parts)}{pad}{brackets[1]}"
        if isinstance(value, str):
            return self._dialect.text(value)
        if value is None or isinstance(value, bool):
            return (self._dialect.nothing or "nil") if value is None else str(value).lower()
        return number_text(value)

    def _brackets(self, value: Any) -> str:  # noqa: ANN401 - list or record
        return self._dialect.list_brackets if isinstance(value, list) else self._dialect.record_brackets


def quoted(text: str, escape: Callable[[str], str]) -> str:
    """Quote a text, escaping what would not be seen."""
    return '"' + "".join(char if _is_seen(char) else escape(char) for char in text) + '"'


def _is_seen(char: str) -> bool:
    return char.isprintable() and char not in '"\\'


def _json_string(text: str) -> str:
    return quoted(text, lambda char: json.dumps(char)[1:-1])


def _lua_string(text: str) -> str:
    return quoted(text, _lua_escape)


def _lua_escape(char: str) -> str:
    """Escape a character byte by byte, as every Lua reads it."""
    if char in '"\\\n':
        return {'"': '\\"', "\\": "\\\\", "\n": "\\n"}[char]
    return "".join(f"\\{byte:03d}" for byte in encode(char))


def _lua_key(key: str) -> str:
    return f"{key} = " if _NAME.match(key) and key not in _LUA_WORDS else f"[{_lua_string(key)}] = "


_JSON = Dialect(
    "[]", "{}", "", lambda key: f"{_json_string(key)}: ", _json_string, "null", has_last_comma=False
)
_LUA = Dialect("{}", "{}", " ", _lua_key, _lua_string, None, has_last_comma=True)
