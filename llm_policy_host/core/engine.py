"""The core's engine behind the `Engine` port: plain data in, steps out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import CoreError, UsageError
from llm_policy_host.values import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.values import Plain

    from .vm import Vm

# Every method through one shape, so that a Lua error has one place to come out.
_METHODS = b"""
local engine = ...
return
  function(contract, inputs) return engine:start(contract, inputs) end,
  function(handle, event, inputs) return engine:resume(handle, event, inputs) end,
  function(contract, inputs) return engine:rank(contract, inputs) end,
  function(now_ms) return engine:provider_status(now_ms) end,
  function() return engine:info() end
"""

_NEW = b"local face, config, metrics = ... return face.new(config, metrics)"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error of a config, as the core reports it; `at` is its path as keys."""

    path: str
    at: tuple[str | int, ...]
    detail: str
    nearest: str | None = None


class LuaEngine:
    """An engine in one runtime. Its health is its own; a handle is a Lua table, never copied."""

    def __init__(self, vm: Vm, engine: object) -> None:
        self.vm = vm
        self._start, self._resume, self._rank, self._status, self._info = vm.call(vm.load(_METHODS), engine)

    def start(self, contract: Plain, inputs: Plain) -> Step:
        """Plan, and take the first step."""
        vm = self.vm
        return self._step(vm.call(self._start, vm.to_lua(contract), vm.to_lua(inputs)))

    def resume(self, handle: object, event: Plain, inputs: Plain) -> Step:
        """Take the next step after an event."""
        vm = self.vm
        return self._step(vm.call(self._resume, handle, vm.to_lua(event), vm.to_lua(inputs)))

    def rank(self, contract: Plain, inputs: Plain) -> Plain:
        """Plan without any effect: `{ordered, error, rejected}`."""
        vm = self.vm
        answer = vm.call(self._rank, vm.to_lua(contract), vm.to_lua(inputs))
        parts = answer if isinstance(answer, tuple) else (answer,)
        names = ("ordered", "error", "rejected")
        return {name: vm.from_lua(part) for name, part in zip(names, parts, strict=False)}

    def status(self, now_ms: int) -> Plain:
        """Give the health of every provider."""
        return self.vm.from_lua(self.vm.call(self._status, now_ms))

    def info(self) -> Plain:
        """Give what the core says of itself and its config."""
        return self.vm.from_lua(self.vm.call(self._info))

    def _step(self, answer: Any) -> Step:  # noqa: ANN401 - lupa has no types
        if isinstance(answer, tuple):
            raise UsageError(f"the core refused an event: {self.vm.from_lua(answer[-1])}")
        status = self.vm.from_lua(answer[b"status"])
        field = {"call": b"request", "done": b"result"}.get(status)
        if field is not None:
            return Step(status, self.vm.from_lua(answer[field]), answer[b"state_handle"])
        if status == "wait":
            return Step(status, {"until_ms": self.vm.from_lua(answer[b"until_ms"])}, answer[b"state_handle"])
        raise CoreError(f"the core answered with no known step: `{status}`")


def create_engine(vm: Vm, config: Plain, metrics: Plain = None) -> LuaEngine | Sequence[Mistake]:
    """Make an engine from a config, or say every mistake in it."""
    answer = vm.call(vm.load(_NEW), vm.face, vm.to_lua(config), vm.to_lua(metrics or {}))
    if not isinstance(answer, tuple):
        return LuaEngine(vm, answer)
    return [_mistake(entry) for entry in vm.from_lua(answer[1])]


def _mistake(entry: Plain) -> Mistake:
    return Mistake(
        path=str(entry.get("path", "$")),
        at=tuple(entry.get("at") or ()),
        detail=str(entry.get("detail", "")),
        nearest=entry.get("nearest"),
    )
