"""What of a policy its cases have seen: every predicate true and false, every failure, every candidate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .world import route_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain

    from .playing import Outcome

_CONSTANT: Final[Mapping[str, bool]] = {"top": True, "bot": False}
OTHERWISE: Final = "any other failure"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that cases can see of a policy: what it is, where in the term, and whether it was seen."""

    what: str
    path: str
    words: str
    is_seen: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """All points of a policy."""

    name: str
    policy_id: str
    cases: int
    points: tuple[Point, ...] = field(repr=False)

    @property
    def seen(self) -> int:
        """Count the points that were seen."""
        return sum(point.is_seen for point in self.points)

    @property
    def percent(self) -> float:
        """Give the share that was seen."""
        return 100.0 * self.seen / len(self.points) if self.points else 100.0

    @property
    def missing(self) -> list[Point]:
        """Give what nobody saw."""
        return [point for point in self.points if not point.is_seen]


def measure(
    name: str,
    policy: Mapping[str, Any],
    nodes: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    candidates: Iterable[Mapping[str, Any]],
) -> Coverage:
    """Measure the outcomes that a policy decided; `nodes` are its predicates, asked of nobody."""
    own = [outcome for outcome in outcomes if outcome.policy_id == policy["id"]]
    points = (
        *_predicates(nodes, own),
        *_failures(policy["term"], own),
        *_candidates(policy["term"], own, candidates),
    )
    return Coverage(name, policy["id"], len(own), points)


def _predicates(nodes: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> Iterator[Point]:
    counts: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        for node in outcome.truths:
            seen = counts.setdefault(node["path"], {"yes": 0, "no": 0})
            seen["yes"] += node["yes"]
            seen["no"] += node["no"]
    for node in nodes:
        seen = counts.get(node["path"], {"yes": 0, "no": 0})
        for what, key, value in (("true", "yes", True), ("false", "no", False)):
            if _CONSTANT.get(node["op"], value) is value:
                yield Point(what, node["path"], node["words"], seen[key] > 0)


def _failures(term: Plain, outcomes: Sequence[Outcome]) -> Iterator[Point]:
    """Give the entries of the failure plan: each kind that it names, and all others."""
    met = {kind for outcome in outcomes for kind in _kinds_met(outcome)}
    named: list[tuple[str, str]] = []
    plan, path = term[5], "$.policy[5]"
    while plan[0] == "override":
        named.append((plan[2], path))
        plan, path = plan[1], f"{path}.override[1]"
    for kind, at in named:
        yield Point("failure", at, kind, kind in met)
    yield Point("failure", path, OTHERWISE, bool(met - {kind for kind, _ in named}))


def _kinds_met(outcome: Outcome) -> Iterator[str]:
    if outcome.played is not None:
        for step in outcome.played.result.trace.decision_path:
            if step["event"] == "attempted" and step.get("error_kind"):
                yield step["error_kind"]


def _candidates(
    term: Plain, outcomes: Sequence[Outcome], candidates: Iterable[Mapping[str, Any]]
) -> Iterator[Point]:
    """Give the routes of the catalog; of a chain's policy only those that the chain names."""
    listed = _chain(term[3])
    chosen = {outcome.played.chosen for outcome in outcomes if outcome.played is not None}
    for candidate in candidates:
        route = (candidate["provider_id"], candidate["model_family"])
        if listed is None or route in listed:
            text = route_text(*route)
            yield Point("chosen", "$.policy[3]", text, text in chosen)


def _chain(selector: Plain) -> set[tuple[str, str]] | None:
    while selector[0] in ("top_k", "prefer"):
        selector = selector[2]
    if selector[0] != "chain":
        return None
    return {
        (entry.get("provider") or entry["provider_id"], entry.get("model") or entry["model_family"])
        for entry in selector[1]
    }
