"""Credentials of every kind but OAuth, and how cheaply they are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llm_policy_host.auth.oauth import OAuthTools
from llm_policy_host.auth.resolver import AuthResolver
from llm_policy_host.clock import VirtualClock
from llm_policy_host.config.secrets import LocalSecrets
from llm_policy_host.values import Credential, Failure, Missing, Secret

from .server import AUTH, Server, granted, stored


def _resolver(directory: Path, environment: dict[str, str] | None = None, **auths: Any) -> AuthResolver:
    return AuthResolver(auths, LocalSecrets(directory, environment or {}))


def _text(found: Credential | Failure | Missing) -> str | None:
    assert isinstance(found, Credential), found
    return None if found.secret is None else found.secret.reveal()


def _keyring(monkeypatch: pytest.MonkeyPatch, entries: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Put a keyring in place of this machine's; give what it is asked."""
    asked: list[tuple[str, str]] = []

    class KeyringError(Exception):
        pass

    def get_password(service: str, name: str) -> str | None:
        asked.append((service, name))
        if service == "locked":
            raise KeyringError("CANARY")
        return entries.get((service, name))

    module, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    module.get_password = get_password  # type: ignore[attr-defined]
    errors.KeyringError = KeyringError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return asked


async def test_each_kind_gives_its_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keyring(monkeypatch, {("a/b", "c"): "from-keyring"})
    (tmp_path / "key").write_text("from-file\n")
    resolver = _resolver(
        tmp_path,
        {"KEY": "from-env"},
        none={"kind": "none"},
        env={"kind": "bearer", "env": "KEY"},
        file={"kind": "bearer", "file": "key"},
        keyring={"kind": "bearer", "keyring": "a/b/c"},
    )
    found = {
        name: _text(await resolver.credential(name)) for name in ("none", "env", "file", "keyring", "absent")
    }
    assert found == {
        "none": None,
        "env": "from-env",
        "file": "from-file",
        "keyring": "from-keyring",
        "absent": None,
    }


async def test_what_is_not_set_is_missing_and_an_auth_error_at_the_call(tmp_path: Path) -> None:
    resolver = _resolver(tmp_path, p={"kind": "bearer", "env": "KEY"})
    assert resolver.find("p") == Missing("the environment variable `KEY` is not set")
    failure = await resolver.credential("p")
    assert isinstance(failure, Failure)
    assert failure.kind == "auth_error"


async def test_oauth_without_tools_is_missing(tmp_path: Path) -> None:
    assert isinstance(_resolver(tmp_path, p=AUTH).find("p"), Missing)


async def test_a_rotated_file_is_seen_and_an_unchanged_one_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    reads: list[Path] = []
    opened = Path.open

    def counting(self: Path, *args: Any, **more: Any) -> Any:
        reads.append(self)
        return opened(self, *args, **more)

    monkeypatch.setattr(Path, "open", counting)
    resolver = _resolver(tmp_path, p={"kind": "bearer", "file": "key"})
    assert [_text(await resolver.credential("p")) for _ in range(3)] == ["one"] * 3
    assert len(reads) == 1
    other = tmp_path / "other"
    os.close(os.open(other, os.O_CREAT))
    other.write_text("two")
    other.replace(path)
    assert _text(await resolver.credential("p")) == "two"
    path.unlink()
    assert isinstance(resolver.find("p"), Missing)
    path.write_text("six")
    assert _text(await resolver.credential("p")) == "six"


async def test_the_environment_gives_the_same_credential_each_time(tmp_path: Path) -> None:
    environment = {"KEY": "one"}
    resolver = _resolver(tmp_path, environment, p={"kind": "bearer", "env": "KEY"})
    first = await resolver.credential("p")
    environment["KEY"] = "two"
    assert await resolver.credential("p") is first


async def test_the_keyring_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _keyring(monkeypatch, {})
    resolver = _resolver(tmp_path, p={"kind": "bearer", "keyring": "s/n"})
    for _ in range(3):
        assert resolver.find("p") == Missing("the keyring's entry `s/n` is not set")
    assert asked == [("s", "n")]


def test_a_keyring_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keyring(monkeypatch, {})
    found = _resolver(tmp_path, p={"kind": "bearer", "keyring": "locked/n"}).find("p")
    assert found == Missing("the keyring's entry `locked/n` cannot be read: KeyringError")
    monkeypatch.setitem(sys.modules, "keyring", None)
    found = _resolver(tmp_path, p={"kind": "bearer", "keyring": "s/n"}).find("p")
    assert found == Missing(
        "the keyring's entry `s/n` cannot be read: the package `keyring` is not installed"
    )


def test_the_real_keyring_package_without_a_backend_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = pytest.importorskip("keyring")
    fail = pytest.importorskip("keyring.backends.fail")
    monkeypatch.setattr(keyring.core, "_keyring_backend", fail.Keyring())
    found = _resolver(tmp_path, p={"kind": "bearer", "keyring": "s/n"}).find("p")
    assert found == Missing("the keyring's entry `s/n` cannot be read: NoKeyringError")


async def test_quotas_and_refusals_reach_the_provider_that_they_are_of(tmp_path: Path) -> None:
    clock = VirtualClock(1_000)
    stored(tmp_path, None, a="at-a", b="at-b")
    server = Server(clock, [granted("new-b")])
    tools = OAuthTools(clock, tmp_path, server.connect)
    resolver = AuthResolver(
        {"p": AUTH | {"accounts": ["a", "b"]}, "q": {"kind": "none"}}, LocalSecrets(tmp_path, {}), tools
    )
    resolver.note_quota("p", "a", 50.0, 10_000)
    resolver.note_quota("p", "unknown", 50.0, 10_000)
    resolver.note_quota("q", "a", 50.0, 10_000)
    found = await resolver.credential("p")
    assert isinstance(found, Credential)
    assert found.account == "b"
    resolver.refused("p", found)
    resolver.refused("q", found)
    assert _text(await resolver.credential("p")) == "new-b"


def test_no_secret_shows_in_what_holds_it(tmp_path: Path) -> None:
    environment = SimpleNamespace(KEY="CANARY")
    resolver = _resolver(tmp_path, vars(environment), p={"kind": "bearer", "env": "KEY"})
    shown = f"{resolver!r} {resolver.find('p')!r} {resolver._bearers!r} {Secret('CANARY')!r}"
    assert "CANARY" not in shown
