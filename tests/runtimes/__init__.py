"""Every Lua the core must agree with itself on, behind one interface."""

import pytest

from llm_policy_host.conform.runtime import Runtime, RuntimeFailedError
from llm_policy_host.conform.runtimes import RUNTIMES, available, replay_everywhere

QUICK_FIRST = [
    pytest.param(runtime, id=runtime.name, marks=[pytest.mark.heavy] if runtime.is_slow else [])
    for runtime in RUNTIMES
]
"""The runtimes as parameters of claims beyond the cases; the slow ones are asked with `-m heavy`."""

__all__ = ["QUICK_FIRST", "RUNTIMES", "Runtime", "RuntimeFailedError", "available", "replay_everywhere"]
