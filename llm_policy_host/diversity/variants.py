"""Policies that mean the same and choose differently: one filter, other chains, weights and mutations.

INVARIANT: the filter and the failure plan are the intent's own, so that no variant admits what the
intent refuses; what varies does so within what was declared.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import UsageError
from llm_policy_host.run.filters import TEXT_FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain

KINDS: Final[Mapping[str, str]] = {
    "chains": "the routes in an order of its own, by price",
    "weights": "other weights, and leanings to providers",
    "seeds": "a seed of its own, for routes that take one",
    "temperature": "a temperature that jitters by its own amount",
    "filters": "text filters of its own, in its own order",
    "images": "image filters of its own (of GenVM; this host has none)",
}
"""What may vary."""

DEFAULT_KINDS = ("chains", "weights", "seeds", "temperature", "filters")

_BREAKER_CLOSED: Plain = ["not", ["is", "breaker_open"]]
_MAX_CHAIN = 1024
_MAX_LEANINGS = 200
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far variants may go.

    `cost` is how much dearer than the cheapest the first of a chain may be, `weights` how much a
    weight may change and a leaning may add to scores from 0 to 1, both as shares of 1;
    `temperature` is the most that it may jitter by; `mix` the tokens in and out that a price is of.
    """

    kinds: Sequence[str] = DEFAULT_KINDS
    cost: float = 0.25
    weights: float = 0.25
    temperature: float = 0.1
    mix: tuple[int, int] = (1000, 300)

    def price(self, candidate: Mapping[str, Any]) -> float | None:
        """Give what a call of a route costs in USD; None where a price is not known."""
        read, written = candidate.get("price_in"), candidate.get("price_out")
        if not isinstance(read, int | float) or not isinstance(written, int | float):
            return None
        return (self.mix[0] * read + self.mix[1] * written) / 1_000_000


def variants(
    intent: Plain,
    candidates: Sequence[Mapping[str, Any]],
    tolerances: Tolerances,
    count: int,
    seed: int,
    identify: Callable[[Plain], str],
) -> Iterator[Plain]:
    """Give so many policies of different identity; the same ones for the same seed."""
    known = {identify(intent)}
    for place in range(count):
        for attempt in range(_TRIES):
            rng = random.Random(f"{seed}/{place}/{attempt}")  # noqa: S311 - repeatable, not secret
            term = _variant(intent, candidates, tolerances, rng)
            identity = identify(term)
            if identity not in known:
                break
        else:
            raise UsageError(
                f"only {place} different policies were found: let more vary, or by more ({', '.join(KINDS)})"
            )
        known.add(identity)
        yield term


def _variant(
    intent: Plain, candidates: Sequence[Mapping[str, Any]], tolerances: Tolerances, rng: random.Random
) -> Plain:
    _, admits, scorer, selector, mutate, failures = intent
    ways = [kind for kind in _ways(selector) if kind in tolerances.kinds]
    way = rng.choice(ways) if ways else None
    if way == "chains":
        selector = _chained(selector, scorer, candidates, tolerances, rng)
    elif way == "weights":
        scorer = _leaning(scorer, candidates, tolerances.weights, rng)
    wanted = [kind for kind in _CHANGES if kind in tolerances.kinds]
    changes = [_CHANGES[kind](tolerances, rng) for kind in wanted if kind != "seeds" or not _has_seed(mutate)]
    return ["policy", admits, scorer, selector, ["seq", mutate, *changes] if changes else mutate, failures]


def _ways(selector: Plain) -> tuple[str, ...]:
    """Say what can vary the order that a selector gives."""
    inner = _innermost(selector)[0]
    return {"argmax": ("chains", "weights"), "sample": ("weights",)}.get(inner, ("chains",))


def _innermost(selector: Plain) -> Plain:
    return _innermost(selector[2]) if selector[0] in ("top_k", "prefer") else selector


# Chains -------------------------------------------------------------------------------------------


def _chained(
    selector: Plain,
    scorer: Plain,
    candidates: Sequence[Mapping[str, Any]],
    tolerances: Tolerances,
    rng: random.Random,
) -> Plain:
    """Put a chain of its own in the place of the innermost selector."""
    if selector[0] in ("top_k", "prefer"):
        return [*selector[:2], _chained(selector[2], scorer, candidates, tolerances, rng)]
    if selector[0] == "chain":
        return ["chain", _swapped(selector[1], candidates, tolerances, rng)]
    chain: Plain = ["chain", _by_price(candidates, tolerances, rng)[:_MAX_CHAIN]]
    has_gate = scorer[0] == "gate" and scorer[1] == _BREAKER_CLOSED
    return ["prefer", _BREAKER_CLOSED, chain] if has_gate else chain


