"""The conformance cases as lines for the runtimes, and what each must answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests import oracle
from tests.runtimes.runtime import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

CASES = ROOT / "tests" / "conformance"


def case_files() -> dict[str, Any]:
    """Read every case, named `<group>/<idea>`."""
    return {
        path.relative_to(CASES).with_suffix("").as_posix(): json.loads(path.read_text("utf-8"))
        for path in sorted(CASES.rglob("*.json"))
    }


def expected_text(case: Any) -> str:
    """Write what the oracle says that a case must show."""
    return oracle.text(oracle.observe_case(case))


# The core's JSON is at most 64 deep, a term alone can be deeper: what lies below is a text of its own.
DEPTH = 48


def shallow(value: Any, depth: int = DEPTH) -> Any:
    """Write what is too deep as `{"$json": text}`, which the judge reads back."""
    if depth == 0 and isinstance(value, dict | list):
        return {"$json": json.dumps(shallow(value))}
    if isinstance(value, dict):
        return {key: shallow(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [shallow(each, depth - 1) for each in value]
    return value


def line(case: Any) -> str:
    """Write what a case asks as one line of ASCII JSON; what it expects is not the core's to know."""
    return json.dumps(shallow({key: each for key, each in case.items() if key not in ("about", "expect")}))


def lines(cases: Iterable[Any]) -> list[str]:
    """Write cases, one a line."""
    return [line(case) for case in cases]


def read(text: str) -> Any:
    """Read an observation back from its canonical encoding, which is JSON but for control bytes."""
    if text.startswith("!"):
        return {"error": text}
    return json.loads(text, strict=False)


def shows(seen: Any, expected: Any) -> bool:
    """Tell whether an observation shows all that is expected; records may show more."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        return all(key in seen and shows(seen[key], each) for key, each in expected.items())
    if isinstance(expected, list) and isinstance(seen, list):
        return len(seen) == len(expected) and all(map(shows, seen, expected))
    return _is_same(seen, expected)


def _is_same(seen: Any, expected: Any) -> bool:
    """Compare as Lua does: a boolean is no number, an empty table is a list and a record."""
    if seen in ([], {}) and expected in ([], {}):
        return True
    return isinstance(seen, bool) is isinstance(expected, bool) and bool(seen == expected)
