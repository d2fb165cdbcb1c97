"""What may be typed at the cursor, as an editor's list of completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lsprotocol.types import (
    CompletionItem,
    CompletionItemKind,
    CompletionList,
    InsertTextFormat,
    MarkupContent,
    MarkupKind,
    TextEdit,
)

from .choices import signature
from .skeletons import RECORDS, skeleton, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.config.cursor import Cursor
    from llm_policy_host.core.shapes import Node

    from .choices import Choice, Choices
    from .text import Text

_KINDS: Final = {
    "word": CompletionItemKind.EnumMember,
    "flag": CompletionItemKind.Value,
    "filter": CompletionItemKind.Keyword,
    "parameter": CompletionItemKind.Variable,
    "capability": CompletionItemKind.Constant,
    "provider": CompletionItemKind.Reference,
    "model family": CompletionItemKind.Reference,
    "profile": CompletionItemKind.Reference,
    "retry policy": CompletionItemKind.Reference,
}
_MAX_ITEMS: Final = 2000
"""A config may declare more names than a list is good for."""


class Completion:
    """Completes at one cursor of one document."""

    def __init__(self, text: Text, cursor: Cursor, choices: Choices, *, is_json: bool) -> None:
        self._cursor = cursor
        self._choices = choices
        self._is_json = is_json
        self._where = text.range(cursor.start, cursor.end)

    def complete(self, nodes: list[Node], known: set[str]) -> CompletionList:
        """List what fits the kinds that are wanted; keys that the record has already are left out."""
        items: dict[str, CompletionItem] = {}
        for item in (item for node in nodes for item in self._items(node, known)):
            items.setdefault(item.label, item)
        found = [*items.values()]
        return CompletionList(len(found) > _MAX_ITEMS, found[:_MAX_ITEMS])

    def _items(self, node: Node, known: set[str]) -> Iterator[CompletionItem]:
        if self._cursor.is_key or self._cursor.is_alone:
            yield from (self._item(each) for each in self._choices.keys(node) if each.word not in known)
            yield from self._record()
        if not self._cursor.is_key:
            yield from (self._item(each) for each in self._choices.values(node))
            yield from self._terms(node)

    def _item(self, choice: Choice) -> CompletionItem:
        kind = _KINDS.get(choice.what, CompletionItemKind.Function)
        written_word = self._word(choice.word, is_bare=choice.what == "flag")
        return self._made(
            choice.word,
            f"{written_word}: " if choice.is_key and not self._cursor.is_key_ahead else written_word,
            choice.what,
            choice.about,
            CompletionItemKind.Property if choice.is_key else kind,
        )

    def _terms(self, node: Node) -> Iterator[CompletionItem]:
        """Offer a whole term of each operation that fits; its arguments are there to be replaced."""
        if self._cursor.is_quoted:
            return
        for op, row in self._choices.terms(node):
            text = written(skeleton(op, row, self._choices.first), is_json=self._is_json)
            yield self._made(f"[{op}]", text, signature(row), row.meaning, CompletionItemKind.Snippet)

    def _record(self) -> Iterator[CompletionItem]:
        """Offer an entry to start from where names are the operator's own."""
        at = self._cursor.at
        if len(at) == 1 and at[0] in RECORDS and not self._is_json:
            text = RECORDS[str(at[0])]
            yield self._made("NAME", text, f"a new entry of {at[0]}", None, CompletionItemKind.Snippet)

    def _word(self, word: str, *, is_bare: bool) -> str:
        if is_bare or self._cursor.is_quoted:
            return word
        return written(word, is_json=self._is_json)

    def _made(
        self, label: str, text: str, what: str, about: str | None, kind: CompletionItemKind
    ) -> CompletionItem:
        return CompletionItem(
            label,
            kind=kind,
            detail=what,
            documentation=MarkupContent(MarkupKind.Markdown, about) if about else None,
            filter_text=label,
            insert_text_format=InsertTextFormat.PlainText,
            text_edit=TextEdit(self._where, text),
        )
