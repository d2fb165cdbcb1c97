"""A Lua runtime as a process: lines go in through a file, one answer a line comes out.

Each replay is a fresh process: fresh hash seeds, its own locale, nothing kept.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llm_policy_host.core.sources import core_directory
from llm_policy_host.errors import HostError

from .bundle import bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HERE = Path(__file__).parent
JUDGE = HERE / "lua"
REPLAY = JUDGE / "replay.lua"
TIMEOUT_S = 1200.0

_REFUSED = re.compile(r"this runtime cannot agree: (.*)")


class RuntimeFailedError(HostError):
    """A runtime that could not replay: its process failed."""


class RuntimeRefusedError(RuntimeFailedError):
    """A runtime that the core's gate refuses; `reason` is the gate's."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: refused: {reason}")
        self.reason = reason


class Player(Protocol):
    """What answers lines: a runtime, or a command."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def is_slow(self) -> bool:
        """Whether it takes its time, so that random cases are shared out."""

    def available(self) -> str | None:
        """Say why it is absent from this machine; nothing where it is present."""

    def replay(self, lines: Iterable[str]) -> list[str]:
        """Answer every line with one."""


@dataclass(frozen=True)
class Runtime:
    """A named runtime, what it is, how it is started, and why it may be absent here.

    A bundled one has no files: it is given the core and the judge as one chunk.
    """

    name: str
    what: str
    command: tuple[str, ...]
    absence: Callable[[], str]
    is_slow: bool = False
    is_bundled: bool = False

    def available(self) -> str | None:
        """Say why the runtime is absent from this machine; nothing where it is present."""
        return self.absence() or None

    def replay(
        self,
        lines: Iterable[str],
        module: str = "judge",
        env: Mapping[str, str] | None = None,
        beside: Sequence[Path] = (),
    ) -> list[str]:
        """Answer every line by a Lua module of the judge's, or one beside it; bytes are read as UTF-8."""
        roots = (core_directory(), JUDGE, *beside)
        with tempfile.TemporaryDirectory(prefix="llm-policy-") as directory:
            given, answered, whole = (Path(directory, name) for name in ("input", "output", "bundle.lua"))
            given.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            if self.is_bundled:
                whole.write_bytes(bundle(roots))
            own = {"LLM_POLICY_REPLAY": str(REPLAY), "LLM_POLICY_BUNDLE": str(whole), **(env or {})}
            self._run([module, str(given), str(answered)], {"LUA_PATH": lua_path(roots), **own})
            return answered.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]

    def _run(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        done = subprocess.run(
            [*self.command, *arguments],
            env={**inherited(), **env},
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        if done.returncode or done.stderr:
            told = (done.stderr or done.stdout).decode("utf-8", "replace")
            raise failure(self.name, told.strip() or f"exit code {done.returncode}")


def failure(name: str, told: str) -> RuntimeFailedError:
    """Give the error of a process from what it told: the gate's word is one of its own."""
    refused = _REFUSED.search(told)
    return RuntimeRefusedError(name, refused[1].strip()) if refused else RuntimeFailedError(f"{name}: {told}")


def lua_path(roots: Iterable[Path]) -> str:
    """Write where modules are, as Lua searches them."""
    return ";".join(f"{root}/?.lua" for root in roots)


def inherited() -> dict[str, str]:
    """Keep the environment but what would change a Lua."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LUA_")}
