"""A store over a database: lines in groups or in transactions of one's own, blobs, and the archive."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import orjson

from llm_policy_host.errors import UsageError

from . import database, segments
from .database import Segment, StoreError
from .grouping import GroupWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.ports import EventStore, LedgerRow

    from .database import Database

Durability: TypeAlias = Literal["off", "batch", "strict"]
"""`off`: the system writes when it likes; `batch` and `strict`: every group is synced; `strict`: and the
driver waits for it before any byte leaves."""
Mode: TypeAlias = Literal["exclusive", "shared", "read"]
"""One process writes alone, or several write in turns; `read` writes nothing and keeps nobody out."""

_PAUSES_S = (0.05, 0.5, 2.0)


class DurableStore:
    """An `EventStore`: one connection that writes, one for blobs, and one for each who reads all lines.

    Who reads never waits for a transaction: it may wait for the thread that reads.
    """

    def __init__(
        self,
        where: str,
        writing: Database,
        connect: Callable[[], Database],
        *,
        archive: Path | None,
        mode: Mode,
        files: Sequence[Path] = (),
    ) -> None:
        self._where = where
        self._connect = connect
        self._archive = archive
        self._mode = mode
        self._files = files
        self._database = writing
        self._turn = threading.Lock()
        self._reader: Database | None = None
        self._reading = threading.Lock()
        self._blobs: dict[str, bytes] = {}
        self._writer = self._begin_writing() if mode == "exclusive" else None
        self.put: Callable[[LedgerRow], None] = self._writer.put if self._writer else self._put_refused

    @property
    def is_shared(self) -> bool:
        """Whether other processes write too."""
        return self._mode == "shared"

    @property
    def alone_at(self) -> int | None:
        """Give the number of the last line as this process came, if no other had the ledger then."""
        return self._database.alone_at

    def lines(self, after_seq: int = 0) -> Iterator[bytes]:
        """Give the lines behind one, the archive's first; what was put is among them."""
        self._flush()
        reader = self._connect()
        try:
            yield from self._lines(reader, after_seq)
        finally:
            reader.close()

    async def durable(self, seq: int) -> None:
        """Return once the line `seq` is written, and synced unless the durability is `off`."""
        if self._writer is not None:
            await self._writer.durable(seq)

    @contextmanager
    def transaction(self) -> Iterator[StoreTransaction]:
        """Keep other writers out until it ends."""
        if self._mode == "read":
            raise self._unwritable()
        self._flush()
        with self._turn, database.transaction(self._database):
            blobs = dict(self._blobs)
            self._database.put_blobs(blobs)
            yield StoreTransaction(self._lines, self._database, self.folder)
        for digest in blobs:
            self._blobs.pop(digest, None)

    def blob_put(self, digest: str, data: bytes) -> None:
        """Keep a blob under its digest."""
        if self._writer is not None:
            self._writer.put_blob(digest, data)
        elif self.is_shared:
            self._blobs[digest] = data
        else:
            raise self._unwritable()

    def blob_get(self, digest: str) -> bytes | None:
        """Give a blob, or None where there is none."""
        waiting = self._writer.blob(digest) if self._writer else self._blobs.get(digest)
        if waiting is not None:
            return waiting
        with self._reads() as reader:
            return reader.blob(digest)

    def cut(self, after_seq: int) -> None:
        """Forget the lines behind one: a torn tail."""
        with self.transaction():
            self._database.remove(after_seq, _LAST)
        if self._writer is not None:
            self._writer.rewind(after_seq)

    def segments(self) -> Sequence[Segment]:
        """Give the archive's segments in order."""
        with self._reads() as reader:
            return reader.segments()

    def files(self) -> Sequence[Path]:
        """Name the files that hold the lines, so far as they are files."""
        archived = [] if self._archive is None else [self._archive / each.file for each in self.segments()]
        return [*self._files, *archived]

    def folder(self) -> Path:
        """Give the archive's folder; a `UsageError` where the ledger has none."""
        if self._archive is None:
            raise UsageError(f"{self._where} has no folder for its archive: `host.ledger.archive` names one")
        return self._archive

    def archive(self, up_to_seq: int) -> Segment:
        """Move the lines up to one, which must be in the database, into a file of the archive."""
        with self.transaction() as turn:
            return turn.archive(up_to_seq)

    def close(self) -> None:
        """Write what is left and give back what it holds."""
        try:
            if self._writer is not None:
                self._writer.close()
            elif self._blobs:
                with self.transaction():
                    pass
        finally:
            with self._turn:
                self._database.close()
            with self._reading:
                if self._reader is not None:
                    self._reader.close()

    @contextmanager
    def _reads(self) -> Iterator[Database]:
        """Lend the connection for what is read in between, to one thread at a time."""
        with self._reading:
            if self._reader is None:
                self._reader = self._connect()
            yield self._reader

    def _begin_writing(self) -> GroupWriter:
        return GroupWriter(self._where, self._write, self._database.last_seq())

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _lines(self, reader: Database, after_seq: int) -> Iterator[bytes]:
        """Give lines page by page: a slow reader holds no transaction open.

        Where a page does not go on from the last one, it was archived, maybe just now.
        """
        while True:
            page = reader.page(after_seq)
            if not page or page[0][0] != after_seq + 1:
                moved = [each for each in reader.segments() if each.last_seq > after_seq]
                for segment in moved:
                    yield from segments.lines(self.folder(), segment, after_seq)
                    after_seq = segment.last_seq
                if moved:
                    continue
            if not page:
                return
            for _, line in page:
                yield line
            after_seq = page[-1][0]

    def _write(self, rows: Sequence[LedgerRow], blobs: Mapping[str, bytes]) -> None:
        """Write a group; tried again where that may help, since the lines are accepted already."""
        for pause_s in (*_PAUSES_S, None):
            try:
                with self._turn, database.transaction(self._database):
                    self._database.put_blobs(blobs)
                    if rows and not self._is_written(rows, is_again=pause_s != _PAUSES_S[0]):
                        self._database.insert(rows)
            except StoreError as fault:
                if pause_s is None or not fault.is_passing:
                    raise
                time.sleep(pause_s)
            else:
                return

    def _is_written(self, rows: Sequence[LedgerRow], *, is_again: bool) -> bool:
        """Whether a group is in the database, since an answer to its commit may have been lost."""
        last = self._database.last_seq()
        is_whole = rows[-1][0] - rows[0][0] == len(rows) - 1
        if is_whole and last == rows[0][0] - 1:
            return False
        if is_again and last == rows[-1][0] and self._database.page(last - 1, 1)[0][1] == rows[-1][5]:
            return True
        raise StoreError(self._where, f"what is put does not follow event {last}, the last one")

    def _put_refused(self, row: LedgerRow) -> None:
        del row
        raise self._unwritable()

    def _unwritable(self) -> UsageError:
        return UsageError(f"{self._where} is open in the mode `{self._mode}`: nothing can be put")


