"""What pages of runs and of flows have in common: events wait on a page until somebody must know of them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import LedgerError
from llm_policy_host.spelling import encode

from .amounts import count
from .event import NONE, new_draft
from .folds import TURNS_EXCEEDED
from .kinds import NAME, expression, is_code
from .said import REQUEST, request_bytes

if TYPE_CHECKING:
    from llm_policy_host.values import Contract

    from .books import LedgerBooks
    from .event import Draft

_UNTOLD: Final = frozenset({"store", TURNS_EXCEEDED})
_is_name = expression(NAME)


class Entry:
    """A page. Events wait on it until somebody must know that they are in."""

    def __init__(self, books: LedgerBooks, contract: Contract, *, is_stream: bool) -> None:
        self.run_id: str | None = books.new_id()
        self._books = books
        self._contract = contract
        self._is_stream = is_stream
        self._from_ms = books.clock.elapsed_ms()
        self._accounts = contract.origin.accounts or books.paying(contract.origin.session)
        self._tenant = contract.origin.tenant or (self._accounts[-1] if self._accounts else "local")
        self.tenant = self._tenant
        self._drafts: list[Draft] = []
        self._is_ended = False

    def _say(
        self,
        kind: str,
        core: dict[str, Any],
        obs: dict[str, Any] = NONE,
        refs: dict[str, Any] = NONE,
        idem: str | None = None,
    ) -> None:
        origin = self._contract.origin
        by = origin.by if kind.startswith("Request") else "driver"
        fields = (kind, by, self._tenant, self.run_id, origin.parent, None, idem, core, obs, refs)
        self._drafts.append(new_draft(fields))

    def _received(self, shape: str | None, *, profile: str | None = None, is_flow: bool = False) -> None:
        contract, origin = self._contract, self._contract.origin
        core: dict[str, Any] = {"api": origin.api, "is_stream": self._is_stream, "kind": contract.kind}
        if shape is not None:
            core["shape"] = shape
        if profile is not None:
            core["profile"] = profile
        if is_flow:
            core["is_flow"] = True
        if self._accounts:
            core["account"] = self._accounts[0]
        for name in ("key_id", "session", "node"):
            value = getattr(origin, name)
            if value is not None:
                core[name] = value
        refs = NONE
        if self._books.keep is not None:
            refs = self._kept(REQUEST, "request", request_bytes(contract))
            if refs:
                core["has_content"] = True
        self._say("RequestReceived", core, refs=refs, idem=origin.idem)

    def _kept(self, name: str, ref: str, data: bytes) -> dict[str, Any]:
        """Give content away, as far as all agree that it is kept; give what the event says of it."""
        keep, run = self._books.keep, self.run_id
        if keep is None or run is None:
            return NONE
        found = keep.put(run, self._tenant, name, data, self._contract.origin.content)
        return NONE if found is None else {ref: found}

    def _took_ms(self) -> int:
        return count(self._books.clock.elapsed_ms() - self._from_ms)

    def _flush(self) -> int:
        """Let everything said so far be accepted at once; give the last event's number."""
        drafts, self._drafts = self._drafts, []
        return self._books.append(drafts) if drafts else 0

    async def _accept(self) -> int:
        """Let everything said so far be accepted."""
        drafts, self._drafts = self._drafts, []
        return await self._books.accept(drafts)

    def _flush_end(self) -> None:
        """Let everything be accepted.

        Of a request beyond its session's turns nothing is. A paid answer is given also when the store takes
        no more: the ledger is read as it is at the next start; an attempt without outcome is then in doubt.
        """
        self._drafts += self._books.faults()
        try:
            self._flush()
        except LedgerError as error:
            if error.code not in _UNTOLD:
                raise

    async def _accept_end(self) -> None:
        self._drafts += self._books.faults()
        try:
            await self._accept()
        except LedgerError as error:
            if error.code not in _UNTOLD:
                raise


def name_of(text: str) -> str:
    """Give a name as an event may hold it: one that is none, from a market's peer, is there by its digest."""
    return text if _is_name(text) else "sha256:" + sha256(encode(text)).hexdigest()


def code_of(error: str) -> str:
    """Give an error of a result as a code: `exhausted: timeout` is `exhausted_timeout`."""
    code = error.replace(": ", "_")
    return code if is_code(code) else "unknown"
