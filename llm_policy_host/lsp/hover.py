"""What the word under the cursor means, and which policy it is a part of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol.types import Hover, MarkupContent, MarkupKind

from .choices import signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.config.cursor import Cursor
    from llm_policy_host.core.language import Identified, Operation
    from llm_policy_host.core.shapes import Node

    from .choices import Choice, Choices
    from .places import Places
    from .text import Text

TERM = "$"
"""Names the policy of a document that is a term."""


def hover(
    text: Text,
    cursor: Cursor,
    nodes: list[Node],
    told: tuple[Places, Choices],
    identities: Mapping[str, Identified],
) -> Hover | None:
    """Tell a word, and the policy that it stands in; nothing where neither is known."""
    places, choices = told
    word = text.text[cursor.start : cursor.end]
    found = _meaning(word, cursor, nodes, choices)
    lines = [] if found is None else [*_words(word, found, places.operations.get(word))]
    name = str(cursor.path[1].key) if len(cursor.path) > 1 and cursor.path[0].key == "profiles" else TERM
    if cursor.is_key and cursor.at == ("profiles",):
        name = word
    if name in identities:
        lines.append("\n".join(_policy(name, identities[name])))
    if not lines:
        return None
    where = text.range(cursor.start, cursor.end)
    return Hover(MarkupContent(MarkupKind.Markdown, "\n\n---\n\n".join(lines)), where)


def _meaning(word: str, cursor: Cursor, nodes: list[Node], choices: Choices) -> Choice | None:
    for node in nodes:
        for choice in choices.keys(node) if cursor.is_key else choices.values(node):
            if choice.word == word:
                return choice
    return None


def _words(word: str, choice: Choice, operation: Operation | None) -> Iterator[str]:
    """Tell what a word is, and what it means."""
    is_operation = operation is not None and choice.what == signature(operation)
    head = f"`{word}{choice.what}`" if is_operation else f"`{word}`: {choice.what}"
    told = [head, *([choice.about] if choice.about else [])]
    if is_operation and operation is not None and operation.law:
        told.append(f"law: {law(operation)}")
    yield "\n\n".join(told)


def law(operation: Operation) -> str:
    """Tell an operation's law: `ac, unit top, absorbing bot`."""
    kind = operation.law["kind"]
    more = (f"{key} {operation.law[key]}" for key in ("unit", "absorbing") if key in operation.law)
    return ", ".join([kind, *more])


def _policy(name: str, identified: Identified) -> Iterator[str]:
    what = f"`{name}`: " if name != TERM else ""
    yield f"{what}{identified.sort}, fingerprint `{identified.fingerprint}`"
    yield ""
    yield f"`{identified.identity}`"
    yield ""
    yield "```text"
    yield identified.words.replace("```", "` ` `")
    yield "```"
