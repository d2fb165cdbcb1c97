"""Answers calls from a recording: the same bytes at the same distance in time, read by the same adapters.

An answer is found by the numbers of its run and attempt, and guarded by what was asked: anything else
is a mismatch, the caller's mistake, which is evidence against no provider. Nobody outside is asked.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from llm_policy_host.errors import HostError
from llm_policy_host.values import Credential, Failure, HttpAnswer, Response, Secret

from ._exchange import HttpAdapter
from ._failure import TransportError
from ._reading import read_recording
from ._recorded import Exchange, differing, request_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from types import TracebackType

    from llm_policy_host.ports import Authenticator, Clock, Provider
    from llm_policy_host.values import Call, StreamChunk

    from ._http import Http, Streamed
    from ._reading import Recorded, Recording
    from .reel import Reel
    from .registry import Make, Tools

__all__ = ["ReplayMismatchError", "Replayer", "read_recording"]

_FOREVER_MS = 10 * 365 * 24 * 3_600_000
# no text of an answer holds it, so that nothing is taken out of one
_NO_SECRET = Secret("\x00\x01\x02\x03\x04\x05\x06\x07")


class ReplayMismatchError(HostError):
    """A run asked what the recording has no answer to."""


class Replayer:
    """Answers from one recording; what did not match is kept in `mismatches`, and told to `warn`."""

    is_live = False

    def __init__(
        self, recording: Recording, clock: Clock, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._recording = recording
        self._clock = clock
        self._warn = warn
        self._asked: Counter[str] = Counter()
        self._runs = 0
        self.mismatches: list[str] = []

    def open_run(
        self, seed: int, others: Mapping[str, Any], *, is_given: bool
    ) -> tuple[int, int, Mapping[str, Any]]:
        """Give a run its number, the recorded seed unless its caller has one, and what the host knew then."""
        self._runs += 1
        recorded_seed, recorded = self._recording.runs.get(self._runs, (seed, others))
        return self._runs, seed if is_given else recorded_seed, recorded

    def keys(self, auth: Authenticator) -> Authenticator:
        """Give what needs no secrets."""
        del auth
        return _ReplayedKeys(self._recording, self._asked, self._clock)

    def wrap(self, make: Make, tools: Tools) -> Provider:
        """Give what answers in an adapter's place."""
        return _ReplayingAdapter(make, tools, self)

    def close(self) -> None:
        """Give back nothing."""

    def check(self) -> None:
        """Raise the first mismatch, if there was one."""
        if self.mismatches:
            raise ReplayMismatchError(self.mismatches[0])

    def find(self, call: Call, *, is_stream: bool) -> Recorded | Failure:
        """Find the answer to a call, or say why there is none."""
        found = self._recording.attempts.get((call.run, call.attempt))
        if found is None:
            return self.mismatch(call, self._lack(call))
        names = differing(found.request, request_of(call, is_stream=is_stream))
        if names:
            return self.mismatch(call, f"not as recorded: {', '.join(f'`{name}`' for name in names)}")
        return found

    def mismatch(self, call: Call, what: str) -> Failure:
        """Take note of a call that has no answer here."""
        detail = f"replay_mismatch: run {call.run}, attempt {call.attempt}: {what}"
        self.mismatches.append(detail)
        self._warn(detail)
        return Failure("bad_request", detail=detail)

    def _lack(self, call: Call) -> str:
        runs = self._recording.runs
        if call.run not in runs:
            return f"the recording ends with run {len(runs)}"
        attempts = sum(run == call.run for run, _ in self._recording.attempts)
        return f"the recording has {attempts} attempt{'s' if attempts != 1 else ''} of this run"


class _ReplayedKeys:
    """Has a credential that is none for whoever had one."""

    def __init__(self, recording: Recording, asked: Counter[str], clock: Clock) -> None:
        self._losses = recording.losses
        self._asked = asked
        self._clock = clock

    def at_once(self, provider_id: str) -> Credential | None:
        """Give nothing where the credential could not be had."""
        self._asked[provider_id] += 1
        return None if (provider_id, self._asked[provider_id]) in self._losses else Credential(_NO_SECRET)

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Say why it could not be had."""
        waited_us, failure = self._losses[provider_id, self._asked[provider_id]]
        await self._clock.sleep_ms(waited_us / 1000)
        return Failure(**failure)

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Let it be: nothing is fetched anew."""


