"""The driver: asks the core for each step and does it. The one place that awaits a provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import (
    NOTHING,
    Call,
    Contract,
    Credential,
    Failure,
    Inputs,
    Response,
    Result,
    Step,
    StreamChunk,
    Timeouts,
    nothing,
)

from .assembly import Assembly
from .deadline import ExpiredError, within
from .filters import filtered
from .reading import read_ranking, read_trace
from .shape import shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from llm_policy_host.ports import Authenticator, Clock, Engine, Provider
    from llm_policy_host.values import Plain, Ranking


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the driver is told of its host once; `new_seed` gives a run's seed where its caller did not."""

    new_seed: Callable[[], int]
    deadline_ms: int = 50_000
    timeout_ms: int = 30_000
    is_full_trace: bool = False
    inputs: Mapping[str, Any] = field(default_factory=nothing)


@dataclass(slots=True)
class _Run:
    """A run under way."""

    contract: Contract
    step: Step
    seed: int
    ends_at_ms: int
    is_late: bool = False
    response: Response | None = None
    failures: list[Failure] = field(default_factory=list)


class Driver:
    """Drives runs over one engine; every caller's way in, unary and streamed."""

    def __init__(
        self,
        engine: Engine,
        providers: Mapping[str, Provider],
        auth: Authenticator,
        clock: Clock,
        surroundings: Surroundings,
    ) -> None:
        self._engine = engine
        self._providers = providers
        self._auth = auth
        self._clock = clock
        self._around = surroundings

    async def run(self, contract: Contract) -> Result:
        """Take a contract to its result."""
        run = self._open(contract)
        while self._is_open(run):
            if run.step.status == "wait":
                await self._wait(run)
            else:
                self._settle(run, await self._send(run))
        return _result(run)

    async def stream(self, contract: Contract) -> AsyncGenerator[StreamChunk, None]:
        """Take a contract to its answer in pieces; the last chunk carries the result."""
        run = self._open(contract)
        while self._is_open(run):
            if run.step.status == "wait":
                await self._wait(run)
                continue
            async with aclosing(self._stream(run)) as chunks:
                async for chunk in chunks:
                    yield chunk
        result = _result(run)
        if result.ok:
            yield StreamChunk(result=result)
        else:
            last = run.failures[-1] if run.failures else None
            yield StreamChunk(finish_reason="error", error=last, result=result)

    def rank(self, contract: Contract) -> Ranking:
        """Plan a contract without any effect."""
        return read_ranking(self._engine.rank(shape(contract), self._inputs(self._seed(contract))))

    # Steps ------------------------------------------------------------------------------------

    def _open(self, contract: Contract) -> _Run:
        seed = self._seed(contract)
        bound_ms = self._around.deadline_ms if contract.deadline_ms is None else contract.deadline_ms
        step = self._engine.start(shape(contract), self._inputs(seed))
        return _Run(contract, step, seed, self._clock.now_ms() + bound_ms)

    def _seed(self, contract: Contract) -> int:
        return self._around.new_seed() if contract.seed is None else contract.seed

    def _inputs(self, seed: Plain) -> Inputs:
        around = self._around
        return Inputs(self._clock.now_ms(), seed, around.is_full_trace, around.inputs)

    def _is_open(self, run: _Run) -> bool:
        if run.step.status == "done" or run.is_late:
            return False
        if run.step.status == "wait" and run.step.until_ms > run.ends_at_ms:
            # no one is served by waiting for a moment that comes too late
            self._miss_deadline(run)
        return not run.is_late

    def _miss_deadline(self, run: _Run) -> None:
        run.is_late = True
        run.failures.append(Failure("timeout", detail="the run's deadline passed"))
        run.step = self._engine.abandon(run.step.handle, self._clock.now_ms(), "timeout")

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

    async def _send(self, run: _Run) -> Response | Failure | None:
        call = self._call(run)
        ready = await self._prepare(call)
        if isinstance(ready, Failure):
            return ready
        provider, credential, call = ready
        left_ms, bound_ms = self._left_ms(run), call.timeouts.attempt_ms
        try:
            return await within(self._clock, _least(left_ms, bound_ms), provider.send(call, credential))
        except ExpiredError:
            if bound_ms is None or left_ms < bound_ms:
                return None
            return Failure("timeout", detail=f"no answer within {bound_ms:.0f} ms")
        except Exception as error:  # noqa: BLE001 - a defect of one adapter must not end a run that others can serve
            return _defect(error)

    async def _stream(self, run: _Run) -> AsyncGenerator[StreamChunk, None]:
        """Give one attempt's chunks and settle it; nothing comes out before the first content."""
        assembly = Assembly()
        held: list[StreamChunk] = []
        has_content = False
        outcome: Failure | None = None
        is_late = False
        async with aclosing(self._bounded(run)) as items:
            async for item in items:
                if item is None or isinstance(item, Failure):
                    outcome, is_late = item, item is None
                    break
                assembly.add(item)
                has_content = has_content or item.has_content
                held.append(item)
                if has_content:
                    for chunk in held:
                        yield chunk
                    held.clear()
        if outcome is not None and has_content:
            outcome = _interrupted(outcome)
        if outcome is None and not is_late:
            for chunk in held:
                yield chunk
            self._settle(run, assembly.response())
        else:
            self._settle(run, outcome)

    async def _bounded(self, run: _Run) -> AsyncGenerator[StreamChunk | Failure | None, None]:
        """Read one attempt's stream under its bounds; None when the run's own deadline cut it."""
        call = self._call(run)
        ready = await self._prepare(call)
        if isinstance(ready, Failure):
            yield ready
            return
        provider, credential, call = ready
        started_ms = last_ms = self._clock.now_ms()
        has_content = False
        async with aclosing(_closable(provider.stream(call, credential))) as items:
            while True:
                now_ms = self._clock.now_ms()
                bound_ms, what = _bound(call.timeouts, now_ms - started_ms, now_ms - last_ms, has_content)
                left_ms = self._left_ms(run)
                try:
                    item = await within(self._clock, _least(left_ms, bound_ms), anext(items))
                except StopAsyncIteration:
                    return
                except ExpiredError:
                    is_own = bound_ms is not None and bound_ms <= left_ms
                    yield Failure("timeout", detail=f"{what} took too long") if is_own else None
                    return
                except Exception as error:  # noqa: BLE001 - as in _send
                    yield _defect(error)
                    return
                last_ms = self._clock.now_ms()
                has_content = has_content or (isinstance(item, StreamChunk) and item.has_content)
                yield item

    async def _prepare(self, call: Call) -> tuple[Provider, Credential, Call] | Failure:
        """Find who speaks the dialect and the credential, and filter what is sent."""
        provider = self._providers.get(call.api_kind)
        if provider is None:
            return Failure("model_unavailable", detail=f"no adapter speaks `{call.api_kind}`")
        credential = await self._auth.credential(call.provider_id)
        fit = filtered(call)
        if isinstance(credential, Failure):
            return credential
        return fit if isinstance(fit, Failure) else (provider, credential, fit)

    def _call(self, run: _Run) -> Call:
        """Join what the core decided with the messages it never saw."""
        contract, candidate = run.contract, run.step.candidate
        own = {**contract.params, "timeout_ms": contract.timeout_ms or contract.params.get("timeout_ms")}
        params = dict(own if run.step.params is None else run.step.params)
        filters = params.pop("_filters", NOTHING)
        attempt_ms, ttft_ms, idle_ms = (
            _bound_in(params, name) for name in ("timeout_ms", "ttft_ms", "idle_ms")
        )
        timeouts = Timeouts(attempt_ms or self._around.timeout_ms, ttft_ms, idle_ms)
        return Call(
            provider_id=candidate["provider_id"],
            model_family=candidate["model_family"],
            served_model_id=candidate["served_model_id"],
            served_by=candidate.get("served_by"),
            base_url=candidate.get("base_url"),
            api_kind=candidate.get("api_kind") or "openai_compatible",
            params=params,
            filters=filters,
            messages=contract.messages,
            prompt=contract.prompt,
            tools=contract.tools,
            response_format=contract.response_format,
            passthrough=contract.passthrough,
            timeouts=timeouts,
        )


