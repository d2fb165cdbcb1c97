"""The composition root: a config becomes a host, and nothing else makes one."""

from __future__ import annotations

import asyncio
import secrets
import threading
import weakref
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .auth.oauth import OAuthTools
from .auth.resolver import AuthResolver
from .bookkeeping import Bookkeeping
from .clock import SystemClock
from .config.environment import environment as read_environment
from .config.load import config_from_data, load_config
from .config.scripts import read_scripts
from .config.secrets import LocalSecrets, NoSecrets
from .core.language import Language, Refusal
from .core.vm import Vm
from .errors import UsageError
from .gathering import Gathering
from .market.observed import Observed
from .marketplace import make_market, pins
from .parts import check_played, find_disabled, lane_bounds, make_engine, make_flows, make_gates, make_prices
from .portal import CLOSED, Portal
from .providers._http import HttpClient
from .providers.reel import Unrecorded
from .providers.registry import Adapters
from .run.driver import Driver, Surroundings
from .run.flows import NOT_BEGUN, FlowRun
from .run.lanes import Lanes
from .run.resumption import resumption
from .values import Result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from .bookkeeping import Ledger
    from .config.load import Config
    from .core.language import IdentifiedFlow
    from .ports import Books, Clock, FlowPage, SecretSource
    from .providers.prices import Prices
    from .providers.reel import Reel
    from .run.driver import Live
    from .run.flows import Done
    from .values import Attempt, Contract, Origin, Plain, Ranking, StreamChunk

# how often a host that was replaced looks whether its runs are over
_RETIRE_MS = 250


