"""No decision follows the order of a config's keys or the hash seed of a VM.

Every process is fresh and reads the same config with its keys, models' routes and offers shuffled;
all processes of all runtimes must give one order, one list of reasons, one identity, one run.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.differential.cases import lines, read
from tests.differential.world import BROKEN_CONFIG, CONFIG, EVENTS, INPUTS, METRICS
from tests.runtimes import QUICK_FIRST, RUNTIMES, Runtime

PROCESSES = 20
CONTRACT = {"profile": "cheap", "requirements": {"needs": ["tools"]}, "seed": 7, "temperature": 0.5}
# Lists whose order says nothing: what they hold gets its place from the canonical order.
UNORDERED = ("served_by", "m1", "market")


def cases() -> list[Any]:
    """List what each process is asked."""
    whole = {"config": CONFIG, "metrics": METRICS, "contract": CONTRACT, "inputs": INPUTS}
    return [
        {"kind": "rank", **whole},
        {"kind": "run", **whole, "events": EVENTS},
        *({"kind": "profile", "config": CONFIG, "profile": name} for name in CONFIG["profiles"]),
        {"kind": "config", "config": BROKEN_CONFIG},
    ]


def shuffled(value: Any, rng: random.Random, key: str = "") -> Any:
    """Shuffle the keys of every record, and the lists whose order says nothing."""
    if isinstance(value, dict):
        keys = rng.sample(list(value), len(value))
        return {each: shuffled(value[each], rng, each) for each in keys}
    if isinstance(value, list):
        entries = [shuffled(each, rng) for each in value]
        return rng.sample(entries, len(entries)) if key in UNORDERED else entries
    return value


def answered(runtime: Runtime, seed: int) -> list[str]:
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return runtime.replay(lines(shuffled(case, rng) for case in cases()))


@pytest.fixture(scope="module")
def reference() -> list[str]:
    present = next(runtime for runtime in RUNTIMES if not runtime.available())
    return present.replay(lines(cases()))


def test_the_reference_says_something(reference: list[str]) -> None:
    rank, run, *_, config = [read(text) for text in reference]
    assert len(rank["ordered"]) > 4
    assert len({each["reason"] for each in rank["rejected"]}) > 1
    assert run["result"]["ok"] is True
    assert len(config["errors"]) > 4


@pytest.mark.parametrize("runtime", QUICK_FIRST)
def test_fresh_processes_with_shuffled_configs_decide_alike(runtime: Runtime, reference: list[str]) -> None:
    if reason := runtime.available():
        pytest.skip(reason)
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda seed: answered(runtime, seed), range(PROCESSES)))
    assert [each for each in seen if each != reference] == []
