"""What the Rust side is made of: its errors, its opaque values, what a provider answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Opaque:
    """A userdata that Lua can hold and pass on, nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"userdata: {self.name}"


class Rat(Opaque):
    """A fraction as v0.6 counts generation budgets in: no number to Lua."""

    def __init__(self, numerator: int, denominator: int = 1) -> None:
        super().__init__("rat")
        self.numerator, self.denominator = numerator, denominator


@dataclass(frozen=True)
class UserError:
    """What a contract, or the operator's log, sees of a failure."""

    causes: list[str]
    fatal: bool
    ctx: dict[str, Any]


class NativeError(Opaque):
    """An error raised by Rust: opaque to Lua, the same object wherever it is raised again."""

    def __init__(self, user: UserError | None, message: str = "") -> None:
        super().__init__("error")
        self.user, self.message = user, message

    def __repr__(self) -> str:
        return f"NativeError({self.user or self.message!r})"


class NativeRaisedError(Exception):
    """A native error on its way to Lua."""

    def __init__(self, error: NativeError) -> None:
        super().__init__(repr(error))
        self.error = error


@dataclass(frozen=True)
class Answer:
    """What a provider says: `data` is text, an object (json) or a boolean (bool)."""

    data: Any
    latency_ms: int = 100
    consumed_gen: Any = 0


@dataclass(frozen=True)
class Failure:
    """What a provider's misfortune is: an HTTP status, or none where it was never reached.

    `kind` other than "user" is no user error: `internal`, or `exhausted` for a budget used up.
    """

    status: int | None = None
    body: bytes = b'{"error":{"message":"no"}}'
    kind: str = "user"
    latency_ms: int = 100

    def error(self) -> NativeError:
        """Give the error as it is raised, a new one each time."""
        if self.kind != "user":
            return NativeError(None, self.kind)
        if self.status is None:
            return NativeError(UserError(["CONNECTION_FAILED"], fatal=True, ctx={"url": "https://backend"}))
        ctx = {"status": float(self.status), "body": self.body}
        return NativeError(UserError(["STATUS_NOT_OK"], fatal=True, ctx=ctx))


@dataclass(frozen=True)
class Request:
    """One call of a provider, as validated."""

    provider: str
    model: str
    format: str
    timeout: float | None
    prompt: dict[str, Any]
    genvm_id: str

    @property
    def pair(self) -> str:
        """Name the backend and the model."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True)
class Outcome:
    """How a call of the script ended: with an answer, or raised."""

    data: Any = None
    consumed_gen: Any = None
    error: Any = None
    calls: list[Request] = field(default_factory=list)

    @property
    def user_error(self) -> UserError:
        """Give the user error that was raised."""
        assert isinstance(self.error, NativeError), self
        assert self.error.user is not None, self
        return self.error.user

    @property
    def pairs(self) -> list[str]:
        """List who was asked."""
        return [call.pair for call in self.calls]
