"""A flow's page: its nodes' runs are parts of it, and its texts are no part of the ledger (spec 5.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import standing

from .amounts import count
from .entry import Entry, code_of
from .folds import AccountRefusedError
from .kept import FLOW, flow_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from llm_policy_host.values import Contract, Plain, Refused

    from .books import LedgerBooks


class FlowEntry(Entry):
    """A flow's page: its nodes' runs are parts of it."""

    def __init__(
        self, books: LedgerBooks, contract: Contract, *, is_stream: bool, run: str | None = None
    ) -> None:
        super().__init__(books, contract, is_stream=is_stream)
        self._is_resumed = self._is_admitted = run is not None
        self.run_id = run or self.run_id

    def refused(self, code: str) -> None:
        """Note that there is no such flow."""
        self._received(None, is_flow=True)
        self._say("RequestRejected", {"code": code_of(code)})

    async def admitted(self, identity: str, bound_ms: int, term: Plain) -> Refused | None:
        """Note the flow that runs, before any of its nodes does; its texts are no part of it."""
        if self._is_resumed:
            return None
        await self._keep(term)
        self._received(None, is_flow=True)
        self._say("PolicyAdmitted", {"deadline_ms": count(bound_ms), "policy_id": identity})
        self._is_admitted = True
        try:
            if self._books.is_shared:
                await asyncio.shield(self._books.spawn(self._accept()))
            else:
                self._flush()
        except AccountRefusedError as error:
            self._is_admitted = False  # it has not even begun
            return error.said
        return None

    async def _keep(self, term: Plain) -> None:
        """Keep what the flow would be resumed from, before the ledger knows it."""
        keep, run = self._books.keep, self.run_id
        data = None if keep is None else flow_bytes(self._contract, term)
        if keep is not None and run is not None and data is not None:
            keep.put(run, self._tenant, FLOW, data, self._contract.origin.content)
            with standing(self._books.clock):
                await keep.written()

    def end(self, error: str | None, *, is_cancelled: bool = False) -> Awaitable[None] | None:
        """Note how it ended."""
        if self._is_ended:
            return None
        self._is_ended = True
        if self._is_admitted:
            core: dict[str, Any] = {"attempts": 0}
            if error is not None:
                core["error"] = code_of(error)
            kind = "RunCompleted" if error is None else "RunCancelled" if is_cancelled else "RunFailed"
            self._say(kind, core, {"ms": self._took_ms()})
        if not self._drafts:
            return None
        if self._books.is_shared:
            return asyncio.shield(self._books.spawn(self._end_there()))
        self._flush_end()
        return None

    async def _end_there(self) -> None:
        await self._books.parts_over(self.run_id)
        await self._accept_end()
