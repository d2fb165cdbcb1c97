"""Content is kept at the level that all agree to, sealed, bounded, and gone with its tenant's key."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import closing
from itertools import product
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.content.keep import DAY_MS, ContentKeep
from llm_policy_host.content.sealing import Digests
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.store.contents import ContentFile
from llm_policy_host.store.database import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llm_policy_host.ports import ContentRow

ROOT = b"a root of this deployment, 32 bytes or more"
RUN = "run-" + "a" * 26
TEXT = b"what only the caller should read"
LEVELS = ("none", "digest", "sealed", "plain")


def opened(folder: Path, root: bytes = ROOT) -> ContentFile:
    return ContentFile(folder / "content.db", Digests(root).check)


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.mark.parametrize(("operator", "asked"), list(product(LEVELS, (*LEVELS, None))))
def test_the_lowest_level_is_what_is_kept(tmp_path: Path, operator: str, asked: str | None) -> None:
    clock = VirtualClock()
    keep = ContentKeep(opened(tmp_path), ROOT, operator, clock)
    level = LEVELS[min(LEVELS.index(operator), LEVELS.index(asked or "plain"))]
    ref = keep.put(RUN, "acme", "request", TEXT, asked)
    asyncio.run(keep.written())
    assert (ref is None) == (level == "none")
    assert keep.get(RUN, "request") == (TEXT if level in ("sealed", "plain") else None)
    assert (TEXT in bytes_in(tmp_path)) == (level == "plain")
    keep.close()


def test_digests_are_keyed_by_deployment_and_tenant() -> None:
    refs = [Digests(root).ref(tenant, TEXT) for root in (ROOT, ROOT + b"2") for tenant in ("acme", "bmce")]
    assert len(set(refs)) == 4
    assert Digests(ROOT).ref("acme", TEXT) == refs[0]
    assert Digests(ROOT).ref("acme", TEXT + b".") != refs[0]


def test_a_purge_destroys_the_key_and_every_byte_of_a_tenant_and_of_no_other(tmp_path: Path) -> None:
    keep = ContentKeep(opened(tmp_path), ROOT, "plain", VirtualClock())
    for tenant, run in (("acme", "1"), ("bmce", "2")):
        keep.put(RUN + run, tenant, "sealed", TEXT + run.encode(), "sealed")
        keep.put(RUN + run, tenant, "plain", TEXT + run.encode(), "plain")
    asyncio.run(keep.written())
    with closing(opened(tmp_path)) as other:
        wrapped = other.key("acme")
        row = other.find(RUN + "1", "sealed")
        assert wrapped is not None
        assert row is not None
        assert other.purge("acme") == (True, 2)
        assert other.purge("acme") == (False, 0)
    left = bytes_in(tmp_path)
    assert wrapped not in left
    assert TEXT + b"1" not in left
    assert row[5] not in left
    assert keep.get(RUN + "1", "sealed") is None
    assert keep.get(RUN + "2", "sealed") == TEXT + b"2"
    keep.put(RUN + "1", "acme", "sealed", b"a new life", "sealed")
    asyncio.run(keep.written())
    assert keep.get(RUN + "1", "sealed") == b"a new life"
    keep.close()


def test_a_sealed_content_opens_in_its_own_place_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    keep = ContentKeep(store, ROOT, "sealed", VirtualClock())
    keep.put(RUN, "acme", "request", TEXT)
    asyncio.run(keep.written())
    row = store.find(RUN, "request")
    assert row is not None
    moved = [(RUN, "answer", *row[2:]), (RUN[:-1] + "b", "request", *row[2:]), (RUN, "x", "bmce", *row[3:])]
    flipped = bytearray(row[5])
    flipped[20] ^= 1
    rows: Sequence[ContentRow] = [
        *moved,
        (RUN, "flipped", *row[2:5], bytes(flipped)),
        (RUN, "cut", *row[2:5], b"x"),
    ]
    with store.transaction():
        store.put(rows)
    assert [keep.get(*each[:2]) for each in rows] == [None] * 5
    assert keep.faults() == {"seal": 4}, "of the tenant without a key there is nothing to open"
    assert keep.get(RUN, "request") == TEXT
    keep.close()


def test_what_finds_no_room_is_lost_and_counted_and_nobody_waits(tmp_path: Path) -> None:
    store = Stuck(tmp_path)
    keep = ContentKeep(store, ROOT, "sealed", VirtualClock(), max_waiting_bytes=4096)
    refs = [keep.put(RUN, "acme", f"{number}", b"x" * 1000) for number in range(5)]
    assert all(refs), "the digest is in the event whatever becomes of the bytes"
    assert keep.faults() == {"queue_full": 3}
    assert keep.faults() == {}
    store.gate.set()
    asyncio.run(keep.written())
    assert [keep.get(RUN, f"{number}") is not None for number in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert keep.put(RUN, "acme", "again", b"x" * 1000)
    keep.close()


def test_who_waits_for_his_own_contents_does_not_wait_for_later_ones(tmp_path: Path) -> None:
    store = Stuck(tmp_path)
    keep = ContentKeep(store, ROOT, "sealed", VirtualClock())

    async def ask() -> None:
        keep.put(RUN, "acme", "mine", TEXT)
        waits = asyncio.ensure_future(keep.written())
        for number in range(100):
            await asyncio.sleep(0.001)
            keep.put(RUN, "acme", f"{number}", TEXT)
        assert not waits.done()
        store.gate.set()
        while not waits.done():
            keep.put(RUN, "acme", "again", TEXT * 100)
            await asyncio.sleep(0)
        waits.result()

    asyncio.run(asyncio.wait_for(ask(), 20))
    assert store.find(RUN, "mine") is not None
    keep.close()


def test_a_defect_of_the_writer_loses_contents_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ill(ContentFile):
        def put(self, rows: Sequence[ContentRow]) -> None:
            raise MemoryError(len(rows))

    monkeypatch.setattr(threading, "excepthook", lambda _told: None)
    keep = ContentKeep(Ill(tmp_path / "content.db", None), ROOT, "sealed", VirtualClock())
    assert keep.put(RUN, "acme", "request", TEXT)
    asyncio.run(asyncio.wait_for(keep.written(), 20))
    assert keep.put(RUN, "acme", "request", TEXT)
    assert keep.faults() == {"queue_full": 1, "store": 1}
    keep.close()


def test_the_same_name_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    store = Stuck(tmp_path)
    keep = ContentKeep(store, ROOT, "sealed", VirtualClock(), max_waiting_bytes=4096)
    for number in range(20):
        keep.put(RUN, "acme", "one", b"%04d" % number * 500)
        assert keep.get(RUN, "one") == b"%04d" % number * 500
    store.gate.set()
    asyncio.run(keep.written())
    assert keep.get(RUN, "one") == b"0019" * 500
    assert keep.faults() == {}
    keep.close()


def test_a_store_that_fails_loses_contents_and_says_so(tmp_path: Path) -> None:
    store = Broken(tmp_path)
    keep = ContentKeep(store, ROOT, "sealed", VirtualClock())
    assert keep.put(RUN, "acme", "request", TEXT)
    asyncio.run(keep.written())
    assert keep.faults() == {"store": 1}
    assert keep.get(RUN, "request") is None
    store.is_broken = False
    keep.put(RUN, "acme", "request", TEXT)
    asyncio.run(keep.written())
    assert keep.get(RUN, "request") == TEXT
    keep.close()


def test_what_was_put_is_there_after_a_restart_and_after_its_days_it_is_not(tmp_path: Path) -> None:
    clock = VirtualClock()
    keep = ContentKeep(opened(tmp_path), ROOT, "sealed", clock)
    keep.put(RUN, "acme", "old", TEXT)
    keep.close()
    clock.advance(2 * DAY_MS)
    keep = ContentKeep(opened(tmp_path), ROOT, "sealed", clock, retain_days=1)
    assert keep.get(RUN, "old") is None
    keep.put(RUN, "acme", "new", TEXT)
    asyncio.run(keep.written())
    assert keep.get(RUN, "new") == TEXT
    keep.close()


def test_what_is_too_old_goes_also_where_nothing_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_policy_host.content.keep._LOOK_S", 0.001)
    clock, file = VirtualClock(), opened(tmp_path)
    gone = threading.Event()
    expire = file.expire

    def told(before_ms: int) -> int:
        count = expire(before_ms)
        if count:
            gone.set()
        return count

    monkeypatch.setattr(file, "expire", told)
    keep = ContentKeep(file, ROOT, "sealed", clock, retain_days=1)
    keep.put(RUN, "acme", "old", TEXT)
    asyncio.run(keep.written())
    clock.advance(2 * DAY_MS)
    assert gone.wait(20)
    assert keep.get(RUN, "old") is None
    keep.close()


def test_what_cannot_be_forgotten_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_before_ms: int) -> int:
        raise StoreError("content.db", "disk I/O error")

    file, clock = opened(tmp_path), VirtualClock()
    monkeypatch.setattr(file, "expire", broken)
    keep = ContentKeep(file, ROOT, "sealed", clock, retain_days=1)
    assert keep.faults() == {"retention": 1}
    clock.advance(DAY_MS)
    keep.put(RUN, "acme", "new", TEXT)
    asyncio.run(keep.written())
    assert keep.get(RUN, "new") == TEXT
    keep.close()
    assert keep.faults() == {"retention": 1}


def test_another_deployments_key_is_refused_at_the_start(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(LedgerError, match="was made with another"):
        opened(tmp_path, ROOT + b"2")


def test_without_the_library_nothing_is_sealed_and_digests_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(UsageError, match=r"pip install 'llm-policy\[seal\]'"):
        ContentKeep(opened(tmp_path), ROOT, "sealed", VirtualClock())
    assert ContentKeep(None, ROOT, "digest", VirtualClock()).put(RUN, "acme", "request", TEXT)


def test_a_database_that_is_no_content_is_left_alone(tmp_path: Path) -> None:
    import sqlite3  # noqa: PLC0415 - to make what is not ours

    path = tmp_path / "content.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE theirs(x)")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="none of content"):
        opened(tmp_path)
    assert path.read_bytes() == before


class Stuck(ContentFile):
    """A file whose writer waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "content.db", Digests(ROOT).check)
        self.gate = threading.Event()

    def key(self, tenant: str) -> bytes | None:
        if threading.current_thread() is not threading.main_thread():
            self.gate.wait(20)
        return super().key(tenant)


class Broken(ContentFile):
    """A file whose disk is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "content.db", Digests(ROOT).check)
        self.is_broken = True

    def put(self, rows: Sequence[ContentRow]) -> None:
        if self.is_broken:
            raise LedgerError("store", "content.db", "database or disk is full")
        super().put(rows)
