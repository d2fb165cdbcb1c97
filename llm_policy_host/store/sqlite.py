"""The ledger in a SQLite file, in WAL mode: the default, which needs nothing beside Python."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING

from .database import PAGE, Segment, StoreError, taken
from .durable import DurableStore
from .salvage import is_cut, salvage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.ports import LedgerRow

    from .durable import Durability, Mode

APPLICATION = 0x4C504C47
"""Marks the file as ours ("LPLG")."""
VERSION = 1
BUSY_S = 30.0

SCHEMA = f"""
PRAGMA application_id={APPLICATION};
PRAGMA user_version={VERSION};
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, run TEXT, type TEXT NOT NULL, tenant TEXT NOT NULL, idem TEXT, line BLOB NOT NULL
);
CREATE UNIQUE INDEX event_idem ON event(tenant, idem) WHERE idem IS NOT NULL AND type = 'RequestReceived';
CREATE TABLE blob(digest TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE segment(first_seq INTEGER, last_seq INTEGER PRIMARY KEY, head_hash TEXT, file TEXT);
"""

_SYNCHRONOUS = {"off": "OFF", "batch": "FULL", "strict": "FULL"}
_CHUNKS = (512, 128, 32, 8, 1)
"""Rows of one statement: `executemany` would give the interpreter away, and ask it back, for every row."""
_ROW = "(?,?,?,?,?,?)"
_INSERTS = {count: f"INSERT INTO event VALUES {','.join([_ROW] * count)}" for count in _CHUNKS}  # noqa: S608 - question marks
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def open_sqlite(
    path: Path, durability: Durability = "batch", mode: Mode = "exclusive", archive: Path | None = None
) -> DurableStore:
    """Open or make a ledger's file; a `LedgerError` where another process has it, or it is none of ours."""

    def connect() -> SqliteDatabase:
        return SqliteDatabase(path, durability, is_reader=True)

    return DurableStore(
        str(path),
        connect() if mode == "read" else _writing(path, durability, mode),
        connect,
        archive=archive or path.with_name(f"{path.name}.archive"),
        mode=mode,
        files=[path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", ".lock")],
    )


def _writing(path: Path, durability: Durability, mode: Mode) -> SqliteDatabase:
    """Claim the ledger and open it; who is the only one learns what was there at that moment.

    INVARIANT: all claims are made in the folder's turn, so between two of them nobody comes.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder_turn(path.parent):
            claim = Claim(path, mode)
            try:
                _make(path, mode)
                made = SqliteDatabase(path, durability, claim)
                if claim.is_alone:
                    made.alone_at = made.last_seq()
                claim.settle(mode)
            except BaseException:
                claim.release()
                raise
    except OSError as error:
        raise StoreError(str(path), (error.strerror or "cannot be used").lower()) from None
    return made


class SqliteDatabase:
    """A connection to the file; with a claim to write it, which ends with the connection."""

    def __init__(
        self, path: Path, durability: Durability, claim: Claim | None = None, *, is_reader: bool = False
    ) -> None:
        self._where = str(path)
        self._claim = claim
        self.alone_at: int | None = None
        with self._told():
            self._sql = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'ro' if is_reader else 'rw'}",
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            self._sql.execute(f"PRAGMA synchronous={_SYNCHRONOUS[durability]}")
            self._sql.execute("PRAGMA wal_autocheckpoint=4000")
        self._check()

    def begin(self) -> None:
        """Take the file's one writer's place; waits for who has it."""
        with self._told():
            self._sql.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Keep what the transaction did."""
        with self._told():
            self._sql.execute("COMMIT")

    def rollback(self) -> None:
        """Take back what the transaction did."""
        if self._sql.in_transaction:
            self._sql.rollback()

    def page(self, after_seq: int, most: int = PAGE) -> Sequence[tuple[int, bytes]]:
        """Give at most so many lines behind one."""
        with self._told():
            return self._sql.execute(
                "SELECT seq, line FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, most)
            ).fetchall()

    def last_seq(self) -> int:
        """Give the number of the last line."""
        with self._told():
            found = self._sql.execute(
                "SELECT coalesce((SELECT max(seq) FROM event), (SELECT max(last_seq) FROM segment), 0)"
            ).fetchone()
        return int(found[0])

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines."""
        with self._told():
            start = 0
            for count in _CHUNKS:
                while len(rows) - start >= count:
                    values = list(chain.from_iterable(rows[start : start + count]))
                    self._sql.execute(_INSERTS[count], values)
                    start += count

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Keep blobs that are not kept yet."""
        with self._told():
            for each in blobs.items():
                self._sql.execute("INSERT OR IGNORE INTO blob VALUES (?,?)", each)

    def blob(self, digest: str) -> bytes | None:
        """Give a blob."""
        with self._told():
            found = self._sql.execute("SELECT data FROM blob WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else bytes(found[0])

    def remove(self, after_seq: int, up_to_seq: int) -> None:
        """Remove the lines between two, the last included."""
        with self._told():
            self._sql.execute("DELETE FROM event WHERE seq > ? AND seq <= ?", (after_seq, up_to_seq))

    def segments(self) -> Sequence[Segment]:
        """Give the archive's segments in order."""
        with self._told():
            found = self._sql.execute(
                "SELECT first_seq, last_seq, head_hash, file FROM segment ORDER BY last_seq"
            ).fetchall()
        return [Segment(*row) for row in found]

    def put_segment(self, segment: Segment) -> None:
        """Note a segment."""
        with self._told():
            self._sql.execute(
                "INSERT INTO segment VALUES (?,?,?,?)",
                (segment.first_seq, segment.last_seq, segment.head_hash, segment.file),
            )

    def close(self) -> None:
        """Give the connection back."""
        self._sql.close()
        if self._claim is not None:
            self._claim.release()

    def _check(self) -> None:
        """Refuse a file of another kind, or of another version."""
        with self._told():
            kind = self._sql.execute("PRAGMA application_id").fetchone()[0]
            version = self._sql.execute("PRAGMA user_version").fetchone()[0]
        if kind != APPLICATION:
            raise StoreError(self._where, "is a database, but not a ledger")
        if version != VERSION:
            raise StoreError(self._where, f"has the version {version}; this program reads {VERSION}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say the database's misfortunes in our words; none of theirs holds a value."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            raise StoreError(self._where, str(error), is_passing=code in _PASSING) from None


class Claim:
    """A lock of the operating system on a file beside the ledger's: it dies with its process."""

    def __init__(self, path: Path, mode: Mode) -> None:
        """Take it, alone if nobody else has it; a `StoreError` where somebody has it who does not share."""
        beside = path.with_name(f"{path.name}.lock")
        self._file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.is_alone = self._is_taken(fcntl.LOCK_EX)
        if not self.is_alone and (mode == "exclusive" or not self._is_taken(fcntl.LOCK_SH)):
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace")
            self.release()
            is_alone = holder.isdigit()
            by = f"the process {holder}" if is_alone else "another process"
            raise StoreError(str(path), taken(mode, by, is_alone=is_alone))

    def settle(self, mode: Mode) -> None:
        """Keep it as its mode says, and say in the file who keeps it alone."""
        os.ftruncate(self._file, 0)
        if mode == "exclusive":
            os.pwrite(self._file, str(os.getpid()).encode(), 0)
        else:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def _is_taken(self, how: int) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
            return True
        return False

    def release(self) -> None:
        """Give it back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _make(path: Path, mode: Mode) -> None:
    """Make the file if there is none, and mend it if its end is missing."""
    try:
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if is_cut(path):
            if mode == "shared":
                raise StoreError(str(path), "its end is missing; open it once with the mode `exclusive`")
            salvage(path, SCHEMA)
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as made:
            if not made.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                made.executescript(f"PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            else:
                made.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise StoreError(str(path), str(error)) from None


@contextmanager
def _folder_turn(folder: Path) -> Iterator[None]:
    """Let one process at a time make files in a folder."""
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
