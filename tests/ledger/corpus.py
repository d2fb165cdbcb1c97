"""Random runs written into a ledger: a driver of its own, as small as can be, over the real engine and books."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from llm_policy_host.bookkeeping import LEFT_OUT, counted_ids, memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.conform.escapes import Sentinel
from llm_policy_host.conform.runs import FAILURES, Runs
from llm_policy_host.conform.terms import PROVIDERS
from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.grammar import grammar_of
from llm_policy_host.ledger.books import LedgerBooks
from llm_policy_host.run.attempt import BOUNDS
from llm_policy_host.values import (
    Attempt,
    Call,
    Contract,
    Estimate,
    Failure,
    Inputs,
    Origin,
    Response,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.bookkeeping import Ledger
    from llm_policy_host.core.vm import Vm
    from llm_policy_host.values import FailureKind

_STEERING = {"profile", "policy_ir", "chain", "scope", "requirements", "tools", "extra_candidates"}


class World:
    """One engine, and its runs in one ledger; every draw is the seed's."""

    def __init__(self, seed: int, vm: Vm) -> None:
        self.rng = random.Random(f"corpus:{seed}")  # noqa: S311 - repeatable, not secret
        self.draws = Runs(self.rng, grammar_of(vm))
        self.clock = VirtualClock(self.rng.choice((0, 1000, 10**12)))
        config = _finite(self.draws.config())
        engine = create_engine(vm, config, self.draws.metrics() if self.draws.is_likely(60) else None)
        assert isinstance(engine, LuaEngine), engine
        self.engine = engine
        self.ledger: Ledger = memory_ledger(self.clock, counted_ids())
        catalog = {name: value for name, value in config.items() if name not in LEFT_OUT}
        self.books = LedgerBooks(
            self.ledger.log, self.clock, engine, catalog, _estimate, new_id=self.ledger.new_id
        )
        self.books.publish({}, version="0")

    def play(self, count: int) -> None:
        """Play so many runs, some of them at once."""
        waiting = [self._run() for _ in range(count)]
        under_way: list[Iterator[None]] = []
        while waiting or under_way:
            if waiting and (not under_way or self.draws.is_likely(50)):
                under_way.append(waiting.pop())
            run = self.rng.choice(under_way)
            if next(run, self) is self:
                under_way.remove(run)

    def _run(self) -> Iterator[None]:
        contract, others, seed = self._asked()
        page = self.books.begin(
            Contract(profile=contract.get("profile"), origin=Origin(api="test")), is_stream=False
        )
        inputs = Inputs(self.clock.now_ms(), seed, self.draws.is_likely(30), others)
        step = self.engine.start(contract, inputs)
        page.admitted(step, contract, inputs, 1000)
        yield
        left, is_cut = self.rng.randint(0, 9), False
        while step.status != "done" and left:
            left -= 1
            if step.status == "wait":
                page.waits(step.until_ms - self.clock.now_ms())
                step = self.engine.wake(step.handle, self._later())
                continue
            assert page.propose(_call(contract, step), step.candidate, None) is None
            yield
            outcome, sent = self._outcome()
            if outcome is None:
                is_cut = True
                break
            page.outcome(outcome, sent)
            if isinstance(outcome, Failure):
                full = {name: True for name in PROVIDERS if self.draws.is_likely(10)}
                step = self.engine.fail(step.handle, self._later(), outcome, full)
            else:
                step = self.engine.succeed(step.handle, self._later())
            yield
        is_cancelled = step.status != "done"
        if is_cancelled:
            if step.status == "wait":
                page.waits(step.until_ms - self.clock.now_ms())
            is_asked = step.status == "call" and not is_cut
            kind = "budget_exceeded" if is_asked else self.rng.choice(("cancelled", "timeout"))
            step = self.engine.abandon(step.handle, self._later(), kind)
            is_cancelled = kind == "cancelled"
        page.end(step, is_cancelled=is_cancelled)

    def _asked(self) -> tuple[dict[str, Any], dict[str, Any], int]:
        drawn = _finite(self.draws.run(self.clock.now_ms()))
        contract, inputs = drawn["contract"], drawn["inputs"]
        if "tools" in contract:
            contract["tools"] = True
        contract.setdefault("seed", inputs.pop("seed"))
        inputs.pop("seed", None)
        inputs.pop("now_ms")
        return contract, {name: value for name, value in inputs.items() if value}, contract["seed"]

    def _outcome(self) -> tuple[Response | Failure | None, Attempt | None]:
        sent = Attempt("p", "m", None, 0, self.rng.choice((0.0, 12.7, 9000.0)), None)
        if self.draws.is_likely(10):
            return None, sent
        if self.draws.is_likely(25):
            return Response(text="x", usage=Usage(self.rng.randint(0, 99), output_tokens=3)), sent
        kind: FailureKind = self.rng.choice(FAILURES[:-1])  # type: ignore[arg-type] # but for the unheard of
        return Failure(kind, self.rng.choice((None, 429)), self.rng.choice((None, 5))), sent

    def _later(self) -> int:
        self.clock.advance(self.rng.choice((0, 0.5, 10, 29999, 400000)))
        return self.clock.now_ms()


def _call(contract: dict[str, Any], step: Any) -> Call:
    given = contract if step.params is None else step.params
    params = {
        name: value
        for name, value in given.items()
        if name not in (*_STEERING, *BOUNDS) and name != "_filters"
    }
    candidate = step.candidate
    return Call(
        candidate["provider_id"], candidate["model_family"], candidate["served_model_id"], params=params
    )


def _estimate(*_: object) -> Estimate:
    return Estimate(0, 0)


def _finite(value: Any) -> Any:
    """Leave out what no host gathers: numbers that are none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items() if not _is_odd(item)}
    if isinstance(value, list):
        return [_finite(item) for item in value if not _is_odd(item)]
    return value


def _is_odd(value: Any) -> bool:
    return isinstance(value, Sentinel) or (isinstance(value, float) and not math.isfinite(value))
