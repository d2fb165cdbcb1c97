"""The driver: asks the core for each step and does it, through the one place that awaits a provider."""

from __future__ import annotations

import dataclasses
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.desk import APPROVAL_REQUIRED
from llm_policy_host.spelling import number
from llm_policy_host.values import (
    Approval,
    Cost,
    Failure,
    Held,
    Inputs,
    Refused,
    Response,
    Result,
    StreamChunk,
)

from .lanes import Lanes
from .nobooks import NoBooks
from .parking import parked, reopened
from .reading import read_ranking, read_trace
from .sender import Ended, Sender
from .shape import shape
from .state import Run, Surroundings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from llm_policy_host.ports import Authenticator, Books, Clock, Engine, Provider
    from llm_policy_host.values import Contract, Plain, Ranking

__all__ = ["Driver", "Live", "Surroundings"]

BUDGET_EXCEEDED: Final = "budget_exceeded"
"""The error of a run whose next attempt no account pays for."""


class Live:
    """A streamed run. Before its first batch it has tried nobody; from then on `candidate` answers."""

    def __init__(self, driver: Driver, run: Run) -> None:
        self._driver = driver
        self._run = run

    @property
    def candidate(self) -> Mapping[str, Any]:
        """Give who is being asked, or has answered."""
        return self._run.step.candidate

    @property
    def policy_id(self) -> str | None:
        """Give the identity of the policy that the run obeys, while it is under way."""
        return self._driver.policy_id(self._run)

    @property
    def run_id(self) -> str | None:
        """Give the run's name in the ledger."""
        return self._run.page.run_id

    @property
    def attempts(self) -> int:
        """Count the attempts so far."""
        return self._run.attempts

    @property
    def upstream_ms(self) -> float:
        """Give how long providers were waited for in the attempts that are over."""
        return self._run.upstream_ms

    def batches(self) -> AsyncGenerator[Sequence[StreamChunk], None]:
        """Give what arrived together, each time; the last chunk of all carries the result."""
        return self._driver.batches(self._run)


