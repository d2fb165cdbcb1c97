"""What a policy means: spec 1.5 to 1.7, rule by rule in the order of the page.

Everything is evaluated on normal forms, in their order, with Python's doubles.
"""

# One case a rule, as in the spec.
# ruff: noqa: C901, FURB136, PLR0911, PLR0912
from __future__ import annotations

import math
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

from .language import e_number, failplan_table, normal_form, spelled
from .signature import Schema, dense, number, part, raw, record
from .transport import Data

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# 1.5 What a policy sees -------------------------------------------------------------------------


def route(candidate: Data) -> tuple[str, str]:
    """Answer the provider of a candidate and the key of its route."""
    provider = part(candidate, "provider_id")
    provider = provider if isinstance(provider, str) else ""
    family = part(candidate, "model_family")
    return provider, f"{provider}|{family if isinstance(family, str) else ''}"


def observe_number(name: str, candidate: Data, ctx: Data, schema: Schema) -> float:
    """Read a Num field; infinity is absent-high."""
    provider, key = route(candidate)
    seen = number(part(candidate, name))
    if name in ("price_in", "price_out") and seen is None:
        seen = number(part(ctx, "state", "ema", key, name))
    if name == "credits":
        seen = number(part(ctx, "state", "credits", provider))
    if name == "context":
        seen = number(part(candidate, "capabilities", "context"))
    return schema.numbers[name] if seen is None else seen


def observe_boolean(name: str, candidate: Data, ctx: Data, schema: Schema) -> bool:
    """Read a Bool field."""
    provider, key = route(candidate)
    if name == "breaker_open":
        breakers = part(ctx, "state", "breakers")
        return part(breakers, provider) is True or part(breakers, key) is True
    if name == "disabled":
        return part(ctx, "state", "disabled", provider) is not None
    seen = part(candidate, name)
    return seen if isinstance(seen, bool) else schema.booleans[name]


def tier_of(candidate: Data) -> str:
    """Read the tier; a missing one is `fallback`."""
    tier = part(candidate, "tier")
    return tier if isinstance(tier, str) else "fallback"


def served_by(candidate: Data) -> str:
    """Read who serves: the peer of the offer, or the provider of a direct route."""
    peer = part(candidate, "offer", "peer_id")
    return peer if isinstance(peer, str) else route(candidate)[0]


# 1.6 Meaning: numbers ---------------------------------------------------------------------------

T = 2.0**500


def bound(x: float) -> float:
    """Bring a result into [-T, T]; what is smaller than 2^-500 is 0."""
    if abs(x) > T:
        return math.copysign(T, x)
    return x if abs(x) >= 1 / T else 0.0


# 1.6 Meaning: Pred ------------------------------------------------------------------------------


def verdict(pred: Data, candidate: Data, ctx: Data, schema: Schema) -> str:
    """Evaluate a Pred in normal form: the reason why it fails, empty where it holds."""
    match pred:
        case ["top"]:
            return ""
        case ["bot"]:
            return "bot"
        case ["and", *children]:
            reasons = [verdict(child, candidate, ctx, schema) for child in children]
            return next(filter(None, reasons), "")
        case ["or", *children]:
            reasons = [verdict(child, candidate, ctx, schema) for child in children]
            return "" if "" in reasons else "or"
        case ["not", child]:
            return "" if verdict(child, candidate, ctx, schema) else "not"
        case ["meets_req"]:
            return _unmet(candidate, ctx, schema)
        case ["scope_matches"]:
            scope = part(candidate, "scope")
            return "" if scope is None or scope == part(ctx, "request", "scope") else "scope"
        case ["is", name]:
            return "" if observe_boolean(name, candidate, ctx, schema) else f"is:{name}"
        case ["cmp", name, rel, literal]:
            seen = observe_number(name, candidate, ctx, schema)
            return "" if _compare(seen, rel, float(literal)) else f"cmp:{name}:{rel}"
        case ["tier_eq", tier]:
            return "" if tier_of(candidate) == tier else "tier"
        case ["min_tier", tier]:
            own = tier_of(candidate)
            is_enough = own in schema.tiers and schema.tiers.index(own) >= schema.tiers.index(tier)
            return "" if is_enough else "min_tier"
        case ["family_eq", family]:
            return "" if part(candidate, "model_family") == family else "model_family"
        case ["provider_eq", provider]:
            return "" if part(candidate, "provider_id") == provider else "provider_id"
        case ["served_by_eq", peer]:
            return "" if served_by(candidate) == peer else "served_by"
        case ["has_cap", name]:
            return "" if _has_capability(candidate, name) else f"missing_capability:{name}"
    raise AssertionError(pred)


def _compare(seen: float, rel: str, literal: float) -> bool:
    return {
        "lt": seen < literal,
        "le": seen <= literal,
        "eq": seen == literal,
        "ne": seen != literal,
        "ge": seen >= literal,
        "gt": seen > literal,
    }[rel]


