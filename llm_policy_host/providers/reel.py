"""What a host asks of whoever records or replays its calls; without one it asks the same of nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Authenticator, Provider

    from .registry import Make, Tools


class Reel(Protocol):
    """Stands between a host and its providers. One reel serves every host of a process, in turn."""

    @property
    def is_live(self) -> bool:
        """Whether anybody outside is asked: providers, feeds, keepers of secrets."""

    def open_run(
        self, seed: int, others: Mapping[str, Any], *, is_given: bool
    ) -> tuple[int, int, Mapping[str, Any]]:
        """Begin a run (`run.state.OpenRun`)."""

    def keys(self, auth: Authenticator) -> Authenticator:
        """Give what stands before those who have the credentials."""

    def wrap(self, make: Make, tools: Tools) -> Provider:
        """Give what stands before a dialect's adapter."""

    def close(self) -> None:
        """Give back what it holds."""

    def check(self) -> None:
        """Raise what went wrong, if anything did: no call was told of it."""


class Unrecorded:
    """Lets everything through."""

    is_live = True

    def open_run(
        self, seed: int, others: Mapping[str, Any], *, is_given: bool
    ) -> tuple[int, int, Mapping[str, Any]]:
        """Let what would hold, hold."""
        del is_given
        return 0, seed, others

    def keys(self, auth: Authenticator) -> Authenticator:
        """Give those who have the credentials."""
        return auth

    def wrap(self, make: Make, tools: Tools) -> Provider:
        """Give the adapter."""
        return make(tools)

    def close(self) -> None:
        """Give back nothing."""

    def check(self) -> None:
        """Raise nothing."""


def _conforms(reel: Unrecorded) -> Reel:
    """Let the type checker prove the protocol."""
    return reel
