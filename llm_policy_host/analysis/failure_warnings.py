"""What is odd about failure plans: see `warnings`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.config.names import nearest

from .review import Odd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.values import Plain

    from .review import Review

_RETRY = "retry_same"
_ENDS_ALWAYS: Final = "stream_interrupted"
_BASE: Final = "unknown"
_MOST_RETRIES = 1_000_000
_OF_RETRIES: Final = ("attempts", "backoff_ms", "then_action")
_KEYS: Final = frozenset({"action", "open_breaker_ms", *_OF_RETRIES})


def long_wait(review: Review) -> Iterator[Odd]:
    """Say that retries alone may wait for longer than a run may take.

    Calls count as taking no time, and the shortlist is that of a request which requires nothing: so the
    true worst case is no shorter.
    """
    if review.profile is None:
        return
    actions = _actions(review.term[5])
    waits_ms = _waits(actions, review.deadline_ms)
    if not waits_ms:
        return
    routes = 1 if waits_ms > review.deadline_ms else _walked(review, actions)
    if routes * waits_ms > review.deadline_ms:
        kind = max(actions, key=lambda kind: _waits({kind: actions[kind]}, review.deadline_ms))
        over = f"over {routes} routes" if routes > 1 else "for one route"
        said = f"more than {review.deadline_ms:.0f}" if routes == 1 else f"{routes * waits_ms:.0f}"
        detail = (
            f"retries may wait {said} ms {over}; a run ends after {review.deadline_ms:.0f} ms, as `timeout`, "
            f"and whatever would follow is not tried"
        )
        yield Odd(_place(review, kind), detail)


def _waits(actions: Mapping[str, Mapping[str, Any]], enough_ms: float) -> float:
    """Give the longest that one route may be waited for, by any failures; counted until it is enough."""
    retried = [
        (math.ceil(action.get("attempts", 1)), action.get("backoff_ms", 0))
        for kind, action in actions.items()
        if action["action"] == _RETRY and kind != _ENDS_ALWAYS
    ]
    total_ms = 0.0
    for retry in range(min(max((attempts for attempts, _ in retried), default=0), _MOST_RETRIES)):
        total_ms += max(_backoff(backoff, retry) for attempts, backoff in retried if retry < attempts)
        if total_ms > enough_ms:
            break
    return total_ms


def _backoff(backoff: Plain, retry: int) -> float:
    if isinstance(backoff, list):
        return float(backoff[min(retry, len(backoff) - 1)]) if backoff else 0.0
    return float(backoff)


def _walked(review: Review, actions: Mapping[str, Mapping[str, Any]]) -> int:
    """Count the routes that failures can lead through, of a request that requires nothing."""
    entries = review.survey.rank(review.whole, selector=review.term[3])
    words = {
        word
        for kind, action in actions.items()
        if kind != _ENDS_ALWAYS
        for word in (
            action.get("then_action", "next_candidate") if action["action"] == _RETRY else action["action"],
        )
    }
    counts: dict[str, int] = {
        _RETRY: len(entries),
        "next_candidate": len(entries),
        "disable_provider": len({entry["provider_id"] for entry in entries}),
        "next_provider_same_model": sum(
            entry["model_family"] == entries[0]["model_family"] for entry in entries
        ),
    }
    return max([1, *(counts.get(word, 1) for word in words)])


def idle_action(review: Review) -> Iterator[Odd]:
    """Say which entries of a failure plan the engine does not look at."""
    if review.profile is None:
        return
    for kind, action in _actions(review.term[5]).items():
        for key in sorted(action.keys() - _KEYS):
            detail = f"`{key}` of `{kind}` changes nothing: no action has such a key"
            yield Odd(_place(review, kind), detail, nearest(key, _KEYS))
        if kind == _ENDS_ALWAYS and action["action"] != "abort":
            detail = f"`{kind}` ends a run whatever the plan says: bytes have reached the caller"
            yield Odd(_place(review, kind), detail)
        elif action["action"] != _RETRY:
            for key in _OF_RETRIES:
                if key in action:
                    detail = f"`{key}` of `{kind}` changes nothing: only `{_RETRY}` looks at it"
                    yield Odd(_place(review, kind), detail)


def _actions(plan: Plain) -> dict[str, dict[str, Any]]:
    """Give the action of each failure kind that a plan names; its base is that of `unknown`."""
    found: dict[str, dict[str, Any]] = {}
    while plan[0] == "override":
        found[plan[2]] = plan[3]
        plan = plan[1]
    return {_BASE: plan[1], **found}


def _place(review: Review, kind: str) -> tuple[str | int, ...]:
    """Say where a plan names a kind: under `retry_policies`, or the plan as a term."""
    root = review.roots("retry_policy")[0]
    name = review.places.value(root)
    is_named = root[-1] == "retry_policy" and isinstance(name, str)
    return ("retry_policies", name, kind) if is_named else review.place("retry_policy", review.term[5])
