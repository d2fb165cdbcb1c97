"""Why there is no local model, and what a person can do about it."""

from __future__ import annotations

from llm_policy_host.errors import HostError


class ModelUnavailable(HostError):  # noqa: N818 - a state of this machine, not a mistake in a program
    """The local model cannot be had here; `reason` says why, `remedy` what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")
