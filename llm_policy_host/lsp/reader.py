"""Answers what is asked at a cursor, of a text that is still being typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.cursor import find_cursor
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.core.vm import Vm
from llm_policy_host.core.words import words_of

from .choices import Choices
from .completion import Completion
from .documents import is_ours, is_term
from .hover import hover
from .neighbours import schema_of
from .places import places_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lsprotocol.types import CompletionList, Hover, Position

    from llm_policy_host.config.cursor import Cursor
    from llm_policy_host.core.shapes import Node
    from llm_policy_host.values import Plain

    from .checking import Checked
    from .neighbours import Neighbour
    from .text import Text

MAX_CHARACTERS = 200_000
"""A document beyond this is only checked: reading it takes longer than anybody waits for a word."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a position in one version of a document."""

    uri: str
    path: Path
    text: Text
    position: Position
    beside: Neighbour

    @property
    def is_json(self) -> bool:
        """Whether words are written as JSON."""
        return self.path.suffix == ".json"


class Reader:
    """Reads the documents of one server at their cursors; keeps of each what could last be read."""

    def __init__(self) -> None:
        self._vm = Vm()
        self._places = places_of(self._vm)
        self._read: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def forget(self, uri: str) -> None:
        """Forget a document."""
        self._read.pop(uri, None)

    def complete(self, asked: Asked, _checked: Checked) -> CompletionList | None:
        """List what may be typed."""
        found = self._at(asked)
        if found is None:
            return None
        cursor, nodes, choices, data = found
        word = asked.text.text[cursor.start : cursor.end]
        known = {*(cursor.keys if cursor.is_key else ()), *_keys_at(data, cursor)} - {word}
        return Completion(asked.text, cursor, choices, is_json=asked.is_json).complete(nodes, known)

    def hover(self, asked: Asked, checked: Checked) -> Hover | None:
        """Tell what the word there means."""
        found = self._at(asked)
        if found is None:
            return None
        cursor, nodes, choices, _ = found
        return hover(asked.text, cursor, nodes, (self._places, choices), checked.identities)

    def _at(self, asked: Asked) -> tuple[Cursor, list[Node], Choices, Mapping[str, Any]] | None:
        text = asked.text.text
        if asked.path.suffix == ".lua" or len(text) > MAX_CHARACTERS or not is_ours(text, asked.path):
            return None
        offset = asked.text.offset(asked.position)
        cursor = find_cursor(text, offset)
        if cursor is None:
            return None
        in_term = is_term(text, asked.path)
        data = asked.beside.data if in_term else self._data(asked.uri, text, offset)
        choices = Choices(self._places, words_of(self._vm, schema_of(data)), data)
        return cursor, self._places.wanted(cursor.path, in_term=in_term), choices, {} if in_term else data

    def _data(self, uri: str, text: str, offset: int) -> Mapping[str, Any]:
        """Give a config's data: as it is, without the cursor's line, or as it could last be read."""
        known = self._read.get(uri)
        if known is not None and known[0] == text:
            return known[1]
        data: Mapping[str, Any] = {} if known is None else known[1]
        for each in (text, _without_line(text, offset)):
            found = parse_yaml(each, uri).data
            if isinstance(found, dict) and found:
                data = found
                break
        self._read[uri] = (text, data)
        return data


def _without_line(text: str, offset: int) -> str:
    start, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset)
    return text[:start] + ("" if end < 0 else text[end + 1 :])


def _keys_at(data: Plain, cursor: Cursor) -> set[str]:
    """Give the keys of the record at the cursor, those below it too."""
    value: Any = data
    for step in cursor.at:
        if isinstance(value, list) and isinstance(step, int) and step <= len(value):
            value = value[step - 1]
        elif isinstance(value, dict):
            value = value.get(str(step))
        else:
            return set()
    return {*value} if isinstance(value, dict) else set()
