"""What a case expects, compared with what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .rows import ANSWERED, NOBODY, REST
from .world import read_route, route_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llm_policy_host.values import Plain, Result

    Found = Iterator[tuple[tuple[str | int, ...], Plain, Plain]]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What is not as expected; `at` leads to the expectation within the case."""

    at: tuple[str | int, ...]
    wanted: Plain
    got: Plain


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a case: the explained plan, the result, the last call's parameters, the time it took."""

    plan: Mapping[str, Any]
    result: Result
    params: Mapping[str, Any]
    took_ms: float

    @property
    def order(self) -> list[str]:
        """Give who would serve, in order."""
        return [_text_of(entry) for entry in self.plan["ordered"]]

    @property
    def rejected(self) -> dict[str, str]:
        """Give who was rejected, and the reason."""
        return {_text_of(entry): entry["reason"] for entry in self.plan["rejected"]}

    @property
    def chosen(self) -> str | None:
        """Give who answered."""
        chosen = self.result.chosen
        if not chosen:
            return None
        peer = chosen.get("served_by")
        return route_text(chosen["provider_id"], chosen["model_family"], peer)

    @property
    def attempts(self) -> list[dict[str, str]]:
        """Give every call and how it ended."""
        return [
            {route_text(step["provider_id"], step["model_family"]): step.get("error_kind") or ANSWERED}
            for step in self.result.trace.decision_path
            if step["event"] == "attempted"
        ]


def _text_of(entry: Mapping[str, Any]) -> str:
    return route_text(entry["provider"], entry["model_family"], entry.get("served_by"))


def _same_route(text: str) -> str:
    return route_text(*read_route(text))


def mismatches(expect: Mapping[str, Any], played: Played) -> Iterator[Mismatch]:
    """Give everything that is not as expected."""
    for name, wanted in expect.items():
        for at, part, got in _CHECKS[name](wanted, played):
            yield Mismatch(("expect", name, *at), part, got)


def _order(wanted: list[str], played: Played) -> Found:
    names = [text if text == REST else _same_route(text) for text in wanted]
    is_open = bool(names) and names[-1] == REST
    head = names[:-1] if is_open else names
    got = played.order[: len(head)] if is_open else played.order
    if got != head:
        yield (), names, played.order


def _rejected(wanted: Mapping[str, str], played: Played) -> Found:
    got = played.rejected
    for text, reason in wanted.items():
        found = got.get(_same_route(text))
        if found != reason:
            yield (text,), reason, found


def _chosen(wanted: str, played: Played) -> Found:
    name = None if wanted == NOBODY else _same_route(wanted)
    if name != played.chosen:
        yield (), wanted, played.chosen or NOBODY


def _attempts(wanted: list[Mapping[str, str]], played: Played) -> Found:
    named = [{_same_route(text): kind for text, kind in item.items()} for item in wanted]
    if named != played.attempts:
        yield (), named, played.attempts


def _params(wanted: Mapping[str, Any], played: Played) -> Found:
    for name, value in wanted.items():
        got = played.params.get(name)
        if not _is_as_wanted(value, got):
            yield (name,), value, got


def _is_as_wanted(wanted: Plain, got: Plain) -> bool:
    if isinstance(wanted, dict) and set(wanted) == {"from", "to"}:
        return isinstance(got, int | float) and bool(wanted["from"] <= got <= wanted["to"])
    return type(got) is type(wanted) and got == wanted if isinstance(wanted, bool) else bool(got == wanted)


def _error(wanted: str, played: Played) -> Found:
    if played.result.error != wanted:
        yield (), wanted, played.result.error


def _text(wanted: str, played: Played) -> Found:
    response = played.result.response
    got = response.text if played.result.ok and response is not None else None
    if got != wanted:
        yield (), wanted, got


def _took(wanted: float, played: Played) -> Found:
    if abs(played.took_ms - wanted) > 1e-6:
        yield (), wanted, played.took_ms


def _within(wanted: float, played: Played) -> Found:
    if played.took_ms > wanted:
        yield (), wanted, played.took_ms


_CHECKS: Final[Mapping[str, Callable[[Any, Played], Found]]] = {
    "order": _order,
    "rejected": _rejected,
    "chosen": _chosen,
    "attempts": _attempts,
    "params": _params,
    "error": _error,
    "text": _text,
    "took_ms": _took,
    "within_ms": _within,
}
