"""Plain data as canonical YAML: sections, long things and lists of records in blocks, the rest on a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .bracket_text import WIDTH, number_text, quoted
from .comments import Comments
from .key_order import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.values import Plain

    from .key_order import At

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@+-]*\Z")
_NOT_PLAIN = re.compile(r"(?:null|true|false|yes|no|on|off|y|n)\Z", re.IGNORECASE)


def yaml_text(data: Plain, comments: Comments | None = None) -> str:
    """Write a document; each comment goes above or behind what it is about."""
    writer = _Writer(comments or Comments())
    lines = (
        [*writer.block(data, (), "")] if isinstance(data, dict | list) and data else [writer.flow(data, ())]
    )
    return "\n".join([*lines, *writer.tail()]) + "\n"


def line_text(value: Plain) -> str:
    """Write a value on one line, in brackets where it has parts."""
    return _Writer(Comments()).flow(value, ())


class _Writer:
    def __init__(self, comments: Comments) -> None:
        self._comments = comments

    def tail(self) -> list[str]:
        return self._comments.tail

    def block(self, value: Any, at: At, indent: str) -> Iterator[str]:  # noqa: ANN401 - list or record
        """Write each entry on lines of its own."""
        if isinstance(value, dict):
            for key in ordered(value, at):
                yield from self._entry(f"{_scalar(key)}:", value[key], (*at, key), indent)
        else:
            for place, item in enumerate(value, 1):
                yield from self._entry("-", item, (*at, place), indent)

    def _entry(self, head: str, value: Plain, at: At, indent: str) -> Iterator[str]:
        yield from (f"{indent}{comment}" for comment in self._comments.above.get(at, ()))
        behind = f"  {self._comments.behind[at]}" if at in self._comments.behind else ""
        inline = f"{indent}{head} {self.flow(value, at)}"
        if self._fits(value, at, inline):
            yield inline + behind
        elif head == "-" and isinstance(value, dict):
            yield from self._hanging(value, at, indent, behind)
        else:
            yield f"{indent}{head}{behind}"
            yield from self.block(value, at, f"{indent}  ")

    def _hanging(self, value: Any, at: At, indent: str, behind: str) -> Iterator[str]:  # noqa: ANN401 - a record
        """Write a record as an item of a list: its first key stands behind the dash, comments above it.

        Where that key has a comment behind it, the item's own goes above: a line ends in one.
        """
        if behind and (*at, next(iter(ordered(value, at)))) in self._comments.behind:
            yield f"{indent}{behind.strip()}"
            behind = ""
        lines = list(self.block(value, at, f"{indent}  "))
        first = next(place for place, line in enumerate(lines) if not line.lstrip().startswith("#"))
        yield from (f"{indent}{line.strip()}" for line in lines[:first])
        yield f"{indent}- {lines[first].strip()}{behind}"
        yield from lines[first + 1 :]

    def _fits(self, value: Plain, at: At, inline: str) -> bool:
        if not isinstance(value, dict | list) or not value:
            return True
        if len(inline) > WIDTH or self._comments.is_below(at):
            return False
        if isinstance(value, list):
            return len(value) == 1 or not all(isinstance(each, dict) for each in value)
        return len(at) > 2 or (len(at) == 2 and _is_flat(value))

    def flow(self, value: Plain, at: At) -> str:
        """Write a value on one line."""
        if isinstance(value, dict):
            parts = (f"{_scalar(key)}: {self.flow(value[key], (*at, key))}" for key in ordered(value, at))
            return "{" + ", ".join(parts) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self.flow(item, (*at, place)) for place, item in enumerate(value, 1)) + "]"
        return _scalar(value)


def _is_flat(record: dict[str, Any]) -> bool:
    """Whether a record holds scalars, and lists and records of them."""
    return not any(isinstance(each, dict | list) and _holds_more(each) for each in record.values())


def _holds_more(value: Any) -> bool:  # noqa: ANN401 - list or record
    parts = value.values() if isinstance(value, dict) else value
    return any(isinstance(each, dict | list) for each in parts)


def _scalar(value: Plain) -> str:
    if isinstance(value, str):
        is_plain = _PLAIN.match(value) and not _NOT_PLAIN.match(value)
        return value if is_plain else quoted(value, _escape)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return number_text(value)


def _escape(char: str) -> str:
    if char in '"\\\n':
        return {'"': '\\"', "\\": "\\\\", "\n": "\\n"}[char]
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"
