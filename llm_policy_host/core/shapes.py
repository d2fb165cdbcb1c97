"""What a config may hold, as data: asked of the rows by which the core checks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .vm import Vm

Node = dict[str, Any]
"""A kind of value: `kind`, and by kind `noun` `rows` `needs` `other`, `entry` `length`, `words`, `either`,
`value`, `op`."""

# What a row takes is data beside its functions; a config's profiles and envelope are the sugar's.
_SHAPES = b"""
local filters = require("llm_policy.language.sugar_filter")
local schema = require("llm_policy.engine.config_schema")
local vocabulary = require("llm_policy.language.vocabulary")

local function bare(value)
  if type(value) ~= "table" then return value end
  if value.takes then return bare(value.takes) end
  local out = {}
  for key, item in next, value do
    if type(item) ~= "function" then out[key] = bare(item) end
  end
  return out
end

local rows = bare(schema.parts(vocabulary.new()))
local profile = { kind = "record", noun = "profile key" }
profile.rows = bare(require("llm_policy.language.sugar").PARTS)
rows.profiles = { kind = "map", entry = profile }
rows.policy_envelope = { kind = "Filter" }
return {
  config = { kind = "record", noun = "config key", rows = rows },
  filters = bare(filters.ROWS),
  changes = bare(require("llm_policy.language.sugar_mutate").ROWS),
  action = bare(schema.ACTION),
  addressed = require("llm_policy.base.tables").keys(schema.ADDRESSED),
  never = vocabulary.NEVER_PARAMS,
}
"""


@dataclass(frozen=True, slots=True)
class Shapes:
    """A config, the keys of the sugar's filters and changes, and an action.

    Providers of an `addressed` kind need no address; a name of `never` is no parameter.
    """

    config: Node
    filters: Mapping[str, Node]
    changes: Mapping[str, Node]
    action: Node
    addressed: Sequence[str]
    never: Sequence[str]


def shapes_of(vm: Vm) -> Shapes:
    """Ask the core."""
    return Shapes(**vm.from_lua(vm.call(vm.load(_SHAPES))))
