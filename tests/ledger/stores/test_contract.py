"""What every store does, and what those that outlive a process do beyond it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import Ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.ledger.event import blob_digest
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.recovery import Recovery
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.database import StoreError
from llm_policy_host.store.memory import MemoryStore
from tests.ledger.drafts import HEX, draft, whole_run

from .places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_policy_host.ports import EventStore, LedgerRow

    Make = Callable[..., EventStore]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def make(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """Give stores of one ledger, one after the other; what was opened is closed."""
    opened: list[EventStore] = []
    if request.param == "memory":
        kept = MemoryStore()

        def again(mode: Any = "exclusive") -> EventStore:
            kept.is_shared = mode == "shared"
            return kept
    else:
        where = (
            str(tmp_path / "ledger.db")
            if request.param == "sqlite"
            else request.getfixturevalue("new_schema")()
        )
        place = Place(where, tmp_path / "archive")

        def again(mode: Any = "exclusive") -> EventStore:
            for store in opened:
                store.close()
            opened[:] = [place.open(mode)]
            return opened[0]

    yield again
    for store in opened:
        store.close()


def rows(first: int, last: int, **changes: Any) -> list[LedgerRow]:
    return [
        (
            seq,
            changes.get("run", f"run-{seq // 5}"),
            changes.get("type", "BackgroundFault"),
            changes.get("tenant", "täm \U0001f680"),
            changes.get("idem"),
            f'{{"seq":{seq},"text":"é\x7f\u2028"}}'.encode(),
        )
        for seq in range(first, last + 1)
    ]


def put_all(store: EventStore, given: list[LedgerRow]) -> None:
    for row in given:
        store.put(row)


def test_lines_come_back_in_order_with_their_bytes_from_any_one_on(make: Make) -> None:
    given = rows(1, 9000)
    store = make()
    put_all(store, given)
    assert list(store.lines()) == [row[5] for row in given]
    store = make()
    for after in (0, 1, 4095, 4096, 4097, 8999, 9000, 12_000):
        assert list(store.lines(after)) == [row[5] for row in given[after:]]


def test_a_line_that_was_just_put_is_among_the_lines(make: Make) -> None:
    store = make()
    for seq in range(1, 8):
        store.put(rows(seq, seq)[0])
        assert len(list(store.lines())) == seq


def test_what_finds_a_line_may_be_absent(make: Make) -> None:
    store = make()
    put_all(store, rows(1, 3, run=None) + rows(4, 6, idem=HEX) + rows(7, 9))
    assert len(list(make().lines())) == 9


async def test_a_line_that_is_durable_is_there_for_the_next_process(make: Make) -> None:
    store = make()
    put_all(store, rows(1, 700))
    await store.durable(700)
    await store.durable(1)
    assert len(list(make().lines())) == 700
    await make().durable(700)


def test_a_transaction_keeps_all(make: Make) -> None:
    store = make("shared")
    with store.transaction() as first:
        assert list(first.lines(0)) == []
        first.insert(rows(1, 3))
    with store.transaction() as second:
        assert list(second.lines(1)) == [row[5] for row in rows(2, 3)]
        second.insert([])
        second.insert(rows(4, 4))
    assert list(store.lines()) == [row[5] for row in rows(1, 4)]


def test_a_transaction_that_an_exception_leaves_keeps_nothing(make: Make) -> None:
    store = make("shared")
    with contextlib.suppress(KeyError), store.transaction() as first:
        first.insert(rows(1, 3))
        raise KeyError
    assert list(store.lines()) == []
    with store.transaction() as second:
        second.insert(rows(1, 1))
    assert len(list(store.lines())) == 1


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_blob_is_given_back_from_the_moment_it_is_put(make: Make, mode: str) -> None:
    store = make(mode)
    data = bytes(range(256)) * 40
    store.blob_put(blob_digest(data), data)
    store.blob_put(blob_digest(data), data)
    store.blob_put(blob_digest(b""), b"")
    for _ in range(2):
        assert store.blob_get(blob_digest(data)) == data
        assert store.blob_get(blob_digest(b"")) == b""
        assert store.blob_get(blob_digest(b"another")) is None
        store = make(mode)


def test_the_lines_behind_one_can_be_cut_and_put_anew(make: Make) -> None:
    store = make()
    put_all(store, rows(1, 10))
    store.cut(7)
    assert len(list(store.lines())) == 7
    put_all(store, rows(8, 9))
    assert list(make().lines()) == [row[5] for row in rows(1, 9)]


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
async def test_a_log_goes_on_where_the_last_one_stopped(make: Make, mode: str) -> None:
    for number in range(3):
        log = Log(make(mode), VirtualClock(number))
        log.follow(log.store.lines())
        for each in whole_run(number, idem=f"{number:064x}"):
            await log.accept(each)
    verdict = verify(make().lines())
    assert (verdict.fault, verdict.events) == (None, 15)


# what outlives a process


def test_a_second_writer_alone_is_refused_with_what_to_do(place: Place) -> None:
    with place.opened():
        for mode, wish in (("exclusive", "written alone"), ("shared", "shared")):
            with pytest.raises(
                LedgerError, match=rf"cannot be {wish}: the .*process \d+ writes it alone; stop that one"
            ):
                place.open(mode)  # type: ignore[arg-type] # the words of the config
        assert place.lines() == []
    with place.opened(), pytest.raises(LedgerError, match="give each the mode `shared`"):
        place.open()


def test_those_who_share_a_ledger_keep_out_who_wants_it_alone(place: Place) -> None:
    says = r"cannot be written alone: .*process( \d+)? writes it; stop"
    with place.opened("shared"), place.opened("shared"), pytest.raises(LedgerError, match=says):
        place.open()
    place.open().close()


def test_who_reads_in_between_waits_for_no_transaction(place: Place) -> None:
    """The thread that reads may be the one that the transaction waits for."""
    name = blob_digest(b"a term")
    with place.opened("shared") as store:
        store.blob_put(name, b"a term")
        with store.transaction():
            pass
        found: list[object] = []
        reading = threading.Thread(target=lambda: found.extend([store.blob_get(name), store.segments()]))
        with store.transaction():
            reading.start()
            reading.join(5)
            assert found == [b"a term", []]
        reading.join()


async def test_a_ledger_that_closes_lets_who_commits_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit in another thread waits for this one."""
    store = place.open("shared")
    log, transaction = Log(store, VirtualClock()), store.transaction
    begun, closing = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def held() -> Iterator[Any]:
        with transaction() as turn:
            begun.set()
            assert closing.wait(20)
            yield turn

    monkeypatch.setattr(store, "transaction", held)
    ledger = Ledger(log, Recovery())
    ledger.enter()
    accepting = asyncio.create_task(log.accept(draft("BackgroundFault")))
    assert await asyncio.to_thread(begun.wait, 20)
    helped = threading.Timer(5, log._do_jobs)
    helped.start()
    closing.set()
    ledger.leave()
    assert helped.is_alive()
    helped.cancel()
    await accepting
    assert len(place.lines()) == 1


