"""A policy in a file of its own is one policy, whatever the file is written in, to every command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .test_cli import CONFIG, llm_policy

if TYPE_CHECKING:
    from pathlib import Path

TERM: list[object] = ["policy", ["is", "no_log"], ["neg", ["field", "price_in"]], ["argmax"], ["id"]]
TERM += [["always", {"action": "next_candidate"}]]

LUA = """\
local dsl = require("llm_policy").dsl
return dsl.policy({ filter = dsl.F.is("no_log"), scorer = dsl.S.neg(dsl.S.field("price_in")) })
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    config = tmp_path / "policy.yaml"
    config.write_text(CONFIG)
    paths = [tmp_path / f"term.{suffix}" for suffix in ("json", "yaml", "lua")]
    for path, text in zip(paths, (json.dumps(TERM), json.dumps(TERM), LUA), strict=True):
        path.write_text(text)
    return paths


def told(*arguments: object) -> dict[str, object]:
    done = llm_policy(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_each_form_has_the_same_identity(files: list[Path]) -> None:
    identities = {told("hash", path)["identity"] for path in files}
    assert identities == {told("explain", path)["identity"] for path in files}
    assert len(identities) == 1


def test_each_form_is_written_as_each_other(files: list[Path]) -> None:
    for form in ("json", "yaml", "lua"):
        assert len({str(told("fmt", path, "--to", form)["text"]) for path in files}) == 1


def test_a_term_is_written_as_its_file_is(files: list[Path]) -> None:
    assert [told("fmt", path)["format"] for path in files] == ["json", "yaml", "lua"]


def test_terms_are_compared_and_proved(files: list[Path]) -> None:
    for path in files[1:]:
        assert llm_policy("diff", files[0], path).returncode == 0
        assert told("implies", files[0], path)["ok"] is True


def test_a_term_of_functions_has_no_identity(tmp_path: Path) -> None:
    path = tmp_path / "own.lua"
    path.write_text('return {"policy", {"custom", function() return true end}}\n')
    done = llm_policy("hash", path)
    assert done.returncode == 2
    assert "calls functions of its host" in done.stderr
