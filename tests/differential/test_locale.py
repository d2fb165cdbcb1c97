"""No decision follows the locale: not its collation, not its decimal comma. Three times over; once where slow."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests import oracle
from tests.differential.cases import case_files, expected_text, lines
from tests.runtimes import QUICK_FIRST, Runtime

LOCALES = ("C", "en_US.UTF-8", "de_DE.UTF-8")
TIMES = 3


def known_locales() -> set[str]:
    if not shutil.which("locale"):
        return {"C"}
    done = subprocess.run(["locale", "-a"], capture_output=True, check=False, text=True)  # noqa: S607 - found above
    return {"C", *(name.replace("utf8", "UTF-8") for name in done.stdout.split())}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("runtime", QUICK_FIRST)
def test_every_case_shows_the_same_under_a_locale(runtime: Runtime, locale: str) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    if locale not in known_locales():
        pytest.skip(f"no locale {locale} on this machine")
    files = {name: case for name, case in case_files().items() if case["kind"] in oracle.KINDS}
    expected = [expected_text(case) for case in files.values()]
    env = {"LC_ALL": locale, "LLM_POLICY_TEST_LOCALE": locale}
    for _ in range(1 if runtime.is_slow else TIMES):
        seen = runtime.replay(lines(files.values()), env=env)
        answers = zip(files, seen, expected, strict=True)
        assert {name: (answer, text) for name, answer, text in answers if answer != text} == {}
