"""Opens the store that a config names, or a file that somebody kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .database import StoreError
from .export import ExportFile
from .sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .durable import DurableStore, Mode

_SQLITE = b"SQLite format 3\x00"


def open_store(
    ledger: Mapping[str, Any], directory: Path, environment: Mapping[str, str], mode: Mode | None = None
) -> DurableStore:
    """Open what a config's `host.ledger` names; relative paths are the config's directory's."""
    durability = ledger.get("durability", "batch")
    how: Mode = mode or ledger.get("mode", "exclusive")
    archive = directory / ledger["archive"] if "archive" in ledger else None
    if "file" in ledger:
        path = directory / ledger["file"]
        if how == "read":
            _must_exist(path)
        return open_sqlite(path, durability, how, archive)
    url = environment.get(ledger["url_env"], "").strip()
    if not url:
        raise StoreError("host.ledger.url_env", f"the environment variable `{ledger['url_env']}` is not set")
    from .postgres import open_postgres  # noqa: PLC0415 - 100 ms and 10 MB that no other ledger needs

    return open_postgres(url, durability, how, archive)


def open_file(path: Path, mode: Mode = "read") -> DurableStore | ExportFile:
    """Open a ledger's SQLite file, or an export, which is only read."""
    _must_exist(path)
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise StoreError(str(path), (error.strerror or "cannot be read").lower()) from None
    return open_sqlite(path, mode=mode) if is_sqlite else ExportFile(path)


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise StoreError(str(path), "there is no such file")
