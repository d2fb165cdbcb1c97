"""Opens the log over what a store holds: a torn tail is cut, and no run stays half done (spec 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.errors import LedgerError

from .chain import is_whole
from .event import Draft
from .log import Log
from .schema import ADMITTED, ASKING, CALLING, DECIDED, START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llm_policy_host.ports import Clock, EventStore

    from .chain import Chain, Fold
    from .lineage import Run

IN_DOUBT = "in_doubt"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was mended at the start: lines cut, proposals in doubt, runs ended, and runs that go on."""

    cut: int = 0
    in_doubt: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    resumable: tuple[str, ...] = ()


def open_log(
    store: EventStore,
    clock: Clock,
    make_fold: Callable[[], Fold] | None = None,
) -> tuple[Log, Recovery]:
    """Read a store and mend its end; a `LedgerError` where it is wrong before its end.

    Of a shared store only what was there when nobody else had it is mended: nobody can tell which other runs
    are driven by those who have it now.
    """
    log = Log(store, clock, make_fold)
    if store.is_shared and store.alone_at is None:
        log.follow(store.lines())
        return log, Recovery()
    cut = _read(log, store.alone_at if store.is_shared else None)
    drafts = list(endings(log.chain))
    resumable = tuple(run.id for run in log.chain.lineage.open.values() if _goes_on(run))
    if store.is_shared:
        # also follows what others wrote since
        for draft, made in zip(drafts, log.commit(drafts), strict=True):
            if isinstance(made, LedgerError) and draft.run in log.chain.lineage.open:
                raise made
    else:
        for draft in drafts:
            log.append(draft)
    ended = {error: _runs(drafts, error) for error in (IN_DOUBT, INTERRUPTED)}
    return log, Recovery(cut, ended[IN_DOUBT], ended[INTERRUPTED], resumable)


def _read(log: Log, up_to_seq: int | None) -> int:
    """Follow the store's lines up to one; cut a torn tail, and count its lines."""
    lines = log.store.lines()
    for line in lines:
        if log.seq == up_to_seq:
            break
        try:
            log.chain.follow(line)
        except LedgerError as error:
            torn = [line, *lines]
            if any(is_whole(each) for each in torn):
                at = f"event {log.seq + 1}"
                raise LedgerError(error.code, at, f"{error} (see `llm-policy ledger verify`)") from None
            log.store.cut(log.seq)
            return len(torn)
    return 0


def endings(chain: Chain) -> Iterator[Draft]:
    """Give what ends the runs that no process drives any more, the oldest first.

    A proposal without outcome may have been paid for: it is charged all that was held for it.
    """
    for run in chain.lineage.open.values():
        if _goes_on(run):
            continue
        if run.place == START:
            yield Draft("RequestRejected", "host", run.tenant, run.id, run.parent, core={"code": INTERRUPTED})
            continue
        error = INTERRUPTED
        if run.place == CALLING and run.proposal is not None:
            error = IN_DOUBT
            core = {"attempt": run.attempts, "kind": IN_DOUBT}
            obs = {"settled": run.proposal["hold"]}
            yield Draft("AttemptOutcome", "host", run.tenant, run.id, run.parent, core=core, obs=obs)
        core = {"attempts": run.attempts, "error": error}
        yield Draft("RunFailed", "host", run.tenant, run.id, run.parent, core=core)


def _goes_on(run: Run) -> bool:
    """Whether a run waits for a person, or is a flow whose finished nodes are in the log."""
    return run.place in (ASKING, DECIDED) or (run.is_flow and run.place == ADMITTED)


def _runs(drafts: list[Draft], error: str) -> tuple[str, ...]:
    return tuple(
        each.run or "" for each in drafts if error in (each.core.get("error"), each.core.get("code"))
    )
