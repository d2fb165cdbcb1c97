"""What a host tells its core besides a contract: who is disabled, credits, offers, observations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config.load import Config
    from .market.market import Market
    from .market.observed import Observed


class Gathering:
    """What the host knows now, the same mapping while nothing of it changed."""

    def __init__(
        self, config: Config, disabled: Mapping[str, str], market: Market, observed: Observed
    ) -> None:
        self._market = market
        self._observed = observed
        self._fixed: dict[str, Any] = {}
        if disabled:
            self._fixed["disabled"] = dict.fromkeys(disabled, True)
        if config.settings.credits:
            self._fixed["credits"] = config.settings.credits
        self._known: tuple[object, object, Mapping[str, Any]] = (None, None, self._fixed)

    def __call__(self) -> Mapping[str, Any]:
        """Give all of it (spec 2.3)."""
        offers, observed = self._market.offers(), self._observed.routes()
        known = self._known
        if known[0] is not offers or known[1] is not observed:
            more = {"offers": offers, "observed": observed}
            whole = {**self._fixed, **{name: value for name, value in more.items() if value}}
            known = self._known = (offers, observed, whole)
        return known[2]
