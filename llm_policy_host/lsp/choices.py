"""The words that fit a place: of the language, of this host, and as the document itself declares them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.vm import available_runtimes

from .places import OPERATION, about, kind_of, sort_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llm_policy_host.core.language import Operation
    from llm_policy_host.core.shapes import Node
    from llm_policy_host.core.words import Field, Words
    from llm_policy_host.values import Plain

    from .places import Places


@dataclass(frozen=True, slots=True)
class Choice:
    """A word that fits: what it is, in a few words, and what it means."""

    word: str
    what: str
    about: str | None = None
    is_key: bool = False


class Choices:
    """What fits under one document's declarations."""

    def __init__(self, places: Places, words: Words, data: Mapping[str, Plain]) -> None:
        self._places = places
        self.words = words
        self._data = data
        listed, declared = self._listed, self._declared
        self._names: Mapping[str, Callable[[], list[Choice]]] = {
            "NumField": lambda: self._fields("Num"),
            "BoolField": lambda: self._fields("Bool"),
            "Tier": self._tiers,
            "ParamName": lambda: listed(words.params, "parameter"),
            "Sym": lambda: listed(words.customs, "custom transform"),
            "Rel": lambda: listed(words.relations, "relation"),
            "FailReason": lambda: listed(words.kinds, "failure kind"),
            "Capability": self._capabilities,
            "Provider": lambda: listed(declared("providers"), "provider"),
            "ServedBy": lambda: listed(declared("providers"), "provider"),
            "Family": lambda: listed(declared("models"), "model family"),
            "profile": lambda: listed(declared("profiles"), "profile"),
            "retry_policy": lambda: listed(declared("retry_policies"), "retry policy"),
            "runtime": lambda: listed(available_runtimes(), "runtime"),
        }

    def values(self, node: Node) -> Iterator[Choice]:
        """Give the words that may stand as a value of this kind."""
        kind = kind_of(node)
        if kind == "word":
            yield from (Choice(word, "word", self.words.actions.get(word)) for word in node["words"])
        elif kind == "flag":
            yield from (Choice(word, "flag") for word in ("true", "false"))
        elif kind == "Filter":
            yield from (Choice(word, "filter", told) for word, told in self.words.filter_words.items())
        elif kind == OPERATION:
            found = self._of_sort(node.get("sort"))
            yield from (Choice(op, signature(row), row.meaning) for op, row in found)
        elif kind in self._names:
            yield from self._names[kind]()

    def first(self, sort: str) -> str | None:
        """Give some name of a sort that the document declares."""
        found = self._names[sort]() if sort in self._names else []
        return found[0].word if found else None

    def keys(self, node: Node) -> Iterator[Choice]:
        """Give the keys that a record of this kind may have."""
        if node["kind"] == "params":
            yield from (Choice(name, "parameter", is_key=True) for name in self.words.params)
        if "by" in node:
            yield from (replace(each, is_key=True) for each in self._names[node["by"]]())
        for key, row in self._places.rows(node).items():
            yield Choice(key, row.get("accepts", what(row)), about(node, key), is_key=True)
        if node.get("has_fields"):
            declared = self._declared("fields")
            yield from (Choice(each, "declared field", is_key=True) for each in declared)

    def terms(self, node: Node) -> list[tuple[str, Operation]]:
        """Give the operations of the terms that may stand as a value of this kind."""
        return self._of_sort("Policy" if node["kind"] == "term" else sort_of(node))

    def _of_sort(self, sort: str | None) -> list[tuple[str, Operation]]:
        """List the operations of a sort, or of any, whose names the document declares."""
        rows = sorted(self._places.operations.items())
        return [
            (op, row)
            for op, row in rows
            if sort in (None, row.sort) and ("Sym" not in row.sorts or self.words.customs)
        ]

    def _declared(self, key: str) -> list[str]:
        found = self._data.get(key)
        return sorted(found) if isinstance(found, dict) else []

    def _fields(self, sort: str) -> list[Choice]:
        return [
            Choice(name, f"field, {sort}", field_words(field))
            for name, field in self.words.fields.items()
            if field.sort == sort
        ]

    def _capabilities(self) -> list[Choice]:
        """Give what candidates may be able to do: the core's own, and what models here say of themselves."""
        model = self._places.config["rows"]["models"]["entry"]["rows"]
        rows = model["capabilities"]["rows"]
        known = {key.removeprefix("supports_") for key, row in rows.items() if row["kind"] == "flag"}
        return [Choice(name, "capability") for name in sorted(known | set(_said_capabilities(self._data)))]

    def _listed(self, words: Iterable[str], noun: str) -> list[Choice]:
        return [Choice(word, noun) for word in words]

    def _tiers(self) -> list[Choice]:
        last = len(self.words.tiers)
        return [
            Choice(name, f"tier {place} of {last}, lowest first")
            for place, name in enumerate(self.words.tiers, 1)
        ]


def _said_capabilities(data: Mapping[str, Plain]) -> Iterator[str]:
    models: Any = data.get("models")
    for model in models.values() if isinstance(models, dict) else ():
        found = model.get("capabilities") if isinstance(model, dict) else None
        for name, value in found.items() if isinstance(found, dict) else ():
            if isinstance(value, bool):
                yield name.removeprefix("supports_")


def signature(row: Operation) -> str:
    """Tell an operation's arguments and sort: `(weight Num, child Scorer) Scorer`."""
    many = "+" if row.is_variadic else ""
    arguments = (f"{label} {sort}{many}" for label, sort in zip(row.labels, row.sorts, strict=True))
    return f"({', '.join(arguments)}) {row.sort}"


def field_words(field: Field) -> str:
    """Tell what a field means, and what is seen where a candidate has none."""
    absent = "higher than every number" if field.is_high else str(field.default).lower()
    return f"{field.meaning}; absent: {absent}" if field.meaning else f"absent: {absent}"


def what(node: Node) -> str:
    """Tell a kind of value in a few words."""
    if "either" in node:
        return " or ".join(what(each) for each in node["either"])
    kind = str(node["kind"])
    return _KINDS.get(kind, f"a {kind}")


_KINDS: Final = {
    "any": "anything",
    "flag": "true or false",
    "map": "a record",
    "param": "a parameter",
    "amount": "a number of at least 0",
    "arguments": "a list of arguments",
    "params": "a record of parameters",
    "waits": "milliseconds, or a list of them",
}
