"""Random terms from a source of choices: a vocabulary, admissible terms, almost-terms.

Terms follow a grammar, so every operation is reached; the same `random.Random` seed always gives the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .escapes import CYCLE, FUNCTION, HOLE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from llm_policy_host.core.grammar import Grammar

    from .escapes import Data

# What scores are bounded by (spec 1.6).
T = 2.0**500

PROVIDERS = ("p1", "p2", "Ω", "p 3")
FAMILIES = ("m1", "m2", "modèle", "m|3")
PEERS = ("peer", "p1", "ピア")
REASONS = ("timeout", "rate_limit", "unknown", "auth_error", "bad_request", "née")
CAPABILITIES = ("tools", "supports_vision", "json_mode", "supports_seed", "audio")
NAMES = ("rank", "été", "z", "bench_x_rank", 'q"uote', "a\nb", "日本")
STEPS = ("NFKC", "RmZeroWidth", "smør")
SEEDS = (0, -1, 2**31 - 1, -(2**31), 2**53 - 1, 1 - 2**53, 42, 7.0, None)
ACTION_WORDS = ("retry_same", "next_candidate", "next_provider_same_model", "disable_provider", "abort")
ODD_NUMBERS = (0, 1, -1, -0.0, 0.5, 3, 1e-320, 5e-324, 2.0**-500, 2.0**-501, T, -T, T * 2, 1e308, -1e308)
TIES = (0.1, 0.3, 1 / 3, 2.0**53, 2.0**53 + 2, 9007199254740993.0, 1.7976931348623157e308, 123456789012345678)
BROKEN: tuple[Data, ...] = (math.nan, math.inf, -math.inf, "3", True, HOLE, [], {})
JUNK: tuple[Data, ...] = (
    *BROKEN, None, "", "x" * 257, FUNCTION, CYCLE, 0, -1, 1.5, 10**30, [[]], [{}], {"a": 1}, ["nope"], [1, 2],
    ["and"], ["top", "top"], {"action": "explode"}, [HOLE, 1], [{"provider": "p"}], "price_in",
    "has_tee", "temperature",
)  # fmt: skip


class Terms:
    """One source of choices and one vocabulary, from which terms are drawn."""

    def __init__(self, rng: random.Random, grammar: Grammar) -> None:
        """Draw the vocabulary first: all else stays within it."""
        self.rng = rng
        self.grammar = grammar
        self.schema = self._schema()
        fields = self.schema.get("fields", {})
        self.numbers = [*grammar.numbers, *(n for n in fields if fields[n]["sort"] == "Num")]
        self.booleans = [*grammar.booleans, *(n for n in fields if fields[n]["sort"] == "Bool")]
        self.tiers = self.schema.get("tier_order", grammar.tiers)
        self.params = [*grammar.params, *self.schema.get("params", [])]

    # Small choices ------------------------------------------------------------------------------

    def is_likely(self, percent: int) -> bool:
        """Flip a weighted coin."""
        return self.rng.randint(1, 100) <= percent

    def some(self, make: Callable[[], Data], least: int = 0, most: int = 4) -> list[Data]:
        """Draw a short list."""
        return [make() for _ in range(self.rng.randint(least, most))]

    def number(self) -> Data:
        """Draw a finite number: odd, a tie of 17 digits, small, or any double."""
        choice = self.rng.randint(0, 5)
        if choice == 0:
            return self.rng.choice(ODD_NUMBERS)
        if choice == 1:
            return self.rng.choice(TIES)
        if choice == 2:
            return math.ldexp(self.rng.randint(-(2**53), 2**53), self.rng.randint(-1074, 900))
        if choice == 3:
            return self.rng.randint(-1000, 1000) / 8
        return self.rng.randint(-5, 20)

    def observed(self) -> Data:
        """Draw a number, or what a source may say in its place."""
        return self.rng.choice(BROKEN) if self.is_likely(15) else self.number()

    def _schema(self) -> dict[str, Data]:
        schema: dict[str, Data] = {}
        fields: dict[str, Data] = {}
        for name in self.rng.sample(NAMES, self.rng.randint(0, 3)):
            sort = self.rng.choice(("Num", "Bool"))
            fields[name] = {"sort": sort}
            if self.is_likely(50):
                fields[name]["default"] = self.number() if sort == "Num" else self.is_likely(50)
        if fields:
            schema["fields"] = fields
        if self.is_likely(30):
            schema["params"] = self.rng.sample(("mood", "größe", "_hidden"), 2)
        if self.is_likely(30):
            schema["tier_order"] = self.rng.sample(("gold", "argent é", "fallback", "partner"), 3)
        if self.is_likely(40):
            schema["customs"] = ["shout", "chût"]
        return schema

    # Terms --------------------------------------------------------------------------------------

    def term(self, sort: str, depth: int = 4) -> Data:
        """Draw an admissible term of a sort, at most so deep."""
        ops = [op for op, row in self.grammar.rows.items() if row.sort == sort]
        if not self.schema.get("customs"):
            ops.remove("custom") if "custom" in ops else None
        flat = [op for op in ops if not set(self.grammar.rows[op].args) & set(self.grammar.sorts)]
        op = self.rng.choice(flat if depth <= 1 and flat else ops)
        given = self.rng.choice((1, 1, 2, 2, 3, 5))
        return [op, *(self.argument(each, depth - 1) for each in self.grammar.argument_sorts(op, given))]

    def argument(self, sort: str, depth: int) -> Data:
        """Draw a subterm or a good parameter."""
        choice = self.rng.choice
        if sort in self.grammar.sorts:
            return self.term(sort, depth)
        if sort == "Num":
            return choice((0, 1, -0.0, 1.0)) if self.is_likely(25) else self.number()
        lists = {
            "Rel": ("lt", "le", "eq", "ne", "ge", "gt"),
            "NumField": self.numbers,
            "BoolField": self.booleans,
            "Tier": self.tiers,
            "Family": FAMILIES,
            "Provider": PROVIDERS,
            "ServedBy": (*PEERS, *PROVIDERS),
            "Capability": CAPABILITIES,
            "FailReason": REASONS,
            "Sym": self.schema.get("customs", ["shout"]),
            "ParamName": self.params if self.is_likely(30) else ("temperature", "seed"),
            "Count": (1, 2, 3.0, 100, 2**53),
        }
        if sort in lists:
            return choice(lists[sort])
        return {"Scalar": self.scalar, "Action": self.action, "Recipe": self.recipe, "Chain": self.chain}[
            sort
        ]()

    def scalar(self) -> Data:
        """Draw a number, a string or a boolean."""
        return self.rng.choice((True, False, "", 'naïve\n\t"\\', self.number(), self.number()))

    def action(self) -> Data:
        """Draw an action record."""
        action: dict[str, Data] = {"action": self.rng.choice(ACTION_WORDS)}
        if self.is_likely(30):
            action["then_action"] = self.rng.choice(ACTION_WORDS)
        if self.is_likely(30):
            action["attempts"] = self.rng.choice((0, 1, 2.0, 2.5))
        if self.is_likely(30):
            action["backoff_ms"] = self.rng.choice((0, 100, 1e22, [10], [0, 0.1, 5]))
        if self.is_likely(30):
            action["open_breaker_ms"] = self.rng.choice((0, 30000, 0.5))
        if self.is_likely(20):
            action[self.rng.choice(("weight", "é", "Z"))] = self.number()
        return action

    def recipe(self) -> Data:
        """Draw a recipe of names and flat records."""
        return self.some(
            lambda: self.rng.choice((*STEPS, {"JPEG": self.number(), "é": 1}, {"Noise": 0.1})), 0, 3
        )

    def chain(self) -> Data:
        """Draw a chain, in either spelling, with duplicates."""

        def link() -> Data:
            provider = self.rng.choice(("provider", "provider_id"))
            model = self.rng.choice(("model", "model_family"))
            return {provider: self.rng.choice(PROVIDERS), model: self.rng.choice(FAMILIES)}

        return self.some(link, 0, 5)

    def garbage(self) -> Data:
        """Draw an almost-term: an admissible one, broken in one or two places."""
        term = self.term(self.rng.choice(self.grammar.sorts), self.rng.randint(1, 5))
        for _ in range(self.rng.choice((1, 1, 1, 2))):
            term = self._broken(term)
        if self.is_likely(4):
            for _ in range(self.rng.randint(55, 66)):
                term = ["not", term]
        return ["and", *[["top"]] * 4095, term] if self.is_likely(1) else term

    def _broken(self, value: Data) -> Data:
        """Break a value here or in one of its parts, mostly the latter."""
        if isinstance(value, dict) and value:
            key = self.rng.choice((*sorted(value), "attempts", "backoff_ms", "then_action", "model", "x"))
            return {**value, key: self.rng.choice(JUNK)}
        if not isinstance(value, list) or len(value) < 2 or self.is_likely(8):
            return self.rng.choice((*JUNK, self.term(self.rng.choice(self.grammar.sorts), 2)))
        place = self.rng.randint(1, len(value) - 1)
        breaks: dict[str, Callable[[], Data]] = {
            "drop": lambda: value[:place] + value[place + 1 :],
            "more": lambda: [*value, self.rng.choice((*value, *JUNK))],
            "hole": lambda: [*value[:place], HOLE, *value[place + 1 :]],
            "rename": lambda: [self.rng.choice((*self.grammar.rows, "nope", "")), *value[1:]],
        }
        if self.is_likely(12):
            return breaks[self.rng.choice(sorted(breaks))]()
        return [*value[:place], self._broken(value[place]), *value[place + 1 :]]