def test_who_reads_writes_nothing(place: Place) -> None:
    place.open().close()
    with place.opened("read") as store:
        with pytest.raises(UsageError, match="open in the mode `read`"):
            store.put(rows(1, 1)[0])
        with pytest.raises(UsageError, match="open in the mode `read`"), store.transaction():
            pass
        with pytest.raises(UsageError, match="open in the mode `read`"):
            store.blob_put("sha256:", b"")


def test_one_key_of_a_tenant_has_one_request_even_past_the_log(place: Place) -> None:
    with place.opened("shared") as store:
        with store.transaction() as first:
            first.insert(rows(1, 1, type="RequestReceived", tenant="a", idem=HEX))
        with pytest.raises(LedgerError), store.transaction() as second:
            second.insert(rows(2, 2, type="RequestReceived", tenant="a", idem=HEX))
        with store.transaction() as third:
            third.insert(rows(2, 2, type="RequestReceived", tenant="b", idem=HEX))
        assert len(list(store.lines())) == 2


def test_two_who_share_a_ledger_follow_each_other(place: Place) -> None:
    with place.opened("shared") as one, place.opened("shared") as other:
        logs = [Log(one, VirtualClock()), Log(other, VirtualClock())]
        for number in range(6):
            for made in logs[number % 2].commit(list(whole_run(number))):
                assert not isinstance(made, LedgerError)
        assert [log.seq for log in logs] == [25, 30]
        assert place.verdict().events == 30


@pytest.mark.parametrize("is_one_group", [True, False])
def test_a_line_out_of_its_place_breaks_the_store_for_good(place: Place, *, is_one_group: bool) -> None:
    store = place.open()
    store.put(rows(1, 1)[0])
    if not is_one_group:
        list(store.lines())
    store.put(rows(3, 3)[0])
    with pytest.raises(LedgerError, match="does not follow event"):
        list(store.lines())
    with pytest.raises(LedgerError, match="does not follow event"):
        store.put(rows(4, 4)[0])
    with pytest.raises(LedgerError, match="does not follow event"):
        store.blob_put("sha256:", b"")
    with pytest.raises(LedgerError, match="does not follow event"):
        store.close()
    assert len(place.lines()) <= 1


async def test_what_was_cut_is_not_durable_any_more(place: Place) -> None:
    with place.opened() as store:
        put_all(store, rows(1, 10))
        await store.durable(10)
        store.cut(7)
        store.put(rows(8, 8)[0])
        await store.durable(8)
        assert len(place.lines()) == 8


def test_an_answer_that_was_lost_makes_no_line_twice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database commits, and the word of it does not arrive: the group is tried again."""
    with place.opened() as store:
        commit = store._database.commit

        def commit_unheard() -> None:
            commit()
            monkeypatch.undo()
            raise StoreError("the ledger", "the connection broke", is_passing=True)

        put_all(store, rows(1, 3))
        assert len(list(store.lines())) == 3
        monkeypatch.setattr(store._database, "commit", commit_unheard)
        put_all(store, rows(4, 6))
        assert list(store.lines()) == [row[5] for row in rows(1, 6)]
        put_all(store, rows(7, 7))
    assert len(place.lines()) == 7


def test_a_closed_store_takes_nothing_and_keeps_all(place: Place) -> None:
    store = place.open()
    put_all(store, rows(1, 100))
    store.close()
    with pytest.raises(LedgerError, match="is closed"):
        store.put(rows(101, 101)[0])
    assert len(place.lines()) == 100


@pytest.mark.parametrize("durability", ["off", "batch", "strict"])
async def test_every_durability_keeps_what_was_written(place: Place, durability: Any) -> None:
    with place.log(durability=durability) as log:
        for number in range(20):
            for each in whole_run(number):
                await log.durable(log.append(each).seq)
    verdict = place.verdict()
    assert (verdict.fault, verdict.events) == (None, 100)


def test_a_refused_draft_in_a_shared_group_refuses_no_other(place: Place) -> None:
    with place.log("shared") as log:
        made = log.commit([draft("RequestReceived", 1), draft("RunCompleted", 1), draft("PolicyAdmitted", 1)])
        assert [isinstance(each, LedgerError) for each in made] == [False, True, False]
    assert place.verdict().events == 2
