"""Books for a host without a ledger: every attempt may be made, and nothing is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.values import Refused, Turned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from llm_policy_host.ports import Books, Provider
    from llm_policy_host.values import Attempt, Call, Contract, Failure, Inputs, Origin, Plain, Response, Step


class NoPage:
    """A page that keeps nothing."""

    run_id: str | None = None

    def admitted(self, step: Step, shape: Plain, inputs: Inputs, bound_ms: int) -> None:
        """Keep nothing."""

    def propose(self, call: Call, candidate: Mapping[str, Any], provider: Provider | None) -> None:
        """Let it be made."""

    async def keep(self, outcome: Response | Failure | None) -> None:
        """Keep nothing."""

    async def park(self, parked: Mapping[str, Any]) -> Refused:
        """Put nothing off: no gate holds here."""
        del parked
        return Refused("approval_required")

    def give_up(self, error: str) -> None:
        """Keep nothing."""

    def outcome(self, outcome: Response | Failure | None, sent: Attempt | None) -> None:
        """Keep nothing."""

    def waits(self, ms: float) -> None:
        """Keep nothing."""

    def end(self, step: Step, *, is_cancelled: bool = False) -> None:
        """Keep nothing."""


class NoFlowPage:
    """A flow's page that keeps nothing."""

    run_id: str | None = None

    def refused(self, code: str) -> None:
        """Keep nothing."""

    async def admitted(self, identity: str, bound_ms: int, term: Plain) -> None:
        """Keep nothing."""

    def end(self, error: str | None, *, is_cancelled: bool = False) -> None:
        """Keep nothing."""


class NoBooks:
    """One page for all, since nothing is on it."""

    def __init__(self) -> None:
        self._page = NoPage()
        self._flow_page = NoFlowPage()

    def begin(self, contract: Contract, *, is_stream: bool) -> NoPage:
        """Give the page."""
        del contract, is_stream
        return self._page

    def reopen(self, contract: Contract, shape: Plain, *, is_stream: bool) -> Turned:
        """Know of no run that was put off."""
        del contract, shape, is_stream
        return Turned("approval_unknown")

    def waiting(self, approval: str, origin: Origin | None = None) -> None:
        """Know of no request that waits."""
        del approval, origin

    def begin_flow(self, contract: Contract, *, is_stream: bool, run: str | None = None) -> NoFlowPage:
        """Give the page of flows."""
        del contract, is_stream, run
        return self._flow_page


def _conforms(books: NoBooks) -> Books:
    """Let the type checker prove the port."""
    return books
