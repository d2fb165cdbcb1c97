"""One connection to where lines lie, as the stores use it; each database says this in its own SQL."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llm_policy_host.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.ports import LedgerRow

PAGE = 4096
"""Lines that are read at once."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines in a file of the archive: from which to which, and the hash that the next one follows."""

    first_seq: int
    last_seq: int
    head_hash: str
    file: str


class Database(Protocol):
    """A connection. One thread uses it at a time; what goes wrong in it is a `StoreError`."""

    alone_at: int | None
    """The number of the last line when this claim to write was the only one; None where it never was."""

    def begin(self) -> None:
        """Start a transaction that keeps every other writer out until it ends."""

    def commit(self) -> None:
        """Keep what the transaction did."""

    def rollback(self) -> None:
        """Take back what the transaction did; never fails."""

    def page(self, after_seq: int, most: int = PAGE) -> Sequence[tuple[int, bytes]]:
        """Give at most so many lines behind one, each with its number, in order."""

    def last_seq(self) -> int:
        """Give the number of the last line, be it archived; 0 where there is none."""

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines, within a transaction."""

    def put_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Keep blobs that are not kept yet, within a transaction."""

    def blob(self, digest: str) -> bytes | None:
        """Give a blob."""

    def remove(self, after_seq: int, up_to_seq: int) -> None:
        """Remove the lines between two, the last included, within a transaction."""

    def segments(self) -> Sequence[Segment]:
        """Give the archive's segments in order."""

    def put_segment(self, segment: Segment) -> None:
        """Note a segment, within a transaction."""

    def close(self) -> None:
        """Give the connection back."""


class StoreError(LedgerError):
    """The database did not do what it was told; `is_passing` where another try may help."""

    def __init__(self, where: str, detail: str, *, is_passing: bool = False) -> None:
        super().__init__("store", where, detail)
        self.is_passing = is_passing


def taken(mode: str, holder: str, *, is_alone: bool) -> str:
    """Say why a ledger cannot be opened in a mode, and what to do."""
    wanted = "written alone" if mode == "exclusive" else "shared"
    return (
        f"cannot be {wanted}: {holder} writes it{' alone' if is_alone else ''};"
        " stop that one, or give each the mode `shared`"
    )


@contextmanager
def transaction(database: Database) -> Iterator[None]:
    """Begin, and commit, or take all back where an exception leaves."""
    try:
        # what was cut off while it waited for its turn has begun all the same
        database.begin()
        yield
        database.commit()
    except BaseException:
        database.rollback()
        raise
