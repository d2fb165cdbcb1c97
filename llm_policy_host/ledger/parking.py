"""The page of a run that may be put off: what is asked of a person, and how it goes on after (spec 5.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import standing
from llm_policy_host.errors import LedgerError
from llm_policy_host.values import Approval, Held, Refused

from .desk import APPROVAL_REQUIRED, Ahead, parked_bytes
from .entry import Entry, name_of
from .event import NONE
from .folds import TURNS_EXCEEDED, AccountRefusedError
from .waiting import WAITS, contract_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Call, Contract, Plain

    from .approvals import Asking
    from .books import LedgerBooks
    from .desk import Desk


class ParkedEntry(Entry):
    """What a run's page has for its gates, and what of it lasts while the run waits."""

    def __init__(self, books: LedgerBooks, contract: Contract, *, is_stream: bool) -> None:
        super().__init__(books, contract, is_stream=is_stream)
        self._attempts = 0
        self._is_over = False
        """Whether the ledger takes no more of it: it was rejected."""
        self._usd_micro: int | None = 0
        self._tokens: int | None = 0
        self._grounds: tuple[str | None, str, Plain, str] | None = None
        self._is_full = False
        self._shape: Mapping[str, Plain] = NONE
        self._allowed: set[str] = set()
        """Routes that a person let this run call."""
        self._asking: dict[str, Any] = {}

    def _held(
        self, desk: Desk, call: Call, candidate: Mapping[str, Any], hold: dict[str, Any]
    ) -> Held | Refused | None:
        """Ask the gates for an attempt. A part of a flow is not put off: what waited for it would be lost."""
        target = name_of(f"{call.provider_id}|{call.model_family}")
        if target in self._allowed:
            return None
        accounts, origin = self._accounts, self._contract.origin
        leaf = accounts[0] if accounts else None
        ahead = Ahead(
            self._shape, self._attempts + 1, hold, leaf, self._usd_micro, self._is_stream, origin.session
        )
        held = desk.held(candidate, ahead)
        if held is None:
            return None
        if origin.parent is not None:
            return Refused(APPROVAL_REQUIRED, None, held.gate)
        self._asking = {
            "accounts": list(accounts),
            "attempt": self._attempts + 1,
            "gate": held.gate,
            "hold": hold,
            "reason": held.reason,
            "target": target,
        }
        if "usd_micro" in hold:
            self._asking["estimate_micro"] = hold["usd_micro"]
        for name in ("key_id", "grant", "session"):
            value = getattr(origin, name)
            if value is not None:
                self._asking[name] = value
        return held

    async def park(self, parked: Mapping[str, Any]) -> Approval | Refused:
        """Put the run off: what it needs to go on is written down, and its reservation is held."""
        books, desk, run, core = self._books, self._books.desk, self.run_id or "", self._asking
        assert desk is not None  # noqa: S101 - it held the attempt
        await self._keep_waiting()
        approval = f"apr-{run.removeprefix('run-')}-{core['attempt']}"
        until_ms = books.clock.now_ms() + desk.ttl_ms
        state = books.blob(parked_bytes({**parked, "page": self._as_data()}))
        refs = {"request": desk.request(self._tenant, self._contract), "state": state}
        self._say("ApprovalRequested", {**core, "approval": approval}, {"until_ms": until_ms}, refs)
        try:
            if books.is_shared:
                seq = await asyncio.shield(books.spawn(self._accept()))
            else:
                seq = self._flush()
        except LedgerError as error:
            return self._refused(error)
        if books.is_strict:
            await self._durable(seq)
        self._is_ended = True
        return Approval(approval, run, core["gate"], core["reason"], until_ms)

    async def _keep_waiting(self) -> None:
        """Keep the request, as far as it may be: then nobody has to repeat it."""
        keep, run, contract = self._books.keep, self.run_id, self._contract
        data = None if keep is None else contract_bytes(contract)
        if keep is None or run is None or data is None:
            return
        keep.put(run, self._tenant, WAITS, data, contract.origin.content)
        with standing(self._books.clock):
            await keep.written()

    def _as_data(self) -> dict[str, Any]:
        """Give what of the page lasts while its run is put off."""
        policy_id, ctx, seed, shape = self._grounds or (None, None, None, None)
        return {
            "allowed": sorted(self._allowed),
            "attempts": self._attempts,
            "catalog": self._books.catalog_id,
            "ctx": ctx,
            "is_full": self._is_full,
            "policy_id": policy_id,
            "seed": seed,
            "shape": shape,
            "tokens": self._tokens,
            "usd_micro": self._usd_micro,
        }

    def take_up(self, asking: Asking, shape: Mapping[str, Plain], page: Mapping[str, Any]) -> None:
        """Go on with a run that was put off, and may call the route that a person let it."""
        self.run_id = asking.run
        self._attempts = page["attempts"]
        self._grounds = (page.get("policy_id"), page["ctx"], page.get("seed"), page["shape"])
        self._is_full = page["is_full"]
        self._shape = shape
        self._tokens, self._usd_micro = page.get("tokens"), page.get("usd_micro")
        self._allowed = {*page["allowed"], asking.redirected or asking.target}

    def give_up(self, error: str) -> None:
        """End a run that was put off and cannot go on here."""
        self._is_ended = True
        self._say("RunFailed", {"attempts": self._attempts, "error": error})
        if self._books.is_shared:
            self._books.spawn(self._accept_end())
        else:
            self._flush_end()

    def _refused(self, error: LedgerError) -> Refused:
        """Say what was refused; what is no refusal by an account is raised."""
        if not isinstance(error, AccountRefusedError):
            self._is_over = True  # the ledger takes nothing of this run
            raise error
        if error.code == TURNS_EXCEEDED:
            self._is_over = True  # it has not even begun
        return error.said

    async def _durable(self, seq: int) -> None:
        with standing(self._books.clock):
            await self._books.log.durable(seq)
