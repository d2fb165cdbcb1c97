"""Secrets from the environment, from files and from the system's keyring."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Missing, Secret

from .environment import environment as read_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import SecretSource

_MAX_BYTES = 64 * 1024
_Stamp = tuple[int, int, int, int]


class LocalSecrets:
    """Finds secrets on this machine; a relative file belongs to the config's directory.

    The environment and the keyring are read once. A file is looked at each time, and read again
    only when it has changed.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = read_environment() if environment is None else environment
        self._fixed: dict[str, Secret | Missing] = {}
        self._keyed: dict[str, Secret | Missing] = {}
        self._files: dict[str, tuple[_Stamp, Secret | Missing]] = {}

    def find(self, auth: Mapping[str, Any]) -> Secret | Missing:
        """Give the secret that an `auth` record names, or why it cannot be had."""
        if "env" in auth:
            return self._from_environment(str(auth["env"]))
        if "keyring" in auth:
            return self._from_keyring(str(auth["keyring"]))
        return self._from_file(str(auth["file"]))

    def _from_environment(self, name: str) -> Secret | Missing:
        if name not in self._fixed:
            text = self._environment.get(name, "").strip()
            self._fixed[name] = _usable(text, f"the environment variable `{name}`")
        return self._fixed[name]

    def _from_keyring(self, name: str) -> Secret | Missing:
        if name not in self._keyed:
            self._keyed[name] = _ask_keyring(name)
        return self._keyed[name]

    def _from_file(self, name: str) -> Secret | Missing:
        source = f"the file `{name}`"
        path = self._directory / Path(name).expanduser()
        try:
            stamp = _stamp(path)
            known = self._files.get(name)
            if known is None or known[0] != stamp:
                known = self._files[name] = (stamp, _usable(_read(path), source))
        except OSError as error:
            return Missing(f"{source} cannot be read: {(error.strerror or 'unknown reason').lower()}")
        return known[1]


class NoSecrets:
    """Finds none, and looks nowhere: for those who only look at a config."""

    def find(self, auth: Mapping[str, Any]) -> Secret | Missing:
        """Say that nobody looked."""
        del auth
        return Missing("secrets are not looked at here")


def _stamp(path: Path) -> _Stamp:
    """Give what changes with a file: writing in place changes its times, replacing it its number."""
    found = path.stat()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("ascii", errors="replace").strip()


def _ask_keyring(entry: str) -> Secret | Missing:
    """Read `service/name`: the name is what follows the last slash."""
    source = f"the keyring's entry `{entry}`"
    service, _, name = entry.rpartition("/")
    try:
        keyring = importlib.import_module("keyring")
        errors = importlib.import_module("keyring.errors")
    except ImportError:
        return Missing(f"{source} cannot be read: the package `keyring` is not installed")
    try:
        text = keyring.get_password(service, name)
    except (errors.KeyringError, OSError, RuntimeError) as error:
        return Missing(f"{source} cannot be read: {type(error).__name__}")
    return _usable((text or "").strip(), source)


def _usable(text: str, source: str) -> Secret | Missing:
    """Refuse what a header cannot carry, before a library would quote it in an error."""
    if not text:
        return Missing(f"{source} is not set")
    if not (text.isascii() and text.isprintable() and " " not in text):
        return Missing(f"{source} holds characters that no header can carry")
    return Secret(text)


def _conforms(secrets: LocalSecrets, none: NoSecrets) -> tuple[SecretSource, SecretSource]:
    """Let the type checker prove the port."""
    return secrets, none
