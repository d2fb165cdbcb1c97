"""Many policies over one contract at once: whom each would call first, and whom it could fall back on.

The engine's own verbs decide; one snapshot and one view of the candidates serve all policies, and two
numbers a policy cross, so that a thousand of them cost milliseconds.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.errors import CoreError

from .engine import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.values import Inputs, Plain

    from .engine import LuaEngine

_BATCH = b"""
local engine, kind = ...
local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local policies = require("llm_policy.engine.policies")
local sequence = require("llm_policy.verbs.sequence")
local snapshots = require("llm_policy.engine.snapshot")
local char, concat, floor = string.char, table.concat, math.floor
local list, words, providers, bits = {}, {}, {}, {}
local sets, numbers = {}, {}

local candidates = engine.catalog.candidates
for i = 1, #candidates do
  local id = candidates[i].provider_id
  if not providers[id] then
    bits[#bits + 1] = id
    providers[id] = #bits
  end
end

-- What the failure of a call leads to in the end: the word that moves on, or "abort".
local function word_of(policy)
  local action = sequence.classify(policy.carriers.failures, kind)
  local word = action.action
  if word == "retry_same" then
    word = action.then_action or "next_candidate"
  end
  return word == "retry_same" and "next_candidate" or word
end

-- The number of a set of providers, given as flags.
local function number_of(flags)
  local text = {}
  for i = 1, #bits do
    text[i] = flags[i] and "1" or "0"
  end
  local key = concat(text)
  if not numbers[key] then
    sets[#sets + 1] = key
    numbers[key] = #sets
  end
  return numbers[key]
end

local function pair(number)
  return char(number % 256, floor(number / 256))
end

-- The first whom a policy calls (0: nobody), and the set of those it calls when every call fails.
local function walk(policy, word, contract, view, idx, scores)
  local disabled = view.ctx.state.disabled
  local carriers = policies.narrowed(engine, policy, contract)
  local cursor = decide.shortlist(carriers, view, idx, scores)
  local first, flags, rank = 0, {}, 1
  while decide.reach(cursor, rank) do
    local index = idx[cursor.order[rank]]
    local candidate = view.candidates[index]
    local is_meant = first == 0
      or word ~= "next_provider_same_model"
      or candidate.model_family == view.candidates[first].model_family
    if is_meant and disabled[candidate.provider_id] == nil then
      flags[providers[candidate.provider_id]] = true
      first = first == 0 and index or first
      if word == "abort" then
        break
      end
    end
    rank = rank + 1
  end
  return first, flags
end

local function add(term)
  local policy, refusal = policies.admit(engine, term)
  if not policy then
    return nil, encoding.value(refusal)
  end
  list[#list + 1] = policy
  words[#list] = word_of(policy)
  return policy.id
end

local function decide_all(contract, inputs, seeds)
  local snapshot = snapshots.freeze(engine, contract, inputs)
  local view = snapshots.view(engine, snapshot)
  local idx, scores, firsts, reached = {}, {}, {}, {}
  for p = 1, #list do
    if seeds then
      view.ctx.seed = seeds[p]
    end
    local first, flags = walk(list[p], words[p], contract, view, idx, scores)
    firsts[p], reached[p] = pair(first), pair(number_of(flags))
  end
  return concat(firsts), concat(reached)
end

local function known_sets()
  return encoding.value({ providers = bits, sets = sets })
end

return add, decide_all, known_sets
"""


@dataclass(frozen=True, slots=True)
class Decided:
    """What policies decide on one contract, in their order.

    `firsts` holds the place of the first candidate in the catalog, from 1, or 0 for nobody;
    `reached` the number, from 1, of the set of providers that are called when every call fails.
    """

    firsts: array[int]
    reached: array[int]


class Batch:
    """Policies admitted to one engine, to decide together."""

    def __init__(self, engine: LuaEngine, loss: str = "network_error") -> None:
        self._vm, table = engine.inner
        self._engine = engine
        functions = self._vm.call(self._vm.load(_BATCH), table, loss.encode())
        self._add, self._decide, self._sets = functions

    def add(self, term: Plain) -> str:
        """Admit one more policy, under the config's envelope; give its identity."""
        answer = self._vm.call(self._add, self._vm.to_lua(term))
        if isinstance(answer, tuple):
            raise CoreError(f"a policy is not admitted: {self._vm.from_lua(answer[1])}")
        return str(self._vm.from_lua(answer))

    def decide(self, contract: Plain, inputs: Inputs, seeds: Sequence[int] | None = None) -> Decided:
        """Decide a contract by every policy; `seeds` gives each one's own."""
        vm = self._vm
        given = {**inputs.others, "now_ms": inputs.now_ms, "seed": inputs.seed}
        own = None if seeds is None else vm.to_lua(list(seeds))
        firsts, reached = vm.call(self._decide, vm.to_lua(contract), vm.to_lua(given), own)
        return Decided(_numbers(firsts), _numbers(reached))

    def sets(self) -> list[frozenset[str]]:
        """Give the sets of providers that were reached so far, by their numbers."""
        known = read_text(self._vm.call(self._sets))
        providers = known["providers"] or []
        return [
            frozenset(name for name, flag in zip(providers, flags, strict=True) if flag == "1")
            for flags in known["sets"] or []
        ]


def _numbers(data: bytes) -> array[int]:
    """Read numbers of two bytes, the low one first."""
    low, high = data[::2], data[1::2]
    return array("H", (one + 256 * other for one, other in zip(low, high, strict=True)))