class Host:
    """Policies at work: contracts go in, results come out.

    One engine and one health for all callers, on whatever event loop or thread they are; the
    connections belong to each loop. A `reel` records its calls or answers them. With
    `knows_secrets=False` no secret is looked up: such a host is for looking at its config.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        environment: Mapping[str, str] | None = None,
        reel: Reel | None = None,
        ledger: Ledger | None = None,
        *,
        knows_secrets: bool = True,
    ) -> None:
        self.config = config
        self.clock = clock
        self.reel: Reel = reel or Unrecorded()
        self._scripts = read_scripts(config.document, config.settings.scripts, config.directory)
        self.engine = make_engine(config)
        check_played(config, self._scripts)
        self.flows: Mapping[str, IdentifiedFlow] = make_flows(config, self.engine, self.language, self.schema)
        """The config's flows, by name."""
        environment = read_environment() if environment is None else environment
        self.secrets: SecretSource = (
            LocalSecrets(config.directory, environment) if knows_secrets else NoSecrets()
        )
        oauth = OAuthTools(clock, config.directory, HttpClient) if knows_secrets else None
        self._auth = AuthResolver(config.auths, self.secrets, oauth)
        self._keys = self.reel.keys(self._auth)
        self.disabled: Mapping[str, str] = find_disabled(config, self._auth) if self.reel.is_live else {}
        self.market = make_market(config, self.secrets, clock, secrets.SystemRandom().random, environment)
        self.observed = Observed(clock)
        self.prices = make_prices(config, clock)
        judge = make_gates(config, self.schema)
        self.bookkeeping = Bookkeeping(
            config, clock, environment, self.prices, ledger, secrets=self.secrets, judge=judge
        )
        self._listeners: list[Callable[[Attempt], None]] = [self.observed.note, self.market.note]
        gather = Gathering(config, self.disabled, self.market, self.observed)
        self._around = _surroundings(config, gather, self._heard, self.prices, self.reel)
        self._rims: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Rim] = weakref.WeakKeyDictionary()
        self._portal: Portal | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        *,
        clock: Clock | None = None,
        environment: Mapping[str, str] | None = None,
        reel: Reel | None = None,
        ledger: Ledger | None = None,
    ) -> Self:
        """Make a host from a YAML or Lua file; `ConfigError` names every mistake in it."""
        return cls(load_config(Path(path)), clock or SystemClock(), environment, reel, ledger)

    @classmethod
    def from_data(
        cls,
        data: Mapping[str, Any],
        *,
        directory: Path | None = None,
        clock: Clock | None = None,
        environment: Mapping[str, str] | None = None,
        reel: Reel | None = None,
        ledger: Ledger | None = None,
    ) -> Self:
        """Make a host from a config that a program holds."""
        return cls(config_from_data(data, directory), clock or SystemClock(), environment, reel, ledger)

    async def prepare(self) -> None:
        """Get ready in this loop: the market is asked once and polled from then on, prices are read.

        A host that was closed refuses runs until it is prepared again.
        """
        self._is_closed = False
        await self._attend(self._rim())
        if self.prices.is_wanted_for(self.engine.candidates):
            await asyncio.to_thread(self.prices.load)

    async def run(self, contract: Contract) -> Result:
        """Take a contract to its result."""
        rim = self._rim()
        rim.under_way += 1
        try:
            await self._attend(rim)
            if contract.flow_ir is not None:
                return await self._flow(rim, contract, is_stream=False).result()
            return await rim.driver.run(contract)
        finally:
            rim.under_way -= 1

    def live(self, contract: Contract) -> Live | FlowRun:
        """Begin a streamed run, whose batches and candidate are seen as they come."""
        rim = self._rim()
        is_flow = contract.flow_ir is not None
        live = self._flow(rim, contract) if is_flow else rim.driver.live(contract)
        rim.streams.add(live)
        return live

    def stream(self, contract: Contract) -> AsyncGenerator[StreamChunk, None]:
        """Take a contract to its answer in pieces; the last chunk carries the result."""
        return self._stream(self._rim(), contract)

    async def _stream(self, rim: _Rim, contract: Contract) -> AsyncGenerator[StreamChunk, None]:
        rim.under_way += 1
        try:
            await self._attend(rim)
            is_flow = contract.flow_ir is not None
            stream = self._flow(rim, contract).stream() if is_flow else rim.driver.stream(contract)
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            rim.under_way -= 1

    async def _attend(self, rim: _Rim) -> None:
        """See to it that the market is polled; a replay has its offers from the recording."""
        if self.reel.is_live:
            await self.market.attend(rim.adapters.http)

    def run_sync(self, contract: Contract) -> Result:
        """Take a contract to its result, for callers without an event loop; it blocks its thread."""
        self._check_open()
        with self._lock:
            portal = self._portal = self._portal or Portal()
        return portal.call(self.run(contract))

    def rank(self, contract: Contract) -> Ranking:
        """Say who would serve a contract, without any effect and without spending anything."""
        return Driver(self.engine, {}, self._keys, self.clock, self._around).rank(contract)

    def explain(self, contract: Contract) -> Plain:
        """Say why a contract's plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`."""
        return Driver(self.engine, {}, self._keys, self.clock, self._around).explain(contract)

    @cached_property
    def language(self) -> Language:
        """Give what reads terms, in a runtime of its own."""
        return Language(Vm(self.config.settings.runtime))

    @property
    def schema(self) -> Mapping[str, Any]:
        """Give what a term may name here besides the core's own."""
        core = self.config.core
        schema = {key: core[key] for key in ("fields", "params", "tier_order") if key in core}
        return {**schema, "customs": sorted(core.get("customs") or ())}

    def _flow(self, rim: _Rim, contract: Contract, *, is_stream: bool = True) -> FlowRun:
        flow = self.language.identify_flow(contract.flow_ir, self.schema)
        return self._flow_run(rim, flow, contract, rim.books.begin_flow(contract, is_stream=is_stream))

    def _flow_run(
        self,
        rim: _Rim,
        flow: IdentifiedFlow | Refusal,
        contract: Contract,
        page: FlowPage,
        done: Done = NOT_BEGUN,
    ) -> FlowRun:
        bound_ms = self._around.deadline_ms if contract.deadline_ms is None else contract.deadline_ms
        ends_at_ms, is_parallel = self.clock.now_ms() + bound_ms, isinstance(self.reel, Unrecorded)
        return FlowRun(
            flow, contract, rim.driver, self.clock, ends_at_ms, page, done=done, is_parallel=is_parallel
        )

    async def resume(self, run: str) -> Result:
        """Go on with a flow whose process went away: what was answered is asked nobody again.

        One that cannot go on ends with its error; a `UsageError` says why it is left as it is.
        """
        rim, ledger = self._rim(), self.bookkeeping.ledger
        if ledger is None:
            raise UsageError("without `host.ledger` there is nothing to go on from")
        await ledger.log.refresh()
        found = resumption(ledger.log, ledger.folds, self.bookkeeping.keep, run)
        page = rim.books.begin_flow(found.contract, is_stream=False, run=run)
        if found.error is not None:
            ending = page.end(found.error)
            if ending is not None:
                await ending
            return Result(ok=False, error=found.error, run_id=run)
        flow = self.language.identify_flow(found.contract.flow_ir, self.schema)
        if isinstance(flow, Refusal) or flow.identity != found.identity:
            raise UsageError(f"the flow `{run}` means something else here: the vocabulary is another")
        rim.under_way += 1
        try:
            await self._attend(rim)
            return await self._flow_run(rim, flow, found.contract, page, found.done).result()
        finally:
            rim.under_way -= 1

    async def take_up(self, approval: str) -> Result:
        """Go on with a run that was approved and whose request is kept; a `UsageError` where it is not."""
        contract = self.waiting(approval)
        if contract is None:
            raise UsageError(f"the request of `{approval}` is not kept here: repeat it with the approval")
        return await self.run(contract)

    def waiting(self, approval: str, origin: Origin | None = None) -> Contract | None:
        """Give a request that waits, where its text is kept: as of who asked, or of who asks again."""
        return self.books.waiting(approval, origin)

    def gathered(self) -> Mapping[str, Any]:
        """Give what this host knows now beside its config: who is disabled, offers, observations, credits."""
        return self._around.gather()

    def status(self) -> Plain:
        """Give the health of every provider."""
        return self.engine.status(self.clock.now_ms())

    @property
    def catalog(self) -> Mapping[str, Any]:
        """Give the config as the core has it: providers, models, profiles, defaults."""
        return self.config.core

    def open_until_ms(self) -> dict[str, float]:
        """Give until when each provider or route `provider|family` is shut, by breaker or disabled."""
        health = self.engine.dump_state()["health"]
        threshold = (self.config.core.get("defaults") or {}).get("circuit_breaker_threshold", 3)
        until = {
            key: entry["until_ms"]
            for key, entry in dict(health["breakers"]).items()
            if entry["failures"] >= threshold
        }
        for key, until_ms in dict(health["disabled"]).items():
            until[key] = max(until.get(key, 0), until_ms)
        return until

    def observe(self, listener: Callable[[Attempt], None]) -> None:
        """Tell one more listener of each attempt."""
        self._listeners.append(listener)

    def _heard(self, attempt: Attempt) -> None:
        for listener in self._listeners:
            listener(attempt)

    def lanes(self) -> Lanes:
        """Give this loop's lanes, for those who look."""
        return self._rim().lanes

    def in_use(self) -> AbstractContextManager[object]:
        """Count a request of this loop as under way: who retires the host waits for it."""
        return self._rim()

    async def retire(self) -> None:
        """Let the runs of this loop end, then close: another host has taken this one's place."""
        rim = self._rims.get(asyncio.get_running_loop())
        try:
            while rim is not None and (rim.under_way or rim.streams):
                await self.clock.sleep_ms(_RETIRE_MS)
        finally:
            await self.close()

    async def close(self) -> None:
        """Give back the connections of this loop, and the thread of `run_sync`."""
        rim = self._rims.pop(asyncio.get_running_loop(), None)
        portal = self._shut()
        if rim is not None:
            await self._close_rim(rim)
        self._close_portal(portal)

    def _shut(self) -> Portal | None:
        """Take the portal away; where no other loop is served, nothing is begun any more."""
        with self._lock:
            portal, self._portal = self._portal, None
            self._is_closed = not set(self._rims) - {portal and portal.loop}
        return portal

    async def _close_rim(self, rim: _Rim) -> None:
        await self.market.close()
        await rim.adapters.close()
        if not self._rims:
            await self.bookkeeping.close()

    def _close_portal(self, portal: Portal | None) -> None:
        if portal is not None:
            portal.close(self._rims, self._close_rim)

    async def __aenter__(self) -> Self:
        await self.prepare()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        self._is_closed = False
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close_portal(self._shut())

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError(CLOSED)

    def _rim(self) -> _Rim:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("no event loop runs here: use `run_sync`") from None
        rim = self._rims.get(loop)
        if rim is None:
            self._check_open()
            adapters = Adapters(
                self.clock, self._scripts, self._auth.note_quota, pins(self.config), self.reel.wrap
            )
            rim = self._rims[loop] = _Rim(self, adapters)
        return rim

    @property
    def books(self) -> Books:
        """Give the books of this host's runs; asked for the first time, they are opened."""
        self._check_open()
        return self.bookkeeping.open(self.engine, self._identity)

    def _identity(self, term: Plain) -> str:
        found = self.language.identify(term, self.schema)
        if isinstance(found, Refusal):
            raise UsageError(f"{found.code} at {found.path}: {found.detail}")
        return found.identity

    def drive(self, adapters: Adapters, lanes: Lanes | None = None, books: Books | None = None) -> Driver:
        """Give a driver of this host's engine over some adapters."""
        return Driver(self.engine, adapters.by_kind, self._keys, self.clock, self._around, lanes, books)


class _Rim:
    """What belongs to one event loop: its connections, the driver over them, and what is under way."""

    def __init__(self, host: Host, adapters: Adapters) -> None:
        self.under_way = 0
        self.streams: weakref.WeakSet[Live | FlowRun] = weakref.WeakSet()
        self.adapters = adapters
        self.lanes = Lanes(lane_bounds(host.config))
        self.books = host.books
        self.driver = host.drive(adapters, self.lanes, self.books)

    def __enter__(self) -> None:
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


def _new_seed() -> int:
    """Give 53 bits that nobody can foresee."""
    return int.from_bytes(secrets.token_bytes(7), "big") >> 3


def _surroundings(
    config: Config, gather: Gathering, observe: Callable[[Attempt], None], pricer: Prices, reel: Reel
) -> Surroundings:
    settings = config.settings
    return Surroundings(
        new_seed=_new_seed,
        deadline_ms=settings.deadline_ms,
        timeout_ms=(config.core.get("defaults") or {}).get("timeout_ms", 30_000),
        is_full_trace=settings.trace == "full",
        gather=gather,
        observe=observe,
        pricer=pricer,
        open_run=reel.open_run,
    )
