"""The language's own questions of a term: its sort, its encoding, its identity."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llm_policy_host.spelling import decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Plain

    from .vm import Vm

_READ = b"""
local text = ...
return require("llm_policy.base.json").decode(text)
"""

_IDENTIFY = b"""
local face, term, schema = ...
local ir = face.ir.term
local sort, refusal = ir.check(term, schema)
if not sort then return nil, refusal end
local nf = ir.normalize(term)
local text = require("llm_policy.language.encoding").value(nf)
return sort, ir.encode(nf), ir.fingerprint(term), ir.identity(term), ir.describe(term), text
"""

_FLOW = b"""
local face, flow, schema = ...
local ok, refusal = face.flow.check(flow, schema)
if not ok then return nil, refusal end
local text = require("llm_policy.language.encoding").value
local nodes, list = {}, require("llm_policy.flow.encoding").canonical(flow)
for i = 1, #list do
  local plain = list[i].plain
  nodes[i] = {
    id = list[i].id, kind = plain.kind, system = plain.system, template = plain.template,
    policy = plain.policy, sources = list[i].sources,
  }
end
return face.flow.encode(flow), face.flow.fingerprint(flow), face.flow.identity(flow),
  text(face.flow.normalize(flow)), text(nodes)
"""

_DESCRIBE = b"local face, term = ... return face.ir.term.describe(term)"

_OUTLINE = b"""
local face, term = ...
return require("llm_policy.language.encoding").value(face.ir.term.outline(term))
"""

_SIGNATURE = b"""
local face = ...
local out, operations = {}, face.ir.sig.operations
for i = 1, #operations do
  local labels, sorts, terms, law = {}, {}, {}, operations[i].law or {}
  for j = 1, #operations[i].args do
    local argument = operations[i].args[j]
    labels[j], sorts[j], terms[j] = argument.label, argument.sort, argument.is_term
  end
  out[operations[i].op] = {
    sort = operations[i].sort, labels = labels, sorts = sorts, terms = terms,
    is_variadic = operations[i].is_variadic, is_commutative = law.kind == "ac",
    meaning = operations[i].meaning, law = { kind = law.kind, unit = law.unit, absorbing = law.absorbing },
  }
end
return out
"""

_LISTS = ("labels", "sorts", "terms")

_VOCABULARY = b"""
local face, schema = ...
local vocabularies = require("llm_policy.language.vocabulary")
local own, tables = vocabularies.new(schema), require("llm_policy.base.tables")
return face.ir.fields(schema), tables.keys(own.params), own.tier_order
"""


@dataclass(frozen=True, slots=True)
class Identified:
    """What an admitted term is, in normal form."""

    sort: str
    encoding: str
    fingerprint: str
    identity: str
    words: str
    term: Plain = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A node of an admitted flow; `sources` are the places of its inputs among the nodes."""

    id: str
    kind: str
    sources: Sequence[int]
    system: str | None = None
    template: str | None = None
    policy: Plain = None


@dataclass(frozen=True, slots=True)
class IdentifiedFlow:
    """What an admitted flow is, in normal form; its nodes stand in canonical order."""

    encoding: str
    fingerprint: str
    identity: str
    term: Plain
    nodes: tuple[FlowNode, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What policies may name: fields with their sorts and defaults, parameters, tiers from the lowest."""

    fields: Mapping[str, Mapping[str, Any]]
    params: Sequence[str]
    tiers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Chapter:
    """What a policy says by one verb, in plain words."""

    verb: str
    title: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the signature: its arguments' labels and sorts, which of them are terms, what it means."""

    sort: str
    labels: Sequence[str]
    sorts: Sequence[str]
    terms: Sequence[bool]
    is_variadic: bool
    is_commutative: bool
    meaning: str
    law: Mapping[str, str]

    def is_term(self, position: int) -> bool:
        """Whether the argument at a position, from 1, is a term."""
        return bool(self.terms) and self.terms[0 if self.is_variadic else position - 1]

    def sort_at(self, position: int) -> str | None:
        """Give the sort of the argument at a position, from 1; nothing where it takes none."""
        place = 0 if self.is_variadic else position - 1
        return self.sorts[place] if 0 <= place < len(self.sorts) else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a term was not admitted (spec 1.2)."""

    code: str
    path: str
    detail: str


class Language:
    """Reads terms in one runtime; without state."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._read = vm.load(_READ)
        self._identify = vm.load(_IDENTIFY)
        self._flow = vm.load(_FLOW)
        self._vocabulary = vm.load(_VOCABULARY)

    def identify_json(self, text: bytes, schema: Mapping[str, Any]) -> Identified | Refusal:
        """Admit a term written in JSON, read by the core's own parser."""
        answer = self._vm.call(self._read, text)
        if isinstance(answer, tuple):
            return Refusal("not_a_term", "$", self._vm.from_lua(answer[1]))
        return self._admit(answer, schema)

    def identify(self, term: Plain, schema: Mapping[str, Any]) -> Identified | Refusal:
        """Admit a term given as plain data."""
        return self._admit(self._vm.to_lua(term), schema)

    def _admit(self, term: object, schema: Mapping[str, Any]) -> Identified | Refusal:
        vm = self._vm
        sort, *rest = vm.call(self._identify, vm.face, term, vm.to_lua(dict(schema)))
        if sort is None:
            refusal = vm.from_lua(rest[0])
            return Refusal(refusal["code"], refusal["path"], refusal.get("detail", ""))
        *parts, text = rest
        told = Identified(*(vm.from_lua(part) for part in (sort, *parts)))
        return replace(told, term=_data(text))

    def identify_flow(self, flow: Plain, schema: Mapping[str, Any]) -> IdentifiedFlow | Refusal:
        """Admit a flow given as plain data."""
        vm = self._vm
        first, *rest = vm.call(self._flow, vm.face, vm.to_lua(flow), vm.to_lua(dict(schema)))
        if first is None:
            return Refusal(**vm.from_lua(rest[0]))
        fingerprint, identity, term, nodes = rest
        list_ = tuple(FlowNode(**node) for node in _data(nodes))
        return IdentifiedFlow(decode(first), decode(fingerprint), decode(identity), _data(term), list_)

    def describe(self, term: Plain) -> str:
        """Tell an admitted term in plain words."""
        vm = self._vm
        return decode(vm.call(vm.load(_DESCRIBE), vm.face, vm.to_lua(term)))

    def outline(self, policy: Plain) -> list[Chapter]:
        """Tell an admitted Policy by its verbs."""
        text = self._vm.call(self._vm.load(_OUTLINE), self._vm.face, self._vm.to_lua(policy))
        return [Chapter(**chapter) for chapter in _data(text)]

    def signature(self) -> dict[str, Operation]:
        """Give the operations by name."""
        rows = self._vm.from_lua(self._vm.call(self._vm.load(_SIGNATURE), self._vm.face))
        return {
            op: Operation(**{**row, **{key: [*row[key]] for key in _LISTS}, "law": dict(row["law"])})
            for op, row in rows.items()
        }

    def vocabulary(self, schema: Mapping[str, Any]) -> Vocabulary:
        """Say what policies may name under a schema."""
        vm = self._vm
        parts = vm.call(self._vocabulary, vm.face, vm.to_lua(dict(schema)))
        return Vocabulary(*(vm.from_lua(part) for part in parts))


def _data(text: bytes) -> Plain:
    """Read what the core encoded (spec 1.4)."""
    return json.loads(decode(text), strict=False)
