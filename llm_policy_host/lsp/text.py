"""A document's text and its positions: an editor counts code units and its own line ends, YAML neither."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from lsprotocol.types import Position, PositionEncodingKind, Range
from pygls.workspace import PositionCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EDITOR_BREAK = re.compile(r"\r\n|[\r\n]")
_YAML_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_WORD = re.compile(r"(?:[^\s\[\]{},\"':]|:(?=[^\s,\]}\"']))+")


class Text:
    """The text of one version of a document; an offset counts its characters."""

    def __init__(self, text: str, encoding: str = PositionEncodingKind.Utf16) -> None:
        self.text = text
        self._count: Callable[[str], int] = PositionCodec(encoding).client_num_units

    @cached_property
    def _editor_lines(self) -> Sequence[int]:
        return [0, *(found.end() for found in _EDITOR_BREAK.finditer(self.text))]

    @cached_property
    def _yaml_lines(self) -> Sequence[int]:
        return [0, *(found.end() for found in _YAML_BREAK.finditer(self.text))]

    def offset(self, position: Position) -> int:
        """Give the offset of an editor's position; one beyond a line's end is its end."""
        starts = self._editor_lines
        if position.line >= len(starts):
            return len(self.text)
        start = starts[position.line]
        end = starts[position.line + 1] if position.line + 1 < len(starts) else len(self.text)
        line = self.text[start:end].rstrip("\r\n")
        if line.isascii():
            return start + min(position.character, len(line))
        units = 0
        for place, character in enumerate(line):
            if units >= position.character:
                return start + place
            units += self._units(character)
        return start + len(line)

    def position(self, offset: int) -> Position:
        """Give the editor's position of an offset."""
        line = bisect_right(self._editor_lines, offset) - 1
        return Position(line, self._units(self.text[self._editor_lines[line] : offset]))

    def _units(self, text: str) -> int:
        return len(text) if text.isascii() else self._count(text)

    def range(self, start: int, end: int) -> Range:
        """Give the editor's range of two offsets."""
        return Range(self.position(start), self.position(end))

    def range_at(self, line: int, column: int) -> Range:
        """Give the range of the word at a line and a column from 1, as problems have them."""
        starts = self._yaml_lines
        start = starts[line - 1] + column - 1 if line <= len(starts) else len(self.text)
        start = min(start, len(self.text))
        word = _WORD.match(self.text, start + (self.text[start : start + 1] in ("'", '"')))
        return self.range(start, word.end() if word else min(start + 1, len(self.text)))
