"""Every decision that a ledger holds is made again, on every runtime, to the same digests (spec 5.3, 5.7)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import counted_ids, memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs
from llm_policy_host.ledger.books import LedgerBooks
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.verify import verify
from llm_policy_host.values import Attempt, Call, Contract, Estimate, Failure, Inputs
from tests.ledger.corpus import World
from tests.ledger.setting import HELLO, Setting

if TYPE_CHECKING:
    from llm_policy_host.hindsight.history import Past

RUNS_A_WORLD = 5
ANYONE = [["zero"], ["ordered"], ["id"], ["always", {"action": "next_candidate"}]]
MINE = ["and", ["scope_matches"], ["family_eq", "a model"]]


def pasts(world: World) -> list[Past]:
    """Read a world's runs that are over."""
    return list(past_runs(map(read, world.ledger.log.store.lines())))


def differences(seeds: range) -> tuple[list[str], int, set[str]]:
    """Decide the corpus again on every runtime: what differs, how many runs were asked, how they ended."""
    vm, found, count, ends = Vm(), [], 0, set()
    for seed in seeds:
        world = World(seed, vm)
        world.play(RUNS_A_WORLD)
        runs = pasts(world)
        assert len(runs) == RUNS_A_WORLD
        for runtime in available_runtimes():
            decider = Decider(world.ledger.log.store.blob_get, runtime)
            for past in runs:
                count += 1
                ends.add(past.error or past.end)
                again = decider.again(past)
                if again.difference is not None:
                    found.append(f"{seed} {past.run} on {runtime}: {again.difference}")
    return found, count, ends


def test_a_corpus_of_random_runs_is_decided_again_on_every_runtime() -> None:
    """200 runs: random policies, catalogs, offers, health, failures, waits, cuts; some under way at once."""
    assert len(available_runtimes()) >= 4
    found, count, ends = differences(range(40))
    assert found == []
    assert count == 200 * len(available_runtimes())
    assert {"RunCompleted", "no_candidates", "timeout", "cancelled", "budget_exceeded"} <= ends


@pytest.mark.heavy
def test_a_larger_corpus_of_random_runs_is_decided_again_on_every_runtime() -> None:
    """2,000 runs."""
    found, count, _ = differences(range(1000, 1400))
    assert (found, count) == ([], 2000 * len(available_runtimes()))


def test_what_the_corpus_wrote_is_a_good_ledger() -> None:
    """The judge of lines takes every one, and every blob is there."""
    for seed in range(10):
        world = World(seed, Vm())
        world.play(RUNS_A_WORLD)
        store = world.ledger.log.store
        verdict = verify(store.lines(), store.blob_get, Folds())
        assert verdict.fault is None, verdict.fault
        assert verdict.open_runs == 0


# What time alone would say, and a record must: each by itself --------------------------------------------

CATALOG: dict[str, Any] = {
    "providers": {"a": {"base_url": "http://x.invalid"}, "b": {"base_url": "http://x.invalid"}},
    "models": {
        "m1": {"served_by": [{"provider": "a"}, {"provider": "b"}]},
        "m2": {"served_by": [{"provider": "a"}]},
    },
}


def policy(action: dict[str, Any]) -> list[Any]:
    """Give a policy that asks `m1|a`, `m1|b`, `m2|a` in turn."""
    return ["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", action]]


NEXT = policy({"action": "next_candidate"})
RETRY = policy({"action": "retry_same", "attempts": 1, "backoff_ms": 0})


class Hand:
    """One run, played by hand."""

    def __init__(self, term: list[Any], others: dict[str, Any] | None = None) -> None:
        self.clock = VirtualClock(10**12)
        self.ledger = memory_ledger(self.clock, counted_ids())
        engine = create_engine(Vm(), CATALOG)
        assert isinstance(engine, LuaEngine)
        self.engine = engine
        books = LedgerBooks(self.ledger.log, self.clock, engine, CATALOG, lambda *_: Estimate(0, 0))
        books.publish({}, version="0")
        self.page = books.begin(Contract(policy_ir=term), is_stream=False)
        contract = {"policy_ir": term}
        inputs = Inputs(self.clock.now_ms(), 7, others=others or {})
        self.step = engine.start(contract, inputs)
        self.page.admitted(self.step, contract, inputs, 1000)

    def asked(self) -> str:
        """Say who is to be asked."""
        return f"{self.step.candidate['provider_id']}|{self.step.candidate['model_family']}"

    def fail(
        self, later_ms: float = 0, full: dict[str, bool] | None = None, retry_after_ms: int | None = None
    ) -> None:
        """Let the attempt fail after a while."""
        call = Call(self.step.candidate["provider_id"], self.step.candidate["model_family"], "served")
        assert self.page.propose(call, self.step.candidate, None) is None
        self.clock.advance(later_ms)
        failure = Failure("server_error", retry_after_ms=retry_after_ms)
        self.page.outcome(failure, Attempt("p", "m", None, 0, later_ms))
        self.step = self.engine.fail(self.step.handle, self.clock.now_ms(), failure, full or {})

    def wait(self, *, is_woken: bool) -> None:
        """Wait, to the end or not."""
        self.page.waits(self.step.until_ms - self.clock.now_ms())
        if is_woken:
            self.step = self.engine.wake(self.step.handle, int(self.step.until_ms))

    def ended(self, kind: str | None = None) -> str | None:
        """End the run, and say what differs when it is decided again."""
        if kind is not None:
            self.step = self.engine.abandon(self.step.handle, self.clock.now_ms(), kind)
        self.page.end(self.step, is_cancelled=kind == "cancelled")
        past = next(past_runs(map(read, self.ledger.log.store.lines())))
        return Decider(self.ledger.log.store.blob_get).again(past).difference


