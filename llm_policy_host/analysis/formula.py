"""A Pred as a formula over aspects: each atom says that an aspect is among some of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from .aspects import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.core.language import Vocabulary
    from llm_policy_host.values import Plain


@dataclass(frozen=True, slots=True)
class Among:
    """The aspect has one of the values at these places of its list."""

    aspect: str
    places: frozenset[int]


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Formula


Formula: TypeAlias = Among | All | Some | Not

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "lt": lambda seen, number: seen < number,
    "le": lambda seen, number: seen <= number,
    "eq": lambda seen, number: seen == number,
    "ne": lambda seen, number: seen != number,
    "ge": lambda seen, number: seen >= number,
    "gt": lambda seen, number: seen > number,
}
_HIGH = float("inf")
_NEEDS = ("tools", "vision", "json_mode", "seed")
_MISSING_TIER = "fallback"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads Preds under one vocabulary, over aspects with the given values."""

    vocabulary: Vocabulary
    values: Mapping[str, tuple[Plain, ...]]

    def read(self, pred: Plain) -> Formula:
        """Give the formula of an admitted Pred (spec 1.6)."""
        op, *parts = pred
        if op in _JOINED:
            return _JOINED[op](tuple(map(self.read, parts)))
        return Not(self.read(parts[0])) if op == "not" else _ATOMS[op](self, *parts)

    def required(self, wanted: Mapping[str, Plain]) -> Formula:
        """Give the formula of a candidate that meets some requirements."""
        parts = [self.supports(f"supports_{need}") for need in wanted.get("needs", ()) if need in _NEEDS]
        for key, name in (("min_context", "context"), ("min_tok_s", "tok_s")):
            if key in wanted:
                parts.append(self.compared(name, "ge", float(wanted[key])))
        if "model_family" in wanted:
            parts.append(self.equal("model_family", wanted["model_family"]))
        if "tier" in wanted:
            parts.append(self.named_tier(wanted["tier"]))
        if wanted.get("privacy") in ("tee_required", "no_log"):
            names = ("has_tee", "no_log") if wanted["privacy"] == "no_log" else ("has_tee",)
            parts.append(Some(tuple(map(self.flagged, names))))
        return All(tuple(parts))

    def compared(self, name: str, relation: str, number: float) -> Formula:
        """Say that a field compares so with a number; what is absent is its default, or absent-high."""
        compare = _COMPARE[relation]
        return self.among(f"field:{name}", lambda value: compare(self._number(name, value), number))

    def flagged(self, name: str) -> Formula:
        """Say that a flag is set."""
        return self.among(f"field:{name}", lambda value: self._flag(name, value))

    def named_tier(self, tier: str) -> Formula:
        """Say that the tier is this one."""
        return self.among("tier", lambda value: (value or _MISSING_TIER) == tier)

    def least_tier(self, tier: str) -> Formula:
        """Say that the tier is this one or a higher one."""
        least = self._rank(tier)
        return self.among("tier", lambda value: self._rank(value or _MISSING_TIER) >= least)

    def served_by(self, peer: str) -> Formula:
        """Say that this peer serves it, or this provider directly."""
        direct = All((self.equal("peer", ABSENT), self.equal("provider_id", peer)))
        return Some((self.equal("peer", peer), direct))

    def supports(self, key: str) -> Formula:
        """Say that a capability's key is set."""
        return self.equal("field:context" if key == "context" else f"capability:{key}", True)

    def _number(self, name: str, value: Plain) -> float:
        is_number = value is not ABSENT and value is not True
        return float(value if is_number else self.vocabulary.fields[name].get("default", _HIGH))

    def _flag(self, name: str, value: Plain) -> bool:
        return bool(self.vocabulary.fields[name].get("default", False) if value is ABSENT else value)

    def _rank(self, tier: str) -> int:
        return self.vocabulary.tiers.index(tier) + 1 if tier in self.vocabulary.tiers else 0

    def equal(self, aspect: str, wanted: Plain) -> Among:
        """Say that an aspect has this value."""
        return self.among(aspect, lambda value: type(value) is type(wanted) and value == wanted)

    def among(self, aspect: str, is_good: Callable[[Plain], bool]) -> Among:
        """Say that an aspect has a value which is good."""
        places = (place for place, value in enumerate(self.values[aspect]) if is_good(value))
        return Among(aspect, frozenset(places))


_JOINED: Mapping[str, Callable[[tuple[Formula, ...]], Formula]] = {"and": All, "or": Some}

_ATOMS: Mapping[str, Callable[..., Formula]] = {
    "top": lambda _: All(()),
    "bot": lambda _: Some(()),
    "is": Reader.flagged,
    "cmp": lambda reader, name, relation, number: reader.compared(name, relation, float(number)),
    "tier_eq": Reader.named_tier,
    "min_tier": Reader.least_tier,
    "family_eq": lambda reader, family: reader.equal("model_family", family),
    "provider_eq": lambda reader, provider: reader.equal("provider_id", provider),
    "served_by_eq": Reader.served_by,
    "has_cap": lambda reader, name: Some((reader.supports(name), reader.supports(f"supports_{name}"))),
    "meets_req": lambda reader: reader.equal("meets_req", True),
    "scope_matches": lambda reader: reader.equal("scope_matches", True),
}
