"""A request through the gateway: from bytes to contract, through the driver, and back in the skin's words."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import secrets
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Cost, Result

from . import report
from .body import parse_record, read_body, write_json
from .errors import Problem, RefusedError, invalid, problem_of
from .limits import Gate, Limits
from .recovery import recovery_ms
from .skin import Asked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import Contract, StreamChunk

    from .host import GatewayHost
    from .metrics import Metrics
    from .skin import Caller, Encoder, Skin

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Aim = Callable[[dict[str, Any], Asked, "Skin", GatewayHost], Mapping[str, Any]]
    Keys = Callable[[Mapping[bytes, bytes]], Caller | None]

_log = logging.getLogger("llm_policy.gateway")

_JSON = (b"content-type", b"application/json")
_SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_GRACE_MS = 25.0
"""A caller's leaving is looked for only in requests that take longer: most are over by then."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the gateway is made of; `aim` says what a body's `model` and its kin mean."""

    current: Callable[[], GatewayHost]
    aim: Aim
    keys: Keys
    clock: Clock
    metrics: Metrics
    limits: Limits
    shows_metadata: bool = False


class Gateway:
    """Serves the skins over whatever host is current."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.gate = Gate(parts.limits, parts.clock)
        self.is_draining = False
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count()

    async def serve(
        self, skin: Skin, profile: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request, whatever happens."""
        exchange = _Exchange(self, skin, receive, send)
        exchange.asked = Asked(self.new_id(), self.parts.clock.now_ms() // 1000, profile=profile)
        try:
            await self._serve(exchange, dict(scope["headers"]))
        except RefusedError as refused:
            await exchange.refuse(refused.problem)
        except asyncio.CancelledError:
            if not exchange.has_left:
                raise
            exchange.note(499)
        except Exception as error:  # noqa: BLE001 - a defect's text may quote a prompt: only its class is told
            _log.error("a request failed: %s", type(error).__name__)
            await exchange.refuse(Problem(500, "internal_error", "the gateway failed"))

    def new_id(self) -> str:
        """Give a request its name."""
        return f"{self._prefix}{next(self._count):08x}"

    async def _serve(self, exchange: _Exchange, headers: Mapping[bytes, bytes]) -> None:
        parts = self.parts
        caller = parts.keys(headers)
        data = await read_body(headers, exchange.receive, parts.limits.max_body_bytes)
        body = parse_record(data)
        asked = exchange.asked = asked_of(body, exchange.asked, caller, headers, parts)
        host = parts.current()
        contract = self.contract(exchange.skin, body, asked, host)
        await self._enter(exchange)
        try:
            if asked.is_stream:
                await exchange.stream(host, contract)
            else:
                await exchange.whole(host, contract)
        finally:
            self.gate.leave()

    async def _enter(self, exchange: _Exchange) -> None:
        """Take a place; a caller who leaves the line gives his up."""
        if self.gate.is_open:
            await self.gate.enter()
            return
        async with _Departure(exchange):
            await self.gate.enter()

    def contract(self, skin: Skin, body: dict[str, Any], asked: Asked, host: GatewayHost) -> Contract:
        """Make the contract that a body asks for."""
        return skin.read(body, asked, **self.parts.aim(body, asked, skin, host))


def asked_of(
    body: dict[str, Any], asked: Asked, caller: Caller | None, headers: Mapping[bytes, bytes], parts: Parts
) -> Asked:
    """Complete what is known of a request with its body, its caller and its headers."""
    model, is_stream = body.get("model"), body.get("stream")
    if model is not None and not isinstance(model, str):
        raise invalid("must be a text", "model")
    if is_stream is not None and not isinstance(is_stream, bool):
        raise invalid("must be true or false", "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise invalid("must be an object", "stream_options")
    return Asked(
        asked.request_id,
        asked.created,
        model or "",
        asked.profile,
        caller,
        bool(is_stream),
        parts.shows_metadata or _may_see(caller, headers),
        options is not None and options.get("include_usage") is True,
        body,
        headers,
    )


def _may_see(caller: Caller | None, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a caller asks how his answer comes about, and may know."""
    asks = headers.get(b"x-llm-policy-metadata") == b"full"
    return asks and (caller is None or "metadata" in caller.may)


class _Exchange:
    """One request and its answer."""

    def __init__(self, gateway: Gateway, skin: Skin, receive: Receive, send: Send) -> None:
        self.skin = skin
        self.receive = receive
        self.has_left = False
        self.asked: Asked
        self._send = send
        self._parts = gateway.parts
        self._from_ms = gateway.parts.clock.elapsed_ms()
        self._has_begun = False
        self._encoder: Encoder | None = None

    # Whole answers ----------------------------------------------------------------------------

    async def whole(self, host: GatewayHost, contract: Contract) -> None:
        """Answer at once."""
        async with _Departure(self):
            result = await host.run(contract)
        if not result.ok:
            await self._fail(host, contract, result)
            return
        body = write_json(self.skin.whole(result, self.asked))
        await self._write(200, self._headers(result), body)
        self.note(200, result)

    async def _fail(self, host: GatewayHost, contract: Contract, result: Result) -> None:
        """Say why there is no answer; where nobody was eligible, plan once more to learn who was refused."""
        if result.error == "no_candidates" and not result.trace.rejected:
            rejected = host.rank(contract).rejected
            result = dataclasses.replace(result, trace=dataclasses.replace(result.trace, rejected=rejected))
        await self.refuse(self._problem(host, result), result)

    def _problem(self, host: GatewayHost, result: Result) -> Problem:
        return problem_of(result, recovery_ms(host, result))

    def _headers(self, result: Result) -> report.Headers:
        spent_ms = self._parts.clock.elapsed_ms() - self._from_ms
        return report.headers(
            self.asked,
            result.chosen or {},
            attempts=report.attempts_of(result),
            policy_id=result.trace.policy_id,
            cost=result.cost,
            overhead_ms=spent_ms - result.upstream_ms,
        )

    # Streams ----------------------------------------------------------------------------------

    async def stream(self, host: GatewayHost, contract: Contract) -> None:
        """Answer in pieces; until the first content an error is an answer like any other."""
        live = host.live(contract)
        async with _Departure(self), aclosing(live.batches()) as batches:
            first = await anext(batches)
            result = first[-1].result
            if result is not None and not result.ok:
                await self._fail(host, contract, result)
                return
            encoder = self._encoder = self.skin.encoder(self.asked)
            encoder.begin(live.candidate or (result.chosen if result else None) or {})
            spent_ms = self._parts.clock.elapsed_ms() - self._from_ms
            headers = report.headers(
                self.asked,
                live.candidate,
                attempts=live.attempts,
                policy_id=live.policy_id or (result.trace.policy_id if result else None),
                cost=Cost(),
                overhead_ms=spent_ms - live.upstream_ms,
            )
            await self._begin(200, [*_SSE, *headers])
            await self._pieces(host, encoder, first, batches)

    async def _pieces(
        self,
        host: GatewayHost,
        encoder: Encoder,
        first: Sequence[StreamChunk],
        batches: AsyncGenerator[Sequence[StreamChunk], None],
    ) -> None:
        batch: Sequence[StreamChunk] | None = first
        while batch is not None:
            result = batch[-1].result
            if result is not None:
                ending = self._ending(host, encoder, result)
                await self._send({"type": "http.response.body", "body": ending, "more_body": False})
                self.note(200 if result.ok else 502, result)
                return
            data = encoder.chunks(batch)
            if data:
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            batch = await anext(batches, None)

    def _ending(self, host: GatewayHost, encoder: Encoder, result: Result) -> bytes:
        if result.ok:
            return encoder.end(result)
        return encoder.error(self._problem(host, result), result)

    # Errors -----------------------------------------------------------------------------------

    async def refuse(self, problem: Problem, result: Result | None = None) -> None:
        """Answer with an error, in the skin's own shape."""
        self.note(problem.status, result)
        if self._has_begun:
            # never a silent end
            told = result or Result(ok=False, error=problem.code)
            ending = self._encoder.error(problem, told) if self._encoder is not None else b""
            await self._send({"type": "http.response.body", "body": ending, "more_body": False})
            return
        if result is None:
            spent_ms = self._parts.clock.elapsed_ms() - self._from_ms
            headers = report.headers(
                self.asked, {}, attempts=0, policy_id=None, cost=Cost(), overhead_ms=spent_ms
            )
        else:
            headers = self._headers(result)
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % problem.retry_after_s))
        if problem.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        status = 400 if problem.status == 499 else problem.status
        await self._write(status, headers, write_json(self.skin.error(problem)))

    # The wire ---------------------------------------------------------------------------------

    async def _begin(self, status: int, headers: report.Headers) -> None:
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, status: int, headers: report.Headers, body: bytes) -> None:
        await self._begin(status, [_JSON, (b"content-length", b"%d" % len(body)), *headers])
        await self._send({"type": "http.response.body", "body": body})

    def note(self, status: int, result: Result | None = None) -> None:
        """Count the request."""
        seconds = (self._parts.clock.elapsed_ms() - self._from_ms) / 1000
        self._parts.metrics.request(self.skin.path, status, seconds, result)


class _Departure:
    """Cancels a request's work when its caller goes away."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._watcher: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()

    async def __aenter__(self) -> None:
        clock = self._exchange._parts.clock  # noqa: SLF001 - of one piece with it
        self._timer = clock.call_later(_GRACE_MS, self._begin)

    async def __aexit__(self, *_error: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._exchange.has_left = True
            self._task.cancel()
