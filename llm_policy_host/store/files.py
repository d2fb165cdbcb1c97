"""Files of lines that are there whole or not at all, and outlive a loss of power."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write a file that its owner alone may read, in the place of what has its name; count the lines.

    Until it is whole nobody sees it. An `OSError` where it cannot be written.
    """
    count = 0
    file, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as out:
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is the answer
                out.write(line + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(made, path)  # noqa: PTH105 - a name, not a path
    except BaseException:
        os.unlink(made)  # noqa: PTH108 - a name, not a path
        raise
    sync(path.parent)
    return count


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it, so that their names outlive a loss of power."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def sync(path: Path) -> None:
    """Let a file's bytes, or the names in a folder, outlive a loss of power."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
