"""Fills the expectations of conformance cases from the oracle: `python -m tests.oracle.fill [--force] FILE…`.

A case without `expect` gets the oracle's whole observation. A case with one that the oracle does not
show is left alone and named, and the exit code is 1; `--force` overwrites it. Never the core's word.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from llm_policy_host.conform.case_file import written
from llm_policy_host.conform.cases import shows

from .cases import observe_case

__all__ = ["fill", "shows", "written"]


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
