"""Random cases, a kind each: plain JSON with its escapes, always the same for a seed."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from .escapes import encode
from .terms import FAMILIES, JUNK, PEERS, PROVIDERS, REASONS, SEEDS
from .worlds import Worlds

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.core.grammar import Grammar

    from .escapes import Data

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


class Generator(Worlds):
    """One source of choices and one vocabulary, from which whole cases are drawn."""

    def case(self, kind: str) -> dict[str, Data]:
        """Draw a whole case of a kind; `garbage` is a `term` case that is seldom admitted."""
        body = getattr(self, "_case_" + kind)()
        named = {"kind": "term" if kind == "garbage" else kind, "name": f"generated {kind}"}
        answer: dict[str, Data] = encode({**named, "schema": self.schema, **body})
        return answer

    def _case_term(self) -> Data:
        return {"term": self.term(self.rng.choice(self.grammar.sorts), self.rng.randint(1, 6))}

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


def random_cases(grammar: Grammar, seed: int, n: int, kind: str) -> list[dict[str, Data]]:
    """Answer n cases of a kind, always the same for a seed."""
    rng = random.Random(f"{kind}:{seed}")  # noqa: S311 - repeatable, not secret
    return [Generator(rng, grammar).case(kind) for _ in range(n)]
