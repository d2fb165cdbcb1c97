"""A process that runs flows and dies on demand; each turn is a fork of one that has everything loaded.

`python -m tests.ledger.flow_player` reads turns as JSON lines: `{file, what, flow?, arguments?, kill?}`. What is
done is to `run` a flow, to `resume` the first that is open, to do that `twice` at once, or what the command line
does with `arguments`. `kill` is `[what, count]`: `event` dies as soon as so many events are in the store, `kept` after so many times that
content was said to be on the disk. It answers each with how the turn ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.cli.main import main
from llm_policy_host.content.keep import ContentKeep
from llm_policy_host.errors import HostError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.pasts import past_runs
from llm_policy_host.run.resumption import open_flows
from llm_policy_host.store.grouping import GroupWriter
from llm_policy_host.values import Contract, Result
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from llm_policy_host.ports import LedgerRow


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_after_event(file: Path, count: int) -> None:
    """Die as soon as an event of that number lies in the database: no later one does."""
    put = GroupWriter.put

    def dying(writer: GroupWriter, row: LedgerRow) -> None:
        put(writer, row)
        if row[0] >= count:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as sql:
                while sql.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0] < count:
                    time.sleep(0.001)
            _die()

    GroupWriter.put = dying  # type: ignore[assignment,method-assign]


def _dies_after_content(count: int) -> None:
    """Die when content was waited for so many times, before anything else is done."""
    written, left = ContentKeep.written, [count]

    async def dying(keep: ContentKeep) -> None:
        await written(keep)
        left[0] -= 1
        if not left[0]:
            _die()

    ContentKeep.written = dying  # type: ignore[assignment,method-assign]


def _ledger(config: Path) -> Path:
    return config.parent / "ledger.db"


async def _play(turn: dict[str, Any]) -> Any:
    config = Path(turn["file"])
    if turn["what"] == "command":
        return await asyncio.to_thread(_command, turn["arguments"])
    host = Host.from_config(config)
    async with host:
        if turn["what"] == "run":
            result = await host.run(
                Contract(prompt="q", flow_ir=host.flows[turn["flow"]].term, params={"max_tokens": 10})
            )
        else:
            _ = host.books
            assert host.bookkeeping.ledger is not None
            flows = open_flows(past_runs(map(read, host.bookkeeping.ledger.log.store.lines())))
            if not flows:
                return {"ok": None, "error": "no open flow"}
            if turn["what"] == "twice":
                both = (host.resume(flows[0].run), host.resume(flows[0].run))
                ends = await asyncio.gather(*both, return_exceptions=True)
                return [end.error if isinstance(end, Result) else str(end) for end in ends]
            result = await host.resume(flows[0].run)
    text = None if result.response is None else result.response.text
    return {"ok": result.ok, "error": result.error, "text": text, "run": result.run_id}


def _command(arguments: list[str]) -> Any:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def _child(turn: dict[str, Any], answer: int) -> None:
    try:
        if "kill" in turn:
            what, count = turn["kill"]
            if what == "event":
                _dies_after_event(_ledger(Path(turn["file"])), count)
            else:
                _dies_after_content(count)
        told = asyncio.run(_play(turn))
    except HostError as error:
        told = {"ok": False, "error": str(error)}
    except BaseException:  # noqa: BLE001 - told to the test
        told = {"ok": False, "error": traceback.format_exc()}
    os.write(answer, json.dumps(told).encode())
    os._exit(0)


def _turn(turn: dict[str, Any]) -> Any:
    """Take a turn in a child; give what it told, or that it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(turn, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    return json.loads(told)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_turn(json.loads(line))), flush=True)  # noqa: T201 - told to the test
