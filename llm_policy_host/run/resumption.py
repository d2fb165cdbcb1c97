"""Going on with a flow whose process went away: from what the ledger has, and what was kept of its texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.kept import ANSWER, FLOW, read_answer, read_flow
from llm_policy_host.ledger.pasts import past_runs
from llm_policy_host.ledger.recovery import IN_DOUBT
from llm_policy_host.values import Contract, Origin

from .flows import NOT_BEGUN, Done

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ledger.folds import Folds
    from llm_policy_host.ledger.log import Log
    from llm_policy_host.ledger.pasts import PastRun
    from llm_policy_host.ports import Keep
    from llm_policy_host.values import Result

NOT_RESUMABLE: Final = "not_resumable"
"""The error of a flow that cannot go on: what was asked, or an answer that was paid for, is not kept."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A flow that goes on: what was asked and what is done; or the error that it ends with."""

    contract: Contract
    identity: str
    done: Done = NOT_BEGUN
    error: str | None = None


def resumption(log: Log, folds: Folds, keep: Keep | None, run: str) -> Resumption:
    """Find what a flow goes on from; a `UsageError` where there is no such flow, or it is under way."""
    past = _open_flow(past_runs(map(read, log.store.lines())), run)
    key = past.request.get("key_id")
    if key is not None and key in folds.ring.revoked:
        raise UsageError(f"the flow `{run}` was asked for with the key `{key}`, which is revoked")
    account = past.request.get("account")
    origin = Origin(
        api=past.request["api"],
        tenant=past.tenant,
        accounts=() if account is None else tuple(folds.accounts.path(account)),
        key_id=key,
        session=past.request.get("session"),
    )
    identity = str((past.admitted or {}).get("policy_id"))
    get = (lambda *_: None) if keep is None else keep.get
    answers = {part.run: _answer(part, get(part.run, ANSWER)) for part in past.parts}
    error, kept = _error(past, answers), get(run, FLOW)
    if kept is None:
        return Resumption(Contract(origin=origin), identity, error=error or NOT_RESUMABLE)
    results = {part.node: found for part in past.parts if (found := answers[part.run]) is not None}
    begun = Counter(part.node for part in past.parts if part.is_vain)
    return Resumption(read_flow(kept, origin), identity, Done(results, begun), error)


def open_flows(runs: Mapping[str, PastRun]) -> list[PastRun]:
    """Give the flows that have not ended, in the order in which they began."""
    return [run for run in runs.values() if run.is_flow and run.admitted is not None and run.end is None]


def _open_flow(runs: Mapping[str, PastRun], run: str) -> PastRun:
    past = runs.get(run)
    if past is None or not past.is_flow:
        raise UsageError(f"no flow `{run}` is in the ledger")
    if past.end is not None or past.admitted is None:
        how = f": {past.error}" if past.error else ""
        raise UsageError(f"the flow `{run}` has ended ({past.end}{how})")
    for part in past.parts:
        if part.end is None:
            raise UsageError(f"the flow `{run}` is under way: its node `{part.node}` is the run `{part.run}`")
    return past


def _answer(part: PastRun, kept: bytes | None) -> Result | None:
    """Give a node's answer: also one that was kept, and whose outcome the ledger does not have any more."""
    if kept is None or not (part.is_answered or part.is_in_doubt):
        return None
    return read_answer(kept, part.run)


def _error(past: PastRun, answers: Mapping[str, Result | None]) -> str | None:
    """Give the error that a flow ends with, the first in canonical order; None where it can go on."""
    found = []
    for part in past.parts:
        if part.is_vain or answers[part.run] is not None:
            continue
        error = NOT_RESUMABLE if part.is_answered else IN_DOUBT if part.is_in_doubt else str(part.error)
        # who was cancelled because another had failed tells nothing
        found.append((error == "cancelled", int(part.node.removeprefix("n")), error))
    return min(found)[2] if found else None