def test_who_was_disabled_only_at_the_beginning_is_asked_again() -> None:
    hand = Hand(NEXT, {"disabled": {"a": 10**12 + 100}})
    assert hand.asked() == "b|m1"
    hand.fail(later_ms=200)
    assert hand.asked() == "a|m2"
    hand.fail()
    assert hand.ended() is None


def test_who_was_passed_by_for_a_full_lane_is_passed_by_again() -> None:
    hand = Hand(NEXT)
    hand.fail()
    hand.fail(full={"a": True})
    assert hand.step.status == "done"
    assert hand.ended() is None


def test_a_wait_that_a_provider_asked_for_is_a_wait_again() -> None:
    hand = Hand(RETRY)
    hand.clock.advance(0.5)
    hand.fail(retry_after_ms=1)
    assert hand.step.status == "wait"
    hand.clock.advance(0.6)
    hand.wait(is_woken=False)
    assert hand.ended("cancelled") is None


@pytest.mark.parametrize("kind", ["cancelled", "timeout"])
def test_a_run_that_was_left_before_its_attempt_ends_alike(kind: str) -> None:
    hand = Hand(RETRY)
    hand.fail(retry_after_ms=5)
    hand.wait(is_woken=False)
    assert hand.ended(kind) is None


def test_a_budget_that_ran_out_in_a_wait_ends_a_run_alike() -> None:
    hand = Hand(RETRY)
    hand.fail(retry_after_ms=5)
    hand.wait(is_woken=True)
    assert hand.ended("budget_exceeded") is None


@pytest.mark.parametrize("what", ["seed", "ctx", "policy", "kind", "skips", "params", "route"])
def test_a_changed_record_is_told(what: str) -> None:
    """Whatever a decision rests on, another one in its place is seen: here each in its turn, somewhere."""
    told = 0
    vm = Vm()
    for seed in range(12):
        world = World(seed, vm)
        world.play(RUNS_A_WORLD)
        runs = pasts(world)
        decider = Decider(world.ledger.log.store.blob_get)
        for past, other in zip(runs, [*runs[1:], runs[0]], strict=True):
            told += decider.again(_changed(past, other, what)).difference is not None
    assert told


def _changed(past: Past, other: Past, what: str) -> Past:
    """Put something else in a run's place."""
    tried = [dataclasses.replace(each) for each in past.tried]
    if what == "seed":
        return dataclasses.replace(past, admitted={**past.admitted, "seed": 8})
    if what in ("ctx", "policy"):
        return dataclasses.replace(past, refs={**past.refs, what: other.refs[what]})
    if what == "skips":
        return dataclasses.replace(past, ended={**past.ended, "skips": []})
    for each in tried[:1]:
        if what == "kind":
            each.kind = "bad_request" if each.kind != "bad_request" else "timeout"
        elif what == "params":
            each.params = "0" * 64
        else:
            each.model_family = "another"
    return dataclasses.replace(past, tried=tried)


async def test_a_text_that_is_no_word_decides_again_as_it_did() -> None:
    """It is in the ledger by its digest; what it was compared with is there as it is."""
    extra = [
        {"provider_id": name, "model_family": "a model", "api_kind": "scripted", "scope": scope}
        for name, scope in (("the last", "my scope"), ("the first", "your scope"))
    ]
    asked: list[dict[str, Any]] = [
        {"requirements": {"pin": {"provider": "a shop"}}},
        {"requirements": {"model_family": "a model"}, "extra_candidates": extra},
        {"extra_candidates": extra, "scope": "my scope", "policy_ir": ["policy", MINE, *ANYONE]},
        {"scope": "of nobody", "params": {"max_tokens": 10, "my own": 1, "stop": "a text"}},
    ]
    async with Setting({"a shop": [{"answer": "yes"}], "b": [{"answer": "yes"}]}) as setting:
        for each in asked:
            assert (await setting.ask(dataclasses.replace(HELLO, **each))).error in (None, "no_candidates")
        decider = Decider(setting.store.blob_get)
        runs = list(past_runs(setting.events()))
        assert len(runs) == len(asked)
        assert [decider.again(past).difference for past in runs] == [None] * len(asked)
        first = [past.tried[0].route for past in runs]
        assert first == ["a shop|m", "the first|a model", "the last|a model", "a shop|m"]
