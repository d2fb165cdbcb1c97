"""The order in which a config's keys are written: as they are best read; names by their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

At = tuple[str | int, ...]

_ORDERS: Mapping[tuple[str, ...], Sequence[str]] = {
    (): [
        *("runtime", "tier_order", "fields", "params", "customs", "defaults", "policy_envelope"),
        *("providers", "models", "profiles", "retry_policies", "host"),
    ],
    ("providers", "*"): [
        *("discovery", "discovery_id", "api_kind", "base_url", "auth", "auth_env", "tier", "scope"),
        *("has_tee", "no_log", "region", "aws_region", "source", "notes"),
    ],
    ("models", "*"): ["notes", "capabilities", "served_by"],
    ("models", "*", "served_by", "*"): [
        *("provider", "provider_model_id", "price_in", "price_out", "latency_ms", "tok_s"),
        *("success_rate", "tier", "scope", "has_tee", "no_log", "source", "capabilities"),
    ],
    ("profiles", "*"): [
        *("extends", "filter", "scorer", "selector", "selector_opts", "chain", "mutate", "retry_policy"),
        "policy_ir",
    ],
    ("retry_policies", "*", "*"): ["action", "attempts", "backoff_ms", "then_action", "open_breaker_ms"],
}
_NAMES: Mapping[str, frozenset[int]] = {
    "providers": frozenset({1}),
    "models": frozenset({1, 3}),
    "profiles": frozenset({1}),
    "retry_policies": frozenset({1, 2}),
}


def ordered(record: Mapping[str, Any], at: At) -> list[str]:
    """Give the keys of the record at a path in the order in which they are written."""
    order = _ORDERS.get(_kind(at), ())
    return sorted(record, key=lambda key: (order.index(key) if key in order else len(order), _raw(key)))


def _kind(at: At) -> tuple[str, ...]:
    """Give a path with names of the operator's own, and places in lists, as stars."""
    names = _NAMES.get(str(at[0]), frozenset()) if at else frozenset()
    return tuple("*" if depth in names else str(step) for depth, step in enumerate(at))


def _raw(key: str) -> bytes:
    return key.encode(errors="surrogatepass")
