"""One request and its answer: whole, in pieces, refused, or given once more."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from llm_policy_host.run.driver import BUDGET_EXCEEDED
from llm_policy_host.run.reading import with_rejected
from llm_policy_host.values import Cost, Result

from . import report
from .approvals import waiting_body
from .body import write_json
from .errors import Problem, problem_of
from .recovery import recovery_ms

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from llm_policy_host.ports import Timer
    from llm_policy_host.values import Approval, Contract, StreamChunk

    from .claims import Answer, Claim
    from .gateway import Parts, Receive, Send
    from .host import GatewayHost
    from .skin import Asked, Encoder, Skin

_JSON = (b"content-type", b"application/json")
_SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_GRACE_MS = 25.0
"""A caller's leaving is looked for only in requests that take longer: most are over by then."""


class Exchange:
    """One request and its answer."""

    def __init__(self, parts: Parts, skin: Skin, receive: Receive, send: Send) -> None:
        self.skin = skin
        self.receive = receive
        self.has_left = False
        self.asked: Asked
        self.accounts: tuple[str, ...] = ()
        self.result: Result | None = None
        self.is_remembered = False
        self._send = send
        self._parts = parts
        self._from_ms = parts.clock.elapsed_ms()
        self._has_begun = False
        self._encoder: Encoder | None = None

    def remember(self, claim: Claim) -> None:
        """Remember what is sent; then nothing is cancelled when the caller leaves: he may come back."""
        self.is_remembered = True
        self._send = claim.tee(self._send)

    async def repeat(self, answer: Answer) -> None:
        """Give an answer once more."""
        self.note(answer.status)
        await answer.send(self._send)

    # Whole answers ----------------------------------------------------------------------------

    async def whole(self, host: GatewayHost, contract: Contract) -> None:
        """Answer at once."""
        async with Departure(self):
            result = await host.run(contract)
        if not result.ok:
            await self._fail(host, contract, result)
            return
        body = write_json(self.skin.whole(result, self.asked))
        await self._write(200, self._headers(result), body)
        self.note(200, result)

    async def _fail(self, host: GatewayHost, contract: Contract, result: Result) -> None:
        """Say why there is no answer; where nobody was eligible, who was refused; a flow tells of a node."""
        if result.approval is not None:
            await self._wait(result, result.approval)
            return
        if contract.flow_ir is None:
            result = with_rejected(result, contract, host.rank)
        await self.refuse(self._problem(host, result), result)

    async def _wait(self, result: Result, approval: Approval) -> None:
        """Say that the request waits for a person (202)."""
        self.note(202, result)
        body = waiting_body(approval)
        headers = [*self._headers(result), (b"location", body["status_url"].encode())]
        await self._write(202, headers, write_json(body))

    def _problem(self, host: GatewayHost, result: Result) -> Problem:
        till = self._parts.till
        if till is not None and result.error == BUDGET_EXCEEDED:
            return till.problem(result)
        return problem_of(result, recovery_ms(host, result))

    def _headers(self, result: Result) -> report.Headers:
        spent_ms = self._parts.clock.elapsed_ms() - self._from_ms
        headers = report.headers(
            self.asked,
            result.chosen or {},
            attempts=report.attempts_of(result),
            policy_id=result.trace.policy_id,
            cost=result.cost,
            overhead_ms=spent_ms - result.upstream_ms,
        )
        return self._booked(headers, result.run_id)

    def _booked(self, headers: report.Headers, run_id: str | None) -> report.Headers:
        """Add what the ledger knows: the run's name, and what is left to whoever pays."""
        till = self._parts.till
        if till is not None:
            if run_id is not None:
                headers.append((b"x-llm-policy-run-id", run_id.encode()))
            headers += till.remaining(self.accounts)
        return headers

    # Streams ----------------------------------------------------------------------------------

    async def stream(self, host: GatewayHost, contract: Contract) -> None:
        """Answer in pieces; until the first content an error is an answer like any other."""
        live = host.live(contract)
        async with Departure(self), aclosing(live.batches()) as batches:
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
            await self._begin(200, [*_SSE, *self._booked(headers, live.run_id)])
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
            headers = self._booked(headers, None)
        else:
            headers = self._headers(result)
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % problem.retry_after_s))
        if problem.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if problem.is_final:
            headers.append((b"x-should-retry", b"false"))  # both vendors' clients try a 409 again
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
        self.result = result
        seconds = (self._parts.clock.elapsed_ms() - self._from_ms) / 1000
        self._parts.metrics.request(self.skin.path, status, seconds, result)


class Departure:
    """Cancels a request's work when its caller goes away."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._watcher: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._task = asyncio.current_task()

    async def __aenter__(self) -> None:
        if self._exchange.is_remembered:
            return
        clock = self._exchange._parts.clock  # noqa: SLF001 - of one piece with it
        self._timer = clock.call_later(_GRACE_MS, self._begin)

    async def __aexit__(self, *_error: object) -> None:
        if self._timer is not None:
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
