"""Every decision that a ledger holds is made again, on every runtime, to the same digests (spec 5.3, 5.7)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.verify import verify
from tests.ledger.corpus import World

if TYPE_CHECKING:
    from llm_policy_host.hindsight.history import Past

RUNS_A_WORLD = 5


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
