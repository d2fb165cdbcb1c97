"""What is odd about a config's policies, held against its own catalog: one function a warning.

A warning is true of every request, state and offer that can come, or it is not given; of `long_wait`,
there is a request for which it is true. Nothing here is asked over a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llm_policy_host.errors import Problem

from .failure_warnings import idle_action, long_wait
from .filter_warnings import (
    idle_clause,
    idle_condition,
    missing_name,
    nobody_passes,
    outside_envelope,
    unpriced,
)
from .order_warnings import flat_score, missing_route, refused_entry, unused_part
from .places import Places
from .review import EVERYBODY, Odd, Review
from .subject import envelope_of
from .survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llm_policy_host.config.load import Config
    from llm_policy_host.core.child import ChildEngine
    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.core.language import Language

WARNINGS: Final[Mapping[str, tuple[Callable[[Review], Iterator[Odd]], str]]] = {
    "nobody_passes": (
        nobody_passes,
        "a filter, a clause of it or the envelope, that no route of the catalog can pass",
    ),
    "outside_envelope": (
        outside_envelope,
        "a profile whose filter lets through only what the envelope refuses",
    ),
    "missing_name": (
        missing_name,
        "a model, provider, peer or capability in a filter or a condition that the catalog does not have",
    ),
    "missing_route": (missing_route, "an entry of a chain that is no route of the catalog"),
    "unpriced": (
        unpriced,
        "routes that can never pass a ceiling for want of the number: absent is higher than every number",
    ),
    "idle_clause": (
        idle_clause,
        (
            "a part of a profile's filter that changes nothing: every route passes, another part implies it, "
            "or it is one of several and no route can pass it; a bound on a price is for prices to come, and "
            "only ever implied"
        ),
    ),
    "idle_condition": (
        idle_condition,
        "a `when`, `gate` or `prefer` that holds for all, or for none, of whom the filter lets through",
    ),
    "refused_entry": (refused_entry, "an entry of a chain that the filter never lets through"),
    "flat_score": (
        flat_score,
        "a part of a scorer that looks at fields and is the same for all routes that can pass",
    ),
    "unused_part": (
        unused_part,
        "a scorer, or a chain, beside a selector that does not look at it",
    ),
    "long_wait": (
        long_wait,
        "a failure plan whose waits alone can be longer than `host.deadline_ms`",
    ),
    "idle_action": (
        idle_action,
        (
            "an entry of a failure plan that the engine does not look at: a key that no action has, waits of "
            "what is no `retry_same`, anything but `abort` for `stream_interrupted`"
        ),
    ),
}
"""Each kind of warning: what finds it, and what it is."""

_NOTHING_ELSE: Final = [["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]


@dataclass(frozen=True, slots=True)
class Oddity:
    """A warning: its kind, the profile or `policy_envelope` that it is of, and its place and words."""

    kind: str
    name: str
    problem: Problem


def oddities(config: Config, engine: LuaEngine | ChildEngine, language: Language) -> list[Oddity]:
    """Give all warnings of a config without mistakes, in the order of their places, each once."""
    document, found = config.document, dict[Problem, Oddity]()
    for review in _reviews(config, engine, language):
        for kind, (find, _) in WARNINGS.items():
            for odd in find(review):
                problem = document.problem(odd.at, odd.detail, near=odd.near)
                found.setdefault(problem, Oddity(kind, review.profile or "policy_envelope", problem))
    return sorted(
        found.values(), key=lambda each: (each.problem.line, each.problem.column, each.problem.path)
    )


def _reviews(config: Config, engine: LuaEngine | ChildEngine, language: Language) -> Iterator[Review]:
    """Give the envelope and every profile that has a term; functions of this host are not looked into."""
    core, is_plain = config.core, config.document.child is None
    survey = Survey(core, language)
    if not survey.routes:
        return
    places = Places(config.document.data if is_plain else {}, core, language)
    envelope = envelope_of(core) if is_plain and "policy_envelope" in core else EVERYBODY
    around = (config.settings.deadline_ms, survey, places, language)
    if envelope != EVERYBODY:
        yield Review(None, ["policy", envelope, *_NOTHING_ELSE], envelope, envelope, *around)
    for name in sorted(core.get("profiles") or {}, key=lambda name: name.encode(errors="replace")):
        term, whole = (engine.profile_term(name, is_bare=is_bare) for is_bare in (True, False))
        if term is not None:
            yield Review(name, term, whole[1], envelope, *around)
