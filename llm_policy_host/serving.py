"""The gateway put together: a host, the skins over it, and what they share."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .config.key_root import read_key_root
from .errors import UsageError
from .ledger.keys import Verifier
from .reloading import Reloader
from .values import Missing
from .web.aim import Aims
from .web.app import App
from .web.gateway import Gateway, Parts
from .web.keys import Keys, digest_of
from .web.limits import Limits
from .web.metrics import Metrics
from .web.skin import Caller
from .web.till import Till
from .wiring import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from .bookkeeping import Ledger
    from .values import Attempt
    from .web.host import GatewayHost
    from .web.skin import Asked, Skin

_log = logging.getLogger("llm_policy.gateway")


FIXED = (("host", "limits"), ("host", "gateway", "metadata"), ("host", "ledger"))
"""Settings that only a restart changes: they are of the process, not of a host."""


def create_app(host: Host, reloads: Reloads | None = None) -> App:
    """Make the application that serves a host; with `reloads`, whatever its file says from then on."""
    settings = host.config.settings
    current = _Current(host, reloads)
    metrics = Metrics(lambda: _names(current().catalog))
    current.listen(metrics.attempt)
    till = create_till(current) if host.bookkeeping.is_kept else None
    door = _Door(current, till)
    parts = Parts(
        current=current,
        aim=door.aim,
        keys=door.caller,
        clock=host.clock,
        metrics=metrics,
        limits=_limits(settings.limits),
        shows_metadata=bool(settings.gateway.get("metadata", False)),
        till=till,
    )
    gateway = Gateway(parts)
    metrics.watch(lambda: _gauges(gateway, current))
    return App(gateway, current.close, current.prepare)


@dataclass(frozen=True, slots=True)
class Reloads:
    """Where the config is read again, and what a new host must pass beside the config's own check."""

    path: Path
    check: Callable[[Host], None]


class _Current:
    """The host that serves now."""

    def __init__(self, host: Host, reloads: Reloads | None) -> None:
        self._host = host
        self._listener: Callable[[Attempt], None] | None = None
        self._check = None if reloads is None else reloads.check
        self.reloader: Reloader[Host] | None = None
        if reloads is not None:
            self.reloader = Reloader(reloads.path, host, self._make, host.clock, Host.retire, FIXED)

    def __call__(self) -> Host:
        return self._host if self.reloader is None else self.reloader.current

    def listen(self, listener: Callable[[Attempt], None]) -> None:
        """Tell a listener of the attempts of this host and of those that take its place."""
        self._listener = listener
        self().observe(listener)

    async def prepare(self) -> None:
        """Get ready to serve, and watch the config from then on."""
        await self().prepare()
        if self.reloader is not None:
            await self.reloader.__aenter__()

    async def close(self) -> None:
        """Stop watching and give back the connections."""
        if self.reloader is not None:
            await self.reloader.__aexit__()
        await self().close()

    def _make(self, path: Path) -> Host:
        ledger = self().bookkeeping.ledger
        host = Host.from_config(path, clock=self._host.clock, reel=self._host.reel, ledger=ledger)
        if self._check is not None:
            self._check(host)
        if self._listener is not None:
            host.observe(self._listener)
        return host


class _Door:
    """Who comes in and what he means, by the config of the current host: read anew when there is another."""

    def __init__(self, current: Callable[[], Host], till: Till | None) -> None:
        self._current = current
        self._till = till
        self._of: Host | None = None
        self._read(current())

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Find the caller of a request."""
        self._read(self._current())
        return self._keys(headers)

    def aim(self, body: dict[str, Any], asked: Asked, skin: Skin, host: GatewayHost) -> Mapping[str, Any]:
        """Take a body's routing fields as parts of its contract."""
        assert isinstance(host, Host)  # noqa: S101 - what `current` gave
        self._read(host)
        return self._aims.aim(body, asked, skin)

    def _read(self, host: Host) -> None:
        if host is not self._of:
            self._keys = create_keys(host, self._till)
            self._aims = Aims(host, {name: flow.term for name, flow in host.flows.items()})
            self._of = host


