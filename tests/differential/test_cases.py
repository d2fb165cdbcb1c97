"""Every conformance case shows on every runtime what it shows on the oracle, byte for byte."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests import oracle
from tests.differential.cases import case_files, expected_text, lines, read, shows
from tests.runtimes import RUNTIMES, Runtime, available
from tests.runtimes.results import recorded


@cache
def answers(runtime: Runtime) -> dict[str, str]:
    cases = case_files()
    return dict(zip(cases, runtime.replay(lines(cases.values())), strict=True))


def test_there_are_cases() -> None:
    assert case_files()


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_every_case_shows_on_the_core_what_it_shows_on_the_oracle(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    expected = {
        name: expected_text(case) for name, case in case_files().items() if case["kind"] in oracle.KINDS
    }
    seen = answers(runtime)
    assert {name: (seen[name], text) for name, text in expected.items() if seen[name] != text} == {}


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_every_case_shows_on_the_core_what_it_expects(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    wrong: dict[str, Any] = {}
    for name, case in case_files().items():
        seen = read(answers(runtime)[name])
        if not shows(seen, case["expect"]):
            wrong[name] = {"seen": seen, "expected": case["expect"]}
    assert wrong == {}


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_the_table_of_the_documentation_says_what_a_runtime_shows(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    files = case_files()
    wrong = [name for name, case in files.items() if not shows(read(answers(runtime)[name]), case["expect"])]
    assert recorded()[runtime.name] == {"differing": wrong}, "python -m tests.runtimes.results"


def test_the_table_of_the_documentation_has_every_runtime() -> None:
    assert list(recorded()) == [runtime.name for runtime in RUNTIMES]
    assert None not in recorded().values()


def test_all_runtimes_show_the_same() -> None:
    present = available()
    reference = answers(present[0])
    for runtime in present[1:]:
        seen = answers(runtime)
        assert {name: (seen[name], text) for name, text in reference.items() if seen[name] != text} == {}
