"""The books of one host: every run is written down, every attempt asked for (spec 5.1), over one log."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import OrderedDict
from contextlib import contextmanager
from os import urandom
from typing import TYPE_CHECKING, Any, TypeVar

from llm_policy_host.clock import standing
from llm_policy_host.errors import LedgerError
from llm_policy_host.ports import Reopened
from llm_policy_host.values import Origin, Turned

from .approvals import expired
from .contexts import Contexts
from .desk import STALE, read_parked, route_of
from .digests import Memo, params_digest, shape_digest, without_addresses
from .encoding import encode, text_of
from .event import Draft, blob_digest
from .flow_pages import FlowEntry
from .pages import RunEntry
from .waiting import WAITS, read_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from llm_policy_host.ports import Books, Clock, Grounds, Keep, Pricer, Provider
    from llm_policy_host.values import Call, Contract, Estimate, Plain

    from .approvals import Asking
    from .desk import Desk
    from .event import Event
    from .log import Log

    Estimating = Callable[[Call, Mapping[str, Any], Provider | None], Estimate]

_MAX_KNOWN = 4096
_PUBLISHED = "PolicyPublished"
T = TypeVar("T")


class RunIds:
    """Draws the ids of runs: 130 bits each that nobody can foresee, many at a time."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def __call__(self) -> str:
        """Give the next."""
        try:
            return self._drawn.pop()
        except IndexError:
            text = urandom(26 * _AT_ONCE).translate(_LETTERS).decode()
            self._drawn.extend(f"run-{text[at : at + 26]}" for at in range(0, len(text), 26))
            return self._drawn.pop()


_AT_ONCE = 64
_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8