class Driver:
    """Drives runs over one engine; every caller's way in, unary and streamed."""

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root fills it
        self,
        engine: Engine,
        providers: Mapping[str, Provider],
        auth: Authenticator,
        clock: Clock,
        surroundings: Surroundings,
        lanes: Lanes | None = None,
        books: Books | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._around = surroundings
        self._lanes = lanes or Lanes({})
        self._books = books or NoBooks()
        self._sender = Sender(providers, auth, clock, surroundings, self._lanes)

    async def run(self, contract: Contract) -> Result:
        """Take a contract to its result."""
        run = self._open(contract)
        try:
            while self._is_open(run):
                if run.step.status == "wait":
                    await self._wait(run)
                else:
                    outcome = await self._sender.send(run)
                    if contract.origin.is_resumable and not isinstance(outcome, Refused | Held):
                        await run.page.keep(outcome)
                    await self._take(run, outcome)
        except BaseException:
            self._leave(run)
            raise
        ending = run.page.end(run.step)
        if ending is not None:
            await ending
        return self._result(run)

    def live(self, contract: Contract) -> Live:
        """Begin a streamed run."""
        return Live(self, self._open(contract, is_stream=True))

    async def stream(self, contract: Contract) -> AsyncGenerator[StreamChunk, None]:
        """Take a contract to its answer in pieces; the last chunk carries the result."""
        async with aclosing(self.batches(self._open(contract, is_stream=True))) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def batches(self, run: Run) -> AsyncGenerator[Sequence[StreamChunk], None]:
        """Take a begun run to its end; who leaves it early cancels the call upstream."""
        try:
            while self._is_open(run):
                if run.step.status == "wait":
                    await self._wait(run)
                    continue
                async with aclosing(self._sender.stream(run)) as items:
                    async for item in items:
                        if isinstance(item, Ended):
                            await self._take(run, item.outcome)
                        else:
                            yield item
        finally:
            self._leave(run)
        ending = run.page.end(run.step)
        if ending is not None:
            await ending
        result = self._result(run)
        if result.ok:
            yield (StreamChunk(result=result),)
        else:
            last = run.failures[-1] if run.failures else None
            yield (StreamChunk(finish_reason="error", error=last, result=result),)

    def rank(self, contract: Contract) -> Ranking:
        """Plan a contract without any effect."""
        return read_ranking(
            self._engine.rank(shape(contract), self._inputs(self._seed(contract), self._around.gather()))
        )

    def explain(self, contract: Contract) -> Plain:
        """Say why a contract's plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`."""
        return self._engine.explain(
            shape(contract), self._inputs(self._seed(contract), self._around.gather())
        )

    # Steps ------------------------------------------------------------------------------------

    def _open(self, contract: Contract, *, is_stream: bool = False) -> Run:
        if contract.origin.approval is not None:
            now_ms = self._clock.now_ms()
            return reopened(contract, self._books, self._engine, self._around, now_ms, is_stream=is_stream)
        bound_ms = self._around.deadline_ms if contract.deadline_ms is None else contract.deadline_ms
        number, seed, others = self._around.open_run(
            self._seed(contract), self._around.gather(), is_given=contract.seed is not None
        )
        page = self._books.begin(contract, is_stream=is_stream)
        inputs, data = self._inputs(seed, others), shape(contract)
        step = self._engine.start(data, inputs)
        page.admitted(step, data, inputs, bound_ms)
        return Run(contract, step, seed, inputs.now_ms + bound_ms, page, number)

    def _seed(self, contract: Contract) -> Plain:
        """Give a run's seed; what is no seed is the core's to refuse."""
        seed = contract.seed
        if seed is None:
            return self._around.new_seed()
        return number(seed) if type(seed) is int else seed

    def _inputs(self, seed: Plain, others: Mapping[str, Any]) -> Inputs:
        full = self._full()
        if full:
            others = {**others, "disabled": {**others.get("disabled", {}), **full}}
        return Inputs(self._clock.now_ms(), seed, self._around.is_full_trace, others, is_callers_policy=True)

    def _full(self) -> dict[str, bool]:
        """Name the providers whose lanes are full: passed by, which blames nobody."""
        return dict.fromkeys(self._lanes.full(), True)

    def _is_open(self, run: Run) -> bool:
        if run.is_over:
            return False
        now_ms = self._clock.now_ms()
        if run.step.status == "wait" and run.step.until_ms >= run.ends_at_ms:
            # no one is served by waiting for a moment that comes too late
            run.page.waits(run.step.until_ms - now_ms)
            self._miss_deadline(run)
        elif now_ms >= run.ends_at_ms:
            self._miss_deadline(run)
        return not run.is_late

    def _miss_deadline(self, run: Run) -> None:
        run.is_late = True
        run.failures.append(Failure("timeout", detail="the run's deadline passed"))
        run.step = self._engine.abandon(run.step.handle, self._clock.now_ms(), "timeout")

    def _leave(self, run: Run) -> None:
        """End a run that its caller left; nobody is to blame."""
        if not run.is_over:
            run.page.outcome(None, run.sent)
            run.step = self._engine.abandon(run.step.handle, self._clock.now_ms(), "cancelled")
            run.page.end(run.step, is_cancelled=True)

    async def _wait(self, run: Run) -> None:
        wait_ms = run.step.until_ms - self._clock.now_ms()
        run.page.waits(wait_ms)
        await self._clock.sleep_ms(wait_ms)
        now_ms = self._clock.now_ms()
        if now_ms < run.ends_at_ms:  # a run that is late ends where it waits
            run.step = self._engine.wake(run.step.handle, now_ms)

    async def _take(self, run: Run, outcome: Response | Failure | Refused | Held | None) -> None:
        """Take what came of an attempt; one that a gate holds is put off."""
        if isinstance(outcome, Held):
            made = await run.page.park(parked(run, self._engine, self._clock.now_ms()))
            if isinstance(made, Approval):
                run.approval = made
                return
            outcome = made
        self._settle(run, outcome)

    def _settle(self, run: Run, outcome: Response | Failure | Refused | None) -> None:
        """Tell the books and the core how an attempt ended; None when the run's own deadline cut it."""
        now_ms = self._clock.now_ms()
        if isinstance(outcome, Refused):
            run.refused = outcome
            error = APPROVAL_REQUIRED if outcome.code == APPROVAL_REQUIRED else BUDGET_EXCEEDED
            run.step = self._engine.abandon(run.step.handle, now_ms, error)
            return
        run.page.outcome(outcome, run.sent)
        if outcome is None:
            self._miss_deadline(run)
        elif isinstance(outcome, Failure):
            run.failures.append(outcome)
            run.step = self._engine.fail(run.step.handle, now_ms, outcome, self._full())
        else:
            run.response = outcome
            run.step = self._engine.succeed(run.step.handle, now_ms)

    # Ends -------------------------------------------------------------------------------------

    def policy_id(self, run: Run) -> str | None:
        """Give the identity of a run's policy."""
        return None if run.is_over else self._engine.policy_id(run.step.handle)

    def _result(self, run: Run) -> Result:
        data = run.step.result
        ok = bool(data.get("ok")) and not run.is_late
        return Result(
            ok=ok,
            response=run.response if ok else None,
            error=self._error(run),
            refusal=dataclasses.asdict(run.refused) if run.refused else data.get("refusal") or None,
            chosen=data.get("chosen") or None,
            trace=read_trace(data.get("trace")),
            failures=tuple(run.failures),
            changes=tuple(run.changes),
            cost=self._cost(run, data.get("chosen") or {}) if ok else Cost(),
            upstream_ms=run.upstream_ms,
            seed=run.seed,
            run_id=run.page.run_id,
            approval=run.approval,
        )

    def _error(self, run: Run) -> str | None:
        if run.approval is not None:
            return APPROVAL_REQUIRED
        return "timeout" if run.is_late else run.step.result.get("error")

    def _cost(self, run: Run, chosen: Mapping[str, Any]) -> Cost:
        pricer = self._around.pricer
        if pricer is None or run.response is None:
            return Cost()
        return pricer.cost(run.response, chosen, run.api_kind)
