"""What each conformance case must answer, in the oracle's words."""

from __future__ import annotations

from typing import Any

from llm_policy_host.conform.cases import case_files, line, lines, read, shows
from tests import oracle

__all__ = ["case_files", "expected_text", "line", "lines", "read", "shows"]


def expected_text(case: Any) -> str:
    """Write what the oracle says that a case must show."""
    return oracle.text(oracle.observe_case(case))
