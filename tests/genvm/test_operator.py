"""The operator's own overlay and policy under the greybox script (spec 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .scenario import PLAIN, PNG, always, files, first
from .values import Failure
from .world import Generation, World

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = {"node_address": "0xab", "tx_id": "0x01"}


def test_the_operators_policy_ranks_by_the_operators_prices(make: Callable[..., World]) -> None:
    world = make(PLAIN, always(Failure(500)), files=files())
    assert world.ask().pairs == ["bert/small", "anna/small", "bert/large", "anna/large"]


def test_the_operators_plan_waits_and_asks_again(make: Callable[..., World]) -> None:
    world = make(PLAIN, first(Failure(429), Failure(429), Failure(429)), files=files())
    assert world.ask().pairs == ["bert/small", "bert/small", "bert/small", "anna/small"]
    assert [round(seconds, 3) for seconds in world.sleeps] == [1.5, 0.25]


@pytest.mark.parametrize("tick_ms", [0, 1, 2000])
@pytest.mark.parametrize("latency_ms", [0, 10**7])
def test_no_clock_makes_a_wait_that_kills(make: Callable[..., World], latency_ms: int, tick_ms: int) -> None:
    world = make(PLAIN, first(*[Failure(429, latency_ms=latency_ms)] * 3), files=files(), tick_ms=tick_ms)
    assert world.ask().error is None
    assert not world.is_killed


def test_an_abort_ends_the_call(make: Callable[..., World]) -> None:
    outcome = make(PLAIN, always(Failure(401)), files=files()).ask()
    assert (outcome.pairs, outcome.user_error.fatal) == (["bert/small"], True)


def test_a_policy_that_says_nothing_of_the_seed_sends_it_too(make: Callable[..., World]) -> None:
    asked, chained = (make(**more).ask().calls[0] for more in ({"backends": PLAIN, "files": files()}, {}))
    assert asked.prompt["seed"] == chained.prompt["seed"]


def test_parameters_change_as_the_policy_says(make: Callable[..., World]) -> None:
    mutate = 'M.pipe({ M.set_param("max_tokens", 64), M.set_param("temperature", 1) })'
    prompt = make(PLAIN, files=files(mutate)).ask().calls[0].prompt
    assert (prompt["max_tokens"], prompt["temperature"]) == (64, 1)


def test_validators_diverge_by_mutation_and_repeat_by_seed(make: Callable[..., World]) -> None:
    def temperatures(node: str) -> list[float]:
        world = make(PLAIN, files=files('M.jitter("temperature", 0.3)'))
        with world.session(host_data={**NODE, "node_address": node}) as session:
            outcomes = [world.exec_prompt(session, {"prompt": "p"}) for _ in range(3)]
        return [outcome.calls[0].prompt["temperature"] for outcome in outcomes]

    assert temperatures("0x1") == temperatures("0x1")
    assert not set(temperatures("0x1")) & set(temperatures("0x2"))
    assert len(set(temperatures("0x1"))) == 3


def test_directives_of_the_policy_are_applied(make: Callable[..., World]) -> None:
    mutate = (
        'M.pipe({ M.filter_text({ "NFC" }), M.filter_image({ { GuassianNoise = 0.02 }, { JPEG = 85 } }) })'
    )
    world = make(PLAIN, files=files(mutate))
    outcome = world.ask("\ufb01ne  text", images=[PNG])
    assert outcome.calls[0].prompt["user_message"] == "\ufb01ne  text"
    assert world.image_filters == [[{"GuassianNoise": 0.02}, {"JPEG": 85}]]
    assert outcome.calls[0].prompt["images"][0].startswith(PNG + b"|")


@pytest.mark.parametrize(
    "text", ["return { modelz = {} }", "return 7", "error('no')", "return { policy = { 'poliy' } }"]
)
def test_a_wrong_overlay_fails_the_loading(generation: Generation, text: str) -> None:
    assert World(generation, PLAIN, files={"router-overlay.lua": text}).load_error is not None
