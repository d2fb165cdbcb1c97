"""The operator's gates: predicates of the policy language over one attempt, judged by the core."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.spelling import decode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Plain

    from .vm import Vm

GATE_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "attempt": ("Num", "which attempt of its run it is, from 1"),
    "estimate_tokens": ("Num", "the most tokens that it can take; unknown is higher than every number"),
    "estimate_usd": ("Num", "the most that it can cost, in USD; unknown is higher than every number"),
    "images": ("Bool", "the request has images"),
    "privacy": ("Bool", "the request requires privacy"),
    "remaining_calls": (
        "Num",
        "calls that its accounts have left; no limit is higher than every number",
    ),
    "remaining_tokens": ("Num", "tokens that they have left"),
    "remaining_usd": ("Num", "USD that they have left"),
    "run_spent_usd": ("Num", "what the run has cost so far, in USD"),
    "spent_usd": ("Num", "what its account has spent in its window, in USD; 0 without one"),
    "stream": ("Bool", "the answer is streamed"),
    "tools": ("Bool", "the request brings tools"),
}
"""What a gate may name besides a policy's fields: its sort, and what it is of an attempt."""

_MAKE = b"""
local given, schema = ...
local decide = require("llm_policy.semantics.decide")
local encoding = require("llm_policy.language.encoding")
local observation = require("llm_policy.verbs.observation")
local reports = require("llm_policy.language.report")
local sugar = require("llm_policy.language.sugar")
local vocabulary = require("llm_policy.language.vocabulary").new(schema)
local preds, report = {}, reports.new()
for i = 1, #given do
  local term = sugar.check_filter(given[i], { i, "when" }, { vocabulary = vocabulary, report = report })
  preds[i] = #report.errors == 0 and decide.carrier(term, vocabulary) or nil
end
local errors = reports.errors(report)
if errors then
  return nil, encoding.value(errors)
end
return function(candidate, request)
  local view = observation.view({ candidate }, { request = request, state = {} })
  for i = 1, #preds do
    if preds[i]:holds(view, 1) then
      return i
    end
  end
end
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate of the config: what it is called, when it holds, and the word it gives as its reason."""

    name: str
    when: Plain
    reason: str


class Judge:
    """Finds the first gate that holds, in one runtime of its own; without state."""

    def __init__(self, vm: Vm, gates: Sequence[Gate], judge: Any) -> None:  # noqa: ANN401 - lupa has no types
        self._vm = vm
        self._gates = gates
        self._judge = judge

    def held(
        self, candidate: Mapping[str, Any], request: Mapping[str, Plain], facts: Mapping[str, Plain]
    ) -> Gate | None:
        """Give the first gate that holds for an attempt; `facts` are its `GATE_FIELDS`."""
        seen = {name: value for name, value in candidate.items() if name not in GATE_FIELDS}
        known = {name: value for name, value in facts.items() if value is not None}
        vm = self._vm
        place = vm.call(self._judge, vm.to_lua({**seen, **known}), vm.to_lua(dict(request)))
        return None if place is None else self._gates[int(place) - 1]


def create_judge(vm: Vm, gates: Sequence[Gate], schema: Mapping[str, Any]) -> Judge | list[tuple[int, str]]:
    """Compile gates, or say every mistake: the gate's place from 0, and what is wrong with it."""
    fields = {
        **(schema.get("fields") or {}),
        **{name: {"sort": sort} for name, (sort, _) in GATE_FIELDS.items()},
    }
    whens = [gate.when for gate in gates]
    answer = vm.call(vm.load(_MAKE), vm.to_lua(whens), vm.to_lua({**schema, "fields": fields}))
    if isinstance(answer, tuple):
        return [_mistake(entry) for entry in json.loads(decode(answer[1]), strict=False)]
    return Judge(vm, gates, answer)


def _mistake(entry: Mapping[str, Any]) -> tuple[int, str]:
    place, *below = entry["at"]
    inner = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in below[1:])
    near = f" (did you mean `{entry['nearest']}`?)" if entry.get("nearest") else ""
    return int(
        place
    ) - 1, f"{inner.lstrip('.')}: {entry['detail']}{near}" if inner else f"{entry['detail']}{near}"