def _by_price(
    candidates: Sequence[Mapping[str, Any]], tolerances: Tolerances, rng: random.Random
) -> list[dict[str, str]]:
    """Order all routes by a price that each validator sees up to the tolerance higher."""
    seen: dict[tuple[str, str], tuple[bool, float]] = {}
    for candidate in candidates:
        price, draw = tolerances.price(candidate), rng.random()
        key = (candidate["provider_id"], candidate["model_family"])
        place = (True, draw) if price is None else (False, price * (1 + tolerances.cost * draw))
        seen[key] = min(place, seen.get(key, place))
    return [{"provider": key[0], "model": key[1]} for key in sorted(seen, key=lambda key: (seen[key], key))]


def _swapped(
    chain: Sequence[Mapping[str, str]],
    candidates: Sequence[Mapping[str, Any]],
    tolerances: Tolerances,
    rng: random.Random,
) -> list[Mapping[str, str]]:
    """Swap neighbours of the intent's own chain whose prices lie within the tolerance."""
    prices = {(each["provider_id"], each["model_family"]): tolerances.price(each) for each in candidates}
    out = list(chain)
    for place in range(len(out) - 1):
        pair = [
            prices.get((str(each.get("provider")), str(each.get("model")))) for each in out[place : place + 2]
        ]
        known = [price for price in pair if price is not None]
        is_near = len(known) == 2 and max(known) <= min(known) * (1 + tolerances.cost)
        if is_near and rng.random() < 0.5:
            out[place], out[place + 1] = out[place + 1], out[place]
    return out


# Weights ------------------------------------------------------------------------------------------


def _leaning(
    scorer: Plain, candidates: Sequence[Mapping[str, Any]], tolerance: float, rng: random.Random
) -> Plain:
    """Change the weights, and lean to providers; a gate around all of it stays around."""
    if scorer[0] == "gate":
        return ["gate", scorer[1], _leaning(scorer[2], candidates, tolerance, rng)]
    providers = sorted({candidate["provider_id"] for candidate in candidates})
    if len(providers) > _MAX_LEANINGS:
        providers = sorted(rng.sample(providers, _MAX_LEANINGS))
    leanings: list[Plain] = [
        ["gate", ["provider_eq", name], ["lit", round(tolerance * rng.random(), 4)]] for name in providers
    ]
    return ["add", ["normalize", _weighted(scorer, tolerance, rng)], *leanings]


def _weighted(scorer: Plain, tolerance: float, rng: random.Random) -> Plain:
    op = scorer[0]
    if op == "scale":
        return ["scale", _moved(scorer[1], tolerance, rng), scorer[2]]
    if op == "add":
        return ["add", *(_addend(each, tolerance, rng) for each in scorer[1:])]
    if op in ("neg", "normalize"):
        return [op, _weighted(scorer[1], tolerance, rng)]
    return scorer


def _addend(scorer: Plain, tolerance: float, rng: random.Random) -> Plain:
    if scorer[0] == "scale":
        return _weighted(scorer, tolerance, rng)
    return ["scale", _moved(1, tolerance, rng), scorer]


def _moved(weight: float, tolerance: float, rng: random.Random) -> float:
    return float(f"{weight * (1 + tolerance * (2 * rng.random() - 1)):.4g}")


# Mutations ----------------------------------------------------------------------------------------


def _own_seed(_tolerances: Tolerances, rng: random.Random) -> Plain:
    return ["when", ["has_cap", "seed"], ["set_param", "seed", rng.randrange(2**31)]]


def _has_seed(mutate: Plain) -> bool:
    """Whether the intent itself says what seed is sent."""
    is_term = isinstance(mutate, list)
    return is_term and (
        mutate[:2] in (["set_param", "seed"], ["inject_seed", "seed"]) or any(map(_has_seed, mutate))
    )


def _own_temperature(tolerances: Tolerances, rng: random.Random) -> Plain:
    amount = round(tolerances.temperature * rng.random(), 4)
    return ["seq", ["jitter", "temperature", amount], ["clamp_param", "temperature", 0, 2]]


def _own_filters(_tolerances: Tolerances, rng: random.Random) -> Plain:
    form = rng.choice(["NFC", "NFKC"])
    others = sorted(set(TEXT_FILTERS) - {"NFC", "NFKC"})
    picked = [form, *rng.sample(others, rng.randint(0, len(others)))]
    rng.shuffle(picked)
    return ["filter_text", picked]


def _own_images(_tolerances: Tolerances, rng: random.Random) -> Plain:
    noise = {"GuassianNoise": round(rng.uniform(0.5, 4), 2)}  # the spelling is GenVM's
    sharp = {"Unsharpen.1": round(rng.uniform(0.5, 3), 2), "Unsharpen.2": rng.randint(1, 5)}
    return ["filter_image", rng.sample([noise, sharp, {"JPEG": rng.randint(70, 95)}], rng.randint(1, 3))]


_CHANGES: Mapping[str, Callable[[Tolerances, random.Random], Plain]] = {
    "seeds": _own_seed,
    "temperature": _own_temperature,
    "filters": _own_filters,
    "images": _own_images,
}
