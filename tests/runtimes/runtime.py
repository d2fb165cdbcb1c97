"""A Lua runtime as a process: lines go in through a file, one answer a line comes out.

Each replay is a fresh process: fresh hash seeds, its own locale, nothing kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REPLAY = ROOT / "tests" / "lua" / "replay.lua"
LUA_PATH = f"{ROOT}/lua/?.lua;{ROOT}/tests/lua/?.lua"
# Where .ci/run puts what npm installs, outside of the checkout.
NODE_MODULES = Path.home() / ".cache" / "llm-policy-ci" / "node_modules"
TIMEOUT_S = 1200.0


class RuntimeFailedError(Exception):
    """A runtime that could not replay: its process failed."""


@dataclass(frozen=True)
class Runtime:
    """A named runtime, how it is started, why it may be absent here, and whether it takes its time."""

    name: str
    command: tuple[str, ...]
    absence: Callable[[], str]
    is_slow: bool = False

    def available(self) -> str | None:
        """Say why the runtime is absent from this machine; nothing where it is present."""
        return self.absence() or None

    def replay(
        self, lines: Iterable[str], module: str = "judge", env: Mapping[str, str] | None = None
    ) -> list[str]:
        """Answer every line by a Lua module; the answers' bytes are read as UTF-8."""
        with tempfile.TemporaryDirectory(prefix="llm-policy-") as directory:
            given, answered = Path(directory, "input"), Path(directory, "output")
            given.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            self._run([module, str(given), str(answered)], env or {})
            return answered.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]

    def suite(self, module: str) -> str:
        """Run one Lua suite; the answer is `ok <count>` or its failures."""
        return self.replay([module], "suite")[0]

    def _run(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        done = subprocess.run(
            [*self.command, *arguments],
            env={**_inherited(), "LUA_PATH": LUA_PATH, "LLM_POLICY_REPLAY": str(REPLAY), **env},
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        if done.returncode or done.stderr:
            told = (done.stderr or done.stdout).decode("utf-8", "replace")
            raise RuntimeFailedError(f"{self.name}: {told.strip() or done.returncode}")


def _inherited() -> dict[str, str]:
    """Keep the environment but what would change a Lua; node finds what .ci/run installed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LUA_")}
    searched = [kept.get("NODE_PATH", ""), str(NODE_MODULES)]
    return {**kept, "NODE_PATH": os.pathsep.join(filter(None, searched))}


def _lupa(name: str) -> Runtime:
    def absence() -> str:
        return "" if find_spec(f"lupa.{name}") else f"this lupa carries no {name}"

    return Runtime(f"lupa-{name}", (sys.executable, str(HERE / "lupa_replay.py"), name), absence)


def _standalone(name: str) -> Runtime:
    def absence() -> str:
        return "" if shutil.which(name) else f"no `{name}` on this machine"

    return Runtime(name, (name, str(REPLAY)), absence)


@cache
def _starts(*command: str) -> bool:
    if not shutil.which(command[0]):
        return False
    done = subprocess.run(command, env=_inherited(), capture_output=True, check=False, timeout=60)
    return done.returncode == 0


_FIND_LUERL = "halt(case code:which(luerl) of non_existing -> 1; _ -> 0 end)."


def _luerl() -> str:
    is_there = shutil.which("escript") and _starts("erl", "-noshell", "-eval", _FIND_LUERL)
    return "" if is_there else "no luerl in an erlang on this machine"


def _wasmoon() -> str:
    is_there = _starts("node", "-e", "require.resolve('wasmoon')")
    return "" if is_there else "no wasmoon for a node on this machine"


RUNTIMES = (
    *(_lupa(name) for name in ("lua51", "lua52", "lua53", "lua54", "lua55", "luajit20", "luajit21")),
    *(_standalone(name) for name in ("lua5.1", "lua5.3", "lua5.4", "luajit")),
    Runtime("luerl", ("escript", str(HERE / "luerl_replay.escript")), _luerl, is_slow=True),
    Runtime("wasmoon", ("node", str(HERE / "wasmoon_replay.cjs")), _wasmoon),
)


def available() -> list[Runtime]:
    """List the runtimes that are present here."""
    return [runtime for runtime in RUNTIMES if not runtime.available()]


def replay_everywhere(
    lines: Sequence[str], runtimes: Sequence[Runtime] | None = None, env: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """Replay the same lines on every present runtime, a processor's worth at a time."""
    runtimes = available() if runtimes is None else runtimes
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        answers = pool.map(lambda runtime: runtime.replay(lines, env=env), runtimes)
        return {runtime.name: each for runtime, each in zip(runtimes, answers, strict=True)}
