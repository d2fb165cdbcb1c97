"""Fills the expectations of conformance cases from the oracle: `python -m tests.oracle.fill [--force] FILE…`.

A case without `expect` gets the oracle's whole observation. A case with one that the oracle does not
show is left alone and named, and the exit code is 1; `--force` overwrites it. Never the core's word.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cases import observe_case

if TYPE_CHECKING:
    from .transport import Data

COLUMNS = 100


def shows(seen: Data, expected: Data) -> bool:
    """Tell whether an observation shows all that is expected; records may show more."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        return all(key in seen and shows(seen[key], each) for key, each in expected.items())
    if isinstance(expected, list) and isinstance(seen, list):
        return len(seen) == len(expected) and all(map(shows, seen, expected))
    if seen in ([], {}) and expected in ([], {}):
        return True
    return isinstance(seen, bool) is isinstance(expected, bool) and bool(seen == expected)


def written(case: Data) -> str:
    """Write a case as the files have it: what fits in a line stands in one."""
    return _lines(_tidy(case), "") + "\n"


def _tidy(value: Data) -> Data:
    """Write integral doubles without a fraction, as every JSON reader of ours reads them."""
    if isinstance(value, list):
        return [_tidy(each) for each in value]
    if isinstance(value, dict):
        return {key: _tidy(each) for key, each in value.items()}
    is_integral = isinstance(value, float) and abs(value) <= 2.0**53 and value == int(value)
    return int(value) if is_integral else value


def _lines(value: Data, margin: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if len(margin) + len(line) <= COLUMNS or not value or not isinstance(value, list | dict):
        return line
    deeper = margin + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(each, deeper)}" for key, each in value.items()]
        return "{\n" + ",\n".join(deeper + part for part in parts) + f"\n{margin}}}"
    return "[\n" + ",\n".join(deeper + part for part in _packed(value, deeper)) + f"\n{margin}]"


def _packed(entries: list[Data], margin: str) -> list[str]:
    """Put short scalars and ops without arguments of a long list side by side."""
    parts: list[str] = []
    for each in entries:
        part = _lines(each, margin)
        is_small = not isinstance(each, list | dict) or len(each) == 1
        joined = f"{parts[-1]}, {part}" if parts else ""
        if parts and is_small and "\n" not in joined and len(margin) + len(joined) <= COLUMNS:
            parts[-1] = joined
        else:
            parts.append(part)
    return parts


def fill(path: Path, *, force: bool) -> bool:
    """Fill one case; tell whether its expectation is what the oracle shows."""
    case = json.loads(path.read_text("utf-8"))
    seen = observe_case(case)
    if not force and "expect" in case and not shows(seen, case["expect"]):
        return False
    if force or "expect" not in case:
        case["expect"] = seen
    path.write_text(written(case), "utf-8")
    return True


def main(arguments: list[str]) -> int:
    """Fill the files; name those whose expectation differs."""
    paths = [Path(each) for each in arguments if each != "--force"]
    differing = [path for path in paths if not fill(path, force="--force" in arguments)]
    for path in differing:
        sys.stderr.write(f"{path}: the oracle shows something else\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
