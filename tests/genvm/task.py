"""A call of the script on its way, and the session that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .values import Outcome, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .world import World


@dataclass
class Session:
    """A contract's session: its identity, and the one table that is its ctx."""

    genvm_id: str
    ctx: Any


class Task:
    """One call of a script's function, run step by step."""

    def __init__(self, world: World, function: str, arguments: Sequence[Any], wanted: str | None) -> None:
        self._world, self._wanted, self._reply = world, wanted, tuple(arguments)
        self._id = world.executor.start(function.encode())
        self._first_call = len(world.calls)
        self.outcome: Outcome | None = None
        self.calls: list[Request] = []

    def advance(self) -> Outcome | None:
        """Run up to the next asynchronous native, or the end."""
        status, *rest = as_tuple(self._world.executor.step(self._id, *self._reply))
        if status == b"pending":
            self._reply = self._world.served(self, *rest)
            return None
        first = rest[0] if rest else None
        self._world.check()
        if status == b"raised":
            self.outcome = Outcome(error=self._world.raised(first), calls=self.calls)
        else:
            self.outcome = self._world.answered(first, self._wanted, self.calls)
        self._world.check()
        return self.outcome

    def run(self) -> Outcome:
        """Run to the end."""
        while self.outcome is None:
            self.advance()
        return self.outcome


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
