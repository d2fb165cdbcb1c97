"""What a policy lets through, as one Pred: its filter and, of a chain, being listed.

The Pred holds of a candidate and a request where the policy, asked over that candidate alone, would
choose it. So `top_k` cuts nobody off, and scores and orders count for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llm_policy_host.values import Plain

    from .subject import Subject


def admission(subject: Subject) -> Plain:
    """Give the Pred of a policy's admission; a Pred is its own."""
    if subject.sort == "Policy":
        return ["and", subject.term[1], _listed(subject.term[3])]
    if subject.sort != "Pred":
        raise UsageError(f"`{subject.name}` is neither a policy nor a filter, but a {subject.sort}")
    return subject.term


def _listed(selector: Plain) -> Plain:
    """Give the Pred of what a selector may give at all."""
    match selector:
        case ["chain", entries]:
            pairs = [
                ["and", ["provider_eq", entry["provider"]], ["family_eq", entry["model"]]]
                for entry in entries or ()
            ]
            return ["or", *pairs] if pairs else ["bot"]
        case ["top_k" | "prefer", _, inner]:
            return _listed(inner)
    return ["top"]


def mentions(pred: Plain) -> Iterator[tuple[str, Plain]]:
    """Give each aspect that a Pred looks at, with what it compares it to."""
    op, *arguments = pred
    if op in ("and", "or", "not"):
        for part in arguments:
            yield from mentions(part)
    elif op in _MENTIONS:
        yield from _MENTIONS[op](*arguments)
    elif op not in ("top", "bot"):
        raise UsageError(f"`{op}` is no operation that can be decided")


def requirements_mention(wanted: Mapping[str, Plain]) -> Iterator[tuple[str, Plain]]:
    """Give each aspect that requirements look at, with what they compare it to."""
    for need in wanted.get("needs", ()):
        yield f"capability:supports_{need}", True
    for key, aspect in (("min_context", "field:context"), ("min_tok_s", "field:tok_s")):
        if key in wanted:
            yield aspect, float(wanted[key]) + 0.0
    for key in ("model_family", "tier"):
        if key in wanted:
            yield key, wanted[key]
    if "privacy" in wanted:
        yield from (("field:has_tee", True), ("field:no_log", True))


_MENTIONS: Mapping[str, Callable[..., Iterable[tuple[str, Plain]]]] = {
    "cmp": lambda field, _, number: [(f"field:{field}", float(number) + 0.0)],
    "is": lambda field: [(f"field:{field}", True)],
    "tier_eq": lambda tier: [("tier", tier)],
    "min_tier": lambda tier: [("tier", tier)],
    "family_eq": lambda family: [("model_family", family)],
    "provider_eq": lambda provider: [("provider_id", provider)],
    "served_by_eq": lambda peer: [("peer", peer), ("provider_id", peer)],
    "has_cap": lambda name: [(f"capability:{name}", True), (f"capability:supports_{name}", True)],
    "meets_req": lambda: [("meets_req", True)],
    "scope_matches": lambda: [("scope_matches", True)],
}
