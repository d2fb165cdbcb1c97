"""The ledger in PostgreSQL: for several hosts that share one, or that have a database already."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, LiteralString

from llm_policy_host.errors import HostError

from .database import PAGE, Segment, StoreError, taken
from .durable import DurableStore

try:
    import psycopg
except ImportError:  # the extra `postgres` is not installed
    psycopg = None  # type: ignore[assignment] # asked for before every use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.ports import LedgerRow

    from .durable import Durability, Mode

VERSION = 1

_SCHEMA = """
CREATE TABLE llm_policy_ledger(version integer NOT NULL);
CREATE TABLE llm_policy_event(
  seq bigint PRIMARY KEY, run text, type text NOT NULL, tenant text NOT NULL, idem text, line bytea NOT NULL
);
CREATE UNIQUE INDEX llm_policy_event_idem ON llm_policy_event(tenant, idem)
  WHERE idem IS NOT NULL AND type = 'RequestReceived';
CREATE TABLE llm_policy_blob(digest text PRIMARY KEY, data bytea NOT NULL);
CREATE TABLE llm_policy_segment(first_seq bigint, last_seq bigint PRIMARY KEY, head_hash text, file text);
"""

_CLAIM: Final = 0x4C504C47
"""The first half of our advisory locks; the second is the table, so that each schema has its own."""
_TURN: Final = _CLAIM + 1
_MAKING: Final = _CLAIM + 2
_OPENING: Final = _CLAIM + 3
"""Held while the ledger is claimed: of two claims one comes after the other."""
_PATIENCE_MS: Final = 1000
_GONE_MS: Final = 250
"""For so long who comes waits to be the only one: the server may hold a process that was killed for alive."""
_TABLE: Final = "to_regclass('llm_policy_event')::oid::int"


_LAST_SEQ: Final = (
    "SELECT coalesce(max(seq), (SELECT max(last_seq) FROM llm_policy_segment), 0) FROM llm_policy_event"
)


def open_postgres(
    url: str, durability: Durability = "batch", mode: Mode = "exclusive", archive: Path | None = None
) -> DurableStore:
    """Open the ledger of a database, or make it; a `LedgerError` where another process has it.

    `url` may hold a password: it is in no message.
    """
    if psycopg is None:
        raise HostError(
            "a ledger in PostgreSQL needs the package `psycopg`: pip install 'llm-policy[postgres]'"
        )
    writing = PostgresDatabase(url, durability, mode)
    return DurableStore(
        writing.where,
        writing,
        lambda: PostgresDatabase(url, durability, "read"),
        archive=archive,
        mode=mode,
    )


class PostgresDatabase:
    """A connection, with the claim to write that its mode says; it is made anew where it has broken."""

    def __init__(self, url: str, durability: Durability, mode: Mode) -> None:
        self._url = url
        self._durability = durability
        self._mode = mode
        self.where = "postgresql"
        self._is_begun = False
        self.alone_at: int | None = None
        self._sql = self._open(is_first=True)

    def begin(self) -> None:
        """Take the one writer's place; waits for who has it."""
        self._reopen()
        self._is_begun = True
        with self._told():
            self._sql.execute("BEGIN")
            self._sql.execute(f"SELECT pg_advisory_xact_lock({_TURN}, {_TABLE})")

    def commit(self) -> None:
        """Keep what the transaction did."""
        with self._told():
            self._sql.execute("COMMIT")
        self._is_begun = False

    def rollback(self) -> None:
        """Take back what the transaction did."""
        self._is_begun = False
        with suppress(psycopg.Error):
            self._sql.rollback()

    def page(self, after_seq: int, most: int = PAGE) -> Sequence[tuple[int, bytes]]:
        """Give at most so many lines behind one."""
        return self._read(
            "SELECT seq, line FROM llm_policy_event WHERE seq > %s ORDER BY seq LIMIT %s", (after_seq, most)
        )

    def last_seq(self) -> int:
        """Give the number of the last line."""
        [(found,)] = self._read(_LAST_SEQ)
        return int(found)

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines: a column each, in one statement."""
        with self._told():
            self._sql.execute(
                "INSERT INTO llm_policy_event SELECT * FROM"
                " unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[])",
                [list(column) for column in zip(*rows, strict=True)],
            )

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Keep blobs that are not kept yet."""
        with self._told():
            for each in blobs.items():
                self._sql.execute("INSERT INTO llm_policy_blob VALUES (%s, %b) ON CONFLICT DO NOTHING", each)

    def blob(self, digest: str) -> bytes | None:
        """Give a blob."""
        found = self._read("SELECT data FROM llm_policy_blob WHERE digest = %s", (digest,))
        return bytes(found[0][0]) if found else None

    def remove(self, after_seq: int, up_to_seq: int) -> None:
        """Remove the lines between two, the last included."""
        with self._told():
            self._sql.execute(
                "DELETE FROM llm_policy_event WHERE seq > %s AND seq <= %s", (after_seq, up_to_seq)
            )

    def segments(self) -> Sequence[Segment]:
        """Give the archive's segments in order."""
        found = self._read(
            "SELECT first_seq, last_seq, head_hash, file FROM llm_policy_segment ORDER BY last_seq"
        )
        return [Segment(*row) for row in found]

    def put_segment(self, segment: Segment) -> None:
        """Note a segment."""
        with self._told():
            self._sql.execute(
                "INSERT INTO llm_policy_segment VALUES (%s, %s, %s, %s)",
                (segment.first_seq, segment.last_seq, segment.head_hash, segment.file),
            )

    def close(self) -> None:
        """Give the connection back, and its claim with it."""
        with suppress(psycopg.Error):
            self._sql.execute("SELECT pg_advisory_unlock_all()")
        self._sql.close()

    def _read(self, query: LiteralString, values: Sequence[Any] = ()) -> list[Any]:
        """Ask; a connection that broke is made anew and asked once more, unless it is in a transaction."""
        try:
            if not self._is_begun:
                self._reopen()
            with self._told():
                return self._sql.execute(query, values, binary=True).fetchall()
        except StoreError:
            if self._is_begun or not self._sql.closed:
                raise
        self._reopen()
        with self._told():
            return self._sql.execute(query, values, binary=True).fetchall()

    def _reopen(self) -> None:
        if self._sql.closed:
            self._sql = self._open()

    def _open(self, *, is_first: bool = False) -> psycopg.Connection:
        try:
            made = psycopg.connect(
                self._url, autocommit=True, application_name="llm-policy ledger", client_encoding="utf8"
            )
        except psycopg.ProgrammingError:
            raise StoreError(self.where, "the URL of the database cannot be read") from None
        except psycopg.Error as error:
            raise StoreError(self.where, f"cannot be reached{_state(error)}", is_passing=True) from None
        self.where = f"postgresql database `{made.info.dbname}`"
        try:
            with self._told():
                made.execute(f"SET synchronous_commit = {'off' if self._durability == 'off' else 'on'}")
                self._make(made)
                if self._mode != "read":
                    made.execute(f"SELECT pg_advisory_lock({_OPENING}, {_TABLE})")
                    self._claim(made, is_first=is_first)
                    made.execute(f"SELECT pg_advisory_unlock({_OPENING}, {_TABLE})")
        except BaseException:
            made.close()
            raise
        return made

    def _make(self, made: psycopg.Connection) -> None:
        """Make the tables, unless they are there; refuse those of another version."""
        if made.execute("SELECT to_regclass('llm_policy_ledger')").fetchone() == (None,):
            if self._mode == "read":
                raise StoreError(self.where, "holds no ledger")
            # held by the session: a transaction that began before another made the tables does not see them
            made.execute(f"SELECT pg_advisory_lock({_MAKING}, 0)")
            if made.execute("SELECT to_regclass('llm_policy_ledger')").fetchone() == (None,):
                with made.transaction():
                    made.execute(_SCHEMA)
                    made.execute("INSERT INTO llm_policy_ledger VALUES (%s)", (VERSION,))
            made.execute(f"SELECT pg_advisory_unlock({_MAKING}, 0)")
        found = made.execute("SELECT version FROM llm_policy_ledger").fetchone()
        if found != (VERSION,):
            has = "no version" if found is None else f"the version {found[0]}"
            raise StoreError(self.where, f"has {has}; this program reads {VERSION}")

    def _claim(self, made: psycopg.Connection, *, is_first: bool) -> None:
        """Claim the ledger for this connection alone, or with others that share it.

        Who is the only one as he comes learns what was there at that moment.
        """
        is_shared = self._mode == "shared"
        if is_first or not is_shared:
            is_alone = _is_taken(made, "", _GONE_MS if is_shared else _PATIENCE_MS)
            if is_alone and is_first:
                [(self.alone_at,)] = made.execute(_LAST_SEQ).fetchall()
            if is_alone and not is_shared:
                return
        if is_shared and _is_taken(made, "_shared", _PATIENCE_MS):
            # a claim of one's own alone is held beside the shared one till here
            made.execute(f"SELECT pg_advisory_unlock({_CLAIM}, {_TABLE})")
            return
        holders = made.execute(
            "SELECT pid, mode = 'ExclusiveLock' FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid = %s AND objid = to_regclass('llm_policy_event')::oid"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1",
            (_CLAIM,),
        ).fetchone()
        holder, is_alone = holders or (0, False)
        raise StoreError(self.where, taken(self._mode, f"the server's process {holder}", is_alone=is_alone))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say the database's misfortunes by their code: its texts may hold values."""
        try:
            yield
        except psycopg.Error as error:
            is_passing = isinstance(error, psycopg.OperationalError)
            raise StoreError(self.where, f"failed{_state(error)}", is_passing=is_passing) from None


def _is_taken(made: psycopg.Connection, way: LiteralString, patience_ms: int) -> bool:
    """Take the claim, beside those of this connection, unless others have it for longer than that."""
    made.execute(f"SET lock_timeout = {patience_ms:d}".encode())
    try:
        made.execute(f"SELECT pg_advisory_lock{way}({_CLAIM}, {_TABLE})")
    except psycopg.errors.LockNotAvailable:
        return False
    finally:
        made.execute("SET lock_timeout = 0")
    return True


def _state(error: psycopg.Error) -> str:
    return f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
