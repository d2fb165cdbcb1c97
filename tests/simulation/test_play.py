"""Played runs are what the driver does with the scripted provider and the virtual clock."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.clock import VirtualClock
from llm_policy_host.simulation.behaviour import World
from llm_policy_host.simulation.play import DEADLINE, START_MS, WAIT, Setting, play
from llm_policy_host.simulation.reading import read_conduct
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.simulation.behaviour import Turn
    from llm_policy_host.simulation.play import Played
    from llm_policy_host.values import Result

PROVIDERS = ("acme", "bravo", "chi")
KINDS = ("rate_limit", "server_error", "timeout", "auth_error", "content_filter", "payment_required")
QUANTUM_MS = 100
"""All durations are whole such: runs that begin at odd moments never meet in one moment."""


class Recording(World):
    """A world that keeps what routes did, so that a script can do it again."""

    played: dict[str, dict[str, list[Turn]]]

    def turn(self, run: int, candidate: Mapping[str, Any], at_ms: float) -> Turn:
        """Keep the turn, and what the answer reads and writes."""
        turn = super().turn(run, candidate, at_ms)
        kept = {**turn, "usage": self.usage(run)} if "answer" in turn and "usage" not in turn else turn
        by_model = self.played.setdefault(candidate["provider_id"], {})
        by_model.setdefault(candidate["served_model_id"], []).append(kept)
        return turn


def durations(most: int = 8) -> st.SearchStrategy[int]:
    """Draw whole quanta."""
    return st.integers(0, most).map(lambda count: count * QUANTUM_MS)


def actions() -> st.SearchStrategy[dict[str, Any]]:
    """Draw what a failure leads to."""
    backoff = st.one_of(durations(40), st.lists(durations(40), min_size=1, max_size=3))
    retry = st.fixed_dictionaries(
        {"action": st.just("retry_same"), "attempts": st.integers(0, 3), "backoff_ms": backoff},
        optional={"then_action": st.sampled_from(["abort", "next_candidate", "disable_provider"])},
    )
    words = ["next_candidate", "next_provider_same_model", "disable_provider", "abort"]
    others = st.fixed_dictionaries(
        {"action": st.sampled_from(words)}, optional={"open_breaker_ms": durations(50)}
    )
    return st.one_of(retry, retry, others)


def turns() -> st.SearchStrategy[dict[str, Any]]:
    """Draw a scripted turn."""
    latency = st.one_of(durations(), durations().map(lambda ms: ms + 0.5))
    answer = st.fixed_dictionaries(
        {"answer": st.sampled_from(["yes", "yes", "yes", ""]), "latency_ms": latency},
        optional={"usage": st.just({"input": 500, "output": 20}), "finish_reason": st.just("length")},
    )
    failure = st.fixed_dictionaries(
        {"failure": st.sampled_from(KINDS), "latency_ms": latency}, optional={"retry_after_ms": durations(60)}
    )
    return st.one_of(answer, failure, failure, st.just({"hang": True}))


def behaviours(*, is_shared: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Draw how a provider behaves."""
    latency = st.one_of(
        durations(), st.lists(durations(), min_size=1, max_size=4).map(lambda ms: {"values": ms})
    )
    by_chance = st.fixed_dictionaries(
        {"latency_ms": latency},
        optional={
            "failures": st.dictionaries(
                st.sampled_from([*KINDS, "hang"]), st.sampled_from([0.1, 0.3]), max_size=3
            ),
            "outages": st.lists(
                st.fixed_dictionaries({"from_ms": durations(), "for_ms": durations(30)}), max_size=2
            ),
            "price_factor": st.just(1),
        },
    )
    if is_shared:
        return by_chance
    return st.one_of(by_chance, st.fixed_dictionaries({"turns": st.lists(turns(), min_size=1, max_size=4)}))


