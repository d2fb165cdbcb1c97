"""What a config's catalog leaves possible: who can pass a filter at all, and who always does.

A candidate of the catalog that passes in an engine, nothing being required and everybody well, settles
it. Else what may change from call to call is tried (`search`): requirements, scope, breakers, disabled
providers, credits, what is measured, and everything that the offers of a market tell. What stays
undecided counts as possible, so nothing is said of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Inputs

from .admission import mentions
from .aspects import Domain, aspects
from .formula import Reader
from .routes import Route, routes_of
from .search import is_possible
from .subject import bare_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.core.language import Language
    from llm_policy_host.values import Plain

_DECLARATIONS = ("fields", "params", "tier_order")
_PRICES = ("price_in", "price_out")
_SUPPORTS = "supports_"
_ANYBODY: Final = Route({}, is_market=True)
_FREE: Final = Domain()
_ABORT: Final = ["always", {"action": "abort"}]


class Survey:
    """Answers about one catalog, as `serve` uses it: prices and declared fields are as it says them."""

    def __init__(self, core: Mapping[str, Any], language: Language) -> None:
        own = {key: core[key] for key in _DECLARATIONS if key in core}
        catalog = {key: core.get(key) or {} for key in ("providers", "models")}
        self._providers, self._models = catalog["providers"], catalog["models"]
        self._engine = bare_engine({**own, **catalog})
        self._vocabulary = language.vocabulary(own)
        self.settled = frozenset((*_PRICES, *(core.get("fields") or {})))
        self.routes = routes_of(core, self._engine.candidates, self.settled)
        self._counts = Counter(_key(route.candidate) for route in self.routes)
        self.has_market = any(route.is_market for route in self.routes)

    def names(self) -> Mapping[str, tuple[str, frozenset[str] | None]]:
        """Give what an operation names and the names there are; None where offers may bring others."""
        abilities = [route.candidate.get("capabilities") or {} for route in self.routes]
        known = {name for each in abilities for name, is_there in each.items() if is_there is True}
        bare = {name.removeprefix(_SUPPORTS) for name in known if name.startswith(_SUPPORTS)}
        providers = frozenset(self._providers)
        return {
            "family_eq": ("model", frozenset(self._models)),
            "provider_eq": ("provider", providers),
            "served_by_eq": ("provider", None if self.has_market else providers),
            "has_cap": ("capability", None if self.has_market else frozenset(known | bare)),
        }

    def is_absent_high(self, field: str) -> bool:
        """Whether a candidate without this field counts as higher than every number."""
        known = self._vocabulary.fields[field]
        return known["sort"] == "Num" and "default" not in known

    def can(self, pred: Plain) -> bool:
        """Whether some route of the catalog can pass."""
        return bool(self.rank(pred)) or any(map(self._asker(pred), self.routes))

    def must(self, pred: Plain) -> bool:
        """Whether every route of the catalog always passes."""
        return not self.can(["not", pred])

    def passing(self, pred: Plain) -> list[Route]:
        """List the routes that can pass."""
        ranked = Counter(map(_key, self.rank(pred)))
        can = self._asker(pred)
        return [route for route in self.routes if self._is_ranked(route, ranked) or can(route)]

    def _is_ranked(self, route: Route, ranked: Mapping[tuple[str, str], int]) -> bool:
        """Whether an engine lets a route pass as it is, and all others under its names."""
        key = _key(route.candidate)
        return not route.is_market and ranked[key] == self._counts[key]

    def implies(self, first: Plain, second: Plain) -> bool:
        """Whether whoever passes the first passes the second too, also who is not in the catalog."""
        return not self._asker(["and", first, ["not", second]])(_ANYBODY)

    def rank(
        self, pred: Plain, scorer: Sequence[Plain] = ("zero",), selector: Sequence[Plain] = ("ordered",)
    ) -> list[Mapping[str, Any]]:
        """Let an engine rank the catalog's own candidates, for a request that requires nothing."""
        term = ["policy", pred, [*scorer], [*selector], ["id"], _ABORT]
        plan = self._engine.rank({"policy_ir": term}, Inputs(1, 0))
        return plan.get("ordered") or []

    def _asker(self, pred: Plain) -> Callable[[Route], bool]:
        """Give what says whether a route can pass, or that this stays undecided."""
        found = aspects(mentions(pred), [self._vocabulary], _FREE)

        def can(route: Route) -> bool:
            is_known = [route is not _ANYBODY and route.fixes(aspect) for aspect in found]
            values = {
                aspect: (route.value(aspect),) if known else tried
                for known, (aspect, tried) in zip(is_known, found.items(), strict=True)
            }
            return is_possible(Reader(self._vocabulary, values).read(pred), values) is not False

        return can


def _key(candidate: Mapping[str, Any]) -> tuple[str, str]:
    return candidate["provider_id"], candidate["model_family"]
