"""The Lua suites hold on every runtime."""

from __future__ import annotations

import pytest

from tests.runtimes import RUNTIMES, Runtime
from tests.runtimes.runtime import ROOT

LUA = ROOT / "tests" / "lua"
# What stands in tests/lua and is no suite.
TOOLS = ("judge", "replay", "suite")


def suites() -> list[str]:
    names = [path.relative_to(LUA).with_suffix("") for path in sorted(LUA.rglob("*.lua"))]
    return [".".join(name.parts) for name in names if name.parts[0] not in TOOLS]


def test_there_are_suites() -> None:
    assert suites()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_every_claim_of_every_suite_holds(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    names = suites()
    answers = dict(zip(names, runtime.replay(names, "suite"), strict=True))
    assert {name: answer for name, answer in answers.items() if not answer.startswith("ok ")} == {}
