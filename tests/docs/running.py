"""Runs the code blocks of a page, one after the other, in a directory of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import lupa.lua54
import pytest
import yaml

from llm_policy_host.errors import ConfigError
from llm_policy_host.wiring import Host

from .pages import ROOT

if TYPE_CHECKING:
    from .pages import Block, Page

TIMEOUT_S = 120
_ANYTHING = re.compile(r"(\.\.\.)")


class Runner:
    """The directory of a page, and what its last block printed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._printed: str | None = None

    def play(self, page: Page) -> None:
        """Do with every block what its words say; an `AssertionError` names the one that is not true."""
        for block in page.blocks:
            try:
                self._do(block)
            except AssertionError as error:
                raise AssertionError(f"{page.name}:{block.line}: {error}") from None

    def _do(self, block: Block) -> None:
        name = block.value("file")
        if name is not None:
            self._write(name, block)
        elif "run" in block.words:
            self._printed = self._run(block)
        elif "output" in block.words:
            assert self._printed is not None, "no block before this one printed anything"
            assert matches(block.text, self._printed), f"what was printed is\n{self._printed}"

    def _write(self, name: str, block: Block) -> None:
        path = self._directory / name
        path.write_text(block.text, "utf-8")
        if not is_config(block):
            return
        if "refused" in block.words:
            with pytest.raises(ConfigError):
                Host.from_config(path, environment={})
        else:
            Host.from_config(path, environment={})

    def _run(self, block: Block) -> str:
        if block.language == "lua":
            return self._run_lua(block.text)
        command = {
            "sh": ["bash", "-euo", "pipefail", "-c", block.text],
            "python": [sys.executable, "-c", block.text],
        }
        done = subprocess.run(
            command[block.language],
            cwd=self._directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
            text=True,
        )
        wanted = int(block.value("exit") or 0)
        assert done.returncode == wanted, f"exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def _run_lua(self, text: str) -> str:
        printed: list[str] = []
        lua = lupa.lua54.LuaRuntime(unpack_returned_tuples=True)
        lua.globals().package.path = f"{ROOT}/lua/?.lua;{self._directory}/?.lua"
        write = lua.eval("function(note) print = function(...) note(table.pack(...)) end end")
        write(lambda values: printed.append("\t".join(_shown(values[n]) for n in range(1, values.n + 1))))
        try:
            lua.execute(text)
        except lupa.lua54.LuaError as error:
            raise AssertionError(str(error)) from None
        return "".join(f"{line}\n" for line in printed)


def _shown(value: object) -> str:
    """Write a Lua value as `print` does."""
    if value is None:
        return "nil"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _environment() -> dict[str, str]:
    """Give what a fresh shell would have, with this interpreter's commands first."""
    kept = {name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # unbuffered, so that both outputs come in the order that a terminal shows
    return {**kept, "PATH": path, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def matches(wanted: str, printed: str) -> bool:
    """Whether a text is the wanted one, `...` standing for anything."""
    pieces = (".*" if piece == "..." else re.escape(piece) for piece in _ANYTHING.split(wanted.strip()))
    return re.fullmatch("".join(pieces), printed.strip(), re.DOTALL) is not None


def is_config(block: Block) -> bool:
    """Whether a block is a whole config."""
    if block.language == "yaml":
        data = yaml.safe_load(block.text)
        return isinstance(data, dict) and "providers" in data
    return block.language == "lua" and "return {" in block.text


def check_data(block: Block) -> None:
    """Parse a block of data, or of Python."""
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "python":
        compile(block.text, "a block", "exec")
