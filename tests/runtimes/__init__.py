"""Every Lua the core must agree with itself on, behind one interface."""

from .runtime import RUNTIMES, Runtime, RuntimeFailedError, available, replay_everywhere

__all__ = ["RUNTIMES", "Runtime", "RuntimeFailedError", "available", "replay_everywhere"]
