"""Records calls: each provider's answers as they came, in a file that a replay answers from (spec 5.5)."""

from __future__ import annotations

import dataclasses
import os
import threading
from asyncio import CancelledError
from collections import Counter
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, HttpAnswer, Secret

from ._exchange import HttpAdapter
from ._failure import TransportError
from ._items import plain_of
from ._recorded import (
    VERSION,
    Exchange,
    RecordingError,
    canonical,
    forms,
    line_of_exchange,
    masked,
    request_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from llm_policy_host.ports import Authenticator, Clock, Provider
    from llm_policy_host.values import Call, Credential, Response, StreamChunk

    from ._http import Http, Streamed
    from .reel import Reel
    from .registry import Make, Tools


class Recorder:
    """Writes a new file, readable by its owner alone, a line for each run and attempt when it is over.

    Where it cannot be written it ends with the last whole line: `check` raises that, and no call fails.
    """

    is_live = True

    def __init__(self, path: Path, clock: Clock, warn: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._warn = warn
        self._size = 0
        self._fault: RecordingError | None = None
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            what = (error.strerror or "unknown reason").lower()
            raise RecordingError(f"the recording `{path}` cannot be made: {what}") from None
        self._lock = threading.RLock()
        self.clock = clock
        self.asked: Counter[str] = Counter()
        self._runs = 0
        self._others: Mapping[str, Any] = {}
        self.write({"type": "recording", "v": VERSION, "started_ms": clock.now_ms()})
        try:
            self.check()
        except RecordingError:
            path.unlink()
            raise

    def open_run(
        self, seed: int, others: Mapping[str, Any], *, is_given: bool
    ) -> tuple[int, int, Mapping[str, Any]]:
        """Give a run its number; keep its seed, and what the host knows now and did not know before."""
        del is_given
        with self._lock:
            self._runs += 1
            before, self._others = self._others, others
            known = {name: value for name, value in others.items() if before.get(name) is not value}
            gone = sorted(name for name in before if name not in others)
            self.write({"type": "run", "run": self._runs, "seed": seed, "others": known, "gone": gone})
            return self._runs, seed, others

    def keys(self, auth: Authenticator) -> Authenticator:
        """Keep how credentials could not be had; those that could are kept nowhere."""
        return _RecordedKeys(auth, self)

    def wrap(self, make: Make, tools: Tools) -> Provider:
        """Listen to an adapter."""
        return _RecordingAdapter(make, tools, self)

    def write(self, line: Mapping[str, Any], secrets: Sequence[bytes] = ()) -> None:
        """Append a line, whole or not at all."""
        data = memoryview(masked([canonical(line)], secrets)[0] + b"\n")
        with self._lock:
            if self._file < 0:
                return
            try:
                done = 0
                while done < len(data):
                    done += os.write(self._file, data[done:])
                self._size += done
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        what = (error.strerror or "unknown reason").lower()
        self._fault = RecordingError(f"the recording `{self._path}` ends early: {what}")
        with suppress(OSError):
            os.ftruncate(self._file, self._size)
        self.close()
        self._warn(str(self._fault))

    def check(self) -> None:
        """Raise a `RecordingError` if not all was written."""
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Close the file; what ends later is not recorded."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1


class _RecordedKeys:
    """Counts what is asked of each provider's credentials."""

    def __init__(self, auth: Authenticator, recorder: Recorder) -> None:
        self._auth = auth
        self._recorder = recorder

    def at_once(self, provider_id: str) -> Credential | None:
        """Ask, and count it."""
        self._recorder.asked[provider_id] += 1
        return self._auth.at_once(provider_id)

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Ask on; it counts as the same asking."""
        clock, ask = self._recorder.clock, self._recorder.asked[provider_id]
        since_ms = clock.elapsed_ms()
        found = await self._auth.credential(provider_id)
        if isinstance(found, Failure):
            waited = {"ask": ask, "waited_us": _us(clock.elapsed_ms() - since_ms)}
            failure = dataclasses.asdict(found)
            self._recorder.write(
                {"type": "credential", "provider": provider_id, "failure": failure, **waited}
            )
        return found

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Pass it on."""
        self._auth.refused(provider_id, credential)


class _RecordingAdapter:
    """One dialect's adapter, made anew for each attempt over a client that is listened to.

    An adapter that uses no HTTP is the same for all, and its items are kept.
    """

    def __init__(self, make: Make, tools: Tools, recorder: Recorder) -> None:
        self._make = make
        self._tools = tools
        self._recorder = recorder
        self._adapter = make(tools)

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""
        take = self._take(call, credential, is_stream=False)
        try:
            outcome = await take.adapter.send(call, credential)
            take.note(outcome)
            return outcome
        finally:
            take.end()

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncGenerator[Sequence[StreamChunk] | Failure, None]:
        """Answer a call in pieces."""
        take = self._take(call, credential, is_stream=True)
        try:
            stream: Any = take.adapter.stream(call, credential)
            async with aclosing(stream) as items:
                async for item in items:
                    take.note(item)
                    yield item
                    take.go_on()
            take.note(None)
        finally:
            take.end()

    def unsaid(self, call: Call) -> Sequence[str]:
        """Ask the adapter."""
        return self._adapter.unsaid(call)

    async def close(self) -> None:
        """Close the adapter."""
        await self._adapter.close()

    def _take(self, call: Call, credential: Credential, *, is_stream: bool) -> _Take:
        line = {
            "type": "attempt",
            "run": call.run,
            "attempt": call.attempt,
            "request": request_of(call, is_stream=is_stream),
            "account": credential.account,
        }
        take = _Take(self._recorder, self._adapter, self._tools, line, _secrets(credential))
        if isinstance(self._adapter, HttpAdapter):
            take.adapter = self._make(dataclasses.replace(self._tools, http=take, note_quota=take.note_quota))
            take.is_http = True
        return take


def _secrets(credential: Credential) -> list[bytes]:
    given = (credential.secret, *credential.extras.values())
    return forms(each.reveal() for each in given if isinstance(each, Secret))


class _Take:
    """What one attempt was told; to its adapter it is the client and whoever takes note of quotas."""

    def __init__(
        self,
        recorder: Recorder,
        adapter: Provider,
        tools: Tools,
        line: dict[str, Any],
        secrets: Sequence[bytes],
    ) -> None:
        self.adapter = adapter
        self.is_http = False
        self._recorder = recorder
        self._tools = tools
        self._line = line
        self._secrets = secrets
        self._exchanges: list[Exchange] = []
        self._items: list[Any] = []
        self._quota: list[bool] = []
        self._since_ms = tools.clock.elapsed_ms()

    def note(self, item: Response | Failure | Sequence[StreamChunk] | None) -> None:
        """Keep an item and how long it was waited for; None is the end. Over HTTP the bytes say it."""
        if not self.is_http:
            waited_us = _us(self._tools.clock.elapsed_ms() - self._since_ms)
            self._items.append([waited_us, None if item is None else plain_of(item)])

    def go_on(self) -> None:
        """Wait for the next item from now on."""
        self._since_ms = self._tools.clock.elapsed_ms()

    def note_quota(
        self, provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        """Pass it on, and keep what was answered."""
        serves = self._tools.note_quota(provider_id, account, used, resets_ms, is_closed=is_closed)
        self._quota.append(serves)
        return serves

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> _Listening:
        """Post, and listen."""
        exchange = Exchange()
        self._exchanges.append(exchange)
        return _Listening(self._tools.http.post(url, headers, body), exchange, self._tools.clock)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Post, and give the whole answer."""
        async with self.post(url, headers, body) as stream:
            return HttpAnswer(stream.status, stream.headers, await stream.read())

    def end(self) -> None:
        """Write the attempt down."""
        more = {
            "quota": self._quota,
            "items": self._items,
            "exchanges": [line_of_exchange(exchange, self._secrets) for exchange in self._exchanges],
        }
        self._recorder.write(self._line | more, self._secrets)


class _Listening:
    """One exchange, listened to: also how it ended, or that it was left."""

    def __init__(self, inner: Any, exchange: Exchange, clock: Clock) -> None:  # noqa: ANN401 - a client's own
        self._inner = inner
        self._exchange = exchange
        self._clock = clock
        self._stream: Streamed
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> Streamed:
        since_ms = self._clock.elapsed_ms()
        try:
            self._stream = await self._inner.__aenter__()
        except TransportError as error:
            self._exchange.end = _failure(error)
            raise
        finally:
            self._exchange.head_us = _us(self._clock.elapsed_ms() - since_ms)
        self.status, self.headers = self._stream.status, self._stream.headers
        self._exchange.status, self._exchange.headers = self.status, self.headers
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # who is cancelled while he waits has not heard the end; who stops by himself needs no more
        if self._exchange.end == "open" and not isinstance(error, CancelledError | GeneratorExit):
            self._exchange.end = "end"
        await self._inner.__aexit__(kind, error, trace)

    def pieces(self) -> _Listening:
        """Give the body as it comes."""
        return self

    def __aiter__(self) -> _Listening:
        return self

    async def __anext__(self) -> bytes:
        since_ms = self._clock.elapsed_ms()
        try:
            piece = await anext(self._stream.pieces())
        except StopAsyncIteration:
            self._end("end", since_ms)
            raise
        except TransportError as error:
            self._end(_failure(error), since_ms)
            raise
        self._exchange.pieces.append((_us(self._clock.elapsed_ms() - since_ms), piece))
        return piece

    async def read(self) -> bytes:
        """Give the rest of the body, as one piece."""
        since_ms = self._clock.elapsed_ms()
        try:
            body = await self._stream.read()
        except TransportError as error:
            self._end(_failure(error), since_ms)
            raise
        self._exchange.pieces.append((_us(self._clock.elapsed_ms() - since_ms), body))
        self._exchange.end = "end"
        return body

    def _end(self, end: str | dict[str, Any], since_ms: float) -> None:
        self._exchange.end, self._exchange.end_us = end, _us(self._clock.elapsed_ms() - since_ms)


def _failure(error: TransportError) -> dict[str, Any]:
    failure = error.failure
    told: dict[str, Any] = {"kind": failure.kind, "detail": failure.detail}
    return {**told, "is_unsent": True} if failure.is_unsent else told


def _us(ms: float) -> int:
    return max(0, round(ms * 1000))


def _conforms(recorder: Recorder, adapter: _RecordingAdapter, take: _Take) -> tuple[Reel, Provider, Http]:
    """Let the type checker prove the ports."""
    return recorder, adapter, take
