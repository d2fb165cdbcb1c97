"""Real processes at one ledger: they follow each other, and one that dies leaves a chain that holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import psycopg
import pytest

from llm_policy_host.clock import SystemClock
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.recovery import Recovery, open_log
from tests.ledger.drafts import HEX, run_id, whole_run

from .places import Place
from .writer import OWN_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
WRITERS = 8


def started(what: str, place: Place, *rest: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.stores.writer", what, place.where, str(place.archive), *rest],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_eight_processes_with_one_key_one_has_the_request_and_the_others_learn_who(place: Place) -> None:
    writers = [started("race", place, str(number), HEX) for number in range(WRITERS)]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    told = [each.communicate(timeout=120)[0].split() for each in writers]
    assert [each.returncode for each in writers] == [0] * WRITERS
    assert Counter(who for who, _ in told) == {"mine": 1, "theirs": WRITERS - 1}
    assert len({owner for _, owner in told}) == 1
    assert place.verdict().fault is None
    events = [orjson.loads(line) for line in place.lines()]
    requests = [each for each in events if each["type"] == "RequestReceived"]
    assert [each["run"] for each in requests if each["idem"] == HEX] == [told[0][1]]
    assert len(requests) == 1 + WRITERS * OWN_RUNS
    assert len(events) == 5 * len(requests)


@pytest.mark.parametrize("durability", ["off", "batch"])
def test_a_writer_that_is_killed_amid_its_groups_leaves_a_chain_that_holds(
    place: Place, durability: str
) -> None:
    durable, ended = 0, 0
    for bursts in (1, 4, 2):
        writer = started("endless", place, durability)
        assert writer.stdout is not None
        for _ in range(bursts):
            durable = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        told = writer.communicate(timeout=60)[0].split()
        durable = int(told[-1]) if told else durable
        lines = place.lines()
        assert len(lines) >= durable > ended
        assert place.verdict().fault is None
        # the next one begins by ending what was under way
        with place.log() as log:
            assert not log.chain.lineage.open
            ended = log.seq
            assert ended >= len(lines)
        assert place.lines()[: len(lines)] == lines
        assert place.verdict().open_runs == 0


def test_who_shares_a_ledger_that_nobody_else_has_ends_the_runs_of_those_who_died(place: Place) -> None:
    """While another lives nobody can tell whose runs they are: they stay."""
    writers = [started("begin", place, str(number)) for number in (1, 2)]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "begun\n"
    for each in writers:
        with place.log("shared") as log:
            assert len(log.chain.lineage.open) == 2
        each.kill()
        each.communicate()
    with place.opened("shared") as store:
        log, recovery = open_log(store, SystemClock())
        assert (len(recovery.in_doubt), dict(log.chain.lineage.open)) == (2, {})
        with place.opened("shared") as other:
            assert open_log(other, SystemClock())[1] == Recovery()
        with pytest.raises(LedgerError, match="cannot be written alone"):
            place.open()
    assert place.verdict().open_runs == 0


def test_of_those_who_start_at_once_the_first_ends_what_was_there_before(place: Place) -> None:
    with place.opened("shared") as store:
        Log(store, SystemClock()).commit(list(whole_run(1))[:3])
    with place.opened("shared") as first, place.opened("shared") as second:
        log, recovery = open_log(second, SystemClock())
        assert (recovery, len(log.chain.lineage.open)) == (Recovery(), 1)
        log.commit(list(whole_run(2))[:3])
        log, recovery = open_log(first, SystemClock())
        assert (recovery.in_doubt, list(log.chain.lineage.open)) == ((run_id(1),), [run_id(2)])
    verdict = place.verdict()
    assert (verdict.fault, verdict.open_runs) == (None, 1)


def test_who_only_reads_goes_on_over_a_connection_of_its_own_that_broke(
    new_schema: Callable[[], str], tmp_path: Path
) -> None:
    place = Place(new_schema(), tmp_path)
    with place.log("shared") as log:
        log.commit(list(whole_run(1)))
        name = log.blob(b"a term")
        log.commit([next(whole_run(2))])
        assert log.store.blob_get(name) == b"a term"
        with place.opened("read") as store:
            for _ in range(2):
                with psycopg.connect(place.where, autocommit=True) as other:
                    other.execute(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                        " WHERE application_name = 'llm-policy ledger'"
                    )
                assert (store.blob_get(name), log.store.blob_get(name)) == (b"a term", b"a term")
                assert store.segments() == []
                assert store._database.last_seq() == 6


def test_a_wait_for_the_turn_that_was_cut_off_breaks_nothing(
    new_schema: Callable[[], str], tmp_path: Path
) -> None:
    place = Place(new_schema(), tmp_path)
    with place.opened("shared") as store, place.opened("shared") as other:
        other._database._sql.execute("SET statement_timeout = 50")  # type: ignore[attr-defined]
        with store.transaction(), pytest.raises(LedgerError, match="57014"), other.transaction():
            pass
        with other.transaction() as turn:
            assert list(turn.lines(0)) == []


async def test_a_connection_that_breaks_is_made_anew_with_its_claim(
    new_schema: Callable[[], str], tmp_path: Path
) -> None:
    place = Place(new_schema(), tmp_path)
    with place.log() as log:
        for number in range(6):
            for each in whole_run(number):
                event = log.append(each)
            await log.durable(event.seq)
            with psycopg.connect(place.where, autocommit=True) as other:
                ended = other.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE pid IN (SELECT pid FROM pg_locks WHERE objid = to_regclass('llm_policy_event')::oid AND locktype = 'advisory')"
                ).fetchone()
            assert ended == (1,)
        for each in whole_run(6):
            log.append(each)
        await log.durable(log.seq)
        with pytest.raises(Exception, match="writes it alone"):
            place.open()
    verdict = place.verdict()
    assert (verdict.fault, verdict.events) == (None, 35)
