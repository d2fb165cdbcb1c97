"""What each runtime shows on the cases, written for the documentation: `python -m tests.runtimes.results`.

The rows of runtimes that are absent here stay as they were.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.conform.cases import case_files
from llm_policy_host.conform.judging import judge

from . import RUNTIMES, Runtime

if TYPE_CHECKING:
    from llm_policy_host.conform.judging import Outcome

FILE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "runtimes.json"


def row(outcome: Outcome) -> dict[str, Any]:
    """Say of a runtime what does not follow from the cases: which differ, or why it is refused."""
    if outcome.refused:
        return {"refused": outcome.refused}
    return {"differing": [each.name for each in outcome.differing]}


def recorded() -> dict[str, Any]:
    """Read what was written."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return found


def seen(runtime: Runtime) -> dict[str, Any]:
    """Ask a runtime."""
    outcome = judge(runtime, case_files())
    if outcome.failed:
        raise RuntimeError(outcome.failed)
    return row(outcome)


def main() -> None:
    """Ask every runtime that is here, and write."""
    old = recorded()
    rows = {each.name: old.get(each.name) if each.available() else seen(each) for each in RUNTIMES}
    FILE.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
