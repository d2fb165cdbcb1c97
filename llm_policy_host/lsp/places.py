"""What kind of value is wanted at a path of a config or a term: down the core's own rows, and the host's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.config.meanings import NOUNS
from llm_policy_host.core.language import Language
from llm_policy_host.core.shapes import shapes_of

from .host_rows import auth_row, host_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.config.cursor import Step
    from llm_policy_host.core.shapes import Node
    from llm_policy_host.core.vm import Vm

OPERATION: Final = "operation"
"""The kind of a term's first item; `sort` says whose, absent of any."""

_NAMES: Final[Mapping[tuple[str, str], str]] = {
    ("provider key", "tier"): "Tier",
    ("served_by key", "tier"): "Tier",
    ("served_by key", "provider"): "Provider",
    ("default", "profile"): "profile",
    ("profile key", "extends"): "profile",
    ("profile key", "retry_policy"): "retry_policy",
    ("chain entry", "provider"): "Provider",
    ("chain entry", "model"): "Family",
}
"""What the names under a key are names of, which its row does not say."""

_CHAIN: Final[Node] = {
    "kind": "record",
    "noun": "chain entry",
    "rows": {"provider": {"kind": "name"}, "model": {"kind": "name"}},
}


_TERMS_OF: Final = {"Filter": "Pred", "Change": "Xform"}
"""The sort of the terms that may stand in place of the sugar."""


@dataclass(frozen=True, slots=True)
class Places:
    """The rows of configs and terms, and the way down through them."""

    operations: Mapping[str, Any]
    config: Node
    _sugar: Mapping[str, Mapping[str, Node]] = field(default_factory=dict)
    _action: Node = field(default_factory=dict)

    def wanted(self, path: Sequence[Step], *, in_term: bool) -> list[Node]:
        """Give the kinds of value that may stand at a path."""
        nodes: list[Node] = [{"kind": "term"} if in_term else self.config]
        for step in path:
            nodes = [self._named(node, below, step) for node in nodes for below in self._below(node, step)]
        return [each for node in nodes for each in self._either(node)]

    def rows(self, node: Node) -> Mapping[str, Node]:
        """Give the keys of a record of this kind that are known."""
        kind = node["kind"]
        if kind in self._sugar:
            return self._sugar[kind]
        found: Mapping[str, Node] = self._action["rows"] if kind == "Action" else node.get("rows", {})
        return found

    def _either(self, node: Node) -> Iterator[Node]:
        if node["kind"] == "either":
            for each in node["either"]:
                is_name = each["kind"] == "name" and "of" in node
                yield from self._either({**each, "of": node["of"]} if is_name else each)
        else:
            yield node

    def _named(self, node: Node, below: Node, step: Step) -> Node:
        """Say of a name whose it is."""
        of = _NAMES.get((node.get("noun", ""), str(step.key)))
        return below if of is None else {**below, "of": of}

    def _below(self, node: Node, step: Step) -> Iterator[Node]:
        for each in self._either(node):
            yield from self._item(each, step) if isinstance(step.key, int) else self._value(each, step.key)

    def _value(self, node: Node, key: str) -> Iterator[Node]:
        """Give what stands under a key."""
        found = self.rows(node).get(key) or node.get("other")
        if found is not None:
            yield found
        if node["kind"] == "map":
            yield node["entry"]
        elif node["kind"] == "params":
            yield node["value"]

    def _item(self, node: Node, step: Step) -> Iterator[Node]:
        """Give what stands at a place of a list."""
        kind, place = node["kind"], int(step.key)
        sort = sort_of(node)
        operation = None if self._is_word(kind, step.head) else self.operations.get(step.head or "")
        is_term = sort == "term" or any(each.sort == sort for each in self.operations.values())
        if is_term and place == 1:
            yield {"kind": OPERATION} if sort == "term" else {"kind": OPERATION, "sort": sort}
        elif is_term and operation is not None:
            yield from self._argument(step.head or "", place - 1)
            return
        if kind in self._sugar:
            yield node
        elif kind == "list":
            yield node["entry"]
        elif kind == "arguments":
            yield from self._argument(node["op"], place)
        elif kind == "Chain":
            yield _CHAIN

    def _is_word(self, kind: str, head: str | None) -> bool:
        """Whether the first item of a list is a word of the sugar, and no operation."""
        return self._sugar.get(kind, {}).get(head or "", {}).get("kind") == "flag"

    def _argument(self, op: str, position: int) -> Iterator[Node]:
        sort = self.operations[op].sort_at(position)
        if sort is not None:
            yield {"kind": sort}


def places_of(vm: Vm) -> Places:
    """Ask the core, and add the host's own keys."""
    shapes = shapes_of(vm)
    rows = shapes.config["rows"]
    provider = rows["providers"]["entry"]
    secretive = {**provider["rows"], "auth": auth_row(provider["rows"]["auth"])}
    own = {
        "providers": {**rows["providers"], "entry": {**provider, "rows": secretive}},
        "runtime": {"kind": "name", "of": "runtime"},
        "host": host_row(),
    }
    sugar = {"Filter": shapes.filters, "Change": shapes.changes}
    config = {**shapes.config, "rows": {**rows, **own}}
    return Places(Language(vm).signature(), config, sugar, shapes.action)


def sort_of(node: Node) -> str:
    """Give the sort of the terms that may stand as a value of this kind, where there are any."""
    kind = kind_of(node)
    return _TERMS_OF.get(kind, kind)


def kind_of(node: Node) -> str:
    """Give the kind of a value, of a name whose it is."""
    return str(node["of"] if "of" in node else node["kind"])


def about(node: Node, key: str) -> str | None:
    """Say what a key of a record means."""
    row = node.get("rows", {}).get(key, {})
    if "about" in row:
        return str(row["about"])
    return NOUNS.get(node.get("noun", _NOUNS.get(node["kind"], "")), {}).get(key)


_NOUNS: Final = {"Filter": "filter", "Change": "change", "Action": "action key"}
