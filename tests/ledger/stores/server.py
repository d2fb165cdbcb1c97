"""A PostgreSQL server of one's own: made in a folder, reached by a Unix socket, gone with the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USERS = ("postgres", "nobody")


def folder_of_binaries() -> Path | None:
    """Find `initdb` and its companions: on the path, or where Debian puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None


def why_none() -> str | None:
    """Say why no server can be had; None where one can."""
    if folder_of_binaries() is None:
        return "no `initdb` on this machine (Debian: postgresql)"
    if os.getuid() == 0 and (shutil.which("runuser") is None or _user() is None):
        return "postgresql does not run as root, and there is no other user to run it"
    return None


@contextmanager
def running() -> Iterator[str]:
    """Start a server, and give the URL of its database."""
    binaries = folder_of_binaries()
    assert binaries is not None
    # a short path: a Unix socket's has at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="lp-pg-"))
    user = _user() if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    try:
        make = [
            binaries / "initdb",
            "-D",
            folder / "data",
            *["-U", "ledger", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
        ]
        _run(user, folder, make)
        options = f"-k {folder} -c listen_addresses= -c shared_buffers=16MB -c max_connections=60"
        control = [binaries / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w"]
        _run(user, folder, [*control, "-o", options, "start"])
        try:
            yield f"postgresql://ledger@/postgres?host={folder}"
        finally:
            _run(user, folder, [*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(user: str | None, folder: Path, command: Sequence[object]) -> None:
    as_user = [] if user is None else ["runuser", "-u", user, "--"]
    done = subprocess.run(
        [*as_user, *map(str, command)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def _user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((user for user in USERS if user in known), None)
