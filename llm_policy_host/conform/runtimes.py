"""Every Lua that the core must agree with itself on, behind one interface."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .runtime import HERE, REPLAY, Runtime, inherited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PLAYERS = HERE / "players"
# The first that has functions: a library is loaded once, not with every call.
_REDIS = 7

_LUPA = {
    "lua51": "PUC Lua in Python",
    "lua52": "PUC Lua in Python",
    "lua53": "PUC Lua in Python; GenVM embeds the same",
    "lua54": "PUC Lua in Python",
    "lua55": "PUC Lua in Python",
    "luajit20": "LuaJIT in Python",
    "luajit21": "LuaJIT in Python: what the host decides on by default",
}


def _python(player: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(_PLAYERS / player), *arguments)


def _lupa(name: str, what: str) -> Runtime:
    def absence() -> str:
        return "" if find_spec(f"lupa.{name}") else f"this lupa carries no {name}"

    return Runtime(f"lupa-{name}", what, _python("lupa_replay.py", name), absence)


def _standalone(name: str) -> Runtime:
    def absence() -> str:
        return "" if shutil.which(name) else f"no `{name}` on this machine"

    return Runtime(name, "Debian's", (name, str(REPLAY)), absence)


@cache
def _told(*command: str) -> str | None:
    """Run a command that shows whether something is here; what it printed, or nothing where it failed."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, env=inherited(), capture_output=True, check=False, timeout=60)
    return None if done.returncode else done.stdout.decode("utf-8", "replace")


_FIND_LUERL = "halt(case code:which(luerl) of non_existing -> 1; _ -> 0 end)."


def _luerl() -> str:
    is_there = shutil.which("escript") and _told("erl", "-noshell", "-eval", _FIND_LUERL) is not None
    return "" if is_there else "no luerl in an erlang on this machine"


def _node(name: str, what: str, *, is_slow: bool = False) -> Runtime:
    def absence() -> str:
        is_there = _told("node", "-e", f"require.resolve('{name}')") is not None
        return "" if is_there else f"no {name} for a node on this machine (npm, NODE_PATH)"

    return Runtime(name, what, ("node", str(_PLAYERS / f"{name}_replay.cjs")), absence, is_slow)


def _luau() -> str:
    return "" if find_spec("pluau") else "no pluau in this Python"


def _redis() -> str:
    version = re.search(r"v=(\d+)", _told("redis-server", "--version") or "")
    if version is None:
        return "no `redis-server` on this machine"
    return "" if int(version[1]) >= _REDIS else f"the `redis-server` here has no functions: below {_REDIS}"


RUNTIMES = (
    *(_lupa(name, what) for name, what in _LUPA.items()),
    *(_standalone(name) for name in ("lua5.1", "lua5.3", "lua5.4", "luajit")),
    Runtime(
        "luerl",
        "Debian's, Lua in Erlang: what an Elixir host embeds",
        ("escript", str(_PLAYERS / "luerl_replay.escript")),
        _luerl,
        is_slow=True,
    ),
    _node("wasmoon", "Lua 5.4 in WebAssembly: what a browser embeds"),
    _node("fengari", "Lua 5.3 in JavaScript, whose integers have 32 bits", is_slow=True),
    Runtime("luau", "Luau in Python, by pluau", _python("luau_replay.py"), _luau, is_bundled=True),
    Runtime("redis", "the Lua in Debian's Redis", _python("redis_replay.py"), _redis, is_bundled=True),
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