class _ReplayingAdapter:
    """One dialect's adapter, made anew for each attempt over what was recorded of it."""

    def __init__(self, make: Make, tools: Tools, replayer: Replayer) -> None:
        self._make = make
        self._tools = tools
        self._replayer = replayer
        self._adapter = make(tools)
        self._is_http = isinstance(self._adapter, HttpAdapter)

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""
        found = self._replayer.find(call, is_stream=False)
        if isinstance(found, Failure):
            return found
        if self._is_http:
            return await self._over(found, call).send(call, _credential(found, credential))
        async with aclosing(self._items(found)) as items:
            async for item in items:
                if isinstance(item, Response | Failure):
                    return item
        return self._replayer.mismatch(call, "the recording has no whole answer")

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncGenerator[Sequence[StreamChunk] | Failure, None]:
        """Answer a call in pieces."""
        found = self._replayer.find(call, is_stream=True)
        if isinstance(found, Failure):
            yield found
            return
        stream: Any = (
            self._over(found, call).stream(call, _credential(found, credential))
            if self._is_http
            else self._items(found)
        )
        async with aclosing(stream) as items:
            async for item in items:
                yield item

    def unsaid(self, call: Call) -> Sequence[str]:
        """Ask the adapter."""
        return self._adapter.unsaid(call)

    async def close(self) -> None:
        """Close the adapter."""
        await self._adapter.close()

    def _over(self, found: Recorded, call: Call) -> Provider:
        http = _RecordedHttp(found.exchanges, self._tools.clock, lambda: self._one_too_many(call))
        note_quota = _RecordedQuota(found.quota)
        return self._make(dataclasses.replace(self._tools, http=http, note_quota=note_quota))

    def _one_too_many(self, call: Call) -> TransportError:
        failure = self._replayer.mismatch(call, "the adapter asks more often than recorded")
        return TransportError(failure.kind, failure.detail)

    async def _items(
        self, found: Recorded
    ) -> AsyncGenerator[Response | Failure | Sequence[StreamChunk], None]:
        for waited_us, item in found.items:
            await self._tools.clock.sleep_ms(waited_us / 1000)
            if item is None:
                return
            yield item
        await self._tools.clock.sleep_ms(_FOREVER_MS)


def _credential(found: Recorded, given: Credential) -> Credential:
    return Credential(_NO_SECRET, account=found.account, is_callers=given.is_callers)


class _RecordedQuota:
    """Says of an account's quota what was said then."""

    def __init__(self, answers: Sequence[bool]) -> None:
        self._answers = iter(answers)

    def __call__(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        """Give the next answer."""
        del provider_id, account, used, resets_ms
        return next(self._answers, not is_closed)


class _RecordedHttp:
    """A client whose answers are known, one after the other."""

    def __init__(
        self, exchanges: Sequence[Exchange], clock: Clock, refuse: Callable[[], TransportError]
    ) -> None:
        self._exchanges = iter(exchanges)
        self._clock = clock
        self._refuse = refuse

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> _Played:
        """Give the next answer, whatever is asked: the call was compared."""
        del url, headers, body
        exchange = next(self._exchanges, None)
        if exchange is None:
            raise self._refuse()
        return _Played(exchange, self._clock)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Give the next answer whole."""
        async with self.post(url, headers, body) as stream:
            return HttpAnswer(stream.status, stream.headers, await stream.read())


class _Played:
    """One exchange, played at its own pace."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._pieces = iter(exchange.pieces)
        self.status = exchange.status or 0
        self.headers = exchange.headers

    async def __aenter__(self) -> Streamed:
        await self._wait(self._exchange.head_us)
        if self._exchange.status is None:
            await self._end()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Leave it."""

    def pieces(self) -> Self:
        """Give the body as it came."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        found = next(self._pieces, None)
        if found is None:
            await self._end()
            raise StopAsyncIteration
        await self._wait(found[0])
        return found[1]

    async def read(self) -> bytes:
        """Give the rest of the body."""
        return b"".join([piece async for piece in self])

    async def _end(self) -> None:
        """Wait for the end; what was left open has none."""
        exchange = self._exchange
        await self._wait(exchange.end_us)
        if exchange.end == "open":
            await self._clock.sleep_ms(_FOREVER_MS)
        if isinstance(exchange.end, dict):
            failure = Failure(**exchange.end)
            raise TransportError(failure.kind, failure.detail, is_unsent=failure.is_unsent)

    async def _wait(self, us: int) -> None:
        await self._clock.sleep_ms(us / 1000)


def _conforms(
    replayer: Replayer, adapter: _ReplayingAdapter, keys: _ReplayedKeys, http: _RecordedHttp
) -> tuple[Reel, Provider, Authenticator, Http]:
    """Let the type checker prove the ports."""
    return replayer, adapter, keys, http
