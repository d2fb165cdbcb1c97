"""One attempt, from the core's step to how it ended: the one place that awaits a provider."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.values import Attempt, Credential, Failure, Held, Refused, Response

from .assembly import Assembly
from .attempt import Asked, Ready, call_of, changes
from .deadline import ExpiredError, Watch, within
from .filters import filtered
from .pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

    from llm_policy_host.ports import Authenticator, Clock, Provider
    from llm_policy_host.values import Call, StreamChunk

    from .lanes import Lanes
    from .state import Run, Surroundings


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, or that it is not to be made; None when the run's own deadline cut it."""

    outcome: Response | Failure | Refused | Held | None


class Sender:
    """Sends attempts to whoever speaks their dialect."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        auth: Authenticator,
        clock: Clock,
        surroundings: Surroundings,
        lanes: Lanes,
    ) -> None:
        self._providers = providers
        self._auth = auth
        self._clock = clock
        self._around = surroundings
        self._lanes = lanes

    async def send(self, run: Run) -> Response | Failure | Refused | Held | None:
        """Make an attempt and give how it ended; None when the run's own deadline cut it.

        The one choke point (spec 5.1): it is proposed, waits in its lane, gets its credential, is sent.
        """
        asked = self._asked(run)
        try:
            verdict = run.page.propose(asked.call, run.step.candidate, asked.provider)
            if verdict is not None:
                verdict = await self._verdict(run, verdict)
            if verdict is not None:
                return verdict
            run.attempts += 1
            lane = self._lanes.lane(asked.call.provider_id)
            if lane is None:
                return await self._send_ready(run, asked)
            await within(self._clock, self._left_ms(run), lane.enter())
        except ExpiredError:
            return None
        try:
            return await self._send_ready(run, asked)
        finally:
            lane.leave()

    async def _verdict(
        self, run: Run, verdict: Held | Refused | Awaitable[Refused | None]
    ) -> Held | Refused | None:
        """Wait for the books, where they cannot say at once; `ExpiredError` beyond the run's deadline."""
        if isinstance(verdict, Held | Refused):
            return verdict
        return await within(self._clock, self._left_ms(run), verdict)

    async def _send_ready(self, run: Run, asked: Asked) -> Response | Failure | None:
        ready = await self._ready(run, asked)
        return await self._send_now(run, ready) if isinstance(ready, Ready) else ready

    async def _send_now(self, run: Run, ready: Ready) -> Response | Failure | None:
        sent = _Sent(self, self._clock, run, ready)
        left_ms, bound_ms = self._left_ms(run), ready.call.timeouts.attempt_ms
        outcome: Response | Failure | None
        try:
            sending = ready.provider.send(ready.call, ready.credential)
            outcome = await within(self._clock, _least(left_ms, bound_ms), sending)
        except ExpiredError:
            is_own = bound_ms is not None and bound_ms <= left_ms
            outcome = _expired(run, "timeout_ms", f"no answer within {bound_ms:.0f} ms") if is_own else None
        except CancelledError:
            sent.end("cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - a defect of one adapter must not end a run that others can serve
            outcome = _defect(error)
        if isinstance(outcome, Failure):
            outcome = _attributed(outcome, ready)
        sent.settle(outcome)
        return outcome

    async def stream(self, run: Run) -> AsyncGenerator[Sequence[StreamChunk] | Ended, None]:
        """Give one attempt's batches, at last how it ended; nothing comes out before the first content."""
        asked = self._asked(run)
        lane = None
        try:
            verdict = run.page.propose(asked.call, run.step.candidate, asked.provider)
            if verdict is not None:
                verdict = await self._verdict(run, verdict)
            if verdict is not None:
                yield Ended(verdict)
                return
            run.attempts += 1
            lane = self._lanes.lane(asked.call.provider_id)
            if lane is not None:
                await within(self._clock, self._left_ms(run), lane.enter())
        except ExpiredError:
            yield Ended(None)
            return
        try:
            ready = await self._ready(run, asked)
            if not isinstance(ready, Ready):
                yield Ended(ready)
                return
            async with aclosing(self._stream_now(run, ready)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if lane is not None:
                lane.leave()

    async def _stream_now(
        self, run: Run, ready: Ready
    ) -> AsyncGenerator[Sequence[StreamChunk] | Ended, None]:
        assembly = Assembly()
        held: list[StreamChunk] = []
        outcome: Failure | None = None
        is_late = False
        sent = _Sent(self, self._clock, run, ready, is_stream=True)
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
            yield Ended(None)
        elif outcome is not None:
            outcome = _attributed(outcome, ready)
            sent.settle(outcome)
            yield Ended(_interrupted(outcome) if has_content else outcome)
        else:
            if held and not has_content:
                yield held
            response = assembly.response()
            sent.settle(response)
            yield Ended(response)

    async def _bounded(
        self, run: Run, ready: Ready
    ) -> AsyncGenerator[Sequence[StreamChunk] | Failure | None, None]:
        """Read one attempt's stream under its bounds; None when the run's own deadline cut it."""
        pace = Pace(self._clock, ready.call.timeouts)
        watch = Watch(self._clock, lambda: _least(self._left_ms(run), pace.left()[0]))
        try:
            async with aclosing(_closable(ready.provider.stream(ready.call, ready.credential))) as items:
                while True:
                    item = await watch.wait(anext(items))
                    if not isinstance(item, Failure) and pace.note(item):
                        watch.reset()
                    yield item
                    pace.go_on()
        except StopAsyncIteration:
            return
        except ExpiredError:
            left_ms, bound = pace.left()
            is_own = left_ms is not None and left_ms <= run.ends_at_ms - self._clock.now_ms()
            yield _expired(run, bound, f"{bound} passed") if is_own else None
        except Exception as error:  # noqa: BLE001 - as in _send_now
            yield _defect(error)
        finally:
            watch.reset()

    def _asked(self, run: Run) -> Asked:
        """Say what the next attempt is: the call, its texts filtered, and who speaks its dialect."""
        run.sent = None
        call = call_of(run.contract, run.step, self._around.timeout_ms, run.number, run.attempts + 1)
        run.api_kind = call.api_kind
        provider = self._providers.get(call.api_kind)
        if provider is None:
            detail = f"no adapter speaks `{call.api_kind}`"
            return Asked(call, None, Failure("model_unavailable", detail=detail))
        fit = filtered(call)
        if isinstance(fit, Failure):
            return Asked(call, None, fit)
        return Asked(fit, provider)

    async def _ready(self, run: Run, asked: Asked) -> Ready | Failure | None:
        """Get the credential of an attempt that may be made; None when the run's own deadline came first."""
        provider = asked.provider
        if provider is None:
            return asked.failure or Failure("unknown")
        credential = await self._credential(run, asked.call)
        if credential is None or isinstance(credential, Failure):
            return credential
        if not self._left_ms(run):
            return None
        ready = Ready(provider, credential, asked.call)
        run.changes.extend(changes(run.contract, run.step, ready, run.attempts))
        return ready

    async def _credential(self, run: Run, call: Call) -> Credential | Failure | None:
        contract = run.contract
        own = contract.auth_override.get(call.provider_id) if contract.auth_override else None
        if own is not None:
            return Credential(own, is_callers=True)
        found = run.credentials.get(call.provider_id) or self._auth.at_once(call.provider_id)
        if found is not None:
            return found
        try:
            waited = self._auth.credential(call.provider_id)
            credential = await within(self._clock, self._left_ms(run), waited)
        except ExpiredError:
            return None
        if isinstance(credential, Credential):
            # an account is chosen once per call: a retry keeps it, unless it was the reason
            run.credentials[call.provider_id] = credential
        return credential

    def _left_ms(self, run: Run) -> int:
        return max(0, run.ends_at_ms - self._clock.now_ms())

    def note(self, run: Run, ready: Ready, attempt: Attempt, took_ms: float) -> None:
        """Take note of an attempt that is over."""
        run.sent = attempt
        run.upstream_ms += took_ms
        if attempt.kind in _OF_A_KEY:
            run.credentials.pop(attempt.provider_id, None)
        if attempt.kind == "auth_error":
            self._auth.refused(attempt.provider_id, ready.credential)
        if self._around.observe is not None:
            self._around.observe(attempt)


class _Sent:
    """An attempt on its way: what is measured of it."""

    def __init__(
        self, sender: Sender, clock: Clock, run: Run, ready: Ready, *, is_stream: bool = False
    ) -> None:
        self._sender = sender
        self._clock = clock
        self._run = run
        self._ready = ready
        self._is_stream = is_stream
        self._started_ms = clock.now_ms()
        self._from_ms = clock.elapsed_ms()
        self.ttft_ms: float | None = None

    def note_content(self) -> None:
        """Note that the first content is there."""
        self.ttft_ms = self._clock.elapsed_ms() - self._from_ms

    def settle(self, outcome: Response | Failure | None) -> None:
        """Note how it ended; None is the run's own deadline."""
        if isinstance(outcome, Response):
            usage = outcome.usage
            self.end(None, usage.output_tokens + usage.reasoning_tokens if usage else None)
        elif outcome is None:
            self.end("cancelled")
        else:
            self.end(outcome.kind, is_callers_fault=outcome.is_callers_fault)

    def end(
        self, kind: str | None, output_tokens: int | None = None, *, is_callers_fault: bool = False
    ) -> None:
        """Tell those who measure."""
        call = self._ready.call
        took_ms = self._clock.elapsed_ms() - self._from_ms
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
            is_callers_fault,
        )
        self._sender.note(self._run, self._ready, attempt, took_ms)


# What a provider says of a key, which it would not have said of the operator's.
_OF_A_KEY = frozenset({"auth_error", "payment_required", "rate_limit"})


def _attributed(failure: Failure, ready: Ready) -> Failure:
    """Make a failure of the caller's own key the caller's: it is evidence against no provider."""
    if not ready.credential.is_callers or failure.kind not in _OF_A_KEY:
        return failure
    detail = f"the key given for `{ready.call.provider_id}`: {failure.kind}"
    return Failure("bad_request", failure.http_status, failure.retry_after_ms, detail, is_callers_fault=True)


def _expired(run: Run, bound: str, detail: str) -> Failure:
    """Say that a bound passed first: a fault of the caller's where he made it shorter than the operator's."""
    return Failure("timeout", detail=detail, is_callers_fault=bound in run.step.callers_bounds)


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
