"""A config's gates: compiled by the core, and the desk where what they hold waits for a person."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .config.key_root import read_content_key, read_key_root
from .content.sealing import Digests
from .core.gates import Gate, Judge, create_judge
from .core.vm import Vm
from .errors import LedgerError
from .ledger.desk import TTL_MS, Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .config.load import Config
    from .ledger.folds import Folds
    from .ports import Clock, SecretSource

_SECRET_BYTES: Final = 32


def make_judge(config: Config, schema: Mapping[str, Any]) -> Judge | None:
    """Compile a config's gates, in the order of their names; its document hears of every mistake."""
    given = config.settings.gates
    if not given:
        return None
    gates = [Gate(name, given[name].get("when"), given[name].get("reason", name)) for name in sorted(given)]
    document = config.document
    missing = [gate for gate in gates if gate.when is None]
    for gate in missing:
        document.report(("host", "gates", gate.name), "needs `when`: what it holds for")
    made = [] if missing else create_judge(Vm(config.settings.runtime), gates, schema)
    if isinstance(made, Judge):
        return made
    for place, detail in made:
        document.report(("host", "gates", gates[place].name, "when"), detail)
    return None


def make_desk(
    config: Config, clock: Clock, secrets: SecretSource, folds: Callable[[], Folds], judge: Judge | None
) -> Desk:
    """Make the desk over the folds of a config's ledger, as they are whenever it asks."""

    @cache
    def digests() -> Digests:
        # asked for by the first request that waits: most hosts need no file for it
        return Digests(_secret(config, secrets))

    def ref(tenant: str, data: bytes) -> str:
        return digests().ref(tenant, data)

    ttl_ms = config.settings.approvals.get("ttl_ms", TTL_MS)
    return Desk(folds, judge, ref, clock.now_ms, ttl_ms)


def _secret(config: Config, secrets: SecretSource) -> bytes:
    """Give what digests of requests are made with: a secret of the deployment, else one beside the ledger.

    Where there is neither it is this process's own: after a restart no request is known again.
    """
    settings = config.settings
    if settings.content.get("key"):
        return read_content_key(settings, secrets)
    if settings.keys_root:
        return read_key_root(settings, secrets)
    file = settings.ledger.get("file")
    return os.urandom(_SECRET_BYTES) if file is None else secret_beside(config.directory / f"{file}.key")


def secret_beside(path: Path) -> bytes:
    """Read a secret's file, made if there is none; only its owner may read it.

    It gets its name when it is whole: who starts at the same moment, or after a crash, finds a secret or no
    file. A `LedgerError` for one that holds something else; where none can be made, one for this process.
    """
    if not path.exists():
        try:
            _make(path)
        except OSError:
            return os.urandom(_SECRET_BYTES)
    secret = path.read_bytes()
    if len(secret) != _SECRET_BYTES:
        detail = f"holds {len(secret)} bytes, and a secret is {_SECRET_BYTES}: remove it, and one is made"
        raise LedgerError("secret", path.name, detail)
    return secret


def _make(path: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