def _bound_in(params: dict[str, Any], name: str) -> float | None:
    """Take a bound out of the parameters; what is no positive number bounds nothing."""
    value = params.pop(name, None)
    is_bound = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return value if is_bound else None


def _least(left_ms: float, bound_ms: float | None) -> float:
    return left_ms if bound_ms is None else min(left_ms, bound_ms)


def _bound(timeouts: Timeouts, age_ms: float, quiet_ms: float, has_content: bool) -> tuple[float | None, str]:  # noqa: FBT001 - a fact, not a switch
    """Say how long the next chunk may take, and which bound that is."""
    bounds = [(timeouts.attempt_ms, age_ms, "the attempt")]
    if has_content:
        bounds.append((timeouts.idle_ms, quiet_ms, "the next chunk"))
    else:
        bounds.append((timeouts.ttft_ms, age_ms, "the first content"))
    left = [(max(0.0, bound - spent), what) for bound, spent, what in bounds if bound is not None]
    return min(left, default=(None, ""))


def _interrupted(failure: Failure) -> Failure:
    detail = f"{failure.kind} after the first content"
    return Failure("stream_interrupted", failure.http_status, None, detail)


def _defect(error: Exception) -> Failure:
    """Name an adapter's defect by its class alone: its text may quote the call."""
    return Failure("unknown", detail=f"the adapter failed ({type(error).__name__})")


def _closable(items: AsyncIterator[StreamChunk | Failure]) -> AsyncGenerator[StreamChunk | Failure, None]:
    """Give an iterator that `aclosing` accepts."""
    return items if isinstance(items, AsyncGenerator) else _generator(items)


async def _generator(
    items: AsyncIterator[StreamChunk | Failure],
) -> AsyncGenerator[StreamChunk | Failure, None]:
    async for item in items:
        yield item


def _result(run: _Run) -> Result:
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
        seed=run.seed,
    )
