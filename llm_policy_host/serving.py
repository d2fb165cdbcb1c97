"""The gateway put together: a host, the skins over it, and what they share."""

from __future__ import annotations

import ipaddress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .web.app import App
from .web.gateway import Gateway, Parts
from .web.limits import Limits
from .web.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .wiring import Host


def create_app(host: Host) -> App:
    """Make the application that serves a host."""
    settings = host.config.settings
    metrics = Metrics(lambda: _names(host.catalog))
    parts = Parts(
        current=lambda: host,
        aim=lambda body, asked, skin, host: {"profile": asked.profile} if asked.profile else {},
        keys=lambda headers: None,
        clock=host.clock,
        metrics=metrics,
        limits=_limits(settings.limits),
        shows_metadata=bool(settings.gateway.get("metadata", False)),
    )
    gateway = Gateway(parts)
    host.observe(metrics.attempt)
    metrics.watch(lambda: _gauges(gateway, host))
    return App(gateway, host.close)


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
