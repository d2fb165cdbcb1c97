"""Plays runs over the real engine, event by event, under virtual time.

It does what the driver does with a scripted provider and a virtual clock, without an event loop: the
tests hold the two against each other. Adapters, credentials and lanes are no part of it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llm_policy_host.market.observed import Observed
from llm_policy_host.ports import Engine
from llm_policy_host.run.attempt import call_of
from llm_policy_host.run.filters import filtered
from llm_policy_host.run.shape import shape
from llm_policy_host.values import NOTHING, Attempt, Failure, Inputs

from .behaviour import HANG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.values import Contract, Plain, Step

    from .behaviour import Turn, World

START_MS = 1_700_000_000_000
MAX_ATTEMPTS = 10_000
"""A run that calls more often than this never ends."""

_HEALTHY = {"v": 1, "health": {"breakers": {}, "disabled": {}}}
WAIT, ANSWER, DEADLINE = "wait", "answer", "deadline"


class Restorable(Engine, Protocol):
    """An engine whose health can be made good again."""

    def restore_state(self, state: Plain) -> None:
        """Take a state in place of its own."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked, how often, and how long it may take."""

    contract: Contract
    runs: int
    deadline_ms: float
    timeout_ms: float
    credits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a run: a call of a route with its end (`answer`, a kind, `deadline`), or a `wait`."""

    begins_ms: float
    ends_ms: float
    end: str
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """A run that is over; its moments count from its beginning, `began_ms` from the simulation's."""

    number: int
    began_ms: float
    took_ms: float
    error: str | None
    provider_id: str | None
    route: str | None
    cost_usd: float | None
    spans: tuple[Span, ...] = field(repr=False)
    path: tuple[Mapping[str, Any], ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether somebody answered."""
        return self.error is None

    @property
    def attempts(self) -> int:
        """Count the calls."""
        return sum(span.route is not None for span in self.spans)


@dataclass(slots=True)
class _Run:
    """A run under way."""

    number: int
    began: float
    ends_at_ms: float
    step: Step
    usage: Mapping[str, int] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    attempts: int = 0
    is_late: bool = False


def play(engine: Restorable, world: World, setting: Setting) -> list[Played]:
    """Play all runs; in the order of their numbers."""
    theatre = _Theatre(engine, world, setting)
    beginnings = world.beginnings(setting.runs)
    theatre.renew()
    for number, moment in enumerate(beginnings):
        if world.conduct.every_ms is None:
            theatre.renew()
            theatre.admit(number, START_MS)
            theatre.go_on()
        else:
            theatre.admit(number, START_MS + moment)
    theatre.go_on()
    return sorted(theatre.played, key=lambda played: played.number)


class _Theatre:
    """The events to come, in the order of their moments."""

    def __init__(self, engine: Restorable, world: World, setting: Setting) -> None:
        self._engine = engine
        self._world = world
        self._setting = setting
        self._shape = shape(setting.contract)
        self._now = float(START_MS)
        self._order = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._fixed: Mapping[str, Any] = {"credits": setting.credits} if setting.credits else NOTHING
        self._observed: Observed | None = None
        self._is_healthy = False
        self.played: list[Played] = []

    # Time -------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Give the virtual time, as a clock does."""
        return int(self._now)

    def elapsed_ms(self) -> float:
        """Give the virtual time with its fractions."""
        return self._now

    async def sleep_ms(self, ms: float) -> None:
        """Refuse: nothing waits here."""
        raise NotImplementedError

    def call_later(self, ms: float, action: Callable[[], None]) -> Any:  # noqa: ANN401 - no timer is given
        """Refuse: nothing but the plan's own events happens here."""
        raise NotImplementedError

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (moment, self._order, action))

    def go_on(self) -> None:
        """Let everything happen that is to come."""
        while self._events:
            moment, _, action = heapq.heappop(self._events)
            self._now = max(self._now, moment)
            action()

    def renew(self) -> None:
        """Begin anew: everyone is healthy, nobody was asked."""
        if not self._is_healthy:
            self._engine.restore_state(_HEALTHY)
            self._is_healthy = True
        self._world.renew()
        self._observed = None if self._world.conduct.every_ms is None else Observed(self)
        self._now = float(START_MS)

    # Steps ------------------------------------------------------------------------------------

    def admit(self, number: int, moment: float) -> None:
        """Let a run begin at a moment."""
        self._at(moment, lambda: self._begin(number))

    def _begin(self, number: int) -> None:
        now_ms = self.now_ms()
        inputs = Inputs(now_ms, self._world.seed_of(number), others=self._others(number))
        step = self._engine.start(self._shape, inputs)
        usage = self._world.usage(number)
        self._follow(_Run(number, self._now, now_ms + self._setting.deadline_ms, step, usage))

    def _others(self, number: int) -> Mapping[str, Any]:
        factors = self._world.factors(number)
        observed = self._observed.routes() if self._observed is not None else None
        if not factors and not observed:
            return self._fixed
        more = {"price_multipliers": factors, "observed": observed}
        return {**self._fixed, **{name: value for name, value in more.items() if value}}

    def _follow(self, run: _Run) -> None:
        step = run.step
        if step.status == "done":
            self._end(run)
        elif (self.now_ms() if step.status == "call" else step.until_ms) >= run.ends_at_ms:
            self._miss_deadline(run)
        elif step.status == "call":
            self._call(run)
        else:
            moment = self._now + max(0, step.until_ms - self.now_ms())
            self._note(run, moment, WAIT)
            self._at(moment, lambda: self._wake(run))

    def _wake(self, run: _Run) -> None:
        run.step = self._engine.wake(run.step.handle, self.now_ms())
        self._follow(run)

    def _call(self, run: _Run) -> None:
        run.attempts += 1
        if run.attempts > MAX_ATTEMPTS:
            self._miss_deadline(run)
            return
        call = call_of(self._setting.contract, run.step, self._setting.timeout_ms)
        fit = filtered(call)
        if isinstance(fit, Failure):
            self._at(self._now, lambda: self._fail(run, fit))
            return
        turn = self._world.turn(run.number, run.step.candidate, self._now - START_MS)
        left_ms, bound_ms = max(0, run.ends_at_ms - self.now_ms()), call.timeouts.attempt_ms
        limit_ms = left_ms if bound_ms is None else min(left_ms, bound_ms)
        latency_ms = None if HANG in turn else max(0, turn.get("latency_ms", 0))
        if latency_ms is not None and latency_ms < limit_ms:
            self._arrange(run, latency_ms, _outcome(turn), turn)
        elif bound_ms is not None and bound_ms <= left_ms:
            is_callers = "timeout_ms" in run.step.callers_bounds
            self._arrange(run, limit_ms, Failure("timeout", is_callers_fault=is_callers), turn)
        else:
            self._note(run, self._now + limit_ms, DEADLINE)
            self._at(self._now + limit_ms, lambda: self._miss_deadline(run))

    def _arrange(self, run: _Run, after_ms: float, failure: Failure | None, turn: Turn) -> None:
        """Let a call end after a while."""
        self._note(run, self._now + after_ms, ANSWER if failure is None else failure.kind)
        started = self._now

        def settle() -> None:
            self._observe(run, started, failure, turn)
            if failure is None:
                run.usage = turn.get("usage") or run.usage
                run.step = self._engine.succeed(run.step.handle, self.now_ms())
                self._follow(run)
            else:
                self._fail(run, failure)

        self._at(self._now + after_ms, settle)

    def _fail(self, run: _Run, failure: Failure) -> None:
        self._is_healthy = False
        run.step = self._engine.fail(run.step.handle, self.now_ms(), failure)
        self._follow(run)

    def _miss_deadline(self, run: _Run) -> None:
        run.is_late = True
        run.step = self._engine.abandon(run.step.handle, self.now_ms(), "timeout")
        self._end(run)

    # What is noted ----------------------------------------------------------------------------

    def _note(self, run: _Run, until: float, end: str) -> None:
        route = None if end == WAIT else _route(run.step.candidate)
        run.spans.append(Span(self._now - run.began, until - run.began, end, route))

    def _observe(self, run: _Run, started: float, failure: Failure | None, turn: Turn) -> None:
        if self._observed is None:
            return
        candidate = run.step.candidate
        tokens = turn["usage"].get("output", 0) if failure is None and turn.get("usage") else None
        self._observed.note(
            Attempt(
                candidate["provider_id"],
                candidate["model_family"],
                candidate.get("served_by"),
                int(started),
                self._now - started,
                output_tokens=tokens,
                kind=failure.kind if failure is not None else None,
                is_callers_fault=failure is not None and failure.is_callers_fault,
            )
        )

    def _end(self, run: _Run) -> None:
        self._world.leave(run.number)
        result = run.step.result
        error = "timeout" if run.is_late else None if result.get("ok") else str(result.get("error"))
        chosen = (result.get("chosen") or {}) if error is None else {}
        self.played.append(
            Played(
                run.number,
                run.began - START_MS,
                self._now - run.began,
                error,
                chosen.get("provider_id"),
                _route(chosen) if chosen else None,
                _cost(chosen, run.usage) if chosen else None,
                tuple(run.spans),
                tuple((result.get("trace") or {}).get("decision_path") or ()),
            )
        )


def _outcome(turn: Turn) -> Failure | None:
    """Say how a call fails; None where it is answered."""
    if "failure" in turn:
        return Failure(turn["failure"], turn.get("http_status"), turn.get("retry_after_ms"))
    has_answer = turn["answer"] or turn.get("tool_calls") or turn.get("finish_reason") == "length"
    return None if has_answer else Failure("empty_completion")


def _cost(chosen: Mapping[str, Any], usage: Mapping[str, int]) -> float | None:
    """Price an answer at the run's own prices; None where one that is needed is not known."""
    usd = 0.0
    for tokens, price in (("input", "price_in"), ("output", "price_out")):
        count = usage.get(tokens, 0)
        if count and price not in chosen:
            return None
        usd += count * chosen.get(price, 0)
    return usd / 1_000_000


def _route(candidate: Mapping[str, Any]) -> str:
    return f"{candidate['model_family']} @ {candidate['provider_id']}"
