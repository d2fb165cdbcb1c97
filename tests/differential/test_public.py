"""The public conformance data of the language gives on every runtime what the oracle gives.

That the oracle gives what the data expects is the claim of `tests/conformance/test_public.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.test_public import DATA, VECTORS
from tests.differential.cases import expected_text, lines
from tests.runtimes import RUNTIMES, Runtime


def cases_of(vector: Any) -> list[Any]:
    """Turn a vector into cases: the term, and what its kind decides."""
    cases = [{**vector, "kind": "term"}]
    if vector["kind"] == "xform":
        once = {key: vector[key] for key in ("request", "candidate", "ctx") if key in vector}
        cases.append({**vector, "cases": [once]})
    elif vector["kind"] == "failplan":
        cases.append({**vector, "kinds": [each["kind"] for each in vector["cases"]]})
    elif vector["kind"] != "encoding":
        cases.append(vector)
    return cases


@pytest.mark.skipif(not VECTORS, reason=f"no public conformance data at {DATA.name}")
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_the_core_gives_what_the_public_data_expects(runtime: Runtime) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    cases = [case for vector in VECTORS for case in cases_of(vector)]
    seen = runtime.replay(lines(cases))
    wrong = {
        case["name"]: (answer, expected_text(case))
        for case, answer in zip(cases, seen, strict=True)
        if answer != expected_text(case)
    }
    assert wrong == {}
