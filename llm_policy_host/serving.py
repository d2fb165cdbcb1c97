"""The gateway put together: a host, the skins over it, and what they share."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .values import Missing
from .web.aim import Aims
from .web.app import App
from .web.gateway import Gateway, Parts
from .web.keys import Keys, digest_of
from .web.limits import Limits
from .web.metrics import Metrics
from .web.skin import Caller
from .wiring import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .web.host import GatewayHost
    from .web.skin import Asked, Skin

_log = logging.getLogger("llm_policy.gateway")


def create_app(host: Host) -> App:
    """Make the application that serves a host."""
    settings = host.config.settings
    metrics = Metrics(lambda: _names(host.catalog))
    door = _Door(lambda: host)
    parts = Parts(
        current=lambda: host,
        aim=door.aim,
        keys=door.caller,
        clock=host.clock,
        metrics=metrics,
        limits=_limits(settings.limits),
        shows_metadata=bool(settings.gateway.get("metadata", False)),
    )
    gateway = Gateway(parts)
    host.observe(metrics.attempt)
    metrics.watch(lambda: _gauges(gateway, host))
    return App(gateway, host.close)


class _Door:
    """Who comes in and what he means, by the config of the current host: read anew when there is another."""

    def __init__(self, current: Callable[[], Host]) -> None:
        self._current = current
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
            self._keys = create_keys(host)
            self._aims = Aims(host, host.config.settings.gateway.get("flows") or {})
            self._of = host


def create_keys(host: Host) -> Keys:
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
    return Keys(entries, is_open=not given)


def check_address(address: str, host: Host) -> None:
    """Refuse to open to a network without keys: whoever reached the port could spend money."""
    if not host.config.settings.keys and not _is_loopback(address):
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


def _gauges(gateway: Gateway, host: Host) -> Iterator[tuple[str, str, str, Mapping[str, float]]]:
    gate, lanes = gateway.gate, host.lanes().counts()
    yield "llm_policy_in_flight", "requests under way", "", {"": gate.in_flight}
    yield "llm_policy_queued", "requests waiting for a place", "", {"": gate.waiting}
    yield (
        "llm_policy_lane_in_flight",
        "calls under way",
        "provider",
        {name: one[0] for name, one in lanes.items()},
    )
    yield "llm_policy_lane_queued", "calls waiting", "provider", {name: one[1] for name, one in lanes.items()}
    now_ms = host.clock.now_ms()
    shut = {key: until > now_ms for key, until in host.open_until_ms().items()}
    yield "llm_policy_route_shut", "1 while a breaker is open or a provider disabled", "route", shut
