"""YAML read through its node graph, so that every value keeps its line and column.

Scalars follow the YAML 1.2 core schema: `no` is text, `1e3` a number, a date text. Tags,
merge keys, duplicate keys, empty list items and numbers without end are mistakes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from llm_policy_host.errors import Problem

from .document import Document, Place, Position
from .names import path_text

MAX_DEPTH = 64
"""As deep as the core admits a term."""

MAX_NODES = 200_000
"""Bounds what aliases may expand to."""

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_ENDLESS = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")


def is_plain_text(text: str) -> bool:
    """Whether a text may stand without quotes and is still read as a text."""
    return not any(form.match(text) for form in (_NULL, _BOOL, _INT, _FLOAT, _ENDLESS))


class _Loader(yaml.SafeLoader):
    """Composes nodes only; resolving scalars is done here, by the 1.2 core schema."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the parent's own shape


class _TooLargeError(Exception):
    """Ends the reading of a document whose aliases expand without reason."""


def parse_yaml(text: str, file: str) -> Document:
    """Read one YAML document; its problems are all that could be found."""
    try:
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        return _broken(file, _syntax_message(error), error.problem_mark or error.context_mark)
    except yaml.YAMLError as error:
        return _broken(file, f"not readable as YAML: {str(error).splitlines()[0]}", None)
    except RecursionError:
        return _broken(file, f"nested deeper than {MAX_DEPTH}", None)
    if node is None:
        return Document(file, {}, Place((1, 1)))
    document = Document(file, None, Place(_position(node)))
    try:
        document.data = _Reader(document).read(node, (), document.root)
    except _TooLargeError:
        document.data = {}
    return document


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    parts = (error.context, error.problem)
    return "not readable as YAML: " + ", ".join(part for part in parts if part)


def _broken(file: str, detail: str, mark: Any) -> Document:  # noqa: ANN401 - a foreign mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    document = Document(file, {}, Place((line, column)))
    document.problems.append(Problem(file, line, column, "$", detail))
    return document


def _position(node: Any) -> Position:  # noqa: ANN401 - a foreign node
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Reader:
    """Turns nodes into data, noting places and problems in the document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def read(self, node: Any, at: tuple[str | int, ...], place: Place) -> Any:  # noqa: ANN401 - plain data
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._wrong(node, at, f"more than {MAX_NODES} values")
            raise _TooLargeError
        if len(at) >= MAX_DEPTH:
            return self._wrong(node, at, f"nested deeper than {MAX_DEPTH}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, place)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, at, place)
        return self._scalar(node, at)

    def _mapping(self, node: Any, at: tuple[str | int, ...], place: Place) -> Any:  # noqa: ANN401
        if not self._is_untagged(node, at, "tag:yaml.org,2002:map"):
            return None
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, at)
            if key is None:
                continue
            if key in data:
                line, column = place.keys[key]
                self._wrong(key_node, (*at, key), f"given twice, first at {line}:{column}")
                continue
            place.keys[key] = _position(key_node)
            place.parts[key] = below = Place(_position(value_node))
            data[key] = self.read(value_node, (*at, key), below)
            if value_node.value == "" and value_node.style is None:
                self._wrong(key_node, (*at, key), "no value given")
        return data

    def _key(self, node: Any, at: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - text, or None
        key = node.value
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(node, at, "a key must be text")
        if node.style is not None:
            return str(key)
        if key == "<<":
            return self._wrong(node, at, "merge keys are not read; a profile may use `extends`")
        if any(form.match(key) for form in (_NULL, _BOOL, _INT, _FLOAT, _ENDLESS)):
            return self._wrong(node, at, f"a key must be text: quote `{key}`")
        return str(key)

    def _sequence(self, node: Any, at: tuple[str | int, ...], place: Place) -> Any:  # noqa: ANN401
        if not self._is_untagged(node, at, "tag:yaml.org,2002:seq"):
            return None
        data = []
        for index, item_node in enumerate(node.value, 1):
            place.keys[index] = _position(item_node)
            place.parts[index] = below = Place(_position(item_node))
            known = len(self._document.problems)
            item = self.read(item_node, (*at, index), below)
            if item is None and len(self._document.problems) == known:
                self._wrong(item_node, (*at, index), "a list holds no empty item")
            data.append(item)
        return data

    def _scalar(self, node: Any, at: tuple[str | int, ...]) -> Any:  # noqa: ANN401
        text: str = node.value
        if not self._is_untagged(node, at, "tag:yaml.org,2002:str"):
            return None
        if node.style is not None:
            return text
        if _ENDLESS.match(text):
            return self._wrong(node, at, f"`{text}` is no finite number")
        return self._resolve(node, at, text)

    def _resolve(self, node: Any, at: tuple[str | int, ...], text: str) -> Any:  # noqa: ANN401
        if _NULL.match(text):
            return None
        if _BOOL.match(text):
            return text[0] in "tT"
        if _INT.match(text):
            return self._finite(node, at, _integer(text))
        if _FLOAT.match(text):
            return self._finite(node, at, float(text))
        return text

    def _finite(self, node: Any, at: tuple[str | int, ...], number: float) -> Any:  # noqa: ANN401
        try:
            is_finite = math.isfinite(number)
        except OverflowError:
            is_finite = False
        return number if is_finite else self._wrong(node, at, f"`{node.value[:40]}` is too large a number")

    def _is_untagged(self, node: Any, at: tuple[str | int, ...], expected: str) -> bool:  # noqa: ANN401
        if node.tag == expected:
            return True
        self._wrong(node, at, f"the tag `{node.tag}` is not read")
        return False

    def _wrong(self, node: Any, at: tuple[str | int, ...], detail: str) -> Any:  # noqa: ANN401 - the place of a value
        """Note a mistake; None stands where the value would."""
        self._document.problems.append(Problem(self._document.file, *_position(node), path_text(at), detail))


def _integer(text: str) -> float:
    if len(text) > 400:
        return math.inf
    return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
