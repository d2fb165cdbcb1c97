"""`llm-policy bench ledger`: events per CPU-second, beside what a line and its hash cost alone."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import orjson

from llm_policy_host.clock import SystemClock
from llm_policy_host.ledger.event import NO_HASH, Draft
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.keys import Grant, Verifier, mint
from llm_policy_host.ledger.keys import verify as verify_key
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.verify import verify
from llm_policy_host.quick import collect_less
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.store.sqlite import open_sqlite

from .bench_calls import calls
from .output import OK, print_json, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from llm_policy_host.store.durable import Durability

EVENTS_A_RUN = 5
FLOOR = "floor: line and hash alone"

ABOUT = """\
Things per second of CPU time, median of rounds that take turns; the aims are for the reference machine.
Python collects as seldom as `serve` lets it.
  floor             a dict of 14 keys to one line of sorted keys, SHA-256 behind the line before
  append            a draft validated, its lineage and authority checked, chained, in a store in memory
  append, accounts  the same with a hold on two accounts above each other, and what was spent settled
  append to SQLite  append, and the line in a SQLite file; `batch` syncs every group of lines to the disk
  verify            a line parsed, its form, chain, fields, lineage and authority checked
  verify, accounts  the same with the balances folded again
  key check         a key with three caveats that was seen before: its moment and revocations are looked at
  key check, new    one that was not: its signature followed, its caveats read
  call              a call routed over 20 routes at a script that answers at once, no ledger
  call, chained     the same with its worst case held on two accounts, its five events chained, its digests
  call to SQLite    the same in a SQLite file, `batch`"""

_HEX = "0123456789abcdef" * 4
_LETTERS = "abcdefghij"


@dataclass(slots=True)
class Row:
    """One measurement: what it does, how many things that are, and the aim for them."""

    name: str
    act: Callable[[], int]
    aim: int | None = None
    rates: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Do it once, and note how many a second of CPU time that makes."""
        gc.collect()
        begin = time.process_time()
        count = self.act()
        self.rates.append(count / (time.process_time() - begin))

    @property
    def rate(self) -> float:
        """Give the median."""
        return statistics.median(self.rates)


def drafts(runs: int) -> list[Draft]:
    """Make two accounts, and runs of one call each."""
    made = [_account("team", None), _account("team/a", "team")]
    for number in range(runs):
        made += _run("run-" + "".join(_LETTERS[int(digit)] for digit in f"{number:026d}"))
    return made


def _account(name: str, parent: str | None) -> Draft:
    core = {"account": name, "parent": parent, "limits": {"usd_micro": 10**12}, "window": "lifetime"}
    return Draft("AccountOpened", "host", "team", core={**core, "is_shadow": False})


def _run(run: str) -> Iterator[Draft]:
    spent = {"usd_micro": 120, "tokens": 300, "calls": 1}
    yield Draft(
        "RequestReceived",
        "gateway",
        "team",
        run,
        core={
            "api": "chat",
            "kind": "chat",
            "profile": "cheap",
            "is_stream": False,
            "shape": _HEX,
            "account": "team/a",
            "key_id": "key1",
        },
    )
    admitted = {"policy_id": f"sha256:{_HEX}", "catalog_id": f"sha256:{_HEX}", "ctx": _HEX, "seed": 42}
    yield Draft(
        "PolicyAdmitted",
        "driver",
        "team",
        run,
        core={**admitted, "deadline_ms": 50_000},
        obs={"now_ms": 1_700_000_000_000},
    )
    yield Draft(
        "AttemptProposed",
        "driver",
        "team",
        run,
        core={
            "attempt": 1,
            "provider_id": "acme",
            "model_family": "small-1",
            "rank": 1,
            "params_digest": _HEX,
            "hold": {"usd_micro": 900, "tokens": 4000, "calls": 1},
            "accounts": ["team/a", "team"],
        },
    )
    yield Draft(
        "AttemptOutcome",
        "driver",
        "team",
        run,
        core={"attempt": 1, "kind": None},
        obs={
            "status": 200,
            "ms": 420,
            "ttft_ms": 80,
            "tokens": {"input": 200, "output": 100},
            "usd_micro": 120,
            "basis": "computed",
            "settled": spent,
        },
    )
    yield Draft(
        "RunCompleted",
        "driver",
        "team",
        run,
        core={"decision_digest": _HEX, "trace_digest": _HEX, "attempts": 1},
        obs={"ms": 430, "usd_micro": 120, "tokens": 300},
    )


