"""The texts of a flow: what a conversation is as one text, and what a node is asked (spec 2.6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.language import Refusal
from llm_policy_host.values import NOTHING

from .shape import brings_tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract

_PLACE = re.compile(r"\$([0-9]+)")
_MAX_INPUTS_DIGITS = 3


def assemble(template: str | None, texts: Sequence[str]) -> str:
    """Make one text of a node's inputs: the core's own rule."""
    if template is not None:
        return _PLACE.sub(lambda match: _text_at(texts, match), template)
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[input {place}]\n{text}" for place, text in enumerate(texts, 1))


def _text_at(texts: Sequence[str], match: re.Match[str]) -> str:
    digits = match[1].lstrip("0")
    place = int(digits) if 0 < len(digits) <= _MAX_INPUTS_DIGITS else 0
    return texts[place - 1] if 0 < place <= len(texts) else match[0]


def text_of(contract: Contract) -> str:
    """Give a conversation as one text; a single message is its own."""
    if contract.prompt is not None:
        return contract.prompt
    texts = [(str(message.get("role")), _text(message)) for message in contract.messages]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


def refusal_of(contract: Contract) -> Refusal | None:
    """Refuse what no text can hold."""
    if contract.kind == "embeddings":
        return Refusal("unsupported", "model", "a flow gives no vectors")
    if brings_tools(contract):
        return Refusal("unsupported", "tools", "a flow takes no tools")
    parts = [part for message in contract.messages for part in _parts(message)]
    if any(part.get("type") != "text" for part in parts):
        return Refusal("unsupported", "messages", "a flow takes texts only")
    return None


def openai_words(contract: Contract) -> Mapping[str, Any]:
    """Give what a body of another dialect has in OpenAI's words."""
    if contract.dialect == "openai":
        return contract.passthrough
    words: Mapping[str, Any] = contract.passthrough.get("_openai", NOTHING)
    return words


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in _parts(message))


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []
