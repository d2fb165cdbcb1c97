"""Exceptions: a caller's mistake or ours, never a provider's misfortune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class HostError(Exception):
    """The base of everything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a config: where it stands and what is wrong."""

    file: str
    line: int
    column: int
    path: str
    detail: str
    nearest: str | None = None

    def __str__(self) -> str:
        """Say `file:line:column: path: detail`, with the nearest valid name."""
        hint = f" (did you mean `{self.nearest}`?)" if self.nearest else ""
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.detail}{hint}"

    def as_data(self) -> dict[str, str | int | None]:
        """Give plain data for JSON output."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "detail": self.detail,
            "nearest": self.nearest,
        }


class ConfigError(HostError):
    """A config that cannot be used, with every mistake found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MarshalError(HostError, ValueError):
    """A value that has no plain form on the other side of the Lua boundary."""


class CoreError(HostError):
    """The Lua core failed where it promises not to: a defect here, not in the input."""


class SandboxError(HostError):
    """Operator Lua that broke a rule of the sandbox or an allowance of it."""


class UsageError(HostError):
    """A call that makes no sense in the state the host is in."""


class LedgerError(HostError):
    """An event that the ledger does not take, or a line that is none: which rule, where, and why."""

    def __init__(self, code: str, path: str, detail: str) -> None:
        self.code = code
        self.path = path
        self.detail = detail
        super().__init__(f"{path}: {detail}")
