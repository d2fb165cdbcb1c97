"""The secret beside a ledger: made whole or not at all, once, and read back as it was made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.errors import LedgerError
from llm_policy_host.gating import secret_beside

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_beside_a_ledger_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.key"
    secret = secret_beside(path)
    assert len(secret) == 32
    assert secret_beside(path) == secret
    assert [(each.name, each.stat().st_mode & 0o777) for each in tmp_path.iterdir()] == [(path.name, 0o600)]


def test_of_two_hosts_that_make_the_secret_at_once_both_have_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, others, link = tmp_path / "ledger.db.key", [], os.link

    def late(source: str, target: Path) -> None:
        # the other's is there whole, or not at all
        monkeypatch.setattr(os, "link", link)
        assert not target.exists()
        others.append(secret_beside(target))
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert [secret_beside(path)] == others
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_holds_no_whole_secret_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ledger.db.key"
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=rf"ledger.db.key: holds {len(data)} bytes, and a secret is 32"):
        secret_beside(path)


def test_where_no_file_can_be_made_a_secret_is_the_processs_own(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "ledger.db.key"
    assert secret_beside(path) != secret_beside(path)
