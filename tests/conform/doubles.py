"""Players for the tests: the core on a Lua in this process, and one that lies where it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import lupa.lua54

from llm_policy_host.conform.runtime import JUDGE, lua_path
from llm_policy_host.core.sources import core_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def judge() -> Callable[[bytes], bytes]:
    """Load the judge."""
    lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True, encoding=None)
    lua.execute(b"package.path = ...", lua_path([core_directory(), JUDGE]).encode())
    answer: Callable[[bytes], bytes] = lua.execute(b'local judge = require("judge") return judge')
    return answer


@dataclass
class InProcess:
    """Answers as the core does, but for the lines that hold a word."""

    name: str
    lie_at: str = ""
    lie: str = "{}"
    is_slow: bool = False
    asked: list[str] = field(default_factory=list)
    answer: Callable[[bytes], bytes] = field(default_factory=judge)

    def available(self) -> str | None:
        return None

    def replay(self, lines: Iterable[str]) -> list[str]:
        given = list(lines)
        self.asked += given
        return [self._answer(line) for line in given]

    def _answer(self, line: str) -> str:
        truth = self.answer(line.encode()).decode("utf-8", "surrogateescape")
        return self.lie if self.lie_at and self.lie_at in line and not truth.startswith("!") else truth
