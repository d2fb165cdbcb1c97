"""A counterexample as what it is made of: a candidate, a request's requirements, and a state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Inputs

from .aspects import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Plain

    from .aspects import Domain

_NOW_MS = 1
_LATER_MS = 1_000_000
_OF_THE_STATE = ("breaker_open", "disabled", "credits")


@dataclass(frozen=True, slots=True)
class Witness:
    """A candidate, what is required of it, and what is known of its provider; `unknown` names its gaps."""

    candidate: Mapping[str, Any]
    requirements: Mapping[str, Any]
    breaker_open: bool = False
    disabled: bool = False
    credits: float | None = None
    unknown: tuple[str, ...] = ()

    def contract(self) -> dict[str, Plain]:
        """Give a contract over this candidate alone."""
        return {"requirements": self.requirements, "extra_candidates": [self.candidate]}

    def inputs(self) -> Inputs:
        """Give what a host would have gathered."""
        provider = self.candidate["provider_id"]
        others: dict[str, Plain] = {}
        if self.disabled:
            others["disabled"] = {provider: True}
        if self.credits is not None:
            others["credits"] = {provider: self.credits}
        return Inputs(_NOW_MS, 0, others=others)

    def state(self) -> dict[str, Plain]:
        """Give the health of an engine in which it is so."""
        breaker = {"failures": 3, "until_ms": _LATER_MS}
        breakers = {self.candidate["provider_id"]: breaker} if self.breaker_open else {}
        return {"v": 1, "health": {"breakers": breakers, "disabled": {}}}


def witness(chosen: Mapping[str, Plain], domain: Domain) -> Witness:
    """Make a counterexample of a value for each aspect; what is absent is left out."""
    has = {name: _short(value) for name, value in chosen.items() if value is not ABSENT}
    fields, abilities = _below("field:", has), {k: v for k, v in _below("capability:", has).items() if v}
    state = {name: fields.pop(name) for name in _OF_THE_STATE if name in fields}
    if "context" in fields:
        abilities["context"] = fields.pop("context")
    candidate: dict[str, Any] = {
        **{name: has[name] for name in ("model_family", "provider_id", "tier") if name in has},
        **fields,
    }
    if "peer" in has:
        candidate["offer"] = {"peer_id": has["peer"]}
    if has.get("scope_matches") is False:
        candidate["scope"] = "elsewhere"
    if abilities:
        candidate["capabilities"] = abilities
    more = {} if has.get("meets_req", True) else _unmet(candidate, domain)
    unknown = (name for name, value in _below("field:", chosen).items() if value is ABSENT)
    return Witness(candidate, {**domain.required, **more}, **state, unknown=tuple(unknown))


def _below(prefix: str, values: Mapping[str, Plain]) -> dict[str, Plain]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _unmet(candidate: Mapping[str, Any], domain: Domain) -> dict[str, Plain]:
    """Give a requirement that the candidate does not meet, beside those of every request."""
    if "model_family" not in domain.required:
        return {"model_family": f"not-{candidate['model_family']}"}
    if "tier" not in domain.required:
        return {"tier": f"not-{candidate.get('tier', 'fallback')}"}
    abilities = candidate.get("capabilities") or {}
    lacking = [
        need for need in ("tools", "vision", "json_mode", "seed") if not abilities.get(f"supports_{need}")
    ]
    if lacking:
        return {"needs": [*domain.required.get("needs", ()), lacking[0]]}
    context = abilities.get("context", 0)
    return {"min_context": math.nextafter(max(context, 0.0, domain.required.get("min_context", 0)), math.inf)}


def _short(value: Plain) -> Plain:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value
