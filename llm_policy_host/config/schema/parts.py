"""Pieces that schemas are made of; they take what the core takes.

To the core a key that is null is absent, and an empty table is an empty list and an empty record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llm_policy_host.config.kinds import Schema

MAX_NAME = 256
NULL: Schema = {"type": "null"}


def ref(name: str) -> Schema:
    """Refer to a definition."""
    return {"$ref": f"#/$defs/{name}"}


def none(message: str) -> Schema:
    """Take nothing; editors show the message."""
    return {**NULL, "errorMessage": message}


def optional(schema: Schema) -> Schema:
    """Take null besides."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], NULL]}
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        return {**schema, "type": [*dict.fromkeys((*types, "null"))]}
    return {"anyOf": [schema, NULL]} if schema else {}


def name(examples: Iterable[str] = ()) -> Schema:
    """Take a name; the examples are what editors offer."""
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}
    return {**schema, "examples": [*examples]} if examples else schema


def words(told: Mapping[str, str]) -> Schema:
    """Take one of some words, each with what it means."""
    return {"anyOf": [{"const": word, "description": meaning} for word, meaning in told.items()]}


def record(
    properties: Mapping[str, Schema], needs: Iterable[str] = (), other: Schema | None = None, **more: object
) -> Schema:
    """Take a record of some keys; every other key fits `other`, or is unknown."""
    needed = [*needs]
    schema = {
        "type": ["object", "array"],
        "maxItems": 0,
        "properties": {key: each if key in needed else optional(each) for key, each in properties.items()},
        "additionalProperties": none("unknown key") if other is None else optional(other),
        **more,
    }
    return {**schema, "required": needed} if needed else schema


def map_of(entry: Schema, **more: object) -> Schema:
    """Take a record of any names."""
    return {"type": ["object", "array"], "maxItems": 0, "additionalProperties": optional(entry), **more}


def list_of(entry: Schema, **more: object) -> Schema:
    """Take a list."""
    return {"type": ["array", "object"], "additionalProperties": NULL, "items": entry, **more}


def but_for(names: Iterable[str], message: str) -> Schema:
    """Say of a record that some names are no keys of it."""
    return {"patternProperties": {f"^({'|'.join(names)})$": none(message)}}