def _has_capability(candidate: Data, name: str) -> bool:
    """Tell a capability by its own key or by `supports_<name>`."""
    capabilities = part(candidate, "capabilities")
    return part(capabilities, name) is True or part(capabilities, "supports_" + name) is True


def _unmet(candidate: Data, ctx: Data, schema: Schema) -> str:
    """Name the first requirement of the request that a candidate does not meet."""
    request = part(ctx, "request")
    wanted = record(part(request, "requirements"))
    for need in ("tools", "vision", "json_mode", "seed"):
        has = part(candidate, "capabilities", "supports_" + need) is True
        if need in _needs(request) and not has:
            return f"missing_capability:{need}"
    context = number(wanted.get("min_context"))
    if context is not None and observe_number("context", candidate, ctx, schema) < context:
        return "min_context"
    family, tier = wanted.get("model_family"), wanted.get("tier")
    if isinstance(family, str) and part(candidate, "model_family") != family:
        return "model_family"
    if isinstance(tier, str) and tier_of(candidate) != tier:
        return "tier"
    has_tee = observe_boolean("has_tee", candidate, ctx, schema)
    if wanted.get("privacy") == "tee_required" and not has_tee:
        return "tee_required"
    no_log = has_tee or observe_boolean("no_log", candidate, ctx, schema)
    if wanted.get("privacy") == "no_log" and not no_log:
        return "no_log"
    speed = number(wanted.get("min_tok_s"))
    if speed is not None and observe_number("tok_s", candidate, ctx, schema) < speed:
        return "min_tok_s"
    return ""


def _needs(request: Data) -> list[Data]:
    needs = list(dense(part(request, "requirements", "needs")) or [])
    if _is_given(part(request, "images")):
        needs.append("vision")
    if _is_given(part(request, "tools")):
        needs.append("tools")
    if part(request, "response_format", "type") in ("json_object", "json_schema"):
        needs.append("json_mode")
    return needs


def _is_given(value: Data) -> bool:
    return value is not None and value is not False and value not in ([], {})


# 1.6 Meaning: Scorer ----------------------------------------------------------------------------


def scores(scorer: Data, survivors: Sequence[Data], ctx: Data, schema: Schema) -> list[float]:
    """Evaluate a Scorer in normal form over the survivors; each step is bounded."""

    def of(child: Data) -> list[float]:
        return scores(child, survivors, ctx, schema)

    match scorer:
        case ["zero"]:
            result = [0.0 for _ in survivors]
        case ["lit", value]:
            result = [float(value) for _ in survivors]
        case ["field", name]:
            result = [observe_number(name, each, ctx, schema) for each in survivors]
        case ["add", *children]:
            result = [0.0 for _ in survivors]
            for child in children:
                result = [total + x for total, x in zip(result, of(child), strict=True)]
        case ["scale", weight, child]:
            result = [float(weight) * x for x in of(child)]
        case ["neg", child]:
            result = [1 - x for x in of(child)]
        case ["gate", pred, child]:
            verdicts = [verdict(pred, each, ctx, schema) for each in survivors]
            result = [0.0 if v else x for v, x in zip(verdicts, of(child), strict=True)]
        case ["clamp", lo, hi, child]:
            result = [_clamp(x, float(lo), float(hi)) for x in of(child)]
        case ["normalize", child]:
            result = _normalize(of(child))
    return [bound(x) for x in result]


def _clamp(x: float, lo: float, hi: float) -> float:
    """Clamp, lo first and then hi."""
    x = lo if x < lo else x
    return hi if x > hi else x


def _normalize(values: list[float]) -> list[float]:
    inner = [x for x in values if -T < x < T]
    lo, hi = min(inner, default=0.0), max(inner, default=0.0)

    def place(x: float) -> float:
        if abs(x) == T:
            return 1.0 if x > 0 else 0.0
        return (x - lo) / (hi - lo) if hi > lo else 0.0

    return [place(x) for x in values]


# 1.6 Meaning: Selector --------------------------------------------------------------------------

Scored = list[tuple[Data, float]]


def select(selector: Data, scored: Scored, ctx: Data, schema: Schema) -> Scored:
    """Order the scored survivors; ties keep input order."""
    match selector:
        case ["ordered"]:
            return scored
        case ["argmax"]:
            return sorted(scored, key=lambda pair: -pair[1])
        case ["sample", temperature]:
            return _sample(float(temperature), select(["argmax"], scored, ctx, schema), ctx)
        case ["chain", links]:
            wanted = [(link["provider"], link["model"]) for link in spelled(links)]
            names = [(part(c, "provider_id"), part(c, "model_family")) for c, _ in scored]
            kept = [
                (candidate, -float(wanted.index(name) + 1))
                for (candidate, _), name in zip(scored, names, strict=True)
                if name in wanted
            ]
            return sorted(kept, key=lambda pair: -pair[1])
        case ["top_k", k, inner]:
            return select(inner, scored, ctx, schema)[: int(k)]
        case ["prefer", pred, inner]:
            order = select(inner, scored, ctx, schema)
            return sorted(order, key=lambda pair: verdict(pred, pair[0], ctx, schema) != "")
    raise AssertionError(selector)


