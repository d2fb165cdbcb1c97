"""Group commit: a thread that writes lines as they come, many in one transaction.

Who puts a line goes on at once; who must know that it is kept waits, for no longer than one transaction.
The queue is bounded: where the disk is slower than the host, the host waits. A writer that has failed
takes nothing more, since a call that cannot be recorded must not be made.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from typing import TYPE_CHECKING

from llm_policy_host.errors import LedgerError

from .database import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.ports import LedgerRow

    Write = Callable[[Sequence[LedgerRow], Mapping[str, bytes]], None]
    Waiting = tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]

LINGER_S = 0.005
"""For so long more lines may join a group that nobody waits for."""
MOST_ROWS = 16_384
"""Lines that may wait to be written; about 10 MB."""
PATIENCE_S = 30.0
"""For so long the host waits for a full queue to be taken before the ledger counts as broken."""


class GroupWriter:
    """Lines and blobs on their way to `write`, which one thread calls, in order: blobs before lines."""

    def __init__(self, where: str, write: Write, last_seq: int, most_rows: int = MOST_ROWS) -> None:
        self._where = where
        self._write = write
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._come = threading.Event()
        self._hurry = threading.Event()
        self._rows: list[LedgerRow] = []
        self._blobs: dict[str, bytes] = {}
        self._leaving: Mapping[str, bytes] = {}
        self._is_writing = False
        self._waiting: list[Waiting] = []
        self._written_seq = last_seq
        self._fault: LedgerError | None = None
        self._is_closing = False
        self._is_whole = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()
        # a daemon thread dies at the process's end: what a host forgot to close is written all the same
        atexit.register(self.close)

    def put(self, row: LedgerRow) -> None:
        """Take the next line; waits only while the queue is full."""
        with self._lock:
            if self._fault is not None:
                raise self._broken()
            rows = self._rows
            rows.append(row)
            count = len(rows)
        if count == 1:
            self._come.set()
        elif count >= self._most_rows:
            try:
                self._wait_until(lambda: len(self._rows) < self._most_rows)
            except LedgerError as fault:
                # it waits in the queue, and may be written yet: nothing may follow who was told otherwise
                self._fail(fault)
                raise

    def put_blob(self, digest: str, data: bytes) -> None:
        """Take a blob; it is written before every line that is put later."""
        with self._lock:
            if self._fault is not None:
                raise self._broken()
            self._blobs[digest] = data
        self._come.set()

    def blob(self, digest: str) -> bytes | None:
        """Give a blob that is not written yet."""
        with self._lock:
            return self._blobs.get(digest, self._leaving.get(digest))

    async def durable(self, seq: int) -> None:
        """Return once the line `seq` is written."""
        if seq <= self._written_seq:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._fault is not None:
                raise self._broken()
            if seq <= self._written_seq:
                return
            self._waiting.append((seq, loop, future))
        self._hurry.set()
        await future

    def flush(self) -> None:
        """Return once all that was put is written; waits in this thread."""
        self._wait_until(lambda: not (self._rows or self._blobs or self._is_writing))

    def rewind(self, last_seq: int) -> None:
        """Take note that the lines behind one are gone."""
        self._written_seq = last_seq

    def close(self) -> None:
        """Write what was put, and end; the first one raises what kept something from being written."""
        is_first, self._is_closing = not self._is_closing, True
        self._come.set()
        self._hurry.set()
        atexit.unregister(self.close)
        if threading.current_thread() is self._thread:
            return
        self._thread.join()
        if is_first and not self._is_whole:
            raise self._broken()

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        self._hurry.set()
        with self._idle:
            is_in_time = self._idle.wait_for(lambda: self._fault is not None or is_so(), PATIENCE_S)
            if self._fault is not None:
                raise self._broken()
        if not is_in_time:
            raise StoreError(self._where, f"nothing could be written for {PATIENCE_S:.0f} s")

    def _broken(self) -> LedgerError:
        fault = self._fault
        return StoreError(self._where, "the ledger is closed" if fault is None else fault.detail)

    def _run(self) -> None:
        """Serve until closed; whatever ends it, nobody waits for it in vain."""
        try:
            while self._serve():
                pass
            self._is_whole = True
            self._fail(StoreError(self._where, "the ledger is closed"))
        except LedgerError as error:
            self._fail(error)
        finally:
            self._fail(StoreError(self._where, "the thread that writes has ended"))

    def _serve(self) -> bool:
        """Write one group; False once all is written and no more will come."""
        self._come.wait()
        self._hurry.wait(LINGER_S)
        with self._lock:
            self._come.clear()
            self._hurry.clear()
            rows, self._rows = self._rows, []
            blobs = self._leaving = self._blobs
            self._blobs = {}
            self._is_writing = True
            is_closing = self._is_closing
        if rows or blobs:
            self._write(rows, blobs)
        with self._lock:
            self._is_writing = False
            self._leaving = {}
            if rows:
                self._written_seq = rows[-1][0]
            told = [each for each in self._waiting if each[0] <= self._written_seq]
            self._waiting = [each for each in self._waiting if each[0] > self._written_seq]
            if self._waiting or is_closing:
                self._hurry.set()
            self._idle.notify_all()
        _tell(told, None)
        if is_closing:
            self._come.set()
        return bool(rows or blobs or not is_closing)

    def _fail(self, fault: LedgerError) -> None:
        with self._lock:
            if self._fault is None:
                self._fault = fault
            told, self._waiting = self._waiting, []
            self._idle.notify_all()
        _tell(told, self._fault)


def _tell(told: Sequence[Waiting], fault: LedgerError | None) -> None:
    """Wake those who wait, each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, future in told:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, futures, fault)


def _wake(futures: Sequence[asyncio.Future[None]], fault: LedgerError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if fault is None:
            future.set_result(None)
        else:
            future.set_exception(fault)
