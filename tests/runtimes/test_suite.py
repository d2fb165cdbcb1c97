"""The Lua suites hold on every runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtimes import RUNTIMES, Runtime

LUA = Path(__file__).resolve().parents[1] / "lua"
# What stands in tests/lua and is no suite.
TOOLS = ("suite",)
# What a runtime cannot be asked: the facade reads the global `host`, and a script of Redis sets no global.
UNASKED = {"redis": {"engine.face"}}


def suites() -> list[str]:
    names = [path.relative_to(LUA).with_suffix("") for path in sorted(LUA.rglob("*.lua"))]
    return [".".join(name.parts) for name in names if name.parts[0] not in TOOLS]


def test_there_are_suites() -> None:
    assert suites()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_every_claim_of_every_suite_holds(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    names = [name for name in suites() if name not in UNASKED.get(runtime.name, ())]
    answers = dict(zip(names, runtime.replay(names, "suite", beside=[LUA]), strict=True))
    assert {name: answer for name, answer in answers.items() if not answer.startswith("ok ")} == {}
