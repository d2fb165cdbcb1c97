"""Operator Lua inside this process: PUC Lua, bounded libraries, an allowance for every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import CoreError, MarshalError, SandboxError
from llm_policy_host.spelling import decode

from .sources import host_source
from .vm import PUC_RUNTIMES, Vm, available_runtimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.values import Plain


@dataclass(frozen=True, slots=True)
class Allowance:
    """What operator Lua may use; instructions and wall time are for each call."""

    instructions: int = 20_000_000
    memory_bytes: int = 64 * 1024 * 1024
    processor_s: int = 5
    wall_s: float = 20.0


DEFAULT_ALLOWANCE = Allowance()


class Sandbox(Vm):
    """A runtime for foreign Lua: whatever is called in it is bounded."""

    def __init__(self, allowance: Allowance = DEFAULT_ALLOWANCE) -> None:
        runtimes = [name for name in PUC_RUNTIMES if name in available_runtimes()]
        if not runtimes:
            raise SandboxError("no PUC Lua is available here, and no other runs a config safely")
        super().__init__(runtimes[0], max_memory=allowance.memory_bytes)
        self._instructions = allowance.instructions
        parts = super().call(self.load(host_source("sandbox.lua")), self.kept, self.face)
        self._evaluate, self._bounded, self._without = parts

    def call(self, function: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401 - lupa has no types
        """Call a function under the allowance."""
        return self._settle(self._bounded, self._instructions, function, *values)

    def evaluate(self, source: bytes) -> Any:  # noqa: ANN401 - lupa has no types
        """Evaluate a config; give the Lua value that it returns."""
        return self._settle(self._evaluate, source, self._instructions)

    def without(self, config: object, keys: list[str]) -> Any:  # noqa: ANN401 - lupa has no types
        """Give a config's table without some of its keys."""
        return super().call(self._without, config, self.to_lua(keys))

    def _settle(self, function: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401 - lupa has no types
        try:
            answer = super().call(function, *values)
        except CoreError as error:
            raise SandboxError(str(error)) from None
        ok, *rest = answer if isinstance(answer, tuple) else (answer,)
        if not ok:
            raise SandboxError(decode(rest[0]))
        return rest[0] if len(rest) == 1 else tuple(rest) or None


def evaluate(source: bytes, allowance: Allowance = DEFAULT_ALLOWANCE) -> Plain:
    """Evaluate a chunk that returns plain data."""
    sandbox = Sandbox(allowance)
    try:
        return sandbox.from_lua(sandbox.evaluate(source))
    except MarshalError as error:
        raise SandboxError(f"the config must return plain data: {error}") from None
