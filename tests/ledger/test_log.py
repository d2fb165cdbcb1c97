"""The log over a store: what is accepted is stored, a torn tail is cut, and no run stays half done."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.ledger.event import blob_digest
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.recovery import Recovery, open_log
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.store.sqlite import open_sqlite

from .drafts import BLOB, HEX, HOLD, draft, opening, run_id, tried, whole_run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llm_policy_host.ledger.event import Draft, Event


def filled(drafts: Iterable[Draft], *, is_shared: bool = False) -> MemoryStore:
    store = MemoryStore(is_shared=is_shared)
    log = Log(store, VirtualClock(5))
    if is_shared:
        log.commit(list(drafts))
    else:
        for each in drafts:
            log.append(each)
    return store


def opened(store: MemoryStore) -> tuple[Log, Recovery]:
    return open_log(store, VirtualClock(9))


def tail(store: MemoryStore, after: int) -> list[tuple[str, str | None, dict[str, Any]]]:
    log = Log(MemoryStore(), VirtualClock())
    events = [log.chain.follow(line) for line in store.lines()]
    return [(each.type, each.run, each.core) for each in events if each.seq > after]


def test_what_is_appended_is_stored_in_order_with_what_it_is_found_by() -> None:
    store = filled(whole_run(1, idem=HEX))
    assert [row[0] for row in store.rows] == [1, 2, 3, 4, 5]
    assert {row[1] for row in store.rows} == {run_id(1)}
    assert [row[2] for row in store.rows][::4] == ["RequestReceived", "RunCompleted"]
    assert [row[4] for row in store.rows] == [HEX, None, None, None, None]
    assert verify(store.lines()).events == 5
    assert b'"ts":5,' in store.rows[0][5]


def test_a_refused_draft_leaves_nothing_behind() -> None:
    store = MemoryStore()
    log = Log(store, VirtualClock())
    with pytest.raises(LedgerError):
        log.append(draft("PolicyAdmitted", 1))
    assert (log.seq, store.rows) == (0, [])


def test_an_idempotency_key_is_found_again_after_a_restart() -> None:
    store = filled(whole_run(1, idem=HEX))
    log, _ = opened(store)
    assert log.find("team", HEX) == run_id(1)
    assert log.find("other", HEX) is None
    with pytest.raises(LedgerError) as caught:
        log.append(draft("RequestReceived", 2, idem=HEX))
    assert caught.value.code == "duplicate"


def test_a_blob_is_kept_under_its_digest() -> None:
    store = MemoryStore()
    log = Log(store, VirtualClock())
    digest = log.blob(b"a policy")
    assert (digest, store.blob_get(digest)) == (blob_digest(b"a policy"), b"a policy")
    assert store.blob_get(BLOB) is None


def test_a_torn_tail_is_cut_to_the_last_good_event() -> None:
    whole = filled([*opening(), *whole_run(1)])
    for kept in range(1, len(whole.rows[-1][5])):
        store = MemoryStore()
        store.rows = [*whole.rows[:-1], (*whole.rows[-1][:5], whole.rows[-1][5][:kept])]
        store.put = store.rows.append
        log, recovery = opened(store)
        assert recovery.cut == 1
        assert [row[2] for row in store.rows][-1] == "RunFailed"
        assert verify(store.lines()).fault is None
        assert log.seq == len(whole.rows)


def test_a_changed_line_before_good_ones_is_no_torn_tail() -> None:
    store = filled([*opening(), *whole_run(1)])
    row = store.rows[6]
    store.rows[6] = (*row[:5], row[5].replace(b"PolicyAdmitted", b"PolicyAdmittee"))
    before = list(store.rows)
    with pytest.raises(LedgerError, match=r"^event 7: hash: is not the line's") as caught:
        opened(store)
    assert caught.value.code == "chain"
    assert store.rows == before


IN_DOUBT = {"attempt": 1, "kind": "in_doubt"}


def begun(*more: Draft, core: dict[str, Any] | None = None) -> list[Draft]:
    return [draft("RequestReceived", 1, core=core or {}), draft("PolicyAdmitted", 1), *more]


ENDINGS: list[tuple[list[Draft], list[tuple[str, dict[str, Any]]]]] = [
    (begun()[:1], [("RequestRejected", {"code": "interrupted"})]),
    (begun(), [("RunFailed", {"attempts": 0, "error": "interrupted"})]),
    (
        begun(draft("AttemptProposed", 1)),
        [("AttemptOutcome", IN_DOUBT), ("RunFailed", {"attempts": 1, "error": "in_doubt"})],
    ),
    (begun(*tried(1, 1, "timeout")), [("RunFailed", {"attempts": 1, "error": "interrupted"})]),
    (
        begun(*tried(1, 1, "timeout"), draft("WaitScheduled", 1)),
        [("RunFailed", {"attempts": 1, "error": "interrupted"})],
    ),
    (begun(draft("ApprovalRequested", 1)), []),
    (begun(draft("ApprovalRequested", 1), draft("ApprovalDecided", 1)), []),
    (begun(core={"is_flow": True}), []),
    (begun(core={"is_flow": True})[:1], [("RequestRejected", {"code": "interrupted"})]),
    (list(whole_run(1)), []),
]


@pytest.mark.parametrize(("drafts", "ends"), ENDINGS)
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_run_that_nobody_drives_is_ended_and_a_paused_one_is_not(
    drafts: list[Draft],
    ends: list[tuple[str, dict[str, Any]]],
    is_shared: bool,  # noqa: FBT001
) -> None:
    store = filled(drafts, is_shared=is_shared)
    log, recovery = opened(store)
    assert tail(store, len(drafts)) == [(kind, run_id(1), core) for kind, core in ends]
    is_resumable = not ends and drafts[-1].type != "RunCompleted"
    assert recovery.resumable == ((run_id(1),) if is_resumable else ())
    assert len(recovery.in_doubt) + len(recovery.interrupted) == (1 if ends else 0)
    assert list(log.chain.lineage.open) == list(recovery.resumable)
    assert opened(store)[1] == Recovery(resumable=recovery.resumable)


def test_a_proposal_in_doubt_is_charged_what_was_held_for_it() -> None:
    store = filled(begun(draft("AttemptProposed", 1)))
    opened(store)
    outcome = Log(MemoryStore(), VirtualClock()).chain
    events = [outcome.follow(line) for line in store.lines()]
    assert events[3].obs == {"settled": HOLD}
    assert (events[3].by, events[3].ts) == ("host", 9)


def test_others_runs_are_left_alone() -> None:
    store = filled(begun(draft("AttemptProposed", 1)), is_shared=True)
    store.is_alone = False
    log, recovery = open_log(store, VirtualClock())
    assert (recovery, log.seq, len(store.rows)) == (Recovery(), 3, 3)


async def test_writers_of_one_store_see_what_the_others_wrote() -> None:
    store = MemoryStore(is_shared=True)
    logs = [Log(store, VirtualClock()) for _ in range(4)]
    with pytest.raises(UsageError):
        logs[0].append(draft("HostStarted"))

    async def run(number: int) -> None:
        for each in whole_run(number):
            await logs[number % 4].accept(each)

    await asyncio.gather(*map(run, range(24)))
    verdict = verify(store.lines())
    assert (verdict.events, verdict.open_runs, verdict.fault) == (24 * 5, 0, None)


async def test_of_many_writers_with_one_idempotency_key_one_begins_a_run() -> None:
    store = MemoryStore(is_shared=True)
    logs = [Log(store, VirtualClock()) for _ in range(8)]
    asked = [log.accept(draft("RequestReceived", place, idem=HEX)) for place, log in enumerate(logs)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, tuple) for each in answers) == 1
    assert {each.code for each in answers if isinstance(each, LedgerError)} == {"duplicate"}
    assert len(store.rows) == 1


async def test_a_transaction_that_fails_leaves_the_log_as_the_store_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore(is_shared=True)
    log = Log(store, VirtualClock())
    await log.accept(draft("RequestReceived", 1))

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("llm_policy_host.store.memory.MemoryTransaction.insert", full)
        with pytest.raises(LedgerError, match="no space left") as caught:
            await log.accept(draft("PolicyAdmitted", 1))
        assert caught.value.code == "store"
    made: Event = await log.accept(draft("PolicyAdmitted", 1))
    assert (made.seq, made.cause) == (2, 1)


async def test_what_is_known_stays_known_when_a_commit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks before the next commit sees what the store has: no balance is gone, and no key."""
    store = MemoryStore(is_shared=True)
    log = Log(store, VirtualClock(), Folds)
    await log.accept(draft("AccountOpened"))
    name = draft("AccountOpened").core["account"]

    def full(*_: object) -> None:
        raise OSError("no space left")

    def unread(after_seq: int = 0) -> Iterable[bytes]:
        if not after_seq:
            raise LedgerError("store", "ledger", "the connection is gone")
        return lines(after_seq)

    lines = store.lines
    for is_gone in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr("llm_policy_host.store.memory.MemoryTransaction.insert", full)
            if is_gone:
                patch.setattr(store, "lines", unread)
            with pytest.raises(LedgerError, match="no space left"):
                await log.accept(draft("RequestReceived", 1))
            assert name in log.chain.fold.accounts  # type: ignore[union-attr]
            if is_gone:
                with pytest.raises(LedgerError, match="is gone"):
                    await log.accept(draft("RequestReceived", 1))
            else:
                assert not log.chain.lineage.open
    made = await log.accept(draft("RequestReceived", 1))
    assert made.seq == 2
    assert verify(store.lines(), fold=Folds()).fault is None


async def test_of_a_defect_while_events_are_taken_everyone_who_waits_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore(is_shared=True)
    log, told = Log(store, VirtualClock()), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def defect(*_: object) -> None:
        raise RuntimeError("a text of a caller")

    with monkeypatch.context() as patch:
        patch.setattr(log.chain, "accept", defect)
        asked = [log.accept(draft("HostStarted")) for _ in range(3)]
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)
    assert [type(each) for each in answers] == [LedgerError] * 3
    assert all(str(each).endswith("the log has a defect (RuntimeError)") for each in answers)
    assert [type(each) for each in told] == [RuntimeError]
    assert (await log.accept(draft("HostStarted"))).seq == 1


async def test_who_commits_on_the_loop_waits_for_no_thread_that_waits_for_the_loop(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "ledger.db", mode="shared")
    log = Log(store, VirtualClock())
    first = second = draft("HostStarted")
    accepting = asyncio.create_task(log.accept(first))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 - the loop is held until the thread has its transaction and waits
    (made,) = log.commit([second])
    assert not isinstance(made, LedgerError)
    assert sorted([(await accepting).seq, made.seq]) == [1, 2]
    assert verify(store.lines()).events == 2
    store.close()
