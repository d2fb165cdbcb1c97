"""A run that waits for a person: what is written down of it, and how it goes on, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.ledger.desk import STALE, read_parked, route_of
from llm_policy_host.values import Failure, Step, Turned

from .nobooks import NoPage
from .shape import shape
from .state import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Books, Engine
    from llm_policy_host.values import Contract

    from .state import Surroundings


def parked(run: Run, engine: Engine, now_ms: int) -> dict[str, Any]:
    """Give what a run needs to go on: where it is, how long it may still take, and what went wrong so far."""
    return {
        "attempts": run.attempts,
        "failures": [
            {"kind": failure.kind, "status": failure.http_status, "retry_after_ms": failure.retry_after_ms}
            for failure in run.failures
        ],
        "handle": engine.dump(run.step.handle).decode(errors="surrogateescape"),
        "left_ms": max(0, run.ends_at_ms - now_ms),
        "seed": run.seed,
    }


def reopened(
    contract: Contract, books: Books, engine: Engine, around: Surroundings, now_ms: int, *, is_stream: bool
) -> Run:
    """Go on with the run that a request asks for again; the time that it waited does not count."""
    found = books.reopen(contract, shape(contract), is_stream=is_stream)
    if isinstance(found, Turned):
        return _turned(contract, found, now_ms)
    kept = found.parked
    text = kept["handle"].encode(errors="surrogateescape")
    step = engine.revive(text, now_ms, found.target)
    if isinstance(step, str):
        found.page.give_up(STALE)
        return _turned(contract, Turned(STALE, found.page.run_id), now_ms)
    number, _, _ = around.open_run(kept["seed"], around.gather(), is_given=True)
    return Run(
        contract,
        step,
        kept["seed"],
        now_ms + kept["left_ms"],
        found.page,
        number,
        attempts=kept["attempts"],
        failures=[_failure(failure) for failure in kept["failures"]],
    )


def _turned(contract: Contract, turned: Turned, now_ms: int) -> Run:
    """Give a run that is over before it goes on."""
    page = NoPage()
    page.run_id = turned.run_id
    step = Step("done", result={"ok": False, "error": turned.error})
    return Run(contract, step, 0, now_ms, page, approval=turned.approval)


def _failure(kept: Mapping[str, Any]) -> Failure:
    return Failure(kept["kind"], kept.get("status"), kept.get("retry_after_ms"))


def refusal_of(engine: Engine, data: bytes | None, target: str, now_ms: int) -> str | None:
    """Say why a run that waits cannot go to another route; None where its policy lists it."""
    kept = read_parked(data)
    text = kept["handle"].encode(errors="surrogateescape")
    step = engine.revive(text, now_ms, route_of(target))
    return step if isinstance(step, str) else None
