"""The house's tools find nothing: each is a test, so that a finding is a red build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NPM = Path.home() / ".cache" / "llm-policy-ci" / "node_modules" / ".bin"

PYTHON = ("llm_policy_host", "example_host", "genvm", "tests")
LUA = ("lua", "genvm", "llm_policy_host/conform/lua", "tests/lua", "tests/genvm")
PYTHON_TOOLS = {
    "ruff": ("ruff", "check", "--no-cache", *PYTHON),
    "ruff format": ("ruff", "format", "--no-cache", "--check", *PYTHON),
    "mypy": ("mypy",),
    "import-linter": ("lint-imports", "--no-cache"),
    "codespell": ("codespell", "README.md", "docs", "lua", "llm_policy_host", "example_host", "genvm"),
}
LUA_TOOLS = {
    "luacheck": ("luacheck", "--no-color", "-q", *LUA),
    "stylua": ("stylua", "--check", *LUA),
}


def complaint(command: tuple[str, ...]) -> str:
    """Run a tool from the repository's root; give what it says where it is not content."""
    searched = os.pathsep.join([str(Path(sys.executable).parent), str(NPM), os.environ.get("PATH", "")])
    program = shutil.which(command[0], path=searched)
    if program is None:
        pytest.skip(f"no `{command[0]}` on this machine")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=ROOT,
        env={**os.environ, "PATH": searched},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("tool", PYTHON_TOOLS)
def test_the_python_tools_find_nothing(tool: str) -> None:
    assert complaint(PYTHON_TOOLS[tool]) == ""


@pytest.mark.parametrize("tool", LUA_TOOLS)
def test_the_lua_tools_find_nothing(tool: str) -> None:
    assert complaint(LUA_TOOLS[tool]) == ""
