"""The words that a policy may be written with, and what each means: asked of the core's own tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Plain

    from .vm import Vm

_WORDS = b"""
local schema = ...
local explain = require("llm_policy.semantics.explain")
local filters = require("llm_policy.language.sugar_filter")
local keys = require("llm_policy.base.tables").keys
local names = require("llm_policy.language.sorts")
local vocabulary = require("llm_policy.language.vocabulary").new(schema)

local fields, found = {}, keys(vocabulary.fields)
for i = 1, #found do
  local field = vocabulary.fields[found[i]]
  local is_high = field.sort == "Num" and field.default == require("llm_policy.base.numbers").HIGH
  fields[found[i]] = {
    sort = field.sort, meaning = field.meaning, dynamic = field.dynamic,
    default = not is_high and field.default or nil, is_high = is_high,
  }
  if field.sort == "Bool" then fields[found[i]].default = field.default end
end

local filter_words, words = {}, keys(filters.WORDS)
for i = 1, #words do filter_words[words[i]] = explain.describe(filters.WORDS[words[i]]) end

return {
  fields = fields,
  params = keys(vocabulary.params),
  tiers = vocabulary.tier_order,
  customs = keys(vocabulary.customs),
  relations = names.RELS,
  kinds = names.KINDS,
  actions = explain.ACTION_WORDS,
  filter_words = filter_words,
}
"""

_RECORDS = ("actions", "filter_words")


@dataclass(frozen=True, slots=True)
class Field:
    """A field that policies observe: its sort, what is seen where a candidate has none, its meaning."""

    sort: str
    is_high: bool
    default: Plain = None
    meaning: str | None = None
    dynamic: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What may be named under a schema; records are by word, with its meaning."""

    fields: Mapping[str, Field]
    params: Sequence[str]
    tiers: Sequence[str]
    customs: Sequence[str]
    relations: Sequence[str]
    kinds: Sequence[str]
    actions: Mapping[str, str]
    filter_words: Mapping[str, str]


def words_of(vm: Vm, schema: Mapping[str, Any]) -> Words:
    """Ask the core."""
    found: dict[str, Any] = vm.from_lua(vm.call(vm.load(_WORDS), vm.to_lua(dict(schema))))
    given = found.pop("fields")
    fields = {name: Field(**given[name]) for name in sorted(given)}
    parts: dict[str, Any] = {name: [*value] for name, value in found.items() if name not in _RECORDS}
    records: dict[str, Any] = {
        name: {key: found[name][key] for key in sorted(found[name])} for name in _RECORDS
    }
    return Words(fields=fields, **parts, **records)
