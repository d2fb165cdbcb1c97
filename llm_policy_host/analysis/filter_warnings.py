"""What is odd about filters, held against the catalog: see `warnings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .review import EVERYBODY, PARTS, Odd, conditions, conjuncts, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.values import Plain

    from .review import Review
    from .routes import Route

_UPPER = ("lt", "le", "eq")
_PRICES = ("price_in", "price_out")
_BREAKER_GATE = ["not", ["is", "breaker_open"]]


def nobody_passes(review: Review) -> Iterator[Odd]:
    """Say which clauses, or which whole filter, nobody in the catalog can pass."""
    if review.survey.can(review.filter):
        return
    dead = [clause for clause in conjuncts(review.filter) if not review.survey.can(clause)]
    for clause in dead:
        detail = f"nobody in the catalog can pass {review.words(clause)}"
        yield Odd(review.place("filter", clause), detail)
    if not dead:
        detail = f"nobody in the catalog can pass all of {review.words(review.filter)}"
        yield Odd(review.place("filter", review.filter), detail)


def outside_envelope(review: Review) -> Iterator[Odd]:
    """Say that whom the filter lets through the envelope refuses."""
    survey = review.survey
    if review.envelope == EVERYBODY:
        return
    if survey.can(review.filter) and survey.can(review.envelope) and not survey.can(review.whole):
        detail = f"whoever can pass it, the envelope refuses: {review.words(review.envelope)}"
        yield Odd(review.place("filter", review.filter), detail)


def idle_clause(review: Review) -> Iterator[Odd]:
    """Say which clauses of a profile's filter change nothing; an envelope guards against what may come."""
    if review.profile is None or not review.survey.can(review.filter):
        return
    kept = conjuncts(review.filter)
    for clause in conjuncts(review.filter):
        if not review.names_all(clause):
            continue
        rest = [each for each in kept if each is not clause]
        if _is_idle(review, clause):
            detail = f"every route of the catalog passes {review.words(clause)}: it changes nothing"
        elif rest and review.survey.implies(joined(rest), clause):
            cause = next((each for each in rest if review.survey.implies(each, clause)), joined(rest))
            detail = f"{review.words(cause)} implies {review.words(clause)}: it changes nothing"
        else:
            yield from _idle_within(review, clause)
            continue
        kept = rest
        yield Odd(review.place("filter", clause), detail)


def _is_idle(review: Review, clause: Plain) -> bool:
    """Whether everybody always passes, also in days to come."""
    return not _is_guard(clause) and review.survey.must(clause)


def _is_guard(pred: Plain) -> bool:
    """Whether it is about a price alone: such a bound is for prices to come."""
    return pred[0] == "cmp" and pred[1] in _PRICES


def _idle_within(review: Review, pred: Plain) -> Iterator[Odd]:
    """Say which parts of a clause change nothing."""
    survey, words = review.survey, review.words
    for part in pred[1:] if pred[0] in ("and", "or", "not") else ():
        if not review.names_all(part):
            continue
        if pred[0] == "or" and not survey.can(part):
            detail = f"nobody in the catalog can pass {words(part)}: as one of several it changes nothing"
            yield Odd(review.place("filter", part), detail)
        elif pred[0] == "and" and _is_idle(review, part):
            detail = f"every route of the catalog passes {words(part)}: it changes nothing"
            yield Odd(review.place("filter", part), detail)
        else:
            yield from _idle_within(review, part)


def idle_condition(review: Review) -> Iterator[Odd]:
    """Say which conditions hold for nobody whom the filter lets through, or for everybody."""
    survey, whole = review.survey, review.whole
    if review.profile is None or not survey.can(whole):
        return
    for key, term in zip(PARTS[1:4], review.term[2:5], strict=True):
        for pred in conditions(term):
            if pred == _BREAKER_GATE or _is_guard(pred) or not review.names_all(pred):
                continue
            at, told = review.place(key, pred), review.words(pred)
            if not survey.can(["and", whole, pred]):
                yield Odd(at, f"nobody whom the filter lets through meets {told}: nothing comes of it")
            elif not survey.can(["and", whole, ["not", pred]]):
                yield Odd(at, f"everybody whom the filter lets through meets {told}: it changes nothing")


def unpriced(review: Review) -> Iterator[Odd]:
    """Say who can never pass a ceiling, for want of the number that it bounds."""
    clauses = conjuncts(review.filter)
    ceilings = [clause for clause in clauses if _is_ceiling(review, clause)]
    rest = joined([clause for clause in clauses if clause not in ceilings])
    for clause in ceilings:
        without = [r for r in review.survey.routes if not r.is_market and r.candidate.get(clause[1]) is None]
        lacking = [r for r in review.survey.passing(rest) if r in without] if without else []
        if lacking:
            named = ", ".join(f"`{_text(route)}`" for route in lacking)
            why = f"no `{clause[1]}` counts as higher than any number"
            yield Odd(review.place("filter", clause), f"{named} can never pass {review.words(clause)}: {why}")


def _is_ceiling(review: Review, clause: Plain) -> bool:
    is_bound = clause[0] == "cmp" and clause[2] in _UPPER and clause[1] in review.survey.settled
    return is_bound and review.survey.is_absent_high(clause[1])


def missing_name(review: Review) -> Iterator[Odd]:
    """Say which names in filters and conditions are not in the catalog."""
    for key, term in zip(PARTS[:4], review.term[1:5], strict=True):
        for pred in [term] if key == "filter" else conditions(term):
            for atom, detail, near in review.missing(pred):
                yield Odd(review.place(key, atom), detail, near)


def _text(route: Route) -> str:
    return f"{route.candidate['model_family']} @ {route.candidate['provider_id']}"
