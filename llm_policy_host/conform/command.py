"""A command as a player: lines of JSON to its standard input, one answer a line from its standard output."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError

from .runtime import TIMEOUT_S, RuntimeFailedError, failure

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Command:
    """A command line, split as a shell does, run without one."""

    text: str
    is_slow: bool = False

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.text)
        except ValueError as error:
            raise UsageError(f"the command `{self.text}` cannot be read: {str(error).lower()}") from None
        if not words:
            raise UsageError("the command is empty")

    @property
    def name(self) -> str:
        """Give the command itself."""
        return self.text

    def available(self) -> str | None:
        """Say why it cannot be run; nothing where it can."""
        program = shlex.split(self.text)[0]
        return None if shutil.which(program) else f"no `{program}` on this machine"

    def replay(self, lines: Iterable[str]) -> list[str]:
        """Answer every line; what it says on standard error is for people."""
        given = "".join(f"{line}\n" for line in lines).encode()
        try:
            done = subprocess.run(
                shlex.split(self.text), input=given, capture_output=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise RuntimeFailedError(f"{self.name}: not done in {TIMEOUT_S:g} s") from None
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip()
            raise failure(self.name, told or f"exit code {done.returncode}")
        text = done.stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        return text.removesuffix("\n").split("\n") if text else []
