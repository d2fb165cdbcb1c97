"""A run goes on in another runtime as it would have gone on in its own.

After every step the handle and the engine's state are written as text and moved to the next
runtime, together with nothing but the config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.differential.cases import lines, read
from tests.differential.world import CONFIG, EVENTS, INPUTS, METRICS
from tests.property.generator import random_runs
from tests.runtimes import QUICK_FIRST, Runtime, available

SEED = 20261121
CALL_MS = 10


@dataclass
class Journey:
    """A run on its way: what it is asked next, and what it answered so far."""

    case: Any
    answers: list[str] = field(default_factory=list)
    used: int = 0
    is_over: bool = False

    def question(self) -> Any:
        """Ask for the next step: the start, or what the last step led to."""
        whole = {key: self.case[key] for key in ("config", "metrics", "contract") if key in self.case}
        whole |= {"kind": "step", "inputs": {"now_ms": 0} | self.case.get("inputs", {})}
        if not self.answers:
            return whole
        last = read(self.answers[-1])
        step, event, now = last["step"], {"woke": True}, last["step"].get("until_ms")
        if step["status"] == "call":
            event = self.case["events"][self.used]
            now = step["state_handle"]["called_ms"] + event.get("after_ms", CALL_MS)
            self.used += 1
        inputs = {**whole["inputs"], "now_ms": now}
        moved = {"handle": step["state_handle"], "state": last["state"], "event": event}
        return {**whole, "inputs": inputs, **moved}

    def take(self, answer: str) -> None:
        """Note a step; the run is over when it is done, or nothing happens any more."""
        self.answers.append(answer)
        status = read(answer).get("step", {}).get("status", "done")
        is_out = status == "call" and self.used == len(self.case["events"])
        self.is_over = status == "done" or is_out


def journeys() -> list[Journey]:
    world = {"config": CONFIG, "metrics": METRICS, "inputs": INPUTS, "events": EVENTS}
    named = [
        {**world, "contract": {"profile": name, "seed": 7, "temperature": 1, "messages": [{"role": "user"}]}}
        for name in CONFIG["profiles"]
    ]
    drawn = [{**case, **case["runs"][0]} for case in random_runs(SEED, 40)]
    return [Journey(case) for case in (*named, *drawn)]


def travelled(route: list[Runtime]) -> list[list[str]]:
    """Walk all journeys in step, each step on the next runtime of a route."""
    walking = everyone = journeys()
    turn = 0
    while walking:
        runtime = route[turn % len(route)]
        answers = runtime.replay(lines(each.question() for each in walking))
        for each, answer in zip(walking, answers, strict=True):
            each.take(answer)
        walking = [each for each in walking if not each.is_over]
        turn += 1
    return [each.answers for each in everyone]


@pytest.fixture(scope="module")
def at_home() -> list[list[str]]:
    return travelled(available()[:1])


def test_the_runs_at_home_take_steps(at_home: list[list[str]]) -> None:
    assert max(len(answers) for answers in at_home) > 5
    assert [answers for answers in at_home if answers[-1].startswith("!")] == []


@pytest.mark.parametrize("runtime", QUICK_FIRST)
def test_a_run_moved_to_another_runtime_and_back_goes_on_alike(
    runtime: Runtime, at_home: list[list[str]]
) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    assert travelled([runtime, available()[0]]) == at_home


def test_a_run_that_visits_every_runtime_goes_on_alike(at_home: list[list[str]]) -> None:
    present = available()
    for start in range(0, len(present), 4):
        assert travelled(present[start:] + present[:start]) == at_home
