"""What random terms are evaluated on: candidates, requests, contexts; odd and broken ones too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .terms import FAMILIES, PEERS, PROVIDERS, SEEDS, Terms

if TYPE_CHECKING:
    from .escapes import Data


class Worlds(Terms):
    """Draws what terms are evaluated on."""

    def candidate(self) -> Data:
        """Draw a candidate with odd, missing and broken observations."""
        candidate: dict[str, Data] = {
            "provider_id": self.rng.choice(PROVIDERS),
            "model_family": self.rng.choice(FAMILIES),
        }
        for name in self.numbers:
            if name not in ("credits", "context") and self.is_likely(60):
                candidate[name] = self.observed()
        for name in self.booleans:
            if name not in ("breaker_open", "disabled") and self.is_likely(60):
                candidate[name] = self.rng.choice((True, False, 1, "true"))
        if self.is_likely(60):
            candidate["tier"] = self.rng.choice((*self.tiers, *self.grammar.tiers, "unheard", 3))
        if self.is_likely(30):
            candidate["scope"] = self.rng.choice(("a", "é"))
        if self.is_likely(30):
            candidate["offer"] = self.rng.choice(({"peer_id": self.rng.choice(PEERS)}, {}, "x"))
        if self.is_likely(80):
            flags = ("tools", "vision", "json_mode", "seed")
            candidate["capabilities"] = {
                f"supports_{f}": self.is_likely(70) for f in flags if self.is_likely(80)
            }
            candidate["capabilities"]["context"] = self.rng.choice((8000, 0, 4000.5, self.observed()))
            candidate["capabilities"]["audio"] = self.is_likely(50)
        return candidate

    def request(self) -> Data:
        """Draw a request: parameters, shape and requirements, several of them unmet."""
        request: dict[str, Data] = {}
        for name in self.rng.sample((*self.params, "temperature", "seed"), 3):
            request[name] = self.rng.choice((self.number(), 0.9, "x", True))
        if self.is_likely(30):
            request["tools"] = self.rng.choice(([], [{"name": "t"}], False, "any"))
        if self.is_likely(30):
            request["images"] = self.rng.choice(([], {}, ["i"], True))
        if self.is_likely(30):
            request["response_format"] = self.rng.choice(
                ({"type": "json_object"}, {"type": "json_schema"}, {"type": "text"}, "x")
            )
        if self.is_likely(30):
            request["scope"] = self.rng.choice(("a", "é", "b"))
        if self.is_likely(15):
            request["_filters"] = {"text": {"recipe": ["old"], "seed": 1}}
        if self.is_likely(70):
            request["requirements"] = self.rng.choice((self.requirements(), self.requirements(), [], "x"))
        return request

    def requirements(self) -> Data:
        """Draw requirements, malformed ones among them."""
        everything: dict[str, Data] = {
            "needs": self.some(lambda: self.rng.choice(("tools", "vision", "json_mode", "seed", "magic", 3))),
            "min_context": self.rng.choice((0, 4000, 8000, 8001, self.observed())),
            "model_family": self.rng.choice((*FAMILIES, 3)),
            "tier": self.rng.choice((*self.grammar.tiers, "gold", 3)),
            "privacy": self.rng.choice(("tee_required", "no_log", "none", 1)),
            "min_tok_s": self.rng.choice((0, 5, self.observed())),
        }
        return {key: each for key, each in everything.items() if self.is_likely(35)}

    def ctx(self) -> Data:
        """Draw a context: health, prices, credits, seed and attempt."""
        routes = [f"{p}|{m}" for p in PROVIDERS for m in FAMILIES]
        ctx: dict[str, Data] = {"now_ms": self.rng.randint(0, 10**12), "request": self.request()}
        if self.is_likely(80):
            prices = {
                route: {"price_in": self.observed(), "price_out": self.observed()}
                for route in self.rng.sample(routes, 6)
            }
            names = [*PROVIDERS, *self.rng.sample(routes, 3)]
            breakers = {name: self.rng.choice((True, True, False, 1)) for name in names if self.is_likely(40)}
            disabled = {
                p: self.rng.choice((1000, True, False, "why")) for p in PROVIDERS if self.is_likely(20)
            }
            money = {p: self.observed() for p in PROVIDERS if self.is_likely(50)}
            state = {"ema": prices, "breakers": breakers, "disabled": disabled, "credits": money}
            ctx["state"] = {
                key: self.rng.choice(([], 3)) if self.is_likely(8) else state[key] for key in state
            }
        seed = self.rng.choice(SEEDS)
        if seed is not None:
            ctx["seed"] = seed
        if self.is_likely(10):
            ctx["seed"] = self.rng.choice((1.5, "7", 2**53, math.nan))
        if self.is_likely(50):
            ctx["attempt"] = self.rng.choice((1, 2, 3.0, 17, 0, "2"))
        return ctx
