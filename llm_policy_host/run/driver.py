"""The driver: asks the core for each step and does it. The one place that awaits a provider."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import (
    Attempt,
    Change,
    Contract,
    Cost,
    Credential,
    Failure,
    Inputs,
    Response,
    Result,
    Step,
    StreamChunk,
    nothing,
)

from .assembly import Assembly
from .attempt import Ready, call_of, changes
from .deadline import ExpiredError, Watch, within
from .filters import filtered
from .lanes import Lanes
from .reading import read_ranking, read_trace
from .shape import shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from llm_policy_host.ports import Authenticator, Clock, Engine, Pricer, Provider
    from llm_policy_host.values import Call, Plain, Ranking, Timeouts


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the driver is told of its host once.

    `new_seed` gives a run's seed where its caller did not; `gather` what the host knows now, the
    same mapping as long as nothing of it changed; `observe` is told of each attempt.
    """

    new_seed: Callable[[], int]
    deadline_ms: int = 50_000
    timeout_ms: int = 30_000
    is_full_trace: bool = False
    gather: Callable[[], Mapping[str, Any]] = nothing
    observe: Callable[[Attempt], None] | None = None
    pricer: Pricer | None = None


@dataclass(slots=True)
class _Run:
    """A run under way."""

    contract: Contract
    step: Step
    seed: int
    ends_at_ms: int
    is_late: bool = False
    attempts: int = 0
    api_kind: str = ""
    upstream_ms: float = 0.0
    response: Response | None = None
    failures: list[Failure] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.is_late or self.step.status == "done"


