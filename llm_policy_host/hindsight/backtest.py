"""Another policy over the runs that a ledger holds: what it would have decided, beside what happened.

It decides on what the past decisions rested on. How a route would have done is what the ledger saw of it:
in this very run, else the attempt of that route that was nearest before, else the first one after. Where a
route was never asked there is nothing to say, and the run is left out, on both sides.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.amounts import usd_of
from llm_policy_host.ledger.recovery import INTERRUPTED
from llm_policy_host.run.driver import BUDGET_EXCEEDED
from llm_policy_host.simulation.play import ANSWER, DEADLINE, WAIT, Played, Span
from llm_policy_host.values import Failure

from .history import CUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.values import Plain, Step

    from .deciding import Decider
    from .history import Past, Tried

MAX_ATTEMPTS: Final = 100
"""A run that asks more often than this never ends."""
DEADLINE_MS: Final = 50_000

_APPROVAL: Final = "approval_"
_READ: Final = ("input", "cached", "cache_write")
_WRITTEN: Final = ("output", "reasoning")


@dataclass(slots=True)
class Backtest:
    """Both sides of the runs that could be compared, and how many could not and why."""

    happened: list[Played] = field(default_factory=list)
    instead: list[Played] = field(default_factory=list)
    changed: int = 0
    """Runs whose first candidate is another one."""
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str) -> None:
        """Count a run that says nothing."""
        self.left_out[why] = self.left_out.get(why, 0) + 1


class Seen:
    """How each route did, by the place in the ledger at which it was asked."""

    def __init__(self, pasts: Iterable[Past]) -> None:
        self._tried: dict[str, list[Tried]] = {}
        for past in pasts:
            for tried in past.tried:
                if tried.is_over and tried.kind not in CUT:
                    self._tried.setdefault(tried.route, []).append(tried)
        for each in self._tried.values():
            each.sort(key=lambda tried: tried.seq)
        self._places = {route: [tried.seq for tried in each] for route, each in self._tried.items()}

    def of(self, route: str, past: Past, again: int) -> Tried | None:
        """Give how a route did, asked in a run for the n-th time, from 0."""
        own = [
            tried for tried in past.tried if tried.route == route and tried.kind not in CUT and tried.is_over
        ]
        if own:
            return own[min(again, len(own) - 1)]
        places = self._places.get(route)
        if not places:
            return None
        return self._tried[route][max(0, bisect_right(places, past.seq) - 1)]


def backtest(decider: Decider, pasts: Sequence[Past], term: Plain, from_ms: float = 0) -> Backtest:
    """Decide the runs from a moment on by another policy; how routes did is known from all of them."""
    made, seen = Backtest(), Seen(pasts)
    for number, past in enumerate(pasts):
        if past.ts < from_ms:
            continue
        if "catalog_id" not in past.admitted or "shape" not in past.refs:
            made.leave_out("a flow: its nodes are runs of their own")
        elif past.error == BUDGET_EXCEEDED or (past.error or "").startswith(_APPROVAL):
            made.leave_out("a budget or a gate ended it")
        elif (
            any(tried.kind in CUT for tried in past.tried)
            or past.end == "RunCancelled"
            or past.error == INTERRUPTED
        ):
            made.leave_out("its caller left, or its process")
        else:
            _compare(made, _Again(decider, seen, past, number), term)
    return made


def _compare(made: Backtest, again: _Again, term: Plain) -> None:
    played = again.play(term)
    if isinstance(played, str):
        made.leave_out(played)
        return
    happened = again.happened()
    made.happened.append(happened)
    made.instead.append(played)
    made.changed += _first(played) != _first(happened)


class _Again:
    """One run, played by another policy under a clock of its own."""

    def __init__(self, decider: Decider, seen: Seen, past: Past, number: int) -> None:
        self._decider = decider
        self._seen = seen
        self._past = past
        self._number = number
        self._deadline_ms = past.admitted.get("deadline_ms") or DEADLINE_MS
        self._tokens = next((tried.tokens for tried in past.tried if tried.kind is None), {})

    def play(self, term: Plain) -> Played | str:
        """Give the run by another policy, or why it says nothing."""
        engine, step = self._decider.begin(self._past, term)
        if step.status == "done" and step.result.get("refusal"):
            return f"the policy is refused there: {step.result['refusal'].get('code')}"
        now, asked, spans, cost = 0.0, dict[str, int](), list[Span](), None
        while step.status != "done":
            if step.status == "wait":
                until = max(now, step.until_ms)
                spans.append(Span(now, until, WAIT))
                now = until
                step = engine.wake(step.handle, int(now))
                continue
            route = f"{step.candidate['provider_id']}|{step.candidate['model_family']}"
            tried = self._seen.of(route, self._past, asked.get(route, 0))
            if tried is None:
                return f"nobody ever asked {route}"
            if sum(asked.values()) >= MAX_ATTEMPTS:
                return "it never ends"
            asked[route] = asked.get(route, 0) + 1
            ends = now + tried.ms
            if ends > self._deadline_ms:
                spans.append(Span(now, self._deadline_ms, DEADLINE, route))
                return self._played(spans, "timeout", None)
            spans.append(Span(now, ends, tried.kind or ANSWER, route))
            now = ends
            cost = self._cost(step, tried)
            step = self._told(engine, step, tried, int(now))
        return self._played(spans, step.result.get("error"), cost)

    def _told(self, engine: LuaEngine, step: Step, tried: Tried, now_ms: int) -> Step:
        """Tell the core how an attempt ended; who was disabled at the run's beginning still is."""
        if tried.kind is None:
            return engine.succeed(step.handle, now_ms)
        _, parts = self._decider.shelf.context(self._past.refs["ctx"])
        disabled = dict.fromkeys((parts.get("state") or {}).get("disabled") or (), True)
        return engine.fail(step.handle, now_ms, Failure(tried.kind), disabled)  # type: ignore[arg-type] # a kind

    def happened(self) -> Played:
        """Give the run as it was."""
        now, spans = 0.0, []
        for number, tried in enumerate(self._past.tried, 1):
            spans.append(Span(now, now + tried.ms, tried.kind or ANSWER, tried.route))
            now += tried.ms
            wait_ms = self._past.waits.get(number)
            if wait_ms and number < len(self._past.tried):
                spans.append(Span(now, now + wait_ms, WAIT))
                now += wait_ms
        last = self._past.tried[-1] if self._past.tried else None
        cost = None if last is None or last.usd_micro is None else usd_of(last.usd_micro)
        if cost is None and last is not None and last.kind is None:
            cost = self._price(last)
        return self._played(spans, self._past.error, cost)

    def _played(self, spans: list[Span], error: str | None, cost: float | None) -> Played:
        route = spans[-1].route if spans and error is None else None
        provider = None if route is None else route.partition("|")[0]
        took_ms = spans[-1].ends_ms if spans else 0.0
        began = float(self._past.ts)
        return Played(
            self._number, began, took_ms, error, provider, route, None if error else cost, tuple(spans), ()
        )

    def _cost(self, step: Step, tried: Tried) -> float | None:
        """Price an answer: as it was where it was given in this run, else this run's tokens at that price."""
        if tried.kind is not None:
            return None
        if tried in self._past.tried and tried.usd_micro is not None:
            return usd_of(tried.usd_micro)
        return _priced(self._tokens or tried.tokens, step.candidate)

    def _price(self, tried: Tried) -> float | None:
        engine = self._decider.engine(self._past.admitted["catalog_id"])
        named = (
            each
            for each in engine.candidates
            if (each["provider_id"], each["model_family"]) == (tried.provider_id, tried.model_family)
        )
        return _priced(tried.tokens, next(named, {}))


def _priced(tokens: Mapping[str, int], candidate: Mapping[str, Any]) -> float | None:
    """Price tokens at a route's own prices in USD; what is not known stays so."""
    read, written = candidate.get("price_in"), candidate.get("price_out")
    if not tokens or read is None or written is None:
        return None
    taken, given = (sum(tokens.get(name, 0) for name in names) for names in (_READ, _WRITTEN))
    return float(taken * read + given * written) / 1_000_000


def _first(run: Played) -> str | None:
    return next((span.route for span in run.spans if span.route is not None), None)
