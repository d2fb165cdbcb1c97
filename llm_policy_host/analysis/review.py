"""A policy of a config under review: its parts, the catalog they are held against, and their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llm_policy_host.config.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.core.language import Language
    from llm_policy_host.values import Plain

    from .places import Path, Places
    from .survey import Survey

EVERYBODY: Final = ["top"]
"""The filter that lets everybody through; as an envelope, none."""
_MOST_WORDS = 160
PARTS = ("filter", "scorer", "selector", "mutate", "retry_policy")
"""The keys of a profile that make the arguments of its Policy term, in their order."""


class Odd(NamedTuple):
    """Something odd: where the config says it, what is odd, and the nearest known name."""

    at: Path
    detail: str
    near: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A Policy term in normal form without its envelope, and `whole`, its filter with it.

    `profile` is the profile's name; None is the envelope itself, reviewed as a filter alone.
    """

    profile: str | None
    term: Plain
    whole: Plain
    envelope: Plain
    deadline_ms: float
    survey: Survey
    places: Places
    language: Language

    @property
    def filter(self) -> Plain:
        """Give its own filter."""
        return self.term[1]

    def roots(self, key: str) -> list[Path]:
        """Say where a part of it is written."""
        return [("policy_envelope",)] if self.profile is None else self.places.roots(self.profile, key)

    def place(self, key: str, term: Plain) -> Path:
        """Say where a term within one of its parts is written."""
        return self.places.find(self.roots(key), term)

    def words(self, term: Plain) -> str:
        """Tell a term in plain words."""
        told = self.language.describe(term)
        return f"`{told}`" if len(told) <= _MOST_WORDS else f"`{told[:_MOST_WORDS]}…`"

    def written(self) -> dict[str, Any]:
        """Give the profile's own keys as they are written."""
        return {} if self.profile is None else dict(self.places.profile(self.profile))

    def missing(self, pred: Plain) -> Iterator[tuple[Plain, str, str | None]]:
        """Give the atoms below a Pred that name what is not in the catalog, what, and the nearest name."""
        names = self.survey.names()
        for atom in atoms(pred):
            noun, known = names.get(atom[0], ("", None))
            if known is not None and atom[1] not in known:
                yield atom, f"no {noun} `{atom[1]}` in the catalog", nearest(atom[1], known)

    def names_all(self, pred: Plain) -> bool:
        """Whether all that a Pred names is in the catalog."""
        return next(self.missing(pred), None) is None


def conjuncts(pred: Plain) -> list[Plain]:
    """Give what of a Pred must all hold."""
    return [*pred[1:]] if pred[0] == "and" else [] if pred[0] == "top" else [pred]


def joined(preds: list[Plain]) -> Plain:
    """Give one Pred of several that must all hold."""
    return ["and", *preds] if preds else EVERYBODY


def atoms(pred: Plain) -> Iterator[Plain]:
    """Give the atoms of a Pred."""
    if pred[0] in ("and", "or", "not"):
        for part in pred[1:]:
            yield from atoms(part)
    else:
        yield pred


def base_of(selector: Plain) -> Plain:
    """Give the innermost selector."""
    while selector[0] in ("top_k", "prefer"):
        selector = selector[2]
    return selector


def conditions(term: Plain) -> Iterator[Plain]:
    """Give the conditions in a scorer, a selector or a change: where they gate, prefer or apply."""
    if term[0] in ("gate", "prefer", "when"):
        yield term[1]
    for part in term[1:]:
        if isinstance(part, list) and part and isinstance(part[0], str) and term[0] in _NESTED:
            yield from conditions(part)


_NESTED = ("add", "scale", "gate", "neg", "normalize", "clamp", "top_k", "prefer", "seq", "when")
