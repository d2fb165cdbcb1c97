"""A ledger's lines in a file of lines: what `llm-policy ledger export` writes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from llm_policy_host.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


def ended_lines(data: Iterable[bytes]) -> Iterator[bytes]:
    """Give the lines of binary data without their ends, which each must have."""
    for line in data:
        if not line.endswith(b"\n"):
            raise LedgerError("form", "line", "is not ended: the file is cut off")
        yield line[:-1]


class ExportFile:
    """An export, to read; it holds no blobs."""

    blob_get = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, after_seq: int = 0) -> Iterator[bytes]:
        """Give the lines behind one; a `LedgerError` for a last line that is not ended."""
        with self._path.open("rb") as file:
            yield from ended_lines(islice(file, after_seq, None))

    def files(self) -> Sequence[Path]:
        """Name the files that hold the lines."""
        return [self._path]

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""