class LedgerBooks:
    """Keeps the pages of one host's runs.

    Over a log of its own an event is accepted at once; over a shared one what a run has to say waits until
    somebody waits for it: an attempt that is asked for, or its end. `is_strict` lets no attempt be made
    before its event outlives a loss of power. `payers` is the path of accounts of callers who name none.
    """

    def __init__(  # noqa: PLR0913 - the composition root fills it
        self,
        log: Log,
        clock: Clock,
        grounds: Grounds,
        catalog: Mapping[str, Any],
        estimate: Estimating,
        pricer: Pricer | None = None,
        *,
        new_id: Callable[[], str] | None = None,
        is_strict: bool = False,
        lock: threading.Lock | None = None,
        payers: tuple[str, ...] = (),
        keep: Keep | None = None,
        desk: Desk | None = None,
    ) -> None:
        self.log = log
        self.clock = clock
        self.grounds = grounds
        self.estimate = estimate
        self.pricer = pricer
        self.new_id = new_id or RunIds()
        self.is_strict = is_strict
        self.is_shared = log.is_shared
        self.payers = payers
        self.keep = keep
        self.desk = desk
        self._lock = lock or threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._policies: OrderedDict[str, str] = OrderedDict()
        self._ending: dict[asyncio.Task[Any], str | None] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._catalog = encode(without_addresses(catalog))
        self.catalog_id = blob_digest(self._catalog)
        self.contexts = Contexts(self.blob)
        self.shape = Memo(shape_digest)
        self.params = Memo(params_digest)
        self.used = Memo(text_of)

    # Pages ------------------------------------------------------------------------------------

    def begin(self, contract: Contract, *, is_stream: bool) -> RunEntry:
        """Open a run's page."""
        self._sweep()
        return RunEntry(self, contract, is_stream=is_stream)

    def reopen(self, contract: Contract, shape: Plain, *, is_stream: bool) -> Reopened | Turned:
        """Go on with the page of a run that was put off, if a person let it and the request is the same."""
        desk = self.desk
        if desk is None:
            return Turned("approval_unknown")
        self._sweep()
        entry = RunEntry(self, contract, is_stream=is_stream)
        asking = desk.again(entry.tenant, contract)
        if isinstance(asking, Turned):
            return asking
        try:
            parked = read_parked(self.log.store.blob_get(asking.parked or ""))
        except BaseException:
            desk.put_back(asking)
            raise
        entry.take_up(asking, shape, parked["page"])
        if parked["page"]["catalog"] != self.catalog_id:
            entry.give_up(STALE)
            return Turned(STALE, asking.run)
        target = None if asking.redirected is None else route_of(asking.redirected)
        return Reopened(entry, parked, target)

    def waiting(self, approval: str, origin: Origin | None = None) -> Contract | None:
        """Give a request that waits, where its text is kept, as of who asks again: at first who asked."""
        asking = None if self.desk is None else self.desk.approvals.find(approval)
        data = None if asking is None or self.keep is None else self.keep.get(asking.run, WAITS)
        if asking is None or data is None:
            return None
        his = Origin(
            tenant=asking.tenant,
            accounts=asking.accounts,
            key_id=asking.key_id,
            grant=asking.grant,
            session=asking.session,
        )
        return read_contract(data, dataclasses.replace(origin or his, approval=approval))

    def paying(self, session: str | None) -> tuple[str, ...]:
        """Give the path of accounts of callers who name none; a session's begins with its own."""
        if session is None or self.desk is None:
            return self.payers
        return self.desk.paying(session) or self.payers

    def _sweep(self) -> None:
        """End what waited too long, for a decision or for who asked; its reservation is free again."""
        if self.desk is None or self._sweeping is not None:
            return
        due = self.desk.approvals.due(self.clock.now_ms())
        if due and self.is_shared:
            self._sweeping = self.spawn(self._expire_there(due))
            return
        for asking in due:
            with _unless_earlier():
                self.append(expired(asking))

    async def _expire_there(self, due: Sequence[Asking]) -> None:
        try:
            for asking in due:
                with _unless_earlier():
                    for draft in expired(asking):
                        await self.accept([draft])
        finally:
            self._sweeping = None

    def begin_flow(self, contract: Contract, *, is_stream: bool, run: str | None = None) -> FlowEntry:
        """Open a flow's page, or that of one that goes on."""
        return FlowEntry(self, contract, is_stream=is_stream, run=run)

    # The host's own events --------------------------------------------------------------------

    def publish(
        self,
        terms: Mapping[str, tuple[str, Plain]],
        *,
        version: str | None = None,
        runtime: str = "default",
        durability: str = "batch",
    ) -> None:
        """Note what is served from here on: the catalog, and by profile its policy's identity and term.

        `version` is that of a host that starts; one that takes another's place has none.
        """
        drafts: list[Draft] = []
        if version is not None:
            core = {"version": version, "runtime": runtime, "durability": durability}
            drafts.append(Draft("HostStarted", "host", "local", core=core))
        drafts.append(Draft("CatalogPublished", "host", "local", refs={"catalog": self.blob(self._catalog)}))
        new = {policy_id: term for policy_id, term in terms.values() if policy_id not in self._policies}
        for name, (policy_id, _) in sorted(terms.items()):
            if policy_id in new:
                drafts.append(self._published(policy_id, encode(new.pop(policy_id)), "host"))
            core = {"kind": "profile", "name": name, "policy_id": policy_id}
            drafts.append(Draft("NameBound", "host", "local", core=core))
        self.note(drafts)

    def note(self, drafts: Sequence[Draft]) -> list[Event]:
        """Accept events in one go, outside of any run; a `LedgerError` is the first refusal."""
        with self._lock:
            if not self.is_shared:
                return [self._noted(self.log.append(draft)) for draft in drafts]
            made = self.log.commit(drafts)
        for each in made:
            if isinstance(each, LedgerError):
                raise each
        return [self._noted(each) for each in made if not isinstance(each, LedgerError)]

    def faults(self) -> list[Draft]:
        """Give what is to be noted of content that was lost."""
        found = self.keep.faults() if self.keep is not None else {}
        return [
            Draft("BackgroundFault", "host", "local", core={"part": "content", "code": code, "count": count})
            for code, count in found.items()
        ]

    async def parts_over(self, flow: str | None) -> None:
        """Wait until the parts of a flow that were left have said their last."""
        parts = [task for task, part_of in self._ending.items() if part_of == flow and flow is not None]
        if parts:
            await asyncio.wait(parts)

    async def close(self) -> None:
        """Wait for what runs that were left still have to say."""
        while self._ending:
            await asyncio.wait(tuple(self._ending))

    # What pages need --------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft]) -> int:
        """Accept events of a run at once; give the last one's number. Only over a log of its own."""
        with self._lock:
            append = self.log.append
            for draft in drafts:
                event = append(draft)
                if event.type == _PUBLISHED:
                    self._noted(event)
        return event.seq

    async def accept(self, drafts: Sequence[Draft]) -> int:
        """Accept events of a run in one go; give the last one's number."""
        with standing(self.clock):
            accepting = (self.log.accept(draft) for draft in drafts)
            made = await asyncio.gather(*accepting, return_exceptions=True)
        seq = 0
        for each in made:
            if isinstance(each, BaseException):
                raise each
            seq = self._noted(each).seq
        return seq

    def _noted(self, event: Event) -> Event:
        """Remember a policy that is published now: what was refused is said once more."""
        if event.type == _PUBLISHED:
            _remember(self._policies, event.core["policy_id"], event.refs["policy"])
        return event

    def spawn(self, work: Coroutine[Any, Any, T], part_of: str | None = None) -> asyncio.Task[T]:
        """Do something that must be done also when whoever asked for it goes away, as part of a flow."""
        task = asyncio.get_running_loop().create_task(work)
        self._ending[task] = part_of
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        del self._ending[task]
        if not task.cancelled():
            task.exception()  # whoever waited was told

    def blob(self, data: bytes) -> str:
        """Keep a blob of the control plane; one that was seen lately is there."""
        name = blob_digest(data)
        if name not in self._known:
            self.log.blob(data)
            _remember(self._known, name, None)
        return name

    def policy(self, policy_id: str, handle: object) -> tuple[str, Draft | None]:
        """Give a policy's blob, and the event that publishes it where none did yet."""
        found = self._policies.get(policy_id)
        if found is not None:
            return found, None
        term = self.grounds.grounds_text(handle)[1]
        assert term is not None  # noqa: S101 - what has an identity has a term
        draft = self._published(policy_id, term, "driver")
        return draft.refs["policy"], draft

    def _published(self, policy_id: str, term: bytes, by: str) -> Draft:
        core, refs = {"policy_id": policy_id}, {"policy": self.blob(term)}
        return Draft(_PUBLISHED, by, "local", core=core, refs=refs)


@contextmanager
def _unless_earlier() -> Iterator[None]:
    """Leave alone what somebody else has decided or ended a moment ago."""
    try:
        yield
    except LedgerError as error:
        if error.code != "lineage":
            raise


def _remember(known: OrderedDict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401 - of either
    known[name] = value
    if len(known) > _MAX_KNOWN:
        known.popitem(last=False)


def _conforms(books: LedgerBooks) -> Books:
    """Let the type checker prove the port."""
    return books
