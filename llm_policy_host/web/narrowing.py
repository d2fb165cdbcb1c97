"""A key's caveats as part of the policy: the only models, providers and policies (spec 5.4).

They narrow a term's filter as the operator's envelope does. The identity that is reported is that of the
narrowed term; the ids among a key's `policies` are those of terms as they are without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.language import Refusal

from .errors import RefusedError

if TYPE_CHECKING:
    from llm_policy_host.values import Plain

    from .host import GatewayHost
    from .skin import Caller
    from .sugar import Term

_POLICY_LENGTH: Final = 6


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a key leaves of a policy; an absent set leaves all."""

    models: frozenset[str] | None = None
    providers: frozenset[str] | None = None
    policies: frozenset[str] | None = None

    @property
    def terms(self) -> list[Term]:
        """Give the predicates that a candidate must meet."""
        rows = (("family_eq", self.models), ("provider_eq", self.providers))
        return [_any(op, names) for op, names in rows if names is not None]

    def over(self, term: Plain, identity: str | None = None) -> Plain:
        """Narrow an admitted Policy; one whose identity is none of the key's is refused (403)."""
        if identity is not None:
            self._check(identity)
        terms = self.terms
        if not terms:
            return term
        if not isinstance(term, list) or len(term) != _POLICY_LENGTH or term[0] != "policy":
            raise RefusedError(403, "policy_not_allowed", "this key cannot narrow such a policy", "policy_ir")
        op, pred, *rest = term
        return [op, ["and", pred, *terms], *rest]

    def over_flow(self, flow: Plain, host: GatewayHost) -> Plain:
        """Narrow the policy of each of a flow's nodes; what is no flow is refused where it would run."""
        found = host.language.identify_flow(flow, host.schema)
        if isinstance(found, Refusal):
            return flow
        self._check(found.identity)
        op, nodes = flow
        narrowed = {
            name: {**node, "policy": self.over(node["policy"])} if "policy" in node else node
            for name, node in nodes.items()
        }
        return [op, narrowed]

    def _check(self, identity: str) -> None:
        if self.policies is not None and identity not in self.policies:
            raise RefusedError(403, "policy_not_allowed", f"this key may not use the policy `{identity}`")


def bounds_of(caller: Caller | None) -> Bounds | None:
    """Give what a caller's key leaves of a policy; None where that is all of it."""
    if caller is None or caller.granted is None:
        return None
    caveats: dict[str, Any] = {name: caller.granted.grant.caveats.get(name) for name in _NAMES}
    return Bounds(**caveats) if any(names is not None for names in caveats.values()) else None


_NAMES: Final = ("models", "providers", "policies")


def _any(op: str, names: frozenset[str]) -> Term:
    terms: list[Term] = [[op, name] for name in sorted(names)]
    return terms[0] if len(terms) == 1 else ["or", *terms] if terms else ["bot"]