def rows(runs: int) -> list[Row]:
    """Give the measurements over so many runs."""
    given = drafts(runs)
    store = MemoryStore()
    log = Log(store, SystemClock(), Folds)
    for draft in given:
        log.append(draft)
    lines = list(store.lines())
    bodies = [{key: value for key, value in orjson.loads(line).items() if key != "hash"} for line in lines]

    def floor() -> int:
        prev = NO_HASH
        for body in bodies:
            body["prev"] = prev
            prev = sha256(prev.encode() + orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return len(bodies)

    def append(make_fold: Callable[[], Folds] | None = None) -> int:
        accept = Log(MemoryStore(), SystemClock(), make_fold).append
        for draft in given:
            accept(draft)
        return len(given)

    def append_to_file(durability: Durability) -> int:
        with TemporaryDirectory(prefix="llm-policy-bench-") as folder:
            store = open_sqlite(Path(folder) / "ledger.db", durability)
            accept = Log(store, SystemClock()).append
            for draft in given:
                accept(draft)
            store.close()
        return len(given)

    return [
        Row(FLOOR, floor),
        Row("append", append, 60_000),
        Row("append, accounts", lambda: append(Folds)),
        Row("append to SQLite, off", lambda: append_to_file("off")),
        Row("append to SQLite, batch", lambda: append_to_file("batch"), 25_000),
        Row("verify", lambda: verify(lines).events, 150_000),
        Row("verify, accounts", lambda: verify(lines, fold=Folds()).events),
        *key_rows(len(given)),
        Row("call", lambda: calls(runs, is_kept=False)),
        Row("call, chained", lambda: calls(runs), 5_000),
        Row("call to SQLite", lambda: calls(runs, is_on_disk=True)),
    ]


def key_rows(count: int) -> list[Row]:
    """Give the measurements over so many checks of a key with three caveats."""
    root, now_ms, revoked = b"r" * 32, 1_700_000_000_000, frozenset({"another"})
    caveats = [("expires_ms", now_ms + 1), ("models", ["large-1", "small-1"])]
    key = mint(root, "abcdefghij234567", ["call", "stream"], caveats).encode()

    def check(judge: Callable[[], object]) -> int:
        good = sum(isinstance(judge(), Grant) for _ in range(count))
        assert good == count  # noqa: S101 - a refusal would be quicker
        return good

    verifier = Verifier((root,))
    return [
        Row("key check", lambda: check(lambda: verifier(key, now_ms, revoked)), 100_000),
        Row("key check, new", lambda: check(lambda: verify_key(key, (root,), now_ms, revoked))),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's own options."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is given (5)")
    parser.add_argument(
        "--events", type=int, default=50_000, help="how many events each round has, about (50000)"
    )


def do(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    collect_less()
    measured = rows(max(1, arguments.events // EVENTS_A_RUN))
    for _ in range(arguments.rounds):
        for row in measured:
            row.measure()
    floor = measured[0].rate
    if arguments.json:
        print_json(
            [
                {"row": row.name, "per_cpu_s": round(row.rate), "of_floor": row.rate / floor, "aim": row.aim}
                for row in measured
            ]
        )
        return OK
    cells = [
        (row.name, f"{row.rate:,.0f}", f"{row.rate / floor:.2f}", f"{row.aim:,}" if row.aim else "")
        for row in measured
    ]
    print(ABOUT, "", *table([("", "per CPU-s", "of the floor", "aim"), *cells]), sep="\n")
    return OK