_LAST = 2**62


class StoreTransaction:
    """The lines while no other process may add or move any."""

    def __init__(
        self,
        lines: Callable[[Database, int], Iterator[bytes]],
        held: Database,
        folder: Callable[[], Path],
    ) -> None:
        self._lines = lines
        self._held = held
        self._folder = folder

    def lines(self, after_seq: int) -> Iterator[bytes]:
        """Give the lines behind one."""
        return self._lines(self._held, after_seq)

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines at the end."""
        if rows:
            self._held.insert(rows)

    def first_seq(self) -> int:
        """Give the number of the first line that is not archived."""
        moved = self._held.segments()
        return moved[-1].last_seq + 1 if moved else 1

    def archive(self, up_to_seq: int) -> Segment:
        """Move the lines up to one, which must be in the database, into a file of the archive.

        A process that dies in between leaves a file that nothing names; the next call replaces it.
        """
        held, first = self._held, self.first_seq()
        if not first <= up_to_seq <= held.last_seq():
            raise UsageError(f"events {first} to {held.last_seq()} can be archived, not `{up_to_seq}`")
        last = held.page(up_to_seq - 1, 1)[0][1]
        name = segments.write(self._folder(), first, up_to_seq, _until(held, up_to_seq))
        segment = Segment(first, up_to_seq, orjson.loads(last)["hash"], name)
        held.put_segment(segment)
        held.remove(0, up_to_seq)
        return segment


def _until(held: Database, up_to_seq: int) -> Iterator[bytes]:
    """Give the database's lines up to one."""
    after_seq = 0
    while found := held.page(after_seq):
        for seq, line in found:
            if seq > up_to_seq:
                return
            yield line
        after_seq = found[-1][0]


def _conforms(store: DurableStore) -> EventStore:
    """Let the type checker prove that it is a store."""
    return store
