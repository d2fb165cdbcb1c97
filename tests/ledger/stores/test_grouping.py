"""Group commit by itself, over a `write` that the test holds in its hand."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.errors import LedgerError
from llm_policy_host.store.database import StoreError
from llm_policy_host.store.grouping import GroupWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llm_policy_host.ports import LedgerRow


class Disk:
    """Keeps what is written; holds each group back until `gate` opens, and fails on command."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.log: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None

    def write(self, rows: Sequence[LedgerRow], blobs: Mapping[str, bytes]) -> None:
        assert self.gate.wait(20)
        if self.fault is not None:
            raise self.fault
        self.log.extend(blobs)
        self.log.extend(str(row[0]) for row in rows)
        self.groups.append([row[0] for row in rows])


def row(seq: int) -> LedgerRow:
    return (seq, None, "BackgroundFault", "local", None, b"{}")


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writer(disk: Disk) -> Iterator[GroupWriter]:
    made = GroupWriter("the ledger", disk.write, 0, most_rows=10)
    yield made
    disk.gate.set()
    with suppress(LedgerError):
        made.close()


def test_what_comes_while_a_group_is_written_shares_the_next(writer: GroupWriter, disk: Disk) -> None:
    disk.gate.clear()
    writer.put(row(1))
    while not writer._is_writing:
        pass
    for seq in range(2, 9):
        writer.put(row(seq))
    disk.gate.set()
    writer.flush()
    assert disk.groups == [[1], [2, 3, 4, 5, 6, 7, 8]]


def test_blobs_are_written_before_the_lines_that_are_put_later(writer: GroupWriter, disk: Disk) -> None:
    writer.put_blob("one", b"1")
    writer.put(row(1))
    writer.put_blob("two", b"2")
    writer.put(row(2))
    writer.flush()
    assert set(disk.log) == {"one", "1", "two", "2"}
    assert disk.log.index("one") < disk.log.index("1")
    assert disk.log.index("two") < disk.log.index("2")


def test_a_full_queue_holds_the_host_back_until_there_is_room(writer: GroupWriter, disk: Disk) -> None:
    disk.gate.clear()
    writer.put(row(1))
    while not writer._is_writing:
        pass
    done = threading.Event()

    def fill() -> None:
        for seq in range(2, 40):
            writer.put(row(seq))
        done.set()

    filling = threading.Thread(target=fill)
    filling.start()
    assert not done.wait(0.1)
    assert len(writer._rows) == 10
    disk.gate.set()
    assert done.wait(20)
    filling.join()
    writer.flush()
    assert [seq for group in disk.groups for seq in group] == list(range(1, 40))
    assert max(map(len, disk.groups)) == 10


def test_a_queue_that_stays_full_breaks_the_ledger(
    writer: GroupWriter, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_policy_host.store.grouping.PATIENCE_S", 0.01)
    disk.gate.clear()
    writer.put(row(1))
    while not writer._is_writing:
        pass
    for seq in range(2, 11):
        writer.put(row(seq))
    with pytest.raises(LedgerError, match="nothing could be written for"):
        writer.put(row(11))
    with pytest.raises(LedgerError, match="nothing could be written for"):
        writer.put(row(12))
    disk.gate.set()
    writer.close()
    assert disk.groups == [[1], list(range(2, 12))]


async def test_who_waits_is_woken_when_his_line_is_written_and_not_before(
    writer: GroupWriter, disk: Disk
) -> None:
    disk.gate.clear()
    writer.put(row(1))
    waiting = asyncio.create_task(writer.durable(1))
    later = asyncio.create_task(writer.durable(2))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    disk.gate.set()
    await waiting
    assert disk.groups == [[1]]
    await asyncio.sleep(0.05)
    assert not later.done()
    writer.put(row(2))
    await later


async def test_a_cancelled_wait_harms_no_other(writer: GroupWriter, disk: Disk) -> None:
    disk.gate.clear()
    writer.put(row(1))
    waits = [asyncio.create_task(writer.durable(1)) for _ in range(3)]
    await asyncio.sleep(0.01)
    waits[1].cancel()
    disk.gate.set()
    done = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(each).__name__ for each in done] == ["NoneType", "CancelledError", "NoneType"]


async def test_a_disk_that_fails_is_told_to_all_who_wait_and_to_all_who_come(
    writer: GroupWriter, disk: Disk
) -> None:
    disk.fault = StoreError("the ledger", "no space left on device")
    disk.gate.clear()
    writer.put(row(1))
    waits = [asyncio.create_task(writer.durable(seq)) for seq in (1, 2)]
    await asyncio.sleep(0.01)
    disk.gate.set()
    for wait in waits:
        with pytest.raises(LedgerError, match="no space left"):
            await wait
    disk.fault = None
    attempts: list[Callable[[], None]] = [
        partial(writer.put, row(2)),
        writer.flush,
        partial(writer.put_blob, "one", b""),
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="no space left"):
            attempt()
    with pytest.raises(LedgerError, match="no space left"):
        await writer.durable(1)
    assert disk.groups == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_the_writing_leaves_nobody_waiting(writer: GroupWriter, disk: Disk) -> None:
    disk.fault = ZeroDivisionError()
    writer.put(row(1))
    with pytest.raises(LedgerError, match="the thread that writes has ended"):
        writer.flush()


def test_closing_writes_what_was_put(disk: Disk) -> None:
    for count in range(12):
        made = GroupWriter("the ledger", disk.write, 0)
        for seq in range(1, count + 1):
            made.put(row(seq))
        made.close()
        assert [seq for group in disk.groups for seq in group] == list(range(1, count + 1))
        disk.groups.clear()
        with pytest.raises(LedgerError, match="is closed"):
            made.put(row(count + 1))
        made.close()


def test_closing_says_what_kept_the_last_lines_from_being_written(disk: Disk) -> None:
    disk.fault = StoreError("the ledger", "no space left on device")
    made = GroupWriter("the ledger", disk.write, 0)
    made.put(row(1))
    with pytest.raises(LedgerError, match="no space left"):
        made.close()
    made.close()


def test_many_threads_lose_nothing(disk: Disk) -> None:
    made = GroupWriter("the ledger", disk.write, 0, most_rows=64)

    def fill(first: int) -> None:
        for seq in range(first, first + 500):
            made.put(row(seq))

    threads = [threading.Thread(target=fill, args=(first,)) for first in range(0, 4000, 500)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    made.close()
    assert sorted(seq for group in disk.groups for seq in group) == list(range(4000))
