"""Configs and terms in their canonical text, read back before anybody sees it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import HostError
from llm_policy_host.spelling import encode

from .bracket_text import json_text, lua_text
from .comments import read_comments
from .lua_file import parse_lua
from .yaml_file import parse_yaml
from .yaml_text import yaml_text

if TYPE_CHECKING:
    from llm_policy_host.values import Plain

    from .comments import Comments
    from .document import Document

FORMATS = ("yaml", "lua", "json")


def comments_of(text: str, document: Document) -> Comments:
    """Give the comments of a YAML document without mistakes."""
    return read_comments(text, document.root)


def canonical(data: Plain, form: str, comments: Comments | None = None) -> str:
    """Write data; what would not read back to it is an error, never a text."""
    if form == "yaml":
        text = yaml_text(data, comments)
        return _read_back(text, form, data, parse_yaml(text, "<text>"))
    if form == "lua":
        text = lua_text(data)
        return _read_back(text, form, data, parse_lua(encode(text), "<text>"))
    return json_text(data)


def _read_back(text: str, form: str, data: Plain, found: Document) -> str:
    if found.problems or not _is_same(found.data, data):
        raise HostError(f"this has no text as {form}: it would not be read back as it is")
    return text


def lost(text: str, comments: Comments) -> list[str]:
    """List the comments that a canonical YAML text does not have."""
    kept = Counter(read_comments(text, parse_yaml(text, "<text>").root).texts())
    return [*(Counter(comments.texts()) - kept).elements()]


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - any plain value
    """Whether two values mean the same; an empty table is a list and a record, null is absent."""
    if isinstance(one, dict | list) and isinstance(other, dict | list) and not one and not other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {key for each in (one, other) for key in each if each[key] is not None}
        return all(_is_same(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    is_number = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    return float(one) == float(other) if is_number else type(one) is type(other) and one == other
