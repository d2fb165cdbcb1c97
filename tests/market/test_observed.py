"""What is measured of routes, and when it is told."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.clock import VirtualClock
from llm_policy_host.market.observed import Observed, Window

from .feed import attempt

ROUTE = "bazaar|m"


def seen(*attempts: Any, clock: VirtualClock | None = None, **window: Any) -> Observed:
    observed = Observed(clock or VirtualClock(1_000), Window(**window))
    for one in attempts:
        observed.note(one)
    return observed


def test_nothing_is_told_of_a_route_before_three_attempts() -> None:
    assert seen(attempt(), attempt()).routes() == {}
    assert seen(attempt(), attempt(), attempt()).routes() == {ROUTE: {"success_rate": 1.0, "latency_ms": 100}}


def test_a_routes_key_is_the_cores() -> None:
    told = seen(*[attempt("some-peer")] * 3).routes()
    assert list(told) == [ROUTE]


def test_only_faults_of_the_provider_count_against_it() -> None:
    kinds = ("bad_request", "content_filter", "context_overflow", "empty_completion", "cancelled")
    attempts = [attempt(kind=kind) for kind in kinds] * 3 + [attempt()] * 3
    assert seen(*attempts).routes()[ROUTE]["success_rate"] == 1.0
    faults = [attempt(kind=kind) for kind in ("timeout", "rate_limit", "stream_interrupted")]
    assert seen(attempt(), *faults).routes() == {ROUTE: {"success_rate": 0.25}}


def test_latency_is_the_wait_for_the_first_of_a_stream_and_for_the_whole_of_a_unary_answer() -> None:
    streamed = [attempt(took_ms=1_000.0, ttft_ms=float(ms), is_stream=True) for ms in (10, 20, 900)]
    assert seen(*streamed).routes()[ROUTE]["latency_ms"] == 20
    assert seen(*[attempt(took_ms=300.0)] * 3).routes()[ROUTE]["latency_ms"] == 300


def test_throughput_is_over_the_time_in_which_tokens_came() -> None:
    streamed = [attempt(took_ms=1_500.0, ttft_ms=500.0, output_tokens=100)] * 3
    assert seen(*streamed).routes()[ROUTE]["tok_s"] == 100
    unary = [attempt(took_ms=2_000.0, output_tokens=100)] * 3
    assert seen(*unary).routes()[ROUTE]["tok_s"] == 50
    instant = [
        attempt(took_ms=0.0, output_tokens=100),
        attempt(took_ms=5.0, ttft_ms=5.0, output_tokens=9),
    ] * 3
    assert "tok_s" not in seen(*instant).routes()[ROUTE]


def test_a_failures_time_is_no_latency() -> None:
    attempts = [attempt(took_ms=10.0)] * 3 + [attempt(kind="timeout", took_ms=30_000.0)] * 4
    assert seen(*attempts).routes()[ROUTE]["latency_ms"] == 10


def test_what_is_old_is_forgotten() -> None:
    clock = VirtualClock(0)
    observed = seen(*[attempt(kind="timeout")] * 3, clock=clock, age_ms=1_000)
    assert observed.routes() == {ROUTE: {"success_rate": 0.0}}
    clock.advance(1_101)
    assert observed.routes() == {}
    assert observed._routes == {}


def test_only_the_last_attempts_count() -> None:
    observed = seen(*[attempt(kind="timeout")] * 50, *[attempt()] * 10, attempts=10)
    assert observed.routes()[ROUTE]["success_rate"] == 1.0


def test_routes_are_bounded_and_the_least_recent_one_goes() -> None:
    attempts = [attempt(model_family=name) for name in "abca" for _ in range(3)] + [
        attempt(model_family="d")
    ] * 3
    assert sorted(seen(*attempts, routes=3).routes()) == ["bazaar|a", "bazaar|c", "bazaar|d"]


def test_what_is_told_is_the_same_object_for_a_while_and_while_nothing_changes() -> None:
    clock = VirtualClock(1_000)
    observed = seen(*[attempt()] * 3, clock=clock)
    first = observed.routes()
    for _ in range(3):
        observed.note(attempt(kind="timeout"))
    clock.advance(249)
    assert observed.routes() is first
    clock.advance(1)
    second = observed.routes()
    assert second[ROUTE]["success_rate"] == 0.5
    clock.advance(1_000)
    observed.note(attempt(kind="bad_request"))
    assert observed.routes() is second


ATTEMPTS = st.lists(
    st.tuples(
        st.sampled_from([None, "timeout", "bad_request"]),
        st.floats(min_value=0, max_value=1e6),
        st.none() | st.floats(min_value=0, max_value=1e6),
        st.none() | st.integers(min_value=0, max_value=10**6),
    ),
    max_size=30,
)


@given(ATTEMPTS)
def test_measures_are_finite_and_within_what_was_seen(given: list[Any]) -> None:
    attempts = [
        attempt(kind=kind, took_ms=took, ttft_ms=ttft, output_tokens=tokens)
        for kind, took, ttft, tokens in given
    ]
    for measures in seen(*attempts, clock=VirtualClock(10_000_000), age_ms=10**9).routes().values():
        assert 0 <= measures["success_rate"] <= 1
        assert all(0 <= value <= sys.float_info.max for value in measures.values())
        waited = [one.took_ms if one.ttft_ms is None else one.ttft_ms for one in attempts if one.kind is None]
        if "latency_ms" in measures:
            assert round(min(waited)) <= measures["latency_ms"] <= round(max(waited))


@pytest.mark.parametrize("count", [1, 100_000])
def test_memory_is_bounded(count: int) -> None:
    observed = seen()
    for number in range(count):
        observed.note(attempt(model_family=str(number % 5_000)))
    assert len(observed._routes) <= 1_000
