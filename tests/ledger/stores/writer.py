"""A process that writes a ledger, for the tests that need several, or one that dies.

`python -m tests.ledger.stores.writer race WHERE ARCHIVE NUMBER KEY` waits for a line on its standard input,
asks for a run under one key of the tenant, beside runs of its own, and says who has the key.
`... begin WHERE ARCHIVE NUMBER` asks for an attempt among those who share the ledger, and waits to be killed.
`... endless WHERE ARCHIVE DURABILITY` appends runs until it is killed, and says which event is durable.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llm_policy_host.errors import LedgerError
from tests.ledger.drafts import run_id, whole_run

from .places import Place

if TYPE_CHECKING:
    from llm_policy_host.ledger.log import Log

OWN_RUNS = 5


async def race(log: Log, number: int, key: str) -> None:
    """Ask for the key amid runs of one's own, all at once; each run's events one after the other."""

    async def run_through(run: int, **start: Any) -> None:
        for each in whole_run(run, **start):
            await log.accept(each)

    async def ask() -> str:
        try:
            await run_through(number, idem=key)
        except LedgerError as error:
            if error.code != "duplicate":
                raise
        return str(log.find("team", key))

    own = [run_through(1000 + number * OWN_RUNS + step) for step in range(OWN_RUNS)]
    owner = (await asyncio.gather(ask(), *own))[0]
    print("mine" if owner == run_id(number) else "theirs", owner, flush=True)  # noqa: T201 - told to the test


async def endless(log: Log) -> None:
    """Append run after run, in bursts; say now and then what is durable."""
    number = log.seq
    while True:
        for _ in range(40):
            number += 1
            for each in whole_run(number, number % 3):
                event = log.append(each)
        await log.durable(event.seq)
        print(event.seq, flush=True)  # noqa: T201 - told to the test


def main(what: str, where: str, archive: str, *rest: str) -> None:
    """Do what the first argument says."""
    place = Place(where, Path(archive))
    if what == "race":
        with place.log("shared") as log:
            print("ready", flush=True)  # noqa: T201 - told to the test
            sys.stdin.readline()
            asyncio.run(race(log, int(rest[0]), rest[1]))
    elif what == "begin":
        with place.log("shared") as log:
            log.commit(list(whole_run(int(rest[0])))[:3])
            print("begun", flush=True)  # noqa: T201 - told to the test
            sys.stdin.readline()
    else:
        with place.log(durability=cast("Any", rest[0])) as log:
            asyncio.run(endless(log))


if __name__ == "__main__":
    main(*sys.argv[1:])
