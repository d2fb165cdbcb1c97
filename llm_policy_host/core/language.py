"""The language's own questions of a term: its sort, its encoding, its identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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
return sort, ir.encode(nf), ir.fingerprint(term), ir.identity(term), ir.describe(term)
"""


@dataclass(frozen=True, slots=True)
class Identified:
    """What an admitted term is, in normal form."""

    sort: str
    encoding: str
    fingerprint: str
    identity: str
    words: str


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
        return Identified(*(vm.from_lua(part) for part in (sort, *rest)))
