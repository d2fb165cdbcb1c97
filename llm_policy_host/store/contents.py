"""Content in a SQLite file of its own: what was said, and the wrapped key of each tenant (spec 5.6).

What is deleted is overwritten, in the file and in its log of writes: a destroyed key lies nowhere any more.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .database import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from llm_policy_host.ports import ContentRow, ContentStore

APPLICATION: Final = 0x4C504354
"""Marks the file as ours ("LPCT")."""
VERSION: Final = 1
_BUSY_S: Final = 30.0

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS tenant_key(tenant TEXT PRIMARY KEY, wrapped BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS content(
  run TEXT NOT NULL, name TEXT NOT NULL, tenant TEXT NOT NULL, level TEXT NOT NULL, at_ms INTEGER NOT NULL,
  data BLOB NOT NULL, PRIMARY KEY (run, name)
);
CREATE INDEX IF NOT EXISTS content_tenant ON content(tenant, level);
CREATE INDEX IF NOT EXISTS content_at ON content(at_ms);
CREATE TABLE IF NOT EXISTS purging(tenant TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS deployment(mark TEXT PRIMARY KEY);
PRAGMA application_id={APPLICATION};
PRAGMA user_version={VERSION};
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept of a tenant at a level."""

    tenant: str
    level: str
    contents: int
    size: int
    oldest_ms: int


class ContentFile:
    """The file. Threads take turns; `mark` tells the deployment's key: another one's file is refused.

    Without a mark nothing is asked of the key: to count, and to purge, nobody needs it.
    """

    def __init__(self, path: Path, mark: str | None) -> None:
        self._where = str(path)
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(self._where, (error.strerror or "cannot be used").lower()) from None
        with self._told():
            self._sql = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._make(mark)
        except BaseException:
            self._sql.close()
            raise

    def _make(self, mark: str | None) -> None:
        with self._told():
            kind = self._sql.execute("PRAGMA application_id").fetchone()[0]
            version = self._sql.execute("PRAGMA user_version").fetchone()[0]
            is_new = not self._sql.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_new and kind != APPLICATION:
            raise StoreError(self._where, "is a database, but none of content")
        if not is_new and version != VERSION:
            raise StoreError(self._where, f"has the version {version}; this program reads {VERSION}")
        with self._told():
            self._sql.execute("PRAGMA journal_mode=WAL")
            self._sql.execute("PRAGMA secure_delete=ON")
            self._sql.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        if mark is not None:
            self._check(mark)

    def _check(self, mark: str) -> None:
        with self.transaction():
            self._sql.execute(
                "INSERT INTO deployment SELECT ? WHERE NOT EXISTS (SELECT * FROM deployment)", (mark,)
            )
            found = self._sql.execute("SELECT mark FROM deployment").fetchone()[0]
        if found != mark:
            raise StoreError(self._where, "was made with another `host.content.key`")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep other writers out until it ends."""
        with self._lock, self._told():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            finally:
                if self._sql.in_transaction:
                    self._sql.rollback()

    def key(self, tenant: str) -> bytes | None:
        """Give a tenant's wrapped key."""
        with self._lock, self._told():
            found = self._sql.execute("SELECT wrapped FROM tenant_key WHERE tenant = ?", (tenant,)).fetchone()
        return None if found is None else bytes(found[0])

    def put_key(self, tenant: str, wrapped: bytes) -> None:
        """Note a tenant's wrapped key."""
        with self._lock, self._told():
            self._sql.execute("INSERT INTO tenant_key VALUES (?,?)", (tenant, wrapped))

    def put(self, rows: Sequence[ContentRow]) -> None:
        """Keep contents."""
        with self._lock, self._told():
            self._sql.executemany("INSERT OR REPLACE INTO content VALUES (?,?,?,?,?,?)", rows)

    def find(self, run: str, name: str) -> ContentRow | None:
        """Give one content."""
        with self._lock, self._told():
            row: ContentRow | None = self._sql.execute(
                "SELECT run, name, tenant, level, at_ms, data FROM content WHERE run = ? AND name = ?",
                (run, name),
            ).fetchone()
        return row

    def of_run(self, run: str) -> Sequence[ContentRow]:
        """Give all of a run, in the order in which it was put."""
        with self._lock, self._told():
            return self._sql.execute(
                "SELECT run, name, tenant, level, at_ms, data FROM content WHERE run = ? ORDER BY rowid",
                (run,),
            ).fetchall()

    def runs(self, prefix: str) -> Sequence[str]:
        """Give the runs of which something is kept and whose names begin so."""
        with self._lock, self._told():
            found = self._sql.execute(
                "SELECT DISTINCT run FROM content WHERE substr(run, 1, ?) = ? ORDER BY run",
                (len(prefix), prefix),
            ).fetchall()
        return [run for (run,) in found]

    def expire(self, before_ms: int) -> int:
        """Forget what was put before a moment."""
        with self.transaction():
            return self._sql.execute("DELETE FROM content WHERE at_ms < ?", (before_ms,)).rowcount

    def purge(self, tenant: str) -> tuple[bool, int]:
        """Destroy a tenant's key, and what it sealed; give whether there was one, and how many contents.

        A `StoreError` where another process reads what was there: until the next one its bytes are left.
        """
        with self.transaction():
            keys = self._sql.execute("DELETE FROM tenant_key WHERE tenant = ?", (tenant,)).rowcount
            gone = self._sql.execute("DELETE FROM content WHERE tenant = ?", (tenant,)).rowcount
            self._sql.execute("INSERT OR IGNORE INTO purging VALUES (?)", (tenant,))
        with self._lock, self._told():
            busy = self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreError(
                self._where, "the key is destroyed, but another process still reads: purge once more"
            )
        with self._lock, self._told():
            self._sql.execute("DELETE FROM purging WHERE tenant = ?", (tenant,))
        return bool(keys), gone

    def tenants(self) -> Sequence[str]:
        """Name those who have a key, or of whom something is kept, or whose purge was held up."""
        with self._lock, self._told():
            found = self._sql.execute(
                "SELECT tenant FROM tenant_key UNION SELECT tenant FROM content"
                " UNION SELECT tenant FROM purging ORDER BY 1"
            )
            return [tenant for (tenant,) in found]

    def held(self) -> Sequence[Held]:
        """Give what is kept, by tenant and level."""
        with self._lock, self._told():
            found = self._sql.execute(
                "SELECT tenant, level, count(*), sum(length(data)), min(at_ms) FROM content"
                " GROUP BY tenant, level ORDER BY tenant, level"
            ).fetchall()
        return [Held(*row) for row in found]

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._sql.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say the database's misfortunes in our words."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self._where, str(error)) from None


def _conforms(store: ContentFile) -> ContentStore:
    """Let the type checker prove the port."""
    return store
