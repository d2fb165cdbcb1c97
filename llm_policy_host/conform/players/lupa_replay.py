"""Replay lines on one of lupa's Lua runtimes: `lupa_replay.py RUNTIME MODULE INPUT OUTPUT`.

A process of its own, so that a hash seed is fresh and a locale is nobody else's.
"""

from __future__ import annotations

import importlib
import os
import sys


def main() -> None:
    """Run the Lua side, which reads and writes the files itself."""
    name, *arguments = sys.argv[1:]
    lua = importlib.import_module(f"lupa.{name}").LuaRuntime(encoding=None)
    package = lua.globals()[b"package"]
    package[b"path"] = os.environ["LUA_PATH"].encode()
    with open(os.environ["LLM_POLICY_REPLAY"], "rb") as source:  # noqa: PTH123 - starts faster without pathlib
        lua.compile(source.read())(*(each.encode() for each in arguments))


if __name__ == "__main__":
    main()
