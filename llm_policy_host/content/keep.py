"""Keeps content: a digest at once, the bytes off the hot path, at the level that all agree to (spec 5.6).

What waits to be written is bounded in bytes. A content that finds no room, or whose writing fails, is lost
and counted: no answer ever waits for it. What is too old is forgotten at the start and every hour after it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.caveats import least_content

from .sealing import BrokenSealError, Digests, Seals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock, ContentRow, ContentStore, Keep

MAX_WAITING_BYTES: Final = 64 << 20
_BATCH_BYTES: Final = 4 << 20
_HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * _HOUR_MS
_LOOK_S: Final = 600.0
"""How often who waits for contents looks at the clock."""
_ROW_BYTES: Final = 512
"""What a waiting content takes beside its bytes, about."""


class ContentKeep:
    """Keeps the content of one deployment. `level` is the operator's; nobody gets more kept than that."""

    def __init__(
        self,
        store: ContentStore | None,
        root: bytes,
        level: str,
        clock: Clock,
        *,
        retain_days: int | None = None,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.level = level
        self._store = store
        self._digests = Digests(root)
        self._seals = Seals(root) if store is not None and level in ("sealed", "plain") else None
        self._clock = clock
        self._retain_ms = None if retain_days is None else retain_days * DAY_MS
        self._max_bytes = max_waiting_bytes
        self._expired_ms: int | None = None
        self._turn = threading.Condition()
        self._waiting: dict[tuple[str, str], ContentRow] = {}
        self._ticket = 0
        self._tickets: dict[tuple[str, str], int] = {}
        self._askers: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits for all up to a ticket to be written."""
        self._bytes = 0
        self._faults: Counter[str] = Counter()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        if self._retain_ms is not None and store is not None:
            self._expire()
            self._start()

    def put(self, run: str, tenant: str, name: str, data: bytes, level: str | None = None) -> str | None:
        """Take content; what cannot wait is lost and counted."""
        released = least_content(self.level, level)
        if released == "none":
            return None
        ref = self._digests.ref(tenant, data)
        if released != "digest" and self._store is not None:
            self._wait((run, name, tenant, released, self._clock.now_ms(), data))
        return ref

    def get(self, run: str, name: str) -> bytes | None:
        """Give content, also such as still waits to be written."""
        with self._turn:
            row = self._waiting.get((run, name))
        if row is not None:
            return row[5]
        if self._store is None:
            return None
        row = self._store.find(run, name)
        return None if row is None else self._opened(row)

    async def written(self) -> None:
        """Return once all that was put is on the disk, or lost."""
        future = asyncio.get_running_loop().create_future()
        with self._turn:
            if not self._waiting:
                return
            self._askers.append((self._ticket, future))
        await future

    def faults(self) -> Mapping[str, int]:
        """Give what went wrong since it was last asked."""
        if not self._faults:
            return {}
        with self._turn:
            found, self._faults = self._faults, Counter()
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Write what is left and give the store back."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._store is not None:
            self._store.close()

    # Off the hot path -------------------------------------------------------------------------

    def _wait(self, row: ContentRow) -> None:
        size = len(row[5]) + _ROW_BYTES
        with self._turn:
            known = self._waiting.pop(row[:2], None)
            if known is not None:
                del self._tickets[row[:2]]
                self._bytes -= len(known[5]) + _ROW_BYTES
            if self._is_closed or self._bytes + size > self._max_bytes:
                self._faults["queue_full"] += 1
                return
            self._ticket += 1
            self._waiting[row[:2]] = row
            self._tickets[row[:2]] = self._ticket
            self._bytes += size
            if self._thread is None:
                self._start()
            self._turn.notify_all()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write_all, name="llm-policy content", daemon=True)
        self._thread.start()

    def _write_all(self) -> None:
        try:
            while self._write_next():
                pass
        finally:
            with self._turn:
                # there is nothing left, unless a defect ended the thread
                self._is_closed = True
                self._end(list(self._waiting.values()), "store")

    def _write_next(self) -> bool:
        """Write what waits; whether there may be more."""
        with self._turn:
            look_s = None if self._retain_ms is None else _LOOK_S
            self._turn.wait_for(lambda: self._waiting or self._is_closed, look_s)
            rows, is_over = self._batch(), self._is_closed
        if rows:
            code = self._write(rows)
            with self._turn:
                self._end(rows, code)
        elif is_over:
            return False
        self._expire()
        return True

    def _expire(self) -> None:
        """Forget what is too old, at most once an hour; where that fails, nothing is lost."""
        now_ms = self._clock.now_ms()
        is_early = self._expired_ms is not None and now_ms - self._expired_ms <= _HOUR_MS
        if self._retain_ms is None or self._store is None or is_early:
            return
        self._expired_ms = now_ms
        try:
            self._store.expire(now_ms - self._retain_ms)
        except LedgerError:
            with self._turn:
                self._faults["retention"] += 1

    def _end(self, rows: list[ContentRow], code: str | None) -> None:
        """Forget what was written, or lost for a reason, and tell those who wait for it."""
        if code is not None and rows:
            self._faults[code] += len(rows)
        for row in rows:
            if self._waiting.get(row[:2]) is row:
                del self._waiting[row[:2]], self._tickets[row[:2]]
                self._bytes -= len(row[5]) + _ROW_BYTES
        first = next(iter(self._tickets.values()), self._ticket + 1)
        told = [each for each in self._askers if each[0] < first]
        self._askers = [each for each in self._askers if each[0] >= first]
        for _, future in told:
            with suppress(RuntimeError):  # its loop is over
                future.get_loop().call_soon_threadsafe(_settle, future)

    def _batch(self) -> list[ContentRow]:
        """Give what is written next."""
        rows, size = [], 0
        for row in self._waiting.values():
            rows.append(row)
            size += len(row[5])
            if size >= _BATCH_BYTES:
                break
        return rows

    def _write(self, rows: list[ContentRow]) -> str | None:
        """Write contents; give the code of what went wrong.

        A tenant's key is read each time: it may have been destroyed by another process a moment ago.
        """
        assert self._store is not None  # noqa: S101 - nothing waits without one
        try:
            with self._store.transaction():
                keys: dict[str, bytes] = {}
                self._store.put([self._closed(row, keys) for row in rows])
        except LedgerError:
            return "store"
        except BrokenSealError:
            return "seal"
        return None

    def _closed(self, row: ContentRow, keys: dict[str, bytes]) -> ContentRow:
        """Seal a content, unless it may lie there as it is."""
        run, name, tenant, level, at_ms, data = row
        if level != "sealed":
            return row
        if tenant not in keys:
            keys[tenant] = self._key(tenant)
        assert self._seals is not None  # noqa: S101 - of this level
        return run, name, tenant, level, at_ms, self._seals.seal(keys[tenant], run, name, data)

    def _key(self, tenant: str) -> bytes:
        """Give a tenant's key; one who has none gets one."""
        assert self._store is not None  # noqa: S101 - as above
        assert self._seals is not None  # noqa: S101 - as above
        wrapped = self._store.key(tenant)
        if wrapped is not None:
            return self._seals.unwrap(tenant, wrapped)
        key, wrapped = self._seals.new_key(tenant)
        self._store.put_key(tenant, wrapped)
        return key

    def _opened(self, row: ContentRow) -> bytes | None:
        run, name, tenant, level, _, data = row
        if level != "sealed":
            return data
        wrapped = None if self._store is None else self._store.key(tenant)
        if wrapped is None or self._seals is None:
            return None
        try:
            return self._seals.open(self._seals.unwrap(tenant, wrapped), run, name, data)
        except BrokenSealError:
            with self._turn:
                self._faults["seal"] += 1
            return None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _conforms(keep: ContentKeep) -> Keep:
    """Let the type checker prove the port."""
    return keep
