"""The language's grammar as data, from the core's own signature: what terms can be drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .vm import Vm

_GRAMMAR = b"""
local signature = require("llm_policy.language.signature")
local vocabulary = require("llm_policy.language.vocabulary").new()
local keys = require("llm_policy.base.tables").keys
local rows, sorts = {}, {}
for i = 1, #signature.operations do
  local operation = signature.operations[i]
  local args, first = {}, operation.args[1]
  for j = 1, #operation.args do args[j] = operation.args[j].sort end
  rows[i] = { operation.op, operation.sort, args, first ~= nil and first.is_many == true }
  if not sorts[operation.sort] then
    sorts[operation.sort] = true
    sorts[#sorts + 1] = operation.sort
  end
end
local fields, numbers, booleans = require("llm_policy").ir.fields(), {}, {}
local names = keys(fields)
for i = 1, #names do
  local list = fields[names[i]].sort == "Num" and numbers or booleans
  list[#list + 1] = names[i]
end
local listed = {}
for i = 1, #sorts do listed[i] = sorts[i] end
return { rows = rows, sorts = listed, numbers = numbers, booleans = booleans,
  tiers = vocabulary.tier_order, params = keys(vocabulary.params) }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An operation: the sorts of its arguments (of each, where there are many), and its own sort."""

    args: tuple[str, ...]
    sort: str
    is_many: bool


@dataclass(frozen=True, slots=True)
class Grammar:
    """The operations by name, the sorts of terms, and the core's own vocabulary."""

    rows: Mapping[str, Row]
    sorts: Sequence[str]
    numbers: Sequence[str]
    booleans: Sequence[str]
    tiers: Sequence[str]
    params: Sequence[str]

    def vocabulary(self) -> tuple[Sequence[str], ...]:
        """Give the names that terms may hold, whose order says nothing."""
        return self.numbers, self.booleans, self.params

    def argument_sorts(self, op: str, given: int) -> list[str]:
        """Name the sort of each of the given arguments of an operation that takes so many."""
        row = self.rows[op]
        return list(row.args) * given if row.is_many else list(row.args)


def grammar_of(vm: Vm) -> Grammar:
    """Ask the core."""
    found = vm.from_lua(vm.call(vm.load(_GRAMMAR)))
    rows = {op: Row(tuple(args or ()), sort, is_many) for op, sort, args, is_many in found.pop("rows")}
    return Grammar(rows, **{key: tuple(each) for key, each in found.items()})
