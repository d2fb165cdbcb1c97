"""The archive: lines that left the database, a JSONL file a segment, with the bytes that they had."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from .database import Segment, StoreError

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
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file, made = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with os.fdopen(file, "wb") as out:
                for line in lines:
                    out.write(line + b"\n")
                out.flush()
                os.fsync(out.fileno())
            os.replace(made, folder / name)  # noqa: PTH105 - a name, not a path
        except BaseException:
            os.unlink(made)  # noqa: PTH108 - a name, not a path
            raise
        _sync(folder)
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


def _sync(folder: Path) -> None:
    """Let a new name in a folder outlive a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _trouble(path: Path, error: OSError) -> StoreError:
    return StoreError(str(path), (error.strerror or "cannot be used").lower())