@st.composite
def scenes(draw: st.DrawFn, *, is_shared: bool) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Draw a config, the behaviour of its providers, and a deadline."""
    prices = st.sampled_from([0.25, 0.4, 1, 3])
    served = [{"provider": name, "price_in": draw(prices), "price_out": draw(prices)} for name in PROVIDERS]
    scorer = draw(
        st.sampled_from([["field", "price_in"], ["field", "latency_ms"], ["neg", ["field", "success_rate"]]])
    )
    timeout = draw(st.one_of(st.none(), durations(6).filter(bool)))
    kinds = draw(
        st.dictionaries(st.sampled_from([*KINDS, "unknown", "empty_completion"]), actions(), max_size=4)
    )
    profile: dict[str, Any] = {"scorer": ["neg", ["normalize", scorer]], "retry_policy": "plan"}
    if draw(st.booleans()):
        profile["filter"] = ["requirements", "not_disabled", "breaker_closed"]
    if timeout is not None:
        profile["mutate"] = {"set_param": {"timeout_ms": timeout}}
    config = {
        "providers": {name: {"api_kind": "scripted"} for name in PROVIDERS},
        "models": {
            "small": {"served_by": served},
            "large": {"served_by": [{"provider": "acme", "price_in": 2, "price_out": 9}]},
        },
        "profiles": {"plan": profile},
        "retry_policies": {"plan": kinds},
        "defaults": {"circuit_breaker_failure_ms": 2_000},
    }
    conduct: dict[str, Any] = {
        "behaviour": {name: draw(behaviours(is_shared=is_shared)) for name in PROVIDERS}
    }
    if is_shared:
        conduct["every_ms"] = draw(durations(3)) + 1
    return config, conduct, draw(durations(80)) + QUANTUM_MS


def simulated(
    config: Mapping[str, Any], conduct: Any, deadline_ms: int, runs: int
) -> tuple[list[Played], Recording]:
    """Play, and give what was done."""
    host = Host.from_data(config)
    world = Recording(read_conduct(as_yaml(conduct), "behaviour.yaml", host.engine.candidates), 7)
    world.played = {}
    return play(host.engine, world, Setting(Contract(), runs, deadline_ms, 30_000)), world


def as_yaml(data: Any) -> str:
    """Write data as a file holds it."""
    import yaml  # noqa: PLC0415 - of the tests alone

    return str(yaml.safe_dump(data))


def driven(
    config: Mapping[str, Any], world: Recording, deadline_ms: int, beginnings: list[float]
) -> list[Result]:
    """Do the same with the driver: what the routes did is their script."""
    whole = {**config, "host": {"scripts": world.played, "deadline_ms": deadline_ms}}
    clock = VirtualClock(START_MS)
    contracts = [Contract(prompt="?", seed=world.seed_of(run)) for run in range(len(beginnings))]

    async def all_of_them() -> list[Result]:
        async with Host.from_data(whole, clock=clock) as host:

            async def one(contract: Contract, after_ms: float) -> Result:
                if after_ms:
                    await clock.sleep_ms(after_ms)
                return await host.run(contract)

            return await asyncio.gather(*map(one, contracts, beginnings))

    return asyncio.run(all_of_them())


def check(played: Played, result: Result) -> None:
    """Hold one run against the driver's."""
    assert (played.ok, played.error) == (result.ok, result.error)
    assert list(played.path) == list(result.trace.decision_path)
    assert math.floor(played.took_ms + played.began_ms) == (
        (result.trace.started_at_ms or 0) - START_MS + (result.trace.total_latency_ms or 0)
    )
    ends = [span.end for span in played.spans if span.end not in (WAIT, DEADLINE, "answer")]
    assert ends == [failure.kind for failure in result.failures if "deadline" not in failure.detail]
    if played.ok:
        assert result.chosen is not None
        assert played.provider_id == result.chosen["provider_id"]
        assert played.cost_usd == result.cost.usd


@settings(max_examples=50, deadline=None)
@given(scenes(is_shared=False))
def test_a_run_alone_is_what_the_driver_does(scene: tuple[dict[str, Any], dict[str, Any], int]) -> None:
    config, conduct, deadline_ms = scene
    (played,), world = simulated(config, conduct, deadline_ms, 1)
    (result,) = driven(config, world, deadline_ms, [0])
    check(played, result)


