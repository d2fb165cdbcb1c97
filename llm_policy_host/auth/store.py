"""The file of OAuth tokens: readable by its owner alone, replaced whole, shared by processes.

Several processes may hold the same account. A refresh token is often good for one use, so whoever
refreshes holds the file's lock from reading to writing.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Missing

from .tokens import Tokens, from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from llm_policy_host.ports import Clock

_MAX_BYTES = 1024 * 1024
_POLL_MS = 50
_Stamp = tuple[int, int, int, int]


class StoreError(Exception):
    """The file cannot be used; its text says why, and holds nothing of it."""


class TokenStore:
    """Tokens by provider and account; read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: _Stamp | None = None
        self._data: Mapping[str, Any] = {}
        self._found: dict[tuple[str, str], Tokens | Missing] = {}

    def find(self, provider: str, account: str, client: Mapping[str, str]) -> Tokens | Missing:
        """Give an account's tokens, if they are of this `{token_url, client_id}`, or why there are none."""
        try:
            self._look()
        except StoreError as error:
            return Missing(str(error))
        key = (provider, account)
        if key not in self._found:
            self._found[key] = self._read(provider, account, client)
        return self._found[key]

    def put(self, provider: str, account: str, client: Mapping[str, str], tokens: Tokens | None) -> None:
        """Write an account's tokens, None to forget them; to be called under the lock.

        They are known here even where the file cannot be written, which is a `StoreError`.
        """
        try:
            self._look()
            accounts = {name: dict(own) for name, own in self._data.items()}
            own = accounts.setdefault(provider, {})
            own.pop(account, None)
            if tokens is not None:
                own[account] = {**client, **to_plain(tokens)}
            self._write(accounts)
        finally:
            self._found[provider, account] = tokens or _not_logged_in(account)

    @asynccontextmanager
    async def locked(self, clock: Clock) -> AsyncIterator[None]:
        """Keep every other holder out, of this process and of others."""
        lock = self._open_lock()
        try:
            while not _try_lock(lock):
                await clock.sleep_ms(_POLL_MS)
            yield
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(self._trouble("cannot be locked", error)) from None

    def _look(self) -> None:
        """Read the file unless it is as it was."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._take(None, {})
            return
        except OSError as error:
            raise StoreError(self._trouble("cannot be read", error)) from None
        if found.st_mode & 0o077:
            raise StoreError(f"the token file `{self.path}` is open to others: its mode must be 600")
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp != self._stamp:
            self._take(stamp, self._load())

    def _take(self, stamp: _Stamp | None, data: Mapping[str, Any]) -> None:
        if stamp != self._stamp:
            self._stamp, self._data, self._found = stamp, data, {}

    def _load(self) -> Mapping[str, Any]:
        try:
            with self.path.open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
            data = json.loads(text)["accounts"]
        except OSError as error:
            raise StoreError(self._trouble("cannot be read", error)) from None
        except (ValueError, RecursionError, KeyError, TypeError):
            raise StoreError(f"the token file `{self.path}` is not one of ours") from None
        if not (isinstance(data, dict) and all(isinstance(own, dict) for own in data.values())):
            raise StoreError(f"the token file `{self.path}` is not one of ours")
        return data

    def _read(self, provider: str, account: str, client: Mapping[str, str]) -> Tokens | Missing:
        found = self._data.get(provider, {}).get(account)
        if not isinstance(found, dict):
            return _not_logged_in(account)
        if any(found.get(name) != value for name, value in client.items()):
            return Missing(f"the tokens of the account `{account}` are of another `token_url` or `client_id`")
        return from_plain(found) or _not_logged_in(account)

    def _write(self, accounts: Mapping[str, Any]) -> None:
        text = json.dumps({"version": 1, "accounts": accounts}, indent=1).encode()
        try:
            file, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            try:
                with os.fdopen(file, "wb") as out:
                    out.write(text)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(name, self.path)  # noqa: PTH105 - a name, not a path
            except BaseException:
                os.unlink(name)  # noqa: PTH108 - a name, not a path
                raise
        except OSError as error:
            raise StoreError(self._trouble("cannot be written", error)) from None

    def _trouble(self, what: str, error: OSError) -> str:
        return f"the token file `{self.path}` {what}: {(error.strerror or 'unknown reason').lower()}"


def _not_logged_in(account: str) -> Missing:
    return Missing(f"the account `{account}` is not logged in: `llm-policy providers login` does it")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