def create_till(current: Callable[[], Host]) -> Till:
    """Make what the gateway does with its host's ledger, which is opened when it is first asked for."""

    def ledger() -> Ledger:
        host = current()
        if host.bookkeeping.ledger is None:
            _ = host.books
        found = host.bookkeeping.ledger
        assert found is not None  # noqa: S101 - a host that keeps books has one from then on
        return found

    return Till(
        ledger,
        current().clock,
        lambda: current().config.settings.ledger.get("account"),
        lambda: current().bookkeeping.keep,
    )


def create_keys(host: Host, till: Till | None = None) -> Keys:
    """Resolve the gateway's keys; one that cannot be had lets nobody in, and is told of."""
    given = host.config.settings.keys
    entries = []
    for name, key in given.items():
        profiles = frozenset(key["profiles"]) if "profiles" in key else None
        caller = Caller(name, profiles, frozenset(key.get("may", ())))
        found = bytes.fromhex(key["sha256"]) if "sha256" in key else host.secrets.find(key)
        if isinstance(found, Missing):
            _log.warning("the key `%s` lets nobody in: %s", name, found.reason)
        else:
            entries.append((found if isinstance(found, bytes) else digest_of(found), caller))
    return Keys(entries, is_open=not _has_keys(host), minted=_minted(host, till))


def _minted(host: Host, till: Till | None) -> Callable[[bytes], Caller | None] | None:
    """Give what finds the holder of a key that was minted for this deployment."""
    settings = host.config.settings
    if till is None or not settings.keys_root:
        return None
    try:
        root = read_key_root(settings, host.secrets)
    except UsageError as error:
        _log.warning("no minted key lets anybody in: %s", error)
        return None
    verify = Verifier((root,), settings.audience)
    return lambda key: till.caller(key, verify)


def _has_keys(host: Host) -> bool:
    return bool(host.config.settings.keys or host.config.settings.keys_root)


def check_address(address: str, host: Host) -> None:
    """Refuse to open to a network without keys: whoever reached the port could spend money."""
    if not _has_keys(host) and not _is_loopback(address):
        raise UsageError(
            f"`{address}` is open to others, and the config has no `host.keys`: "
            "add a key, or listen on 127.0.0.1"
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _limits(given: Mapping[str, Any]) -> Limits:
    names = {field.name for field in fields(Limits)}
    return Limits(**{name: value for name, value in given.items() if name in names})


def _names(catalog: Mapping[str, Any]) -> frozenset[str]:
    return frozenset((*(catalog.get("providers") or ()), *(catalog.get("models") or ())))


Gauge = tuple[str, str, str, "Mapping[str, float]"]


def _gauges(gateway: Gateway, current: _Current) -> Iterator[Gauge]:
    host, gate = current(), gateway.gate
    lanes = host.lanes().counts()
    yield "llm_policy_in_flight", "requests under way", "", {"": gate.in_flight}
    yield "llm_policy_tasks", "tasks of the event loop", "", {"": len(asyncio.all_tasks())}
    yield "llm_policy_queued", "requests waiting for a place", "", {"": gate.waiting}
    under_way = {name: one[0] for name, one in lanes.items()}
    yield "llm_policy_lane_in_flight", "calls under way", "provider", under_way
    yield "llm_policy_lane_queued", "calls waiting", "provider", {name: one[1] for name, one in lanes.items()}
    now_ms = host.clock.now_ms()
    shut = {key: until > now_ms for key, until in host.open_until_ms().items()}
    yield "llm_policy_route_shut", "1 while a breaker is open or a provider disabled", "route", shut
    sources = host.market.sources
    offers = {name: len(source.offers) for name, source in sources.items()}
    yield "llm_policy_source_offers", "offers of a source that are good now", "source", offers
    dropped = {name: source.dropped.total() for name, source in sources.items()}
    yield "llm_policy_source_dropped", "offers of a source that were dropped so far", "source", dropped
    failing = {name: source.failures for name, source in sources.items()}
    yield "llm_policy_source_failures", "polls of a source that failed in a row", "source", failing
    if current.reloader is not None:
        yield "llm_policy_config_generation", "configs taken so far", "", {"": current.reloader.generation}
        is_refused = current.reloader.refusal is not None
        yield "llm_policy_config_refused", "1 while the config's file is refused", "", {"": is_refused}
