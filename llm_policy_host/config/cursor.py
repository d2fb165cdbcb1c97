"""Where in a YAML or JSON text somebody types: the path there, told by what stands before it.

Only the text up to the word under the cursor is read, as tokens, so that nothing after it needs to be
written yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 256
"""No config and no term is as deep; the scanner's time grows with it."""

_MARK = "llm-policy-cursor"
_BEFORE = re.compile(r"(?:[^\s\[\]{},\"'#:]|:(?=\S))*\Z")
_AFTER = re.compile(r"(?:[^\s\[\]{},\"':]|:(?=[^\s,\]}\"']))*")
_COLON = re.compile(r"[\"']?[ \t]*:(?=\s|\Z)|[\"'][ \t]*:")
_OPENING = re.compile(r"(?:^|[\s\[{,:])[\"']\Z")
_LEAD = re.compile(r"[ ]*(?:- +)*\Z")


@dataclass(frozen=True, slots=True)
class Step:
    """A step down: the key of a record, or the place in a list, from 1, whose first item may be a word."""

    key: str | int
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """What is typed at, and the word there: `text[start:end]`.

    With `is_key` the path leads to the record whose key is wanted; `is_alone` says that nothing else
    stands in the line before it, so that a value may yet become a record; with `is_key_ahead` a colon
    follows the word.
    """

    path: tuple[Step, ...]
    is_key: bool
    is_alone: bool
    keys: tuple[str, ...]
    start: int
    end: int
    is_quoted: bool
    is_key_ahead: bool

    @property
    def at(self) -> tuple[str | int, ...]:
        """Give the path as documents have it."""
        return tuple(step.key for step in self.path)


def find_cursor(text: str, offset: int) -> Cursor | None:
    """Find what stands at an offset; nothing in a comment, inside of a longer text, or past a mistake."""
    found = _BEFORE.search(text, text.rfind("\n", 0, offset) + 1, offset)
    start = found.start() if found else offset
    word = _AFTER.match(text, start)
    end = max(offset, word.end() if word else offset)
    is_quoted = _OPENING.search(text[max(0, start - 2) : start]) is not None
    before = text[: start - 1] if is_quoted else text[:start]
    # a tab is no YAML, but it is JSON
    before = before.replace("\t", " ")
    if sum(map(before.count, "[{")) - sum(map(before.count, "]}")) > MAX_DEPTH:
        return None
    is_key_ahead = _COLON.match(text, end) is not None
    marks = (f"{_MARK}: ", _MARK) if is_key_ahead else (_MARK, f"{_MARK}: ")
    for mark in marks:
        place = _place(before + mark)
        if place is not None:
            path, keys, is_key, is_flow = place
            lead = before[before.rfind("\n") + 1 :]
            is_alone = not is_flow and _LEAD.match(lead) is not None
            return Cursor(path, is_key, is_alone, keys, start, end, is_quoted, is_key_ahead)
    return None


@dataclass(slots=True)
class _Frame:
    """An open list or record."""

    is_list: bool
    is_flow: bool = False
    is_indentless: bool = False
    wants: str = "value"
    key: str = ""
    keys: list[str] = field(default_factory=list)
    index: int = 1
    head: str | None = None

    def step(self) -> Step:
        return Step(self.index, self.head) if self.is_list else Step(self.key)


_Place: TypeAlias = "tuple[tuple[Step, ...], tuple[str, ...], bool, bool]"


def _place(text: str) -> _Place | None:
    """Read up to the mark; give the path there, the keys beside it, whether it is a key, and in brackets."""
    try:
        return _follow(yaml.scan(text, yaml.SafeLoader))
    except yaml.YAMLError:
        return None


def _follow(tokens: Iterable[Any]) -> _Place | None:
    stack = [_Frame(is_list=True)]
    for token in tokens:
        if isinstance(token, yaml.ScalarToken):
            if token.plain and token.value == _MARK:
                return _found(stack)
            _scalar(stack[-1], token.value)
        elif not _move(stack, token) or len(stack) > MAX_DEPTH:
            return None
    return None


def _found(stack: list[_Frame]) -> _Place | None:
    top = stack[-1]
    if top.wants == "nothing":
        return None
    is_key = top.wants == "key"
    frames = stack[1:-1] if is_key else stack[1:]
    is_flow = any(frame.is_flow for frame in stack)
    return tuple(frame.step() for frame in frames), tuple(top.keys), is_key, is_flow


def _scalar(top: _Frame, value: str) -> None:
    if top.wants == "key":
        top.key = value
        top.keys.append(value)
        return
    if top.is_list and top.index == 1:
        top.head = value
    top.wants = "nothing"


def _move(stack: list[_Frame], token: Any) -> bool:  # noqa: ANN401 - a foreign token
    """Follow a token that is no scalar; false where no such text can be followed further."""
    top = stack[-1]
    if isinstance(token, yaml.BlockMappingStartToken | yaml.FlowMappingStartToken):
        top.wants = "nothing"
        stack.append(_Frame(False, isinstance(token, yaml.FlowMappingStartToken), wants="key"))
    elif isinstance(token, yaml.FlowSequenceStartToken):
        top.wants = "nothing"
        stack.append(_Frame(True, is_flow=True))
    elif isinstance(token, yaml.BlockSequenceStartToken):
        top.wants = "nothing"
        stack.append(_Frame(True, index=0))
    elif isinstance(token, yaml.BlockEntryToken):
        _enter(stack)
    elif isinstance(token, yaml.FlowEntryToken):
        top.index += 1
        top.wants = "value" if top.is_list else "key"
    elif isinstance(token, yaml.KeyToken):
        _leave_indentless(stack)
        stack[-1].wants = "key"
        return not stack[-1].is_list
    elif isinstance(token, yaml.ValueToken):
        top.wants = "value"
    elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken):
        stack.pop()
    elif isinstance(token, yaml.BlockEndToken):
        _leave_indentless(stack)
        stack.pop()
    return bool(stack)


def _enter(stack: list[_Frame]) -> None:
    """Begin an item of a block list, which may stand as far left as the key that it belongs to."""
    if not stack[-1].is_list:
        stack[-1].wants = "nothing"
        stack.append(_Frame(True, is_indentless=True, index=0))
    stack[-1].index += 1
    stack[-1].wants = "value"


def _leave_indentless(stack: list[_Frame]) -> None:
    if stack[-1].is_indentless:
        stack.pop()
