"""The routes of a config: what is known of each before any market or observation speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain

_PRICES = ("price_in", "price_out")
_FLAGS = ("has_tee", "no_log")
_OF_A_PROVIDER = ("tier", "scope", *_FLAGS)


@dataclass(frozen=True, slots=True)
class Route:
    """A candidate of the catalog, or what the offers of a market may fill in.

    `settled` names fields of which nobody will observe more than the catalog says.
    """

    candidate: Mapping[str, Any]
    is_market: bool = False
    settled: frozenset[str] = frozenset()

    def fixes(self, aspect: str) -> bool:
        """Whether the config says the value of an aspect; what is observed changes from call to call."""
        kind, _, name = aspect.partition(":")
        if kind == "field":
            is_priced = name in _PRICES and self.candidate.get(name) is not None
            is_known = is_priced or name == "context" or name in self.settled
            return name in _FLAGS or (not self.is_market and is_known)
        if kind == "scope_matches":
            return self.candidate.get("scope") is None
        if kind in ("capability", "peer"):
            return not self.is_market
        return kind in ("provider_id", "model_family", "tier")

    def value(self, aspect: str) -> Plain:
        """Give the value of an aspect that the config says."""
        kind, _, name = aspect.partition(":")
        abilities = self.candidate.get("capabilities") or {}
        if aspect == "field:context":
            context = abilities.get("context")
            return None if context is None else float(context)
        if kind == "field":
            value = self.candidate.get(name)
            return value if value is None or isinstance(value, bool) else float(value)
        if kind == "capability":
            return abilities.get(name) is True
        return True if kind == "scope_matches" else self.candidate.get(kind)


def routes_of(
    core: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    settled: frozenset[str] = frozenset(),
) -> tuple[Route, ...]:
    """List the routes of a config: its static candidates, and those that a market's offers bring."""
    static = (Route(candidate, settled=settled) for candidate in candidates)
    return (*static, *_market_routes(core))


def _market_routes(core: Mapping[str, Any]) -> Iterator[Route]:
    for family, model in (core.get("models") or {}).items():
        for served in model["served_by"]:
            provider = core["providers"][served["provider"]]
            if provider.get("discovery") == "marketplace":
                told = {
                    key: each[key] for each in (provider, served) for key in _OF_A_PROVIDER if key in each
                }
                yield Route(
                    {**told, "provider_id": served["provider"], "model_family": family}, is_market=True
                )
