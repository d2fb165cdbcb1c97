"""What is odd about scorers, selectors and chains, held against the catalog: see `warnings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.config.names import nearest

from .review import Odd, base_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.values import Plain

    from .places import Path
    from .review import Review

_BLIND = ("ordered", "chain")
# operations of scorers -> where their scorers stand among the arguments; `add` takes any number
_SCORERS = {"scale": 2, "gate": 2, "neg": 1, "normalize": 1, "clamp": 3}
# fields that the config settles, besides those that it declares
_SETTLED = ("context",)


def flat_score(review: Review) -> Iterator[Odd]:
    """Say which parts of a scorer are the same for all who can pass; numbers alone are meant so."""
    survey = review.survey
    if review.profile is None or survey.has_market or not _fields(review.term[2]):
        return
    well = {_key(entry) for entry in survey.rank(review.whole)}
    if len(well) > 1 and next(_flat_within(review, review.term[2], well), None) is None:
        return  # nobody else can make it the same again
    passing = {_key(route.candidate) for route in survey.passing(review.whole)}
    if len(passing) > 1:
        yield from _flat_within(review, review.term[2], passing)


def _flat_within(review: Review, scorer: Plain, passing: set[tuple[str, str]]) -> Iterator[Odd]:
    if not _fields(scorer):
        return
    score = _same(review, scorer, passing)
    if score is None:
        for part in _parts(scorer):
            yield from _flat_within(review, part, passing)
        return
    detail = f"{review.words(scorer)} is {score:.6g} for every route that can pass: it tells nobody apart"
    yield Odd(review.place("scorer", scorer), detail)


def _same(review: Review, scorer: Plain, passing: set[tuple[str, str]]) -> float | None:
    """Give the score that all of them have, whoever else survives; None where that is not so, or not sure."""
    is_settled = _fields(scorer) <= {*review.survey.settled, *_SETTLED}
    if not is_settled or not _is_sure(review, scorer, passing):
        return None
    scores = {entry["score"] for entry in review.survey.rank(["top"], scorer) if _key(entry) in passing}
    return scores.pop() if len(scores) == 1 else None


def _is_sure(review: Review, scorer: Plain, passing: set[tuple[str, str]]) -> bool:
    """Whether a score is the same whoever else survives: what is brought into 0..1 is, if all are equal."""
    if scorer[0] == "gate" or (scorer[0] == "normalize" and _same(review, scorer[1], passing) is None):
        return False
    return all(_is_sure(review, part, passing) for part in _parts(scorer))


def _parts(scorer: Plain) -> list[Plain]:
    if scorer[0] == "add":
        return [*scorer[1:]]
    return [scorer[_SCORERS[scorer[0]]]] if scorer[0] in _SCORERS else []


def _fields(scorer: Plain) -> set[str]:
    return (
        {scorer[1]} if scorer[0] == "field" else {name for part in _parts(scorer) for name in _fields(part)}
    )


def unused_part(review: Review) -> Iterator[Odd]:
    """Say that a scorer, or a chain, is written which the selector does not look at."""
    written, selector = review.written(), base_of(review.term[3])[0]
    if review.profile is None or review.places.is_extended(review.profile):
        return
    if selector in _BLIND and review.term[2][0] != "zero" and ("scorer" in written or "policy_ir" in written):
        detail = f"the selector `{selector}` looks at no score: the scorer changes nothing"
        yield Odd(review.place("scorer", review.term[2]), detail)
    if selector != "chain" and "chain" in written:
        detail = f"the selector `{selector}` looks at no chain: it changes nothing"
        yield Odd(("profiles", review.profile, "chain"), detail)


# Chains -------------------------------------------------------------------------------------------


def missing_route(review: Review) -> Iterator[Odd]:
    """Say which entries of a chain are no routes of the catalog."""
    routes = {_text(route.candidate) for route in review.survey.routes}
    names = review.survey.names()
    for at, entry in _entries(review):
        text = _text(entry)
        if text in routes:
            continue
        for noun, name in (("model", entry["model_family"]), ("provider", entry["provider_id"])):
            known = names["family_eq" if noun == "model" else "provider_eq"][1] or ()
            if name not in known:
                yield Odd(at, f"no {noun} `{name}` in the catalog", nearest(name, known))
                break
        else:
            yield Odd(at, f"no route `{text}` in the catalog", nearest(text, routes))


def refused_entry(review: Review) -> Iterator[Odd]:
    """Say which entries of a chain the filter never lets through."""
    entries = [*_entries(review)]
    if not entries or not review.survey.can(review.whole):
        return
    passing = {_text(route.candidate) for route in review.survey.passing(review.whole)}
    refused = {_text(route.candidate) for route in review.survey.routes} - passing
    for at, entry in entries:
        if _text(entry) in refused:
            yield Odd(at, f"the filter never lets `{_text(entry)}` through: the entry changes nothing")


def _entries(review: Review) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Give the entries of a policy's chain with their places, under the names of candidates."""
    base = base_of(review.term[3])
    if review.profile is None or base[0] != "chain":
        return
    root = review.roots("chain")[0]
    is_list = root[-1] == "chain"
    if not is_list:
        root = review.place("selector", base)
    for place, entry in enumerate(base[1], 1):
        is_told = is_list or root[-1] != "policy_ir"
        below = (place,) if is_list else (2, place)
        named = {
            "model_family": entry.get("model") or entry.get("model_family"),
            "provider_id": entry.get("provider") or entry.get("provider_id"),
        }
        yield (*root, *below) if is_told else root, named


def _text(candidate: Mapping[str, Any]) -> str:
    return f"{candidate['model_family']} @ {candidate['provider_id']}"


def _key(candidate: Mapping[str, Any]) -> tuple[str, str]:
    return candidate["provider_id"], candidate["model_family"]
