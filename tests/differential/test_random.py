"""Random cases show on every runtime what they show on the oracle, byte for byte.

A case that fails is printed as JSON, ready to be saved as a named case.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import pytest

from tests.differential.cases import expected_text, lines
from tests.oracle import observe_case
from tests.property.generator import random_runs
from tests.property.strategies import KINDS, random_cases
from tests.runtimes import QUICK_FIRST, Runtime

SEED = int(os.environ.get("LLM_POLICY_TEST_SEED", "20261121"))
CASES_A_KIND = int(os.environ.get("LLM_POLICY_TEST_CASES", "150"))
# A slow runtime gets every so-many-th case.
SHARE_OF_THE_SLOW = 5


def has_text(case: Any) -> bool:
    """Tell whether the canonical encoding has words for what a case passes through."""
    passed = json.dumps([each["request"] for each in case["cases"]]) if case["kind"] == "xform" else ""
    return not any(f'{{"$": "{word}"}}' in passed for word in ("nan", "inf", "-inf"))


def is_sound(case: Any) -> bool:
    """Tell whether a profile's whole config is good: an engine takes it as a whole or not at all."""
    return case["kind"] != "profile" or not observe_case({**case, "kind": "config"})["errors"]


@cache
def drawn() -> tuple[list[Any], list[str]]:
    """Draw the cases of all kinds, and what the oracle says of each."""
    cases = [case for kind in KINDS for case in random_cases(SEED, CASES_A_KIND, kind)]
    cases = [case for case in cases if has_text(case) and is_sound(case)]
    cases += random_runs(SEED, CASES_A_KIND)
    return cases, [expected_text(case) for case in cases]


@pytest.mark.parametrize("runtime", QUICK_FIRST)
def test_random_cases_show_on_the_core_what_they_show_on_the_oracle(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    cases, expected = drawn()
    if runtime.is_slow:
        cases, expected = cases[::SHARE_OF_THE_SLOW], expected[::SHARE_OF_THE_SLOW]
    seen = runtime.replay(lines(cases))
    wrong = [
        f"{json.dumps(case)}\n  core:   {answer}\n  oracle: {text}"
        for case, answer, text in zip(cases, seen, expected, strict=True)
        if answer != text
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)} differ (seed {SEED})\n" + "\n".join(wrong[:5])
