"""Random cases from a source of choices: vocabularies, terms, garbage, candidates, contexts.

Terms follow the oracle's signature, so every operation is reached. A case is plain JSON (with the
escapes of `transport`), and the same `random.Random` seed always gives the same cases.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from tests.oracle.meaning import T
from tests.oracle.signature import (
    CORE_BOOLEANS,
    CORE_NUMBERS,
    PARAMS,
    SIGNATURE,
    SORTS,
    TIERS,
    argument_sorts,
)
from tests.oracle.transport import CYCLE, FUNCTION, HOLE, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.oracle.transport import Data

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

KINDS = (
    "term",
    "garbage",
    "pred",
    "xform",
    "failplan",
    "policy",
    "random",
    "number",
    "json",
    "profile",
    "flow",
)


class Generator:
    """One source of choices and one vocabulary, from which whole cases are drawn."""

    def __init__(self, rng: random.Random) -> None:
        """Draw the vocabulary first: all else stays within it."""
        self.rng = rng
        self.schema = self._schema()
        fields = self.schema.get("fields", {})
        self.numbers = [*CORE_NUMBERS, *(n for n in fields if fields[n]["sort"] == "Num")]
        self.booleans = [*CORE_BOOLEANS, *(n for n in fields if fields[n]["sort"] == "Bool")]
        self.tiers = self.schema.get("tier_order", TIERS)
        self.params = [*sorted(PARAMS), *self.schema.get("params", [])]

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
        ops = [op for op, row in SIGNATURE.items() if row.sort == sort]
        if not self.schema.get("customs"):
            ops.remove("custom") if "custom" in ops else None
        flat = [op for op in ops if not set(SIGNATURE[op].args) & set(SORTS)]
        op = self.rng.choice(flat if depth <= 1 and flat else ops)
        given = self.rng.choice((1, 1, 2, 2, 3, 5))
        return [op, *(self.argument(each, depth - 1) for each in argument_sorts(op, given))]

    def argument(self, sort: str, depth: int) -> Data:
        """Draw a subterm or a good parameter."""
        choice = self.rng.choice
        if sort in SORTS:
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
        term = self.term(self.rng.choice(SORTS), self.rng.randint(1, 5))
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
            return self.rng.choice((*JUNK, self.term(self.rng.choice(SORTS), 2)))
        place = self.rng.randint(1, len(value) - 1)
        breaks: dict[str, Callable[[], Data]] = {
            "drop": lambda: value[:place] + value[place + 1 :],
            "more": lambda: [*value, self.rng.choice((*value, *JUNK))],
            "hole": lambda: [*value[:place], HOLE, *value[place + 1 :]],
            "rename": lambda: [self.rng.choice((*SIGNATURE, "nope", "")), *value[1:]],
        }
        if self.is_likely(12):
            return breaks[self.rng.choice(sorted(breaks))]()
        return [*value[:place], self._broken(value[place]), *value[place + 1 :]]

    # What terms are evaluated on ----------------------------------------------------------------

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
            candidate["tier"] = self.rng.choice((*self.tiers, *TIERS, "unheard", 3))
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
            "tier": self.rng.choice((*TIERS, "gold", 3)),
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

    # Cases --------------------------------------------------------------------------------------

    def case(self, kind: str) -> dict[str, Data]:
        """Draw a whole case of a kind; `garbage` is a `term` case that is seldom admitted."""
        body = getattr(self, "_case_" + kind)()
        named = {"kind": "term" if kind == "garbage" else kind, "name": f"generated {kind}"}
        answer: dict[str, Data] = encode({**named, "schema": self.schema, **body})
        return answer

    def _case_term(self) -> Data:
        return {"term": self.term(self.rng.choice(SORTS), self.rng.randint(1, 6))}

    def _case_garbage(self) -> Data:
        return {"term": self.garbage()}

    def _case_pred(self) -> Data:
        cases = self.some(lambda: {"candidate": self.candidate(), "ctx": self.ctx()}, 1, 3)
        return {"term": self.term("Pred"), "cases": cases}

    def _case_xform(self) -> Data:
        def one() -> Data:
            return {"request": self.request(), "candidate": self.candidate(), "ctx": self.ctx()}

        return {"term": self.term("Xform"), "cases": self.some(one, 1, 3)}

    def _case_failplan(self) -> Data:
        return {"term": self.term("FailPlan", 6), "kinds": [*REASONS, "never heard of"]}

    def _case_policy(self) -> Data:
        policy = self.term("Policy", 5)
        if self.is_likely(60):
            policy[1] = ["or", ["top"], policy[1]] if self.is_likely(50) else ["top"]
        candidates = self.some(self.candidate, 0, 8)
        if candidates and self.is_likely(30):
            candidates.append(candidates[0])
        return {"term": policy, "candidates": candidates, "ctx": self.ctx()}

    def _case_random(self) -> Data:
        odd = (1.5, "3", 2**53, -(2**53), math.nan, True)
        seed = self.rng.choice(
            (*(s for s in SEEDS if s is not None), self.rng.randint(-(2**53) + 1, 2**53 - 1), *odd)
        )
        body = {"seed": seed, "draws": self.rng.randint(1, 9)}
        return (
            {**body, "stream": self.rng.choice(("", "jitter:top_p", "é#2"))} if self.is_likely(70) else body
        )

    def _case_number(self) -> Data:
        return {"texts": self.some(self._number_text, 1, 8)}

    def _number_text(self) -> str:
        digits = "".join(self.rng.choice("0123456789") for _ in range(self.rng.randint(1, 40)))
        text = self.rng.choice(("", "-", "-", "+")) + (
            digits if self.is_likely(10) else digits.lstrip("0") or "0"
        )
        if self.is_likely(60):
            text += "." + digits[: self.rng.randint(0, 30)]
        if self.is_likely(60):
            text += self.rng.choice("eE") + self.rng.choice(("", "-", "+")) + str(self.rng.randint(0, 330))
        exact = repr(float(self.number()))
        return self.rng.choice((text, text, text, exact, "-0", "1.", ".5", "", "0x10", "1e", " 1", "1 "))

    def _case_json(self) -> Data:
        return {"text": self._json_text(4)}

    def _json_text(self, depth: int) -> str:
        rng = self.rng
        space = rng.choice(("", "", " ", "\n", "\t\r", "\f"))
        if depth == 0 or self.is_likely(35):
            odd = (
                "null",
                "tru",
                "NaN",
                '"\\ud83d\\ude00"',
                '"\\ud800"',
                '"\\x"',
                '"a\nb"',
                "'a'",
                '"\\u00e9\\/"',
            )
            plain = ("true", "false", '"é"', '""', "0", "-1.5e3", '"\\n\\""')
            return space + rng.choice(plain if self.is_likely(85) else (*odd, self._number_text()))
        parts = self.some(lambda: self._json_text(depth - 1), 0, 3)
        if self.is_likely(50):
            parts = [f'"{rng.choice(("a", "b", "é", "c", "d"))}":{each}' for each in parts]
            return space + "{" + ",".join(parts) + "}"
        return space + "[" + ",".join(parts) + rng.choice(("", "", "", "", "", "", ",")) + "]"

    # Profiles -----------------------------------------------------------------------------------

    def _case_profile(self) -> Data:
        config: dict[str, Data] = {
            "providers": {"p1": {"base_url": "http://p1"}},
            "models": {"m1": {"served_by": [{"provider": "p1"}], "capabilities": {"context": 8000}}},
            "retry_policies": {"careful": {r: self.action() for r in REASONS[:5] if self.is_likely(50)}},
            "profiles": {"base": self.profile(), "child": {**self.profile(), "extends": "base"}},
        }
        config |= {key: self.schema[key] for key in ("fields", "params", "tier_order") if key in self.schema}
        body: dict[str, Data] = {"config": config, "profile": self.rng.choice(("base", "child"))}
        if self.is_likely(12):
            bad: Data = (
                {"filter": {"is": "nope"}},
                {"extends": "child"},
                {"selector": "best"},
                {"retry_policy": "x"},
            )
            config["profiles"]["base"] |= self.rng.choice((*bad, {"filter": ["nope"]}, {"mutate": "nope"}))
        self.schema = {}
        return {**body, "contract": {"chain": self.chain()}} if self.is_likely(30) else body

    def profile(self) -> Data:
        """Draw a profile of sugar without customs."""
        customs, self.schema = self.schema.get("customs"), {**self.schema, "customs": []}
        everything: dict[str, Callable[[], Data]] = {
            "filter": lambda: self._sugar_filter(2),
            "scorer": lambda: self.term("Scorer", 3),
            "selector": lambda: self.rng.choice(("argmax", "ordered", "sample", "softmax_sample", "top_k")),
            "selector_opts": lambda: {"temp": self.rng.choice((0, 0.5, 2)), "k": self.rng.randint(1, 5)},
            "mutate": lambda: self._sugar_mutate(2),
            "retry_policy": lambda: "careful",
        }
        profile = {key: make() for key, make in everything.items() if self.is_likely(50)}
        if self.is_likely(15):
            profile |= {"selector": "chain", "chain": self.chain()}
        if customs:
            self.schema["customs"] = customs
        return profile

    def _sugar_filter(self, depth: int) -> Data:
        words = ("requirements", "not_disabled", "breaker_closed", "scope_matches")
        if depth == 0 or self.is_likely(20):
            return self.rng.choice(words)
        if self.is_likely(20):
            return self.some(lambda: self._sugar_filter(depth - 1), 1, 3)
        makers: dict[str, Callable[[], Data]] = {
            **{word: lambda: True for word in words},
            **{
                key: (lambda: self.some(lambda: self._sugar_filter(depth - 1), 1, 3))
                for key in ("all_of", "any_of", "none_of")
            },
            "tier_in": lambda: self.some(lambda: self.rng.choice(self.tiers), 1, 2),
            "family_in": lambda: self.some(lambda: self.rng.choice(FAMILIES), 1, 2),
            "provider_in": lambda: self.some(lambda: self.rng.choice(PROVIDERS), 1, 2),
            "served_by_in": lambda: self.some(lambda: self.rng.choice(PEERS), 1, 2),
            "provider_not_in": lambda: self.some(lambda: self.rng.choice(PROVIDERS), 1, 2),
            "served_by_not_in": lambda: self.some(lambda: self.rng.choice(PEERS), 1, 2),
            "price_max": lambda: {key: self.number() for key in ("input", "output") if self.is_likely(60)},
            "cmp": lambda: (
                self.term("Pred", 1)[1:]
                if self.is_likely(0)
                else [self.rng.choice(self.numbers), "le", self.number()]
            ),
            "is": lambda: self.rng.choice(self.booleans),
        }
        keys = self.rng.sample(sorted(makers), self.rng.randint(1, 3))
        return {key: makers[key]() for key in keys}

    def _sugar_mutate(self, depth: int) -> Data:
        if depth == 0 or self.is_likely(20):
            return "identity"
        if self.is_likely(30):
            return self.some(lambda: self._sugar_mutate(depth - 1), 1, 3)
        makers: dict[str, Callable[[], Data]] = {
            "pipe": lambda: self.some(lambda: self._sugar_mutate(depth - 1), 1, 3),
            "jitter": lambda: {name: self.number() for name in self.rng.sample(self.params, 2)},
            "set_param": lambda: {
                name: self.rng.choice(("from_ctx", self.scalar())) for name in self.rng.sample(self.params, 2)
            },
            "clamp": lambda: {name: self.number() for name in self.rng.sample(self.params, 2)},
            "filter_text": self.recipe,
            "filter_image": self.recipe,
        }
        return {key: makers[key]() for key in self.rng.sample(sorted(makers), self.rng.randint(1, 2))}

    # Flows --------------------------------------------------------------------------------------

    def _case_flow(self) -> Data:
        """Draw a small graph under shuffled names; a broken one now and then."""
        names = self.rng.sample(("a", "b", "é", "n0", "n1", "日", "in", "out", "x y"), self.rng.randint(3, 7))
        policies = self.some(lambda: self.term("Policy", 3), 2, 2)
        nodes: dict[str, Data] = {names[0]: {"kind": "input"}}
        for name in names[1:-1]:
            nodes[name] = {"kind": "llm", "policy": self.rng.choice(policies)}
            nodes[name]["inputs"] = self.some(lambda: self.rng.choice(list(nodes)[:-1]), 1, 2)
            if self.is_likely(40):
                nodes[name]["system"] = self.rng.choice(("", "be brief", "è\n"))
            if self.is_likely(20):
                nodes[name]["template"] = "$1 and $2"
        used = {each for node in nodes.values() for each in node.get("inputs", [])}
        loose = [name for name in nodes if name not in used] or [names[0]]
        nodes[names[-1]] = {"kind": "output", "inputs": loose}
        shuffled = self.rng.sample(list(nodes), len(nodes))
        nodes = {name: nodes[name] for name in shuffled}
        if self.is_likely(35):
            node, key = (
                nodes[self.rng.choice(names)],
                self.rng.choice(("kind", "inputs", "system", "policy", "template", "x")),
            )
            node[key] = self.rng.choice((*JUNK, "input", "output", names, [names[0]], self.garbage()))
        return {"flow": ["flow", nodes]}


def random_cases(seed: int, n: int, kind: str) -> list[dict[str, Data]]:
    """Answer n cases of a kind, always the same for a seed."""
    rng = random.Random(f"{kind}:{seed}")  # noqa: S311 - repeatable, not secret
    return [Generator(rng).case(kind) for _ in range(n)]
