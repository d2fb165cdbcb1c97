"""Lines and blobs in this process's memory: for tests, measurements, and hosts that keep nothing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_policy_host.ports import EventStore, LedgerRow


class MemoryStore:
    """A list of rows and a dict of blobs."""

    def __init__(self, *, is_shared: bool = False, is_alone: bool = True) -> None:
        self.is_shared = is_shared
        self.is_alone = is_alone
        self.rows: list[LedgerRow] = []
        self.blobs: dict[str, bytes] = {}
        self.put = self.rows.append
        self._lock = threading.Lock()

    @property
    def alone_at(self) -> int | None:
        """Give the number of the last line; None of a store that was said to be used by others."""
        return (self.rows[-1][0] if self.rows else 0) if self.is_alone else None

    def lines(self, after_seq: int = 0) -> Iterator[bytes]:
        """Give the lines behind one."""
        return (row[5] for row in self.rows if row[0] > after_seq)

    async def durable(self, seq: int) -> None:
        """Return: nothing here outlives anything."""

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """Collect lines, and keep them unless an exception leaves."""
        with self._lock:
            made = MemoryTransaction(self)
            yield made
            self.rows.extend(made.rows)

    def blob_put(self, digest: str, data: bytes) -> None:
        """Keep a blob."""
        self.blobs.setdefault(digest, data)

    def blob_get(self, digest: str) -> bytes | None:
        """Give a blob."""
        return self.blobs.get(digest)

    def cut(self, after_seq: int) -> None:
        """Forget the lines behind one."""
        self.rows[:] = [row for row in self.rows if row[0] <= after_seq]

    def close(self) -> None:
        """Do nothing: the lines stay readable."""


class MemoryTransaction:
    """Lines on their way into a store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.rows: list[LedgerRow] = []

    def lines(self, after_seq: int) -> Iterator[bytes]:
        """Give the lines behind one."""
        return self._store.lines(after_seq)

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines at the end."""
        self.rows.extend(row[:6] for row in rows)


def _conforms(store: MemoryStore) -> EventStore:
    """Let the type checker prove that it is a store."""
    return store
