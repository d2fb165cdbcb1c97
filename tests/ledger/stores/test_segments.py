"""Retention: lines leave the database for the archive, and the chain stays one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.retention import retire
from tests.ledger.drafts import whole_run

if TYPE_CHECKING:
    from llm_policy_host.store.durable import Mode

    from .places import Place


def fill(place: Place, *numbers: int) -> None:
    with place.log() as log:
        for number in numbers:
            for each in whole_run(number, idem=f"{number:064x}"):
                log.append(each)


def test_archive_and_rest_are_the_chain_that_was_there(place: Place) -> None:
    fill(place, *range(10))
    before = place.lines()
    with place.opened() as store:
        first = store.archive(17)
        second = store.archive(30)
        assert [(first.first_seq, first.last_seq), (second.first_seq, second.last_seq)] == [(1, 17), (18, 30)]
        assert store.segments() == [first, second]
        assert [seq for seq, _ in store._database.page(0)] == list(range(31, 51))
        for after in (0, 5, 17, 18, 29, 30, 31, 50):
            assert list(store.lines(after)) == before[after:]
    fill(place, 11)
    verdict = place.verdict()
    assert (verdict.fault, verdict.events) == (None, 55)
    assert place.lines()[:50] == before


def test_the_archive_holds_the_lines_bytes_and_closes_with_the_hash_that_the_rest_follows(
    place: Place,
) -> None:
    fill(place, 1, 2)
    before = place.lines()
    with place.opened() as store:
        segment = store.archive(10)
        assert (place.archive / segment.file).read_bytes() == b"".join(line + b"\n" for line in before)
        assert segment.head_hash == verify(before).head
        assert list(store._database.page(0)) == []
    fill(place, 3)
    assert place.verdict().events == 15


@pytest.mark.parametrize("up_to", [4100, 5000, 9000])
def test_what_is_archived_while_it_is_read_is_read_all_the_same(place: Place, up_to: int) -> None:
    with place.opened(durability="off") as store:
        for seq in range(1, 9001):
            line = b'{"hash":"%064x","seq":%d}' % (seq, seq)
            store.put((seq, None, "BackgroundFault", "local", None, line))
        before = list(store.lines())
        reading = store.lines()
        found = [next(reading)]
        store.archive(up_to)
        assert [*found, *reading] == before
        assert list(store.lines(4099)) == before[4099:]


def test_an_archived_key_is_still_taken(place: Place) -> None:
    fill(place, 1)
    with place.opened() as store:
        store.archive(5)
    with place.log() as log, pytest.raises(LedgerError) as caught:
        log.append(next(whole_run(2, idem=f"{1:064x}")))
    assert caught.value.code == "duplicate"


@pytest.mark.parametrize("up_to", [0, 3, 11])
def test_only_what_is_there_can_be_archived(place: Place, up_to: int) -> None:
    fill(place, 1, 2)
    with place.opened() as store:
        store.archive(4)
        with pytest.raises(UsageError, match="events 5 to 10 can be archived"):
            store.archive(up_to)
        assert len(list(store.lines())) == 10


def test_a_death_between_file_and_database_loses_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place, 1, 2)
    with place.opened() as store:
        with monkeypatch.context() as patched:
            patched.setattr(store._database, "put_segment", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.archive(7)
        assert len(list(store.lines())) == 10
        store.archive(7)
    assert place.verdict().events == 10


def test_a_new_folder_of_the_archive_is_synced_in_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    fill(place, 1)
    place.archive = place.archive / "deep" / "er"
    with place.opened() as store:
        store.archive(5)
    assert {place.archive, *list(place.archive.parents)[:3]} <= set(synced)


def test_of_hosts_that_start_at_once_one_archives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.opened("shared") as first, place.opened("shared") as second:
        logs = [Log(each, VirtualClock(1000)) for each in (first, second)]
        for number in range(3):
            logs[0].commit(list(whole_run(number)))
        transaction = second.transaction

        def later() -> Any:
            """Let the other be quicker, once the old events are found."""
            monkeypatch.undo()
            assert retire(logs[0], first, 9999) is not None
            return transaction()

        monkeypatch.setattr(second, "transaction", later)
        assert retire(logs[1], second, 9999) is None
    verdict = place.verdict()
    assert (verdict.fault, verdict.events) == (None, 16)


def test_a_segment_that_is_gone_or_short_is_named(place: Place) -> None:
    fill(place, 1, 2)
    with place.opened() as store:
        path = place.archive / store.archive(7).file
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(LedgerError, match=r"000000000001-000000000007\.jsonl: no such file"):
        place.lines()
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    with pytest.raises(LedgerError, match="ends at event 6, not at 7"):
        place.lines()
    path.write_bytes(data[:-2] + b"?\n")
    fault = place.verdict().fault
    assert fault is not None
    assert fault.line == 7


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_what_is_old_retires_and_the_ledger_says_where_to(place: Place, mode: Mode) -> None:
    clock = VirtualClock(1000)
    with place.opened(mode) as store:
        log = Log(store, clock)
        for number in range(4):
            for each in whole_run(number):
                if mode == "shared":
                    log.commit([each])
                else:
                    log.append(each)
            clock.advance(100)
        assert retire(log, store, 1000) is None
        first = retire(log, store, 1101)
        assert first is not None
        assert (first.first_seq, first.last_seq) == (1, 10)
        assert retire(log, store, 1101) is None
        second = retire(log, store, 9999)
        assert second is not None
        assert (second.first_seq, second.last_seq) == (11, 21)
        taken = [orjson.loads(line) for line in store.lines() if b'"SnapshotTaken"' in line]
        assert [(each["seq"], each["core"]) for each in taken] == [
            (seq, {"at_seq": each.last_seq, "at_hash": each.head_hash, "segment": each.file})
            for seq, each in ((21, first), (22, second))
        ]
        assert sorted(path.name for path in place.archive.iterdir()) == [first.file, second.file]
    verdict = place.verdict()
    assert (verdict.fault, verdict.events) == (None, 22)
