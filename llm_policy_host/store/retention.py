"""Retention: what is old leaves the database for the archive, and the ledger says so itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.event import Draft

from .segments import file_name

if TYPE_CHECKING:
    from llm_policy_host.ledger.log import Log

    from .database import Segment
    from .durable import DurableStore

DAY_MS = 86_400_000


def retire(log: Log, store: DurableStore, before_ms: int) -> Segment | None:
    """Archive the events up to the last one before a moment; None where there is none.

    `log` is the store's, which nobody uses yet. A `SnapshotTaken` names the file and the hash that it closes
    with. Clocks of several hosts differ, so what is archived ends before the first event that is young
    enough; and of hosts that start at once one archives.
    """
    store.folder()
    segments = store.segments()
    first = segments[-1].last_seq + 1 if segments else 1
    last, head = first - 1, ""
    for line in store.lines(first - 1):
        event = orjson.loads(line)
        if event["ts"] >= before_ms:
            break
        last, head = event["seq"], event["hash"]
    if last < first:
        return None
    core = {"at_seq": last, "at_hash": head, "segment": file_name(first, last)}
    taken = Draft("SnapshotTaken", "host", "local", core=core)
    with store.transaction() as turn:
        if turn.first_seq() != first:
            return None
        made = log.take(list(turn.lines(log.seq)), [taken])[0]
        if isinstance(made, LedgerError):
            raise made
        turn.insert([made[:6]])
        return turn.archive(last)
