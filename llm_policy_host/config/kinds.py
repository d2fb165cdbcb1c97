"""Kinds of values that a row of settings takes: each is a JSON Schema, and that schema is the check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Schema = dict[str, Any]

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a row takes, in words and as a schema; `holds` asks what no schema can say."""

    accepts: str
    schema: Mapping[str, Any]
    holds: Callable[[Any], bool] | None = None

    def is_good(self, value: Any) -> bool:  # noqa: ANN401 - any plain value
        """Whether a value is of this kind."""
        return fits(value, self.schema) and (self.holds is None or self.holds(value))


def fits(value: Any, schema: Mapping[str, Any]) -> bool:  # noqa: ANN401 - any plain value
    """Whether a value satisfies a schema of the words below; any other word is our mistake."""
    return all(_WORDS[word](value, wanted) for word, wanted in schema.items())


def _is(value: Any, wanted: str | list[str]) -> bool:  # noqa: ANN401
    """Whether a value is of a type, or of one of them; unlike JSON's, a whole number has no point."""
    if isinstance(wanted, list):
        return any(_is(value, each) for each in wanted)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return False
    return isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))


def _each(value: Any, schema: Mapping[str, Any]) -> bool:  # noqa: ANN401
    return all(fits(item, schema) for item in value)


_WORDS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": _is,
    "enum": lambda value, words: value in words,
    "minimum": lambda value, least: not _is(value, "number") or value >= least,
    "maximum": lambda value, most: not _is(value, "number") or value <= most,
    "exclusiveMinimum": lambda value, bound: not _is(value, "number") or value > bound,
    "minLength": lambda value, least: not _is(value, "string") or len(value) >= least,
    "maxLength": lambda value, most: not _is(value, "string") or len(value) <= most,
    "pattern": lambda value, form: not _is(value, "string") or re.search(form, value) is not None,
    "minItems": lambda value, least: not _is(value, "array") or len(value) >= least,
    "uniqueItems": lambda value, _: not _is(value, "array") or len({*map(repr, value)}) == len(value),
    "items": lambda value, item: not _is(value, "array") or _each(value, item),
    "minProperties": lambda value, least: not _is(value, "object") or len(value) >= least,
    "maxProperties": lambda value, most: not _is(value, "object") or len(value) <= most,
    "propertyNames": lambda value, name: not _is(value, "object") or _each(value, name),
    "additionalProperties": lambda value, item: not _is(value, "object") or _each(value.values(), item),
    "required": lambda value, names: not _is(value, "object") or all(name in value for name in names),
    "anyOf": lambda value, schemas: any(fits(value, each) for each in schemas),
    "oneOf": lambda value, schemas: sum(fits(value, each) for each in schemas) == 1,
}

_TEXT: Final = {"type": "string", "minLength": 1}


def text(accepts: str) -> Kind:
    """Take a text that is not empty."""
    return Kind(accepts, _TEXT)


def word(*words: str) -> Kind:
    """Take one of a few words."""
    *others, last = (f"`{each}`" for each in words)
    return Kind(f"{', '.join(others)} or {last}", {"enum": list(words)})


def list_of(accepts: str, item: Mapping[str, Any], **more: Any) -> Kind:  # noqa: ANN401 - words of schemas
    """Take a list whose entries fit a schema."""
    return Kind(accepts, {"type": "array", "items": item, **more})


def record_of(accepts: str, item: Mapping[str, Any], **more: Any) -> Kind:  # noqa: ANN401
    """Take a record whose values fit a schema."""
    return Kind(accepts, {"type": "object", "additionalProperties": item, **more})


NAME = text("a name")
PATH = text("a path")
FILE = text("a file's name")
FLAG = Kind("true or false", {"type": "boolean"})
RECORD = Kind("a record", {"type": "object"})
COUNT = Kind("a whole number of at least 0", {"type": "integer", "minimum": 0})
POSITIVE = Kind("a whole number above 0", {"type": "integer", "exclusiveMinimum": 0})
DURATION = Kind("a whole number of milliseconds above 0", {"type": "integer", "exclusiveMinimum": 0})
AMOUNT = Kind("a number of at least 0", {"type": "number", "minimum": 0})
TEXTS = list_of("a list of texts", {"type": "string"}, minItems=1)
