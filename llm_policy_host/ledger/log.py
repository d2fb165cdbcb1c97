"""The log: the only door to the ledger. What it returns is accepted, chained, and on its way to the store."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from llm_policy_host.errors import LedgerError, UsageError

from .chain import Chain
from .event import blob_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from llm_policy_host.ports import Clock, EventStore

    from .chain import Fold
    from .event import Draft, Event

_Waiting: TypeAlias = "tuple[Draft, asyncio.Future[Event]]"
_Job: TypeAlias = "tuple[Sequence[bytes], Sequence[Draft], Future[list[Event | LedgerError]]]"
Take: TypeAlias = "Callable[[Sequence[bytes], Sequence[Draft]], list[Event | LedgerError]]"

_LOOK_S = 0.001
"""How soon who waits for his turn looks whether he is waited for himself."""


class Log:
    """Appends to a store. Use `recovery.open_log`, which reads what is there and mends its end.

    Over a store of its own an event is accepted at once, in memory (`append`). Over a shared one it is
    accepted in a transaction (`accept`, for both): what other processes wrote is read first, and the
    callers that wait meanwhile share the next.
    """

    def __init__(self, store: EventStore, clock: Clock, make_fold: Callable[[], Fold] | None = None) -> None:
        self.store = store
        self.clock = clock
        self._make_fold = make_fold
        self.chain = self._begin()
        self._is_ahead = False
        """Whether the chain has what the store refused: nothing is taken on it before it is read again."""
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Task[None] | None = None
        self._turn = threading.Lock()
        self._jobs: deque[_Job] = deque()

    def _begin(self) -> Chain:
        return Chain(self._make_fold() if self._make_fold else None)

    @property
    def seq(self) -> int:
        """Give the number of the last event, 0 before the first."""
        return self.chain.seq

    @property
    def is_shared(self) -> bool:
        """Whether other processes write too, so that only `accept` will do."""
        return self.store.is_shared

    def blob(self, data: bytes) -> str:
        """Keep a blob; give the digest that names it."""
        digest = blob_digest(data)
        self.store.blob_put(digest, data)
        return digest

    def append(self, draft: Draft) -> Event:
        """Accept a draft at once, or raise a `LedgerError`; only over a store that is not shared."""
        if self.store.is_shared:
            raise UsageError("the ledger is shared with other processes: use `accept`")
        event = self.chain.accept(draft, self.clock.now_ms())
        self.store.put(event[:6])
        return event

    async def accept(self, draft: Draft) -> Event:
        """Accept a draft, or raise a `LedgerError`."""
        if not self.store.is_shared:
            return self.append(draft)
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.append((draft, future))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        return await future

    async def durable(self, seq: int) -> None:
        """Return once an event outlives a loss of power."""
        await self.store.durable(seq)

    def close(self) -> None:
        """Give the store back, once who commits in another thread is through."""
        with self._my_turn():
            self.store.close()

    def find(self, tenant: str, idem: str) -> str | None:
        """Give the run that an idempotency key of a tenant began."""
        return self.chain.lineage.idem.get((tenant, idem))

    async def refresh(self) -> None:
        """Take what other processes wrote; over a store of its own there is nothing."""
        if not self.store.is_shared:
            return
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self._committing = asyncio.create_task(self._commit_waiting(is_looking=True))
        await asyncio.wait([self._committing])

    def commit(self, drafts: Sequence[Draft], take: Take | None = None) -> list[Event | LedgerError]:
        """Accept drafts in one transaction of a shared store: each becomes an event, or a refusal.

        `take` says where `Log.take` runs; here, unless another thread than the log's has the transaction.
        """
        with self._my_turn():
            return self._committed(drafts, take or self.take)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        """Let one commit after the other be; who waits here does meanwhile what another waits for."""
        while not self._turn.acquire(timeout=_LOOK_S):
            self._do_jobs()
        try:
            yield
        finally:
            self._turn.release()

    def _committed(self, drafts: Sequence[Draft], take: Take) -> list[Event | LedgerError]:
        if self._is_ahead:
            self._read_again()
        stored = self.chain.seq
        try:
            with self.store.transaction() as transaction:
                made = take(list(transaction.lines(stored)), drafts)
                transaction.insert([each[:6] for each in made if not isinstance(each, LedgerError)])
        except BaseException:
            if self.chain.seq != stored:
                # the store took nothing of it
                self._is_ahead = True
                with suppress(LedgerError):
                    self._read_again()
            raise
        return made

    def _read_again(self) -> None:
        """Know what the store has, and no more; until then what was known is: nobody sees an empty ledger."""
        chain = self._begin()
        for line in self.store.lines():
            chain.follow(line)
        self.chain, self._is_ahead = chain, False

    def take(self, lines: Sequence[bytes], drafts: Sequence[Draft]) -> list[Event | LedgerError]:
        """Take what others wrote, then drafts; nothing of it counts before the store has it."""
        self.follow(lines)
        made: list[Event | LedgerError] = []
        for draft in drafts:
            try:
                made.append(self.chain.accept(draft, self.clock.now_ms()))
            except LedgerError as error:
                made.append(error)
        return made

    def follow(self, lines: Iterable[bytes]) -> None:
        """Take lines that are in the store already."""
        follow = self.chain.follow
        for line in lines:
            follow(line)

    async def _commit_waiting(self, *, is_looking: bool = False) -> None:
        """Commit what waits, until nothing does; each failure goes to those whose event it was."""
        take = self._take_on(asyncio.get_running_loop())
        try:
            while self._waiting or is_looking:
                is_looking = False
                batch = [each for each in self._waiting if not each[1].done()]
                self._waiting = []
                try:
                    made = await asyncio.to_thread(self.commit, [draft for draft, _ in batch], take)
                except Exception as error:  # noqa: BLE001 - told to everyone who waits for it
                    _tell(batch, [LedgerError("store", "ledger", str(error))] * len(batch))
                else:
                    _tell(batch, made)
        finally:
            self._committing = None

    def _take_on(self, loop: asyncio.AbstractEventLoop) -> Take:
        """Let events be taken on the loop's thread, as everywhere else: who reads the fold needs no lock."""

        def take(lines: Sequence[bytes], drafts: Sequence[Draft]) -> list[Event | LedgerError]:
            job: _Job = (lines, drafts, Future())
            self._jobs.append(job)
            loop.call_soon_threadsafe(self._do_jobs)
            return job[2].result()

        return take

    def _do_jobs(self) -> None:
        """Take what a commit in another thread waits for."""
        while self._jobs:
            lines, drafts, told = self._jobs.popleft()
            try:
                told.set_result(self.take(lines, drafts))
            except LedgerError as error:
                told.set_exception(error)
            except BaseException as error:
                # whoever waits learns that much; a cancelled job would leave them waiting
                detail = f"the log has a defect ({type(error).__name__})"
                told.set_exception(LedgerError("store", "ledger", detail))
                raise


def _tell(batch: Sequence[_Waiting], made: Sequence[Event | LedgerError]) -> None:
    for (_, future), each in zip(batch, made, strict=True):
        if future.done():
            continue
        if isinstance(each, LedgerError):
            future.set_exception(each)
        else:
            future.set_result(each)