def _sample(temperature: float, order: Scored, ctx: Data) -> Scored:
    t = max(temperature, 0.0)
    q = t / (t + 1)
    weights = [1.0]
    while len(weights) < len(order):
        weights.append(weights[-1] * q)
    pool, drawn, draws = list(zip(order, weights, strict=False)), [], stream(seed_of(ctx) or 0)
    while pool:
        total = 0.0
        for _, weight in pool:
            total += weight
        r, running = next(draws) * total, 0.0
        for place, (_, weight) in enumerate(pool):
            running += weight
            if running >= r:
                drawn.append(pool.pop(place)[0])
                break
    return drawn


# 1.6 Meaning: Xform -----------------------------------------------------------------------------


def transform(xform: Data, request: Data, candidate: Data, ctx: Data, schema: Schema) -> dict[str, Data]:
    """Answer the request that an Xform in normal form makes of one; a custom changes nothing."""
    changed: dict[str, Data] = dict(record(request))
    seed = seed_of(ctx)
    match xform:
        case ["seq", *steps]:
            for step in steps:
                changed = transform(step, changed, candidate, ctx, schema)
        case ["when", pred, step]:
            if not verdict(pred, candidate, ctx, schema):
                changed = transform(step, changed, candidate, ctx, schema)
        case ["set_param", name, value]:
            changed[name] = value
        case ["inject_seed", name]:
            if seed is not None:
                changed[name] = seed
        case ["clamp_param", name, lo, hi]:
            value = number(changed.get(name))
            if value is not None:
                changed[name] = _clamp(value, float(lo), float(hi))
        case ["jitter", name, amplitude]:
            base = number(changed.get(name, 0))
            if seed is not None and base is not None:
                draw = next(stream(seed, f"jitter:{name}{_attempt_suffix(ctx)}"))
                changed[name] = bound(bound(base) + bound((draw * 2 - 1) * bound(float(amplitude))))
        case ["filter_text" | "filter_image" as op, recipe]:
            kind = op.removeprefix("filter_")
            filters = dict(record(changed.get("_filters")))
            before = dense(part(filters, kind, "recipe")) or []
            filters[kind] = {"recipe": [*before, *(dense(recipe) or [])]}
            if seed is not None:
                filters[kind]["seed"] = seed % M
            changed["_filters"] = filters
    return changed


def _attempt_suffix(ctx: Data) -> str:
    attempt = number(part(ctx, "attempt")) or 1
    return f"#{e_number(attempt)}" if attempt > 1 and attempt == math.floor(attempt) else ""


# 1.6 Meaning: FailPlan --------------------------------------------------------------------------


def classify(plan: Data, kind: Data) -> Data:
    """Answer the action of a failure kind."""
    table = failplan_table(plan)
    return table.get(kind, table["unknown"]) if isinstance(kind, str) else table["unknown"]


# 1.6 Meaning: randomness ------------------------------------------------------------------------

M = 2147483647


def stream(seed: int, name: str = "") -> Iterator[float]:
    """Draw MINSTD numbers from a seed, on a named stream of it."""
    h = 0
    for byte in raw(name):
        h = (h * 31 + byte) % M
    s = (seed % M + h) % M or M - 1
    for turn in count(1):
        s = s * 16807 % M
        if turn > 4:  # four warm-up steps
            yield s / M


def integer_seed(value: Data) -> int | None:
    """Answer a seed as an integer below 2^53 in magnitude; anything else is none."""
    double = number(value)
    if double is None or double != math.floor(double) or abs(double) >= 2.0**53:
        return None
    return int(double)


def seed_of(ctx: Data) -> int | None:
    """Read the seed of a ctx; a malformed one counts as absent."""
    return integer_seed(part(ctx, "seed"))


def draws(seed: int, name: str, n: int) -> list[float]:
    """Answer the first draws of a stream."""
    return list(islice(stream(seed, name), n))


# The whole policy -------------------------------------------------------------------------------


class Plan(NamedTuple):
    """The ordered (candidate, score) pairs, and the (candidate, reason) pairs of the rejected."""

    ordered: Scored
    rejected: list[tuple[Data, str]]


def plan(policy: Data, candidates: Sequence[Data], ctx: Data, schema: Schema) -> Plan:
    """Filter, score and order the candidates, given in canonical order, by an admitted policy."""
    _, pred, scorer, selector, _, _ = normal_form(policy)
    verdicts = [(each, verdict(pred, each, ctx, schema)) for each in candidates]
    survivors = [each for each, reason in verdicts if not reason]
    scored = list(zip(survivors, scores(scorer, survivors, ctx, schema), strict=True))
    rejected = [(each, reason) for each, reason in verdicts if reason]
    return Plan(select(selector, scored, ctx, schema), rejected)


# 1.7 The envelope -------------------------------------------------------------------------------


def enveloped(policy: Data, envelope: Data) -> Data:
    """`and` the operator's Pred to the filter of a caller's policy."""
    tag, pred, *rest = policy
    return [tag, ["and", envelope, pred], *rest]
