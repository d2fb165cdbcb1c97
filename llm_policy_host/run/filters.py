"""Filters that a policy names and the host applies to what is sent (spec 1.6 `filter_text`, `filter_image`).

A directive is never dropped silently: one that this host does not have fails the attempt as the
request's fault, which is evidence against no provider.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.values import Call

_ZERO_WIDTH = re.compile("[\u200b-\u200d\u2060\ufeff]")
_WHITE_SPACE = re.compile(r"\s+")

TEXT_FILTERS: Mapping[str, Callable[[str], str]] = {
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "NormalizeWS": lambda text: _WHITE_SPACE.sub(" ", text).strip(),
    "RmZeroWidth": lambda text: _ZERO_WIDTH.sub("", text),
}
"""Name to what it does to a text; recipes apply them in their order."""


def filtered(call: Call) -> Call | Failure:
    """Apply the call's directives to its texts; a failure names one that this host lacks."""
    if not call.filters:
        return call
    steps = _recipe(call.filters, "text")
    unknown: Sequence[Any] = [step for step in steps if not isinstance(step, str) or step not in TEXT_FILTERS]
    if not unknown and _has_image(call.messages):
        unknown = _recipe(call.filters, "image")
    if unknown:
        return Failure("bad_request", detail=f"this host has no filter {_shown(unknown[0])}")
    apply = [TEXT_FILTERS[step] for step in steps]

    def clean(text: str) -> str:
        for change in apply:
            text = change(text)
        return text

    messages = [_message(message, clean) for message in call.messages]
    return dataclasses.replace(
        call, messages=messages, prompt=None if call.prompt is None else clean(call.prompt)
    )


def _recipe(filters: Mapping[str, Any], medium: str) -> Sequence[Any]:
    directive = filters.get(medium)
    return directive.get("recipe") or () if isinstance(directive, dict) else ()


def _shown(step: Any) -> str:  # noqa: ANN401 - a recipe's entry
    return f"`{step if isinstance(step, str) else ', '.join(sorted(step))}`"


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _has_image(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        isinstance(part, dict) and "image" in str(part.get("type"))
        for message in messages
        for part in _parts(message)
    )


def _message(message: Mapping[str, Any], clean: Callable[[str], str]) -> Mapping[str, Any]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": clean(content)}
    if not isinstance(content, list):
        return message
    return {**message, "content": [_part(part, clean) for part in content]}


def _part(part: Any, clean: Callable[[str], str]) -> Any:  # noqa: ANN401 - a content part as the caller wrote it
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {**part, "text": clean(part["text"])}
    return part
