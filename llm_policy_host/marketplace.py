"""A config's sources as a market: which feed is read how, for which families, held against what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config.sources import filled
from .market.feeds import CommandFeed, FileFeed, HttpFeed
from .market.market import Market
from .market.offers import ANY_ENDPOINT, Rules, origin
from .market.peers import PeerHealth
from .market.source import Plan, Source, endpoint_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .config.load import Config
    from .market.feeds import Feed
    from .ports import Clock, SecretSource

_CHILD_ENVIRONMENT = ("HOME", "LANG", "PATH", "TMPDIR", "USER")


def make_market(
    config: Config,
    secrets: SecretSource,
    clock: Clock,
    draw: Callable[[], float],
    environment: Mapping[str, str],
) -> Market:
    """Make the market of a config: nothing is asked before it is attended.

    `draw` gives numbers from 0 to 1 that spread the polls; `environment` is what commands may see of.
    """
    given = {name: filled(name, source) for name, source in config.settings.sources.items()}
    seen = {name: environment[name] for name in _CHILD_ENVIRONMENT if name in environment}
    sources = []
    for name, source in given.items():
        feed = _feed(config, source, secrets, clock, seen)
        sources.append(Source(_plan(config, name, source), feed, clock, draw))
    defaults = config.core.get("defaults") or {}
    health = PeerHealth(
        defaults.get("circuit_breaker_threshold", 3),
        defaults.get("circuit_breaker_failure_ms", 300_000),
        defaults.get("circuit_breaker_rate_limit_ms", 30_000),
    )
    most = {name: source["max_offers_per_family"] for name, source in given.items()}
    return Market(sources, clock, _markets(config), most, health)


def pins(config: Config) -> dict[str, str]:
    """Give how calls of each marketplace provider name their peer: a header's name, or `provider.only`."""
    by_market = {
        source["discovery_id"]: source["pin"]
        for name, given in config.settings.sources.items()
        if "pin" in (source := filled(name, given))
    }
    return {name: by_market[market] for name, market in _markets(config).items() if market in by_market}


def unfed(config: Config) -> list[str]:
    """Name the marketplace providers that no source feeds."""
    fed = {filled(name, source)["discovery_id"] for name, source in config.settings.sources.items()}
    return [name for name, market in _markets(config).items() if market not in fed]


def placeless(config: Config) -> list[str]:
    """Name the marketplace providers that have no address, and whose offers may not name one."""
    sources = [filled(name, source) for name, source in config.settings.sources.items()]
    named = {source["discovery_id"] for source in sources if source["endpoints"]}
    providers = config.core.get("providers") or {}
    return [
        name
        for name, market in _markets(config).items()
        if market not in named and not providers[name].get("base_url")
    ]


def _markets(config: Config) -> dict[str, str]:
    """Give the discovery id of each marketplace provider."""
    return {
        name: provider.get("discovery_id") or name
        for name, provider in (config.core.get("providers") or {}).items()
        if provider.get("discovery") == "marketplace"
    }


def _plan(config: Config, name: str, source: Mapping[str, Any]) -> Plan:
    families = _families(config, source)
    endpoints = source["endpoints"]
    origins = [ANY_ENDPOINT] if endpoints == ANY_ENDPOINT else [origin(place) or "" for place in endpoints]
    paths = [""]
    if source.get("each_endpoint"):
        paths = [endpoint_path(wire) for wire in families if "/" in wire]
    elif source["kind"] == "openrouter" and "url" in source:
        paths = ["/models"]
    return Plan(
        name=name,
        discovery_id=source["discovery_id"],
        kind=source["kind"],
        every_ms=source["every_ms"],
        ttl_ms=source["ttl_ms"],
        rules=Rules(families, frozenset(origins)),
        paths=tuple(paths),
        settings=source,
    )


def _families(config: Config, source: Mapping[str, Any]) -> dict[str, str]:
    """Give the family of each name that the feed may use: those that its marketplace serves."""
    served = dict(_served(config, source["discovery_id"]))
    said = {name: family for family, name in source["families"].items() if family in served.values()}
    return {**served, **said}


def _served(config: Config, discovery_id: str) -> Iterator[tuple[str, str]]:
    here = {name for name, market in _markets(config).items() if market == discovery_id}
    routes = [
        (family, route)
        for family, model in (config.core.get("models") or {}).items()
        for route in model.get("served_by") or ()
        if route.get("provider") in here
    ]
    # a family's own name says more than another's name on the wire
    yield from (
        (route["provider_model_id"], family) for family, route in routes if "provider_model_id" in route
    )
    yield from ((family, family) for family, _ in routes)


def _feed(
    config: Config,
    source: Mapping[str, Any],
    secrets: SecretSource,
    clock: Clock,
    environment: Mapping[str, str],
) -> Feed:
    if "file" in source:
        return FileFeed(config.directory / source["file"])
    if "command" in source:
        return CommandFeed(source["command"], clock, source["timeout_ms"], environment)
    auth = {"kind": "bearer", "env": source["auth_env"]} if "auth_env" in source else None
    token = None if auth is None else lambda: secrets.find(auth)
    return HttpFeed(source["url"], clock, source["timeout_ms"], token)
