"""A player is told apart that answers otherwise, fails, is absent, or is refused by the gate."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.conform.cases import case_files, chosen
from llm_policy_host.conform.command import Command
from llm_policy_host.conform.judging import judge
from llm_policy_host.conform.runtime import HERE, Runtime
from llm_policy_host.conform.runtimes import RUNTIMES
from llm_policy_host.errors import UsageError

from .doubles import InProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

REPLAY = HERE / "players" / "lupa_replay.py"

# An embedder: reads lines, answers lines, one at a time.
EMBEDDER = """
import sys
from tests.conform.doubles import judge
answer = judge()
for line in sys.stdin.buffer:
    {change}
    sys.stdout.buffer.write(answer(line.rstrip(b"\\n")) + b"\\n")
    sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def cases() -> Mapping[str, Any]:
    return chosen(case_files(), ["predicates", "randomness", "selectors"], [])


def embedder(folder: Path, change: str = "") -> Command:
    script = folder / "embedder.py"
    root = str(Path(__file__).parents[2])
    text = f"import sys\nsys.path.insert(0, {root!r})\n{EMBEDDER.format(change=change)}"
    script.write_text(text, "utf-8")
    return Command(f"{sys.executable} {script}")


def test_a_command_that_answers_as_the_core_conforms(cases: Mapping[str, Any], tmp_path: Path) -> None:
    outcome = judge(embedder(tmp_path), cases)
    assert outcome.conforms
    assert outcome.asked == len(cases) > 100


def test_a_command_that_answers_otherwise_is_told_which_cases_differ(
    cases: Mapping[str, Any], tmp_path: Path
) -> None:
    outcome = judge(embedder(tmp_path, 'line = line.replace(b"argmax", b"ordered")'), cases)
    assert not outcome.conforms
    names = {each.name for each in outcome.differing}
    assert "selectors/argmax_orders" in names
    assert {cases[name]["kind"] for name in names} == {"policy"}
    assert 0 < len(names) < 40


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("continue", "0 answered"),
        ("sys.stdout.buffer.write(b'once more\\n')", f"{2} answered"),
        ("sys.exit('it broke')", "it broke"),
    ],
)
def test_a_command_that_fails_or_loses_count_has_failed(change: str, told: str, tmp_path: Path) -> None:
    one = dict(list(case_files().items())[:1])
    outcome = judge(embedder(tmp_path, change), one)
    assert outcome.failed is not None
    assert told in outcome.failed
    assert not outcome.conforms


def test_an_answer_that_is_no_json_differs() -> None:
    one = dict(list(case_files().items())[:1])
    outcome = judge(InProcess("liar", lie_at="kind", lie="certainly"), one)
    assert [each.seen for each in outcome.differing] == [{"error": "no JSON: certainly"}]


def test_a_number_that_differs_in_the_last_bit_differs() -> None:
    case = {"kind": "random", "name": "x", "about": "One draw.", "seed": 1, "draws": 1}
    truth = 0.13153778814316625
    assert judge(InProcess("a"), {"g/x": case | {"expect": {"draws": [truth]}}}).differing
    seen = judge(InProcess("a"), {"g/x": case | {"expect": {"draws": [0]}}}).differing[0].seen["draws"][0]
    assert judge(InProcess("a"), {"g/x": case | {"expect": {"draws": [seen]}}}).conforms


def test_a_command_that_is_not_here_is_absent() -> None:
    outcome = judge(Command("no-such-program --at all"), {})
    assert outcome.absent == "no `no-such-program` on this machine"
    assert not outcome.conforms


@pytest.mark.parametrize("text", ["", "'unclosed"])
def test_a_command_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Command(text)


def broken(prelude: str) -> Runtime:
    """Give a runtime on which something was changed before anything else ran."""
    program = f"import sys; sys.argv[0:1] = []\nimport runpy, lupa.lua54 as lua\nmade = lua.LuaRuntime\ndef make(**words):\n    it = made(**words)\n    it.execute({prelude.encode()!r})\n    return it\nlua.LuaRuntime = make\nrunpy.run_path({str(REPLAY)!r}, run_name='__main__')"
    return Runtime("broken", "a broken one", (sys.executable, "-c", program, "replay", "lua54"), str)


def test_a_runtime_that_the_gate_refuses_is_told_with_its_reason() -> None:
    one = dict(list(case_files().items())[:1])
    assert judge(broken("local sound = 1"), one).conforms
    outcome = judge(broken("string.char = function() return 'x' end"), one)
    assert outcome.refused == "its tables or strings differ"
    assert outcome.failed is None
    assert not outcome.conforms


def test_a_runtime_that_is_not_here_is_absent() -> None:
    absent = dataclasses.replace(RUNTIMES[0], absence=lambda: "nowhere")
    assert judge(absent, {}).absent == "nowhere"