@settings(max_examples=50, deadline=None)
@given(scenes(is_shared=True), st.integers(2, 8))
def test_runs_that_overlap_are_what_the_driver_does(
    scene: tuple[dict[str, Any], dict[str, Any], int], runs: int
) -> None:
    config, conduct, deadline_ms = scene
    played, world = simulated(config, conduct, deadline_ms, runs)
    results = driven(config, world, deadline_ms, [run.began_ms for run in played])
    for one, result in zip(played, results, strict=True):
        check(one, result)


TWO: dict[str, Any] = {
    "providers": {"acme": {"api_kind": "scripted"}, "bravo": {"api_kind": "scripted"}},
    "models": {
        "small": {
            "served_by": [
                {"provider": "acme", "price_in": 1, "price_out": 2},
                {"provider": "bravo", "price_in": 2, "price_out": 4},
            ]
        }
    },
    "profiles": {"plan": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}},
}


def ends(played: Played) -> list[tuple[str | None, str]]:
    """Give who was called, and how it ended."""
    return [(span.route, span.end) for span in played.spans]


def test_a_script_stays_at_its_last_turn_and_each_run_alone_begins_it_anew() -> None:
    script = {"acme": {"turns": [{"failure": "rate_limit"}, {"answer": ""}]}, "bravo": {"latency_ms": 5}}
    plan = {
        "rate_limit": {"action": "retry_same", "attempts": 2},
        "empty_completion": {"action": "retry_same", "attempts": 2},
    }
    config = {
        **TWO,
        "profiles": {"plan": {**TWO["profiles"]["plan"], "retry_policy": "r"}},
        "retry_policies": {"r": plan},
    }
    played, _ = simulated(config, {"behaviour": script}, 1_000, 2)
    route = "small @ acme"
    wanted = [
        (route, "rate_limit"),
        (route, "empty_completion"),
        (route, "empty_completion"),
        ("small @ bravo", "answer"),
    ]
    assert [ends(run) for run in played] == [wanted, wanted]


def test_runs_that_share_the_world_see_how_routes_did() -> None:
    config = {**TWO, "profiles": {"plan": {"scorer": ["normalize", ["field", "latency_ms"]]}}}
    conduct = {"every_ms": 1_001, "behaviour": {"acme": {"latency_ms": 900}, "bravo": {"latency_ms": 100}}}
    played, world = simulated(config, conduct, 5_000, 5)
    # three answers tell a latency; one that nobody knows yet counts as higher
    assert [run.provider_id for run in played] == ["acme", "acme", "acme", "bravo", "bravo"]
    for one, result in zip(
        played, driven(config, world, 5_000, [run.began_ms for run in played]), strict=True
    ):
        check(one, result)


def test_runs_alone_find_everyone_healthy() -> None:
    conduct = {"behaviour": {"acme": {"failures": {"server_error": 1}}}}
    config = {**TWO, "profiles": {"plan": {**TWO["profiles"]["plan"], "filter": ["breaker_closed"]}}}
    alone, _ = simulated(config, conduct, 5_000, 8)
    assert all(len(run.spans) == 2 for run in alone)
    together, _ = simulated(config, {**conduct, "every_ms": 10}, 5_000, 8)
    assert [len(run.spans) for run in together] == [2, 2, 2, 1, 1, 1, 1, 1]  # the breaker opens after three


def test_an_answer_costs_what_the_runs_own_prices_say() -> None:
    conduct = {
        "request": {"input_tokens": 1_000_000, "output_tokens": 500_000},
        "behaviour": {"acme": {"price_factor": 1.5}, "bravo": {"price_factor": 0.5}},
    }
    (played,), _ = simulated(TWO, conduct, 5_000, 1)
    assert (played.provider_id, played.cost_usd) == ("bravo", 2.0)


def test_an_outage_lasts_from_its_beginning_until_its_end() -> None:
    conduct = {
        "every_ms": 100,
        "behaviour": {"acme": {"outages": [{"from_ms": 100, "for_ms": 100, "failure": "rate_limit"}]}},
    }
    played, _ = simulated(TWO, conduct, 5_000, 3)
    assert [ends(run)[0][1] for run in played] == ["answer", "rate_limit", "answer"]
