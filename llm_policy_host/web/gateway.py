"""A request through the gateway: who asks, what he means, whether he may, and once only if he says so."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import LedgerError

from .approvals import approval_of, session_of
from .body import parse_record, read_body
from .claims import Claim
from .errors import Problem, RefusedError, invalid, unrecorded
from .exchange import Departure, Exchange
from .keys import check_rights
from .limits import Gate, Limits
from .repeats import Repeats, digest_of, key_of, taken
from .skin import Asked
from .till import content_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import Contract

    from .host import GatewayHost
    from .metrics import Metrics
    from .skin import Caller, Skin
    from .till import Till

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Aim = Callable[[dict[str, Any], Asked, "Skin", GatewayHost], Mapping[str, Any]]
    Keys = Callable[[Mapping[bytes, bytes]], Caller | None]

_log = logging.getLogger("llm_policy.gateway")


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
    till: Till | None = None


class Gateway:
    """Serves the skins over whatever host is current."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.gate = Gate(parts.limits, parts.clock)
        self.repeats = Repeats(parts.clock, parts.limits.max_kept_bytes, parts.limits.kept_ms)
        self.is_draining = False
        self._prefix = secrets.token_hex(6)
        self._count = itertools.count()

    async def serve(
        self, skin: Skin, profile: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request, whatever happens."""
        parts = self.parts
        exchange = Exchange(parts, skin, receive, send)
        exchange.asked = Asked(self.new_id(), parts.clock.now_ms() // 1000, profile=profile)
        try:
            await self._serve(exchange, dict(scope["headers"]))
        except RefusedError as refused:
            await exchange.refuse(refused.problem)
        except asyncio.CancelledError:
            if not exchange.has_left:
                raise
            exchange.note(499)
        except LedgerError as error:
            await exchange.refuse(unrecorded(error))
        except Exception as error:  # noqa: BLE001 - a defect's text may quote a prompt: only its class is told
            _log.error("a request failed: %s", type(error).__name__)
            await exchange.refuse(Problem(500, "internal_error", "the gateway failed"))

    def new_id(self) -> str:
        """Give a request its name."""
        return f"{self._prefix}{next(self._count):08x}"

    async def caller(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """Find the caller of a request; `RefusedError` (401) where no header holds a key that is one."""
        if self.parts.till is not None:
            await self.parts.till.refresh()
        return self.parts.keys(headers)

    async def _serve(self, exchange: Exchange, headers: Mapping[bytes, bytes]) -> None:
        parts = self.parts
        caller = await self.caller(headers)
        if parts.till is not None:
            exchange.accounts = parts.till.purse(caller).accounts
        data = await read_body(headers, exchange.receive, parts.limits.max_body_bytes)
        body = parse_record(data)
        exchange.asked = asked_of(body, exchange.asked, caller, headers, parts)
        host = parts.current()
        with host.in_use():
            if parts.till is None:
                await self._run(exchange, host, self.contract(exchange.skin, body, exchange.asked, host))
            else:
                await self._account(exchange, body, host, parts.till)

    async def _account(self, exchange: Exchange, body: dict[str, Any], host: GatewayHost, till: Till) -> None:
        """Serve over a ledger: for who may, at somebody's expense, and once only if a key says so."""
        skin, asked = exchange.skin, exchange.asked
        key = key_of(asked.headers)
        known = "" if key is None else digest_of(f"{asked.profile or ''}{skin.path}", body)
        session, approval = session_of(asked.headers), approval_of(asked.headers)
        if approval is not None:
            await till.refresh(0)
        origin = await till.origin(asked.caller, skin.path[1:], content_of(asked.headers), session)
        contract = None if body or approval is None else host.waiting(approval, origin)
        if contract is None:
            contract = self.contract(skin, body, asked, host)
            contract = dataclasses.replace(contract, origin=dataclasses.replace(origin, approval=approval))
        check_rights(asked.caller, contract, is_stream=asked.is_stream)
        exchange.accounts = origin.accounts
        if approval is not None:
            await self._go_on(exchange, host, contract, till, key, known if body else None)
            return
        if key is None:
            await self._run(exchange, host, contract)
            return
        await till.refresh(0)
        claim = self.repeats.begin(key, known, origin, till.log, till.keep())
        if isinstance(claim, Claim):
            await self._run_once(exchange, host, contract, claim, till)
        else:
            await exchange.repeat(claim)

    async def _run_once(
        self, exchange: Exchange, host: GatewayHost, contract: Contract, claim: Claim, till: Till
    ) -> None:
        """Answer the one request of a key; whoever asked may leave and ask again."""
        origin = dataclasses.replace(contract.origin, idem=claim.idem)
        exchange.remember(claim)
        try:
            await self._run(exchange, host, dataclasses.replace(contract, origin=origin))
        except LedgerError as error:
            run = till.log.find(*claim.named)
            if error.code != "duplicate" or run is None:
                raise
            raise taken(run, till.log) from None  # another process was quicker
        finally:
            self.repeats.end(claim, exchange.result, till.keep(), origin.content)

    async def _go_on(
        self,
        exchange: Exchange,
        host: GatewayHost,
        contract: Contract,
        till: Till,
        key: str | None,
        known: str | None,
    ) -> None:
        """Answer what was put off: from then on that is what the key of the first request gives."""
        origin, log, keep = contract.origin, till.log, till.keep()
        approval = origin.approval or ""
        asking = till.folds.approvals.find(approval)
        if asking is None or not asking.is_asked_by(origin.tenant or "", origin):
            await self._run(exchange, host, contract)  # which says why not
            return
        answer = None if key is None else self.repeats.answer_of(asking.run, key, known, origin, log, keep)
        if answer is not None:
            await exchange.repeat(answer)
            return
        began = log.chain.lineage.open.get(asking.run)
        as_then = (exchange.asked.is_stream, origin.api)
        # in another form it is not what the first request was for
        is_same = began is not None and (began.request["is_stream"], began.request["api"]) == as_then
        claim = self.repeats.go_on(asking.run, key, known, origin, log, keep) if is_same else None
        if claim is None:
            await self._run(exchange, host, contract)
            return
        exchange.remember(claim)
        try:
            await self._run(exchange, host, contract)
        finally:
            self.repeats.gone_on(claim, exchange.result, approval, keep, origin.content)

    async def _run(self, exchange: Exchange, host: GatewayHost, contract: Contract) -> None:
        await self._enter(exchange)
        try:
            if exchange.asked.is_stream:
                await exchange.stream(host, contract)
            else:
                await exchange.whole(host, contract)
        finally:
            self.gate.leave()

    async def _enter(self, exchange: Exchange) -> None:
        """Take a place; a caller who leaves the line gives his up."""
        if self.gate.is_open:
            await self.gate.enter()
            return
        async with Departure(exchange):
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
