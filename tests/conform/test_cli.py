"""`llm-policy conform` as a person would use it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.conform.cases import case_files, lines
from llm_policy_host.conform.runtimes import RUNTIMES
from tests.oracle.fill import fill

from .test_judging import embedder

if TYPE_CHECKING:
    from pathlib import Path

HERE = "lupa-lua54"


def test_emit_gives_every_case_with_its_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "cases.jsonl"
    assert main(["conform", "emit", "--out", str(out)]) == 0
    files = case_files()
    assert capsys.readouterr().out == f"{len(files)} cases in {out}\n"
    cases = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert {case["name"]: case | {"name": case["name"].partition("/")[2]} for case in cases} == files


def test_emit_asks_what_run_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "emit", "--asks", "--group", "flows"]) == 0
    flows = [case for name, case in case_files().items() if name.startswith("flows/")]
    assert capsys.readouterr().out.splitlines() == lines(flows)


def test_run_names_the_cases_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    liar = embedder(tmp_path, 'line = line.replace(b"argmax", b"ordered")').text
    words = ["conform", "run", "--group", "selectors", "--runtime", HERE, "--command", liar]
    assert main(words) == 1
    shown = capsys.readouterr().out
    assert f"{HERE}: 40 of 40 cases as expected" in shown
    assert "  selectors/argmax_orders: Score descending." in shown
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [player["differing"] != [] for player in told["players"]] == [False, True]
    assert main([*words[:6], "--json"]) == 0


def test_run_without_a_name_takes_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "run", "--group", "failplans", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [player["name"] for player in told["players"]] == [runtime.name for runtime in RUNTIMES]
    for player, runtime in zip(told["players"], RUNTIMES, strict=True):
        assert player["absent"] == runtime.available()


def test_a_command_that_is_not_here_is_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "run", "--group", "flows", "--command", "no-such-program"]) == 1
    assert capsys.readouterr().out == "no-such-program: absent: no `no-such-program` on this machine\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--runtime", "lua54"], "there is no runtime `lua54`, did you mean `lua5.4`?"),
        (["run", "--group", "selector"], "there is no group `selector` of cases, did you mean `selectors`?"),
        (["emit", "--kind", "predd"], "there is no kind `predd` of cases, did you mean `pred`?"),
        (["fuzz", "--runtimes", HERE], "a difference needs two: name another runtime or a command"),
        (["fuzz", "--runtimes", HERE, "--command", "nope"], "nope: no `nope` on this machine"),
        (["emit", "--out", "/"], "`/` cannot be written: is a directory"),
    ],
)
def test_a_mistake_is_named(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", *words]) == 2
    assert told in capsys.readouterr().err


def test_fuzz_finds_nothing_between_two_that_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "finds"
    assert (
        main(["conform", "fuzz", "--runtimes", f"{HERE},lupa-lua51", "--cases", "48", "--out", str(out)]) == 0
    )
    assert capsys.readouterr().out.endswith(f"between {HERE}, lupa-lua51: none differs\n")
    assert not out.exists()


def test_fuzz_writes_each_find_as_a_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "finds"
    liar = embedder(tmp_path, 'line = line.replace(b"argmax", b"ordered")').text
    words = ["conform", "fuzz", "--runtimes", HERE, "--command", liar, "--cases", "60", "--out", str(out)]
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    names = {find["case"]["name"] for find in told["finds"]}
    assert {path.stem for path in out.iterdir()} == names
    for path in out.iterdir():
        assert "argmax" in path.read_text("utf-8")
        assert fill(path, force=False)
        assert "expect" in json.loads(path.read_text("utf-8"))


def test_the_runtimes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "runtimes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told] == [runtime.name for runtime in RUNTIMES]
    assert main(["conform", "runtimes"]) == 0
    assert "lupa-lua54" in capsys.readouterr().out
