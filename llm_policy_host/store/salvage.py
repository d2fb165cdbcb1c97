"""Mends a SQLite file whose end is missing: the good beginning of its chain moves to a new file.

SQLite's own journal covers every crash of a process or a machine. This is for a file that was cut: by a
full disk, a broken copy, a file system that lost its last blocks. The old file is kept beside the new one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import orjson

from llm_policy_host.ledger.event import NO_HASH, blob_digest, line_hash

from .database import StoreError
from .files import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100


def is_cut(path: Path, busy_s: float = 5.0) -> bool:
    """Whether a database's file has lost its end.

    It is shorter than its header says, then. So is one whose process died while SQLite moved pages from
    its journal to the file: SQLite does that again, and nothing is missing. Others who use the file are
    waited for, for so many seconds.
    """
    if not _is_short(path):
        return False
    journal = path.with_name(f"{path.name}-wal")
    if not journal.exists() or not journal.stat().st_size:
        return True
    with closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as opened:
        try:
            is_busy = opened.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            # another process may be moving pages: what it has not moved yet is read from the journal
            is_short = not is_busy and _is_short(path)
            return is_short or opened.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
        except sqlite3.DatabaseError:
            return True


def salvage(path: Path, schema: str) -> Path:
    """Make the file anew from what is good in it; give the place of the old one."""
    kept = _keep(path)
    made = path.with_name(f"{path.name}.mending")
    made.unlink(missing_ok=True)
    os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        closing(sqlite3.connect(kept, isolation_level=None)) as old,
        closing(sqlite3.connect(made, isolation_level=None)) as new,
    ):
        # nobody sees it before it is whole and on the disk
        new.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN; {schema}")
        if not _move(old, new):
            made.unlink()
            raise StoreError(str(path), f"its end is missing, and no event in it can be read; see `{kept}`")
        new.execute("COMMIT")
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    sync(path.parent)
    # a journal of the old file must not be played into the new one
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    made.replace(path)
    sync(path.parent)
    return kept


def _keep(path: Path) -> Path:
    """Copy the file, grown to its old size: what was lost is empty, what was not can be read."""
    number = 1
    while (kept := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copy(f"{path}{suffix}", f"{kept}{suffix}")
    with kept.open("rb") as file:
        size = _whole_size(file.read(_HEADER_BYTES))
    os.truncate(kept, size)
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            sync(kept.with_name(kept.name + suffix))
    return kept


def _move(old: sqlite3.Connection, new: sqlite3.Connection) -> int:
    """Copy segments, blobs that are what their name says, and events while their chain holds; count these."""
    seq, prev = 0, NO_HASH
    for row in _readable(old, "SELECT first_seq, last_seq, head_hash, file FROM segment ORDER BY last_seq"):
        new.execute("INSERT INTO segment VALUES (?,?,?,?)", row)
        seq, prev = row[1], row[2]
    for digest, data in _readable(old, "SELECT digest, data FROM blob NOT INDEXED"):
        if not digest.startswith("sha256:") or digest == blob_digest(data):
            new.execute("INSERT OR IGNORE INTO blob VALUES (?,?)", (digest, data))
    count = 0
    for (line,) in _readable(old, "SELECT line FROM event NOT INDEXED"):
        data = _event(line, prev)
        if data is None or data["seq"] != seq + 1:
            break
        seq, prev = data["seq"], data["hash"]
        found_by = [data[name] for name in ("seq", "run", "type", "tenant", "idem")]
        new.execute("INSERT INTO event VALUES (?,?,?,?,?,?)", (*found_by, line))
        count += 1
    return count


def _event(line: object, prev: str) -> dict[str, Any] | None:
    """Read a line; None where it is not the one that follows the hash `prev`."""
    try:
        data: dict[str, Any] = orjson.loads(line)  # type: ignore[arg-type] # whatever the database gave
        is_next = data["prev"] == prev and data["hash"] == line_hash(prev, bytes(line))  # type: ignore[call-overload]
    except (ValueError, KeyError, TypeError):
        return None
    return data if is_next else None


def _readable(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Give rows until the first one that is damaged."""
    count = 0
    with suppress(sqlite3.Error):
        for row in database.execute(query):
            yield row
            count += 1
        return
    # Python reads a row ahead: the one before the damaged one is good, and has not been given
    with suppress(sqlite3.Error):
        yield from database.execute(f"{query} LIMIT 1 OFFSET {count}")


def _is_short(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    is_database = len(header) == _HEADER_BYTES and header.startswith(_MAGIC)
    return is_database and path.stat().st_size < _whole_size(header)


def _whole_size(header: bytes) -> int:
    """Give the bytes that a file's header says it has."""
    page = int.from_bytes(header[16:18], "big")
    return (65_536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
