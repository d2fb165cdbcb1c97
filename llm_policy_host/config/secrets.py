"""Secrets from the environment and from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Missing, Secret

from .environment import environment as read_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import SecretSource

_MAX_BYTES = 64 * 1024


class LocalSecrets:
    """Finds secrets on this machine; a relative file belongs to the config's directory."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environment = read_environment() if environment is None else environment

    def find(self, auth: Mapping[str, Any]) -> Secret | Missing:
        """Give the secret that an `auth` record names, or why it cannot be had."""
        if "env" in auth:
            return self._from_environment(str(auth["env"]))
        return self._from_file(str(auth["file"]))

    def _from_environment(self, name: str) -> Secret | Missing:
        text = self._environment.get(name, "").strip()
        return _usable(text, f"the environment variable `{name}`")

    def _from_file(self, name: str) -> Secret | Missing:
        source = f"the file `{name}`"
        try:
            with (self._directory / Path(name).expanduser()).open("rb") as file:
                data = file.read(_MAX_BYTES)
        except OSError as error:
            return Missing(f"{source} cannot be read: {(error.strerror or 'unknown reason').lower()}")
        return _usable(data.decode("ascii", errors="replace").strip(), source)


def _usable(text: str, source: str) -> Secret | Missing:
    """Refuse what a header cannot carry, before a library would quote it in an error."""
    if not text:
        return Missing(f"{source} is not set")
    if not (text.isascii() and text.isprintable() and " " not in text):
        return Missing(f"{source} holds characters that no header can carry")
    return Secret(text)


def _conforms(secrets: LocalSecrets) -> SecretSource:
    """Let the type checker prove the port."""
    return secrets
