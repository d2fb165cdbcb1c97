"""The conformance cases: where they are, how a runtime is asked, and whether it shows what is expected.

A case is asked as one line of ASCII JSON and answered with one line in the canonical encoding (spec 1.4),
whose numbers have 17 digits: what is equal as text is equal to the bit.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.names import nearest
from llm_policy_host.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PACKAGE = Path(__file__).resolve().parent.parent
_UNASKED = ("about", "expect")

# The core's JSON is at most 64 deep, a term alone can be deeper: what lies below is a text of its own.
DEPTH = 48


@cache
def cases_directory() -> Path:
    """Find the directory of the groups: packaged beside this package, or in a checkout."""
    for directory in (_PACKAGE / "_conformance", _PACKAGE.parent / "tests" / "conformance"):
        if directory.is_dir():
            return directory
    raise HostError("the conformance cases are missing: neither packaged nor in a checkout")


def case_files() -> dict[str, Any]:
    """Read every case, named `<group>/<idea>`."""
    root = cases_directory()
    return {
        path.relative_to(root).with_suffix("").as_posix(): json.loads(path.read_text("utf-8"))
        for path in sorted(root.glob("*/*.json"))
    }


def chosen(cases: Mapping[str, Any], groups: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """Keep the cases of some groups and kinds; all, where none is named."""
    _demand("group", groups, {group_of(name) for name in cases})
    _demand("kind", kinds, {case["kind"] for case in cases.values()})
    return {
        name: case
        for name, case in cases.items()
        if (not groups or group_of(name) in groups) and (not kinds or case["kind"] in kinds)
    }


def group_of(name: str) -> str:
    """Give the group of a case."""
    return name.partition("/")[0]


def _demand(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f", did you mean `{near}`?" if near else f": {', '.join(sorted(known))}"
            raise UsageError(f"there is no {what} `{name}` of cases{hint}")


def shallow(value: Any, depth: int = DEPTH) -> Any:  # noqa: ANN401 - any plain data
    """Write what is too deep as `{"$json": text}`, which the judge reads back."""
    if depth == 0 and isinstance(value, dict | list):
        return {"$json": json.dumps(shallow(value))}
    if isinstance(value, dict):
        return {key: shallow(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [shallow(each, depth - 1) for each in value]
    return value


def line(case: Mapping[str, Any]) -> str:
    """Write what a case asks as one line of ASCII JSON; what it expects is not the asked one's to know."""
    return json.dumps(shallow({key: each for key, each in case.items() if key not in _UNASKED}))


def lines(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """Write cases, one a line."""
    return [line(case) for case in cases]


def read(text: str) -> Any:  # noqa: ANN401 - any plain data
    """Read an observation back from its canonical encoding, which is JSON but for control bytes."""
    if text.startswith("!"):
        return {"error": text}
    return json.loads(text, strict=False)


def shows(seen: Any, expected: Any) -> bool:  # noqa: ANN401 - any plain data
    """Tell whether an observation shows all that is expected; records may show more."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        return all(key in seen and shows(seen[key], each) for key, each in expected.items())
    if isinstance(expected, list) and isinstance(seen, list):
        return len(seen) == len(expected) and all(map(shows, seen, expected))
    return _is_same(seen, expected)


def _is_same(seen: Any, expected: Any) -> bool:  # noqa: ANN401 - any plain data
    """Compare as Lua does: a boolean is no number, an empty table is a list and a record."""
    if seen in ([], {}) and expected in ([], {}):
        return True
    return isinstance(seen, bool) is isinstance(expected, bool) and bool(seen == expected)
