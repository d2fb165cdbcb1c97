"""One small world for whole plans and runs: a config of every kind of source, and what happens."""

from __future__ import annotations

from typing import Any

ALL_CAPABILITIES = {
    "context": 128000,
    "supports_tools": True,
    "supports_vision": True,
    "supports_json_mode": True,
    "supports_seed": True,
}

CONFIG: dict[str, Any] = {
    "providers": {
        "alpha": {"base_url": "http://alpha", "tier": "partner", "region": "eu"},
        "beta": {"base_url": "http://beta", "tier": "partner", "no_log": True},
        "gamma": {"base_url": "http://gamma", "tier": "fallback", "has_tee": True},
        "délta": {"base_url": "http://delta", "source": "bulk"},
        "Zeta": {"base_url": "http://zeta", "api_kind": "ollama"},
        "bazaar": {"discovery": "marketplace", "discovery_id": "market", "tier": "marketplace"},
    },
    "models": {
        "m1": {
            "served_by": [
                {"provider": "alpha", "price_in": 3, "price_out": 15},
                {"provider": "beta", "price_in": 3, "price_out": 15, "provider_model_id": "m1-b"},
                {"provider": "beta", "price_in": 3, "price_out": 15, "provider_model_id": "m1-a"},
                {"provider": "délta", "provider_model_id": "m1:latest"},
                {"provider": "bazaar"},
            ],
            "capabilities": ALL_CAPABILITIES,
        },
        "m2": {
            "served_by": [
                {"provider": "Zeta", "price_in": 0.1, "price_out": 0.3},
                {"provider": "gamma", "price_in": 0.1, "price_out": 0.3},
                {"provider": "alpha", "price_in": 0.7, "price_out": 0.9},
            ],
            "capabilities": {**ALL_CAPABILITIES, "context": 32000},
        },
        "modèle": {
            "served_by": [{"provider": "gamma"}, {"provider": "alpha", "price_in": 1}],
            "capabilities": {"context": 8000, "supports_tools": False},
        },
    },
    "fields": {"rank_a": {"sort": "Num", "default": 100}, "is_kind": {"sort": "Bool", "default": True}},
    "params": ["mood"],
    "retry_policies": {
        "patient": {
            "timeout": {"action": "retry_same", "attempts": 2, "backoff_ms": [100, 250]},
            "rate_limit": {"action": "next_candidate", "open_breaker_ms": 60000},
            "auth_error": {"action": "disable_provider"},
            "server_error": {"action": "next_provider_same_model"},
            "unknown": {"action": "next_candidate"},
        }
    },
    "profiles": {
        "cheap": {
            "filter": {"requirements": True, "not_disabled": True, "price_max": {"output": 20}},
            "scorer": ["add", ["scale", -2, ["normalize", ["field", "price_in"]]], ["field", "success_rate"]],
            "mutate": {"jitter": {"temperature": 0.2}, "set_param": {"seed": "from_ctx"}},
            "retry_policy": "patient",
        },
        "drawn": {"extends": "cheap", "selector": "sample", "selector_opts": {"temp": 0.5}},
        "listed": {
            "selector": "chain",
            "chain": [
                {"provider": "gamma", "model": "m2"},
                {"provider": "alpha", "model": "m1"},
                {"provider": "beta", "model": "m1"},
            ],
            "retry_policy": "patient",
        },
    },
    "policy_envelope": ["not", ["is", "disabled"]],
}

METRICS: dict[str, Any] = {
    "m1@délta": {"price_in": 2.5, "price_out": 10},
    "gamma|modèle": {"price_in": 0.2, "price_out": 0.4},
    "credits": {"alpha": 5, "beta": 0.5},
}

INPUTS: dict[str, Any] = {
    "now_ms": 1000,
    "price_multipliers": {"bulk": 0.5, "Zeta": 30},
    "observed": {"alpha|m2": {"success_rate": 0.9, "latency_ms": 120.5, "rank_a": 3}},
    "offers": {
        "market": [
            {"peer_id": "peer-b", "model_family": "m1", "price_in": 1.5, "price_out": 4},
            {"peer_id": "peer-a", "model_family": "m1", "price_in": 1.5, "price_out": 4},
            {"peer_id": "pëer", "model_family": "m1", "price_in": 9, "price_out": 40},
        ]
    },
}

EVENTS: list[Any] = [
    {"ok": False, "error_kind": "timeout"},
    {"ok": False, "error_kind": "timeout", "retry_after_ms": 700},
    {"ok": False, "error_kind": "rate_limit", "http_status": 429, "retry_after_ms": 5000},
    {"ok": False, "error_kind": "auth_error", "http_status": 401},
    {"ok": False, "error_kind": "server_error", "http_status": 503, "latency_ms": 33.25},
    {"ok": True},
]

# Mistakes in every part, so that their order could show.
BROKEN_CONFIG: dict[str, Any] = {
    "providers": {"a": {"tire": "partner"}, "b": {"discovery": "mystery"}, "c": {"base_url": 3}},
    "models": {
        "m": {"served_by": [{"provider": "nobody"}]},
        "n": {"served_by": [{"provider": "a", "prize": 1}]},
    },
    "profiles": {"p": {"selector": "best"}, "q": {"extends": "r"}, "r": {"extends": "q"}},
    "retry_policies": {"x": {"timeout": {"action": "explode"}, "times": {"action": "abort"}}},
    "fields": {"price_in": {"sort": "Num"}, "f": {"sort": "Text"}},
}
