"""Every Lua the core must agree with itself on, behind one interface."""

from llm_policy_host.conform.runtime import Runtime, RuntimeFailedError
from llm_policy_host.conform.runtimes import RUNTIMES, available, replay_everywhere

__all__ = ["RUNTIMES", "Runtime", "RuntimeFailedError", "available", "replay_everywhere"]
