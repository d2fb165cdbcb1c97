"""The archive: lines that left the database, a JSONL file a segment, with the bytes that they had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .database import Segment, StoreError
from .files import make_folder, write_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def file_name(first_seq: int, last_seq: int) -> str:
    """Name a segment's file: files of one ledger stand in their order."""
    return f"{first_seq:012}-{last_seq:012}.jsonl"


def write(folder: Path, first_seq: int, last_seq: int, lines: Iterable[bytes]) -> str:
    """Write a segment's file, whole or not at all, and give its name."""
    name = file_name(first_seq, last_seq)
    try:
        make_folder(folder)
        write_lines(folder / name, lines)
    except OSError as error:
        raise _trouble(folder / name, error) from None
    return name


def lines(folder: Path, segment: Segment, after_seq: int) -> Iterator[bytes]:
    """Give a segment's lines behind one."""
    path = folder / segment.file
    seq = segment.first_seq - 1
    try:
        with path.open("rb") as file:
            for line in file:
                seq += 1
                if seq > after_seq:
                    yield line.rstrip(b"\n")
    except OSError as error:
        raise _trouble(path, error) from None
    if seq != segment.last_seq:
        raise StoreError(str(path), f"ends at event {seq}, not at {segment.last_seq}")


def _trouble(path: Path, error: OSError) -> StoreError:
    return StoreError(str(path), (error.strerror or "cannot be used").lower())
