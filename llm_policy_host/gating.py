"""A config's gates: compiled by the core, and the desk where what they hold waits for a person."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from .config.key_root import read_content_key, read_key_root
from .content.sealing import Digests
from .core.gates import Gate, Judge, create_judge
from .core.vm import Vm
from .ledger.desk import TTL_MS, Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
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
    return os.urandom(_SECRET_BYTES) if file is None else _beside(config.directory / f"{file}.key")


def _beside(path: Path) -> bytes:
    """Read a secret's file, made if there is none; only its owner may read it."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(_SECRET_BYTES))
    except FileExistsError:
        pass
    except OSError:
        return os.urandom(_SECRET_BYTES)
    return path.read_bytes()