class Live:
    """A streamed run. Before its first batch it has tried nobody; from then on `candidate` answers."""

    def __init__(self, driver: Driver, run: _Run) -> None:
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

    def __init__(
        self,
        engine: Engine,
        providers: Mapping[str, Provider],
        auth: Authenticator,
        clock: Clock,
        surroundings: Surroundings,
        lanes: Lanes | None = None,
    ) -> None:
        self._engine = engine
        self._providers = providers
        self._auth = auth
        self._clock = clock
        self._around = surroundings
        self._lanes = lanes or Lanes({})

    async def run(self, contract: Contract) -> Result:
        """Take a contract to its result."""
        run = self._open(contract)
        try:
            while self._is_open(run):
                if run.step.status == "wait":
                    await self._wait(run)
                else:
                    self._settle(run, await self._send(run))
        except CancelledError:
            self._leave(run)
            raise
        return self._result(run)

    def live(self, contract: Contract) -> Live:
        """Begin a streamed run."""
        return Live(self, self._open(contract))

    async def stream(self, contract: Contract) -> AsyncGenerator[StreamChunk, None]:
        """Take a contract to its answer in pieces; the last chunk carries the result."""
        async with aclosing(self.batches(self._open(contract))) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def batches(self, run: _Run) -> AsyncGenerator[Sequence[StreamChunk], None]:
        """Take a begun run to its end; who leaves it early cancels the call upstream."""
        try:
            while self._is_open(run):
                if run.step.status == "wait":
                    await self._wait(run)
                    continue
                async with aclosing(self._stream(run)) as batches:
                    async for batch in batches:
                        yield batch
        finally:
            self._leave(run)
        result = self._result(run)
        if result.ok:
            yield (StreamChunk(result=result),)
        else:
            last = run.failures[-1] if run.failures else None
            yield (StreamChunk(finish_reason="error", error=last, result=result),)

    def rank(self, contract: Contract) -> Ranking:
        """Plan a contract without any effect."""
        return read_ranking(self._engine.rank(shape(contract), self._inputs(self._seed(contract))))

    def explain(self, contract: Contract) -> Plain:
        """Say why a contract's plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`."""
        return self._engine.explain(shape(contract), self._inputs(self._seed(contract)))

    # Steps ------------------------------------------------------------------------------------

    def _open(self, contract: Contract) -> _Run:
        seed = self._seed(contract)
        bound_ms = self._around.deadline_ms if contract.deadline_ms is None else contract.deadline_ms
        inputs = self._inputs(seed)
        step = self._engine.start(shape(contract), inputs)
        return _Run(contract, step, seed, inputs.now_ms + bound_ms)

    def _seed(self, contract: Contract) -> int:
        return self._around.new_seed() if contract.seed is None else contract.seed

    def _inputs(self, seed: Plain) -> Inputs:
        others = self._around.gather()
        full = dict.fromkeys(self._lanes.full(), True)
        if full:
            others = {**others, "disabled": {**others.get("disabled", {}), **full}}
        return Inputs(self._clock.now_ms(), seed, self._around.is_full_trace, others)

    def _is_open(self, run: _Run) -> bool:
        if run.is_over:
            return False
        if run.step.status == "wait" and run.step.until_ms > run.ends_at_ms:
            # no one is served by waiting for a moment that comes too late
            self._miss_deadline(run)
        return not run.is_late

    def _miss_deadline(self, run: _Run) -> None:
        run.is_late = True
        run.failures.append(Failure("timeout", detail="the run's deadline passed"))
        run.step = self._engine.abandon(run.step.handle, self._clock.now_ms(), "timeout")

    def _leave(self, run: _Run) -> None:
        """End a run that its caller left; nobody is to blame."""
        if not run.is_over:
            run.step = self._engine.abandon(run.step.handle, self._clock.now_ms(), "cancelled")

    def _left_ms(self, run: _Run) -> int:
        return max(0, run.ends_at_ms - self._clock.now_ms())

    async def _wait(self, run: _Run) -> None:
        await self._clock.sleep_ms(run.step.until_ms - self._clock.now_ms())
        run.step = self._engine.wake(run.step.handle, self._clock.now_ms())

    def _settle(self, run: _Run, outcome: Response | Failure | None) -> None:
        """Tell the core how an attempt ended; None when the run's own deadline cut it."""
        now_ms = self._clock.now_ms()
        if outcome is None:
            self._miss_deadline(run)
        elif isinstance(outcome, Failure):
            run.failures.append(outcome)
            run.step = self._engine.fail(run.step.handle, now_ms, outcome)
        else:
            run.response = outcome
            run.step = self._engine.succeed(run.step.handle, now_ms)

    # Attempts ---------------------------------------------------------------------------------

    async def _prepare(self, run: _Run) -> Ready | Failure:
        """Find who speaks the dialect and the credential, and filter what is sent."""
        run.attempts += 1
        contract, step = run.contract, run.step
        call = call_of(contract, step, self._around.timeout_ms)
        run.api_kind = call.api_kind
        provider = self._providers.get(call.api_kind)
        if provider is None:
            return Failure("model_unavailable", detail=f"no adapter speaks `{call.api_kind}`")
        credential = await self._credential(contract, call)
        if isinstance(credential, Failure):
            return credential
        fit = filtered(call)
        if isinstance(fit, Failure):
            return fit
        ready = Ready(provider, credential, fit)
        run.changes.extend(changes(contract, step, ready, run.attempts))
        return ready

    async def _credential(self, contract: Contract, call: Call) -> Credential | Failure:
        own = contract.auth_override.get(call.provider_id) if contract.auth_override else None
        return await self._auth.credential(call.provider_id) if own is None else Credential(own)

    async def _send(self, run: _Run) -> Response | Failure | None:
        ready = await self._prepare(run)
        if isinstance(ready, Failure):
            return ready
        lane = self._lanes.lane(ready.call.provider_id)
        if lane is None:
            return await self._send_now(run, ready)
        try:
            await within(self._clock, self._left_ms(run), lane.enter())
        except ExpiredError:
            return None
        try:
            return await self._send_now(run, ready)
        finally:
            lane.leave()

    async def _send_now(self, run: _Run, ready: Ready) -> Response | Failure | None:
        sent = _Sent(self, run, ready)
        left_ms, bound_ms = self._left_ms(run), ready.call.timeouts.attempt_ms
        outcome: Response | Failure | None
        try:
            sending = ready.provider.send(ready.call, ready.credential)
            outcome = await within(self._clock, _least(left_ms, bound_ms), sending)
        except ExpiredError:
            is_own = bound_ms is not None and bound_ms <= left_ms
            outcome = Failure("timeout", detail=f"no answer within {bound_ms:.0f} ms") if is_own else None
        except CancelledError:
            sent.end("cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - a defect of one adapter must not end a run that others can serve
            outcome = _defect(error)
        sent.settle(outcome)
        return outcome

    async def _stream(self, run: _Run) -> AsyncGenerator[Sequence[StreamChunk], None]:
        """Give one attempt's batches and settle it; nothing comes out before the first content."""
        ready = await self._prepare(run)
        if isinstance(ready, Failure):
            self._settle(run, ready)
            return
        lane = self._lanes.lane(ready.call.provider_id)
        if lane is not None:
            try:
                await within(self._clock, self._left_ms(run), lane.enter())
            except ExpiredError:
                self._settle(run, None)
                return
        try:
            async with aclosing(self._stream_now(run, ready)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if lane is not None:
                lane.leave()

    async def _stream_now(self, run: _Run, ready: Ready) -> AsyncGenerator[Sequence[StreamChunk], None]:
        assembly = Assembly()
        held: list[StreamChunk] = []
        outcome: Failure | None = None
        is_late = False
        sent = _Sent(self, run, ready, is_stream=True)
        try:
            async with aclosing(self._bounded(run, ready)) as items:
                async for item in items:
                    if item is None or isinstance(item, Failure):
                        outcome, is_late = item, item is None
                        break
                    assembly.add_all(item)
                    if sent.ttft_ms is not None:
                        yield item
                        continue
                    held.extend(item)
                    if any(chunk.has_content for chunk in item):
                        sent.note_content()
                        yield held
        except (CancelledError, GeneratorExit):
            sent.end("cancelled")
            raise
        has_content = sent.ttft_ms is not None
        if is_late:
            sent.settle(None)
            self._settle(run, None)
        elif outcome is not None:
            sent.settle(outcome)
            self._settle(run, _interrupted(outcome) if has_content else outcome)
        else:
            if held and not has_content:
                yield held
            response = assembly.response()
            sent.settle(response)
            self._settle(run, response)

    async def _bounded(
        self, run: _Run, ready: Ready
    ) -> AsyncGenerator[Sequence[StreamChunk] | Failure | None, None]:
        """Read one attempt's stream under its bounds; None when the run's own deadline cut it."""
        pace = _Pace(self._clock, ready.call.timeouts)
        watch = Watch(self._clock, lambda: _least(self._left_ms(run), pace.left()[0]))
        try:
            async with aclosing(_closable(ready.provider.stream(ready.call, ready.credential))) as items:
                while True:
                    item = await watch.wait(anext(items))
                    if not isinstance(item, Failure) and pace.note(item):
                        watch.reset()
                    yield item
        except StopAsyncIteration:
            return
        except ExpiredError:
            left_ms, what = pace.left()
            is_own = left_ms is not None and left_ms <= self._left_ms(run)
            yield Failure("timeout", detail=f"{what} took too long") if is_own else None
        except Exception as error:  # noqa: BLE001 - as in _send_now
            yield _defect(error)
        finally:
            watch.reset()

    # Ends -------------------------------------------------------------------------------------

    def note(self, run: _Run, ready: Ready, attempt: Attempt, took_ms: float) -> None:
        """Take note of an attempt that is over."""
        run.upstream_ms += took_ms
        if attempt.kind == "auth_error":
            self._auth.refused(attempt.provider_id, ready.credential)
        if self._around.observe is not None:
            self._around.observe(attempt)

    def policy_id(self, run: _Run) -> str | None:
        """Give the identity of a run's policy."""
        return None if run.is_over else self._engine.policy_id(run.step.handle)

    @property
    def clock(self) -> Clock:
        """Give the only source of time."""
        return self._clock

    def _result(self, run: _Run) -> Result:
        data = run.step.result
        ok = bool(data.get("ok")) and not run.is_late
        return Result(
            ok=ok,
            response=run.response if ok else None,
            error="timeout" if run.is_late else data.get("error"),
            refusal=data.get("refusal") or None,
            chosen=data.get("chosen") or None,
            trace=read_trace(data.get("trace")),
            failures=tuple(run.failures),
            changes=tuple(run.changes),
            cost=self._cost(run, data.get("chosen") or {}) if ok else Cost(),
            upstream_ms=run.upstream_ms,
            seed=run.seed,
        )

    def _cost(self, run: _Run, chosen: Mapping[str, Any]) -> Cost:
        pricer = self._around.pricer
        if pricer is None or run.response is None:
            return Cost()
        return pricer.cost(run.response, chosen, run.api_kind)


class _Sent:
    """An attempt on its way: what is measured of it."""

    def __init__(self, driver: Driver, run: _Run, ready: Ready, *, is_stream: bool = False) -> None:
        self._driver = driver
        self._run = run
        self._ready = ready
        self._is_stream = is_stream
        self._started_ms = driver.clock.now_ms()
        self._from_ms = driver.clock.elapsed_ms()
        self.ttft_ms: float | None = None

    def note_content(self) -> None:
        """Note that the first content is there."""
        self.ttft_ms = self._driver.clock.elapsed_ms() - self._from_ms

    def settle(self, outcome: Response | Failure | None) -> None:
        """Note how it ended; None is the run's own deadline."""
        if isinstance(outcome, Response):
            usage = outcome.usage
            self.end(None, usage.output_tokens + usage.reasoning_tokens if usage else None)
        else:
            self.end("cancelled" if outcome is None else outcome.kind)

    def end(self, kind: str | None, output_tokens: int | None = None) -> None:
        """Tell those who measure."""
        call = self._ready.call
        took_ms = self._driver.clock.elapsed_ms() - self._from_ms
        attempt = Attempt(
            call.provider_id,
            call.model_family,
            call.served_by,
            self._started_ms,
            took_ms,
            self.ttft_ms,
            output_tokens,
            kind,
            self._is_stream,
        )
        self._driver.note(self._run, self._ready, attempt, took_ms)


class _Pace:
    """How long the next piece of a stream may take (spec 3.4)."""

    def __init__(self, clock: Clock, timeouts: Timeouts) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._started_ms = self._last_ms = clock.elapsed_ms()
        self._has_content = False

    def note(self, batch: Sequence[StreamChunk]) -> bool:
        """Note pieces that came; whether they held the first content, which brings other bounds."""
        self._last_ms = self._clock.elapsed_ms()
        is_first = not self._has_content and any(chunk.has_content for chunk in batch)
        self._has_content = self._has_content or is_first
        return is_first

    def left(self) -> tuple[float | None, str]:
        """Say how long the next piece may still take, and which bound that is."""
        timeouts, now_ms = self._timeouts, self._clock.elapsed_ms()
        bounds = [(timeouts.attempt_ms, self._started_ms, "the attempt")]
        if self._has_content:
            bounds.append((timeouts.idle_ms, self._last_ms, "the next chunk"))
        else:
            bounds.append((timeouts.ttft_ms, self._started_ms, "the first content"))
        left = [(bound - (now_ms - since), what) for bound, since, what in bounds if bound is not None]
        return min(left, default=(None, ""))


def _least(left_ms: float, bound_ms: float | None) -> float:
    return left_ms if bound_ms is None else min(left_ms, bound_ms)


def _interrupted(failure: Failure) -> Failure:
    detail = f"{failure.kind} after the first content"
    return Failure("stream_interrupted", failure.http_status, None, detail)


def _defect(error: Exception) -> Failure:
    """Name an adapter's defect by its class alone: its text may quote the call."""
    return Failure("unknown", detail=f"the adapter failed ({type(error).__name__})")


def _closable(
    items: AsyncIterator[Sequence[StreamChunk] | Failure],
) -> AsyncGenerator[Sequence[StreamChunk] | Failure, None]:
    """Give an iterator that `aclosing` accepts."""
    return items if isinstance(items, AsyncGenerator) else _generator(items)


async def _generator(
    items: AsyncIterator[Sequence[StreamChunk] | Failure],
) -> AsyncGenerator[Sequence[StreamChunk] | Failure, None]:
    async for item in items:
        yield item
