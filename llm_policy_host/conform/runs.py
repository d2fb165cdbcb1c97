"""Random runs: a config, its contracts and inputs, and what happens at each call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .escapes import encode
from .generator import Generator
from .terms import FAMILIES, PEERS, PROVIDERS

if TYPE_CHECKING:
    from llm_policy_host.core.grammar import Grammar

    from .escapes import Data

FAILURES = (
    *("rate_limit", "timeout", "server_error", "auth_error", "bad_request", "content_filter"),
    *("model_unavailable", "context_overflow", "network_error", "payment_required", "bad_response"),
    *("empty_completion", "stream_interrupted", "unknown", "never heard of"),
)
PRICES = (0, 0.1, 1, 1, 2.5, 1e9)
MULTIPLIERS = (0.5, 1, 2, 0, -1)
WAITS = (0, 1, 100, 60000)
TIMES = (0, 0.5, 10, 29999, 400000)


class _Patient(Generator):
    """Terms whose waits are so short that a call's time is not lost beside them."""

    def action(self) -> Data:
        """Draw an action."""
        action = super().action()
        if action.get("backoff_ms") == 1e22:
            action["backoff_ms"] = 100000
        return action


class Runs:
    """One source of choices, from which whole cases of runs are drawn."""

    def __init__(self, rng: random.Random, grammar: Grammar) -> None:
        """Draw the vocabulary; a custom transform is a function, which no config in JSON holds."""
        self.rng = rng
        self.terms = _Patient(rng, grammar)
        self.terms.schema.pop("customs", None)

    def is_likely(self, percent: int) -> bool:
        """Flip a weighted coin."""
        return self.terms.is_likely(percent)

    def case(self) -> Data:
        """Draw one to three runs on one engine."""
        config = self.config()
        start = self.rng.choice((0, 1000, 10**12))
        runs = [self.run(start + place * self.rng.choice(TIMES)) for place in range(self.rng.randint(1, 3))]
        case = {"kind": "runs", "name": "generated runs", "config": config, "runs": runs}
        if self.is_likely(60):
            case["metrics"] = self.metrics()
        return encode(case)

    def config(self) -> Data:
        """Draw providers, models, a profile and the times of health."""
        config: dict[str, Data] = {key: self.terms.schema[key] for key in self.terms.schema}
        config["providers"] = {name: self.provider(name) for name in PROVIDERS}
        config["models"] = {family: self.model() for family in FAMILIES if self.is_likely(80)}
        config["models"] = config["models"] or {FAMILIES[0]: self.model()}
        config["retry_policies"] = {"own": self.retry_policy()}
        config["profiles"] = {"usual": {**self.terms.profile(), "retry_policy": "own"}}
        if self.is_likely(50):
            config["defaults"] = {
                "circuit_breaker_threshold": self.rng.choice((1, 2, 3)),
                "disable_provider_ttl_ms": self.rng.choice((1, 100, 300000)),
            }
        if self.is_likely(20):
            config["policy_envelope"] = self.terms.term("Pred", 2)
        return config

    def provider(self, name: str) -> Data:
        """Draw a provider; one of them is a marketplace."""
        provider: dict[str, Data] = {"base_url": "http://somewhere"}
        if name == PROVIDERS[-1]:
            provider = {"discovery": "marketplace", "discovery_id": "market"}
        if self.is_likely(60):
            provider["tier"] = self.rng.choice(self.terms.tiers)
        if self.is_likely(30):
            provider["source"] = self.rng.choice(("bulk", "retail"))
        if self.is_likely(30):
            provider["no_log"] = self.is_likely(50)
        if self.is_likely(15):
            provider["scope"] = "a"
        return provider

    def model(self) -> Data:
        """Draw a model with one to four routes."""
        routes = []
        for name in self.rng.choices(PROVIDERS, k=self.rng.randint(1, 4)):
            route: dict[str, Data] = {"provider": name}
            if self.is_likely(60):
                route["price_in"], route["price_out"] = self.rng.choice(PRICES), self.rng.choice(PRICES)
            if self.is_likely(40):
                route["provider_model_id"] = self.rng.choice(("wire-b", "wire-a"))
            routes.append(route)
        capabilities = {"context": self.rng.choice((0, 8000, 128000)), "supports_tools": self.is_likely(80)}
        return {"served_by": routes, "capabilities": capabilities}

    def retry_policy(self) -> Data:
        """Draw an action for about half of the kinds."""
        return {kind: self.terms.action() for kind in FAILURES[:-1] if self.is_likely(60)}

    def metrics(self) -> Data:
        """Draw prices in both spellings, and credits."""
        metrics: dict[str, Data] = {"credits": {name: self.rng.choice(PRICES) for name in PROVIDERS}}
        for name in PROVIDERS:
            family = self.rng.choice(FAMILIES[:3])
            key = self.rng.choice((f"{family}@{name}", f"{name}|{family}"))
            metrics[key] = {"price_in": self.rng.choice(PRICES), "price_out": self.rng.choice(PRICES)}
        return metrics

    def run(self, now_ms: float) -> Data:
        """Draw a contract, its inputs and the events of its calls."""
        events = [self.event() for _ in range(self.rng.randint(0, 8))]
        return {"contract": self.contract(), "inputs": self.inputs(now_ms), "events": events}

    def contract(self) -> Data:
        """Draw a contract: a profile or a term, parameters and requirements."""
        contract: dict[str, Data] = {"temperature": self.rng.choice((0, 0.7, 1.25))}
        if self.is_likely(50):
            contract["policy_ir"] = self.policy()
        elif self.is_likely(50):
            contract["profile"] = "usual"
        if self.is_likely(50):
            contract["seed"] = self.rng.choice((0, 7, -1, 2**53 - 1))
        if self.is_likely(30):
            contract["requirements"] = {
                "needs": self.rng.choice(([], ["tools"])),
                "min_context": self.rng.choice((0, 8000)),
                "pin": self.rng.choice(({}, {"provider": PROVIDERS[0]}, {"model": FAMILIES[0]})),
            }
        if self.is_likely(20):
            contract["extra_candidates"] = [self.extra_candidate() for _ in range(self.rng.randint(0, 2))]
        if self.is_likely(20):
            contract["chain"] = self.terms.chain()
        if self.is_likely(20):
            contract["tools"] = [{"name": "search"}]
        for bound in ("timeout_ms", "ttft_ms", "idle_ms"):
            if self.is_likely(10):
                contract[bound] = self.rng.choice((0, 5, 29999, 30000, 1e6))
        return contract

    def extra_candidate(self) -> Data:
        """Draw a candidate that a trusted caller brings along."""
        candidate: dict[str, Data] = {
            "provider_id": self.rng.choice((*PROVIDERS, "own")),
            "model_family": self.rng.choice(FAMILIES),
            "base_url": self.rng.choice(("http://own", "http://somewhere")),
        }
        if self.is_likely(60):
            candidate["price_in"] = self.rng.choice(PRICES)
        if self.is_likely(50):
            candidate["capabilities"] = {"context": 8000, "supports_tools": True}
        if self.is_likely(30):
            candidate["tier"] = "partner"
        if self.is_likely(30):
            candidate["source"] = "bulk"
        return candidate

    def policy(self) -> Data:
        """Draw a policy term that lets most candidates through."""
        policy = self.terms.term("Policy", 4)
        if self.is_likely(70):
            policy[1] = self.rng.choice((["top"], ["meets_req"], ["not", ["is", "disabled"]]))
        return policy

    def inputs(self, now_ms: float) -> Data:
        """Draw what the host gathered."""
        routes = [f"{provider}|{family}" for provider in PROVIDERS for family in FAMILIES]
        inputs: dict[str, Data] = {
            "now_ms": now_ms,
            "offers": {"market": [self.offer() for _ in range(self.rng.randint(0, 3))]},
            "seed": 3,
        }
        if self.is_likely(40):
            names = (*PROVIDERS, "bulk")
            inputs["price_multipliers"] = {name: self.rng.choice(MULTIPLIERS) for name in names}
        if self.is_likely(40):
            inputs["observed"] = {
                route: {"latency_ms": self.rng.choice(TIMES), "success_rate": 0.5, **self.declared()}
                for route in self.rng.sample(routes, 5)
            }
        if self.is_likely(20):
            inputs["disabled"] = {PROVIDERS[0]: now_ms + self.rng.choice(WAITS)}
        if self.is_likely(40):
            inputs["is_callers_policy"] = True
        return inputs

    def declared(self) -> Data:
        """Draw observations of declared fields, broken ones among them."""
        return {
            name: self.rng.choice((True, False, self.terms.observed()))
            for name in self.terms.schema.get("fields", {})
        }

    def offer(self) -> Data:
        """Draw an offer, dead or malformed now and then."""
        offer: dict[str, Data] = {
            "peer_id": self.rng.choice(PEERS),
            "model_family": self.rng.choice(FAMILIES),
            "price_in": self.rng.choice((*PRICES, -1)),
            "price_out": self.rng.choice(PRICES),
        }
        if self.is_likely(20):
            offer["wire_model_id"] = "wire-z"
        if self.is_likely(20):
            offer["expires_at_ms"] = self.rng.choice((1, 10**15))
        return offer

    def event(self) -> Data:
        """Draw what a call led to."""
        event: dict[str, Data] = {"ok": self.is_likely(15), "after_ms": self.rng.choice(TIMES)}
        if not event["ok"]:
            event["error_kind"] = self.rng.choice(FAILURES)
            if self.is_likely(20):
                event["http_status"] = self.rng.choice((429, 503))
            if self.is_likely(20):
                event["retry_after_ms"] = self.rng.choice(WAITS)
            if self.is_likely(10):
                event["is_callers_fault"] = True
        if self.is_likely(20):
            event["latency_ms"] = self.rng.choice(TIMES)
        return event


def random_runs(grammar: Grammar, seed: int, n: int) -> list[Data]:
    """Answer n cases of runs, always the same for a seed."""
    rng = random.Random(f"runs:{seed}")  # noqa: S311 - repeatable, not secret
    return [Runs(rng, grammar).case() for _ in range(n)]
