"""Sessions under the greybox script: each has its own health and seeds, whatever shares its VM (spec 4.2)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from .backends import NULL
from .scenario import CHAINS, PLAIN, always, files
from .values import Answer, Failure, Request
from .world import World, default_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEED_LIMIT = 2**31 - 1


def seeds(world: World, host_data: dict[str, Any], calls: int = 3) -> list[Any]:
    with world.session(host_data=host_data) as session:
        outcomes = [world.exec_prompt(session, {"prompt": "p"}) for _ in range(calls)]
    return [outcome.calls[0].prompt["seed"] for outcome in outcomes]


NODE = {"node_address": "0xab", "tx_id": "0x01"}


def test_seeds_are_integers_distinct_per_call(make: Callable[..., World]) -> None:
    drawn = seeds(make(), NODE, 20)
    assert all(type(seed) is int and 0 <= seed < SEED_LIMIT for seed in drawn)
    assert len(set(drawn)) == 20


def test_seeds_are_equal_per_transaction_node_and_call(make: Callable[..., World]) -> None:
    world = make(seed_bytes=b"one")
    drawn = seeds(world, NODE)
    assert seeds(world, NODE) == drawn
    assert seeds(make(seed_bytes=b"two"), NODE) == drawn
    for other in (
        {**NODE, "tx_id": "0x02"},
        {**NODE, "node_address": "0xac"},
        {"node_address": "xab", "tx_id": "0x010"},
    ):
        assert not set(seeds(world, other)) & set(drawn)


NO_TRANSACTION: dict[str, dict[str, Any]] = {
    "nothing": {},
    "nulls": {"tx_id": NULL, "node_address": NULL},
    "empty": {"tx_id": "", "node_address": ""},
    "half": {"tx_id": "0x01"},
}


@pytest.mark.parametrize("host", NO_TRANSACTION)
def test_seeds_without_a_transaction_come_from_random_bytes(make: Callable[..., World], host: str) -> None:
    host_data = NO_TRANSACTION[host]
    drawn = seeds(make(seed_bytes=b"one"), host_data)
    assert seeds(make(seed_bytes=b"one"), host_data) == drawn
    assert not set(seeds(make(seed_bytes=b"two"), host_data)) & set(drawn)
    assert all(type(seed) is int and 0 <= seed < SEED_LIMIT for seed in drawn)


def test_every_node_asks_in_the_same_order(make: Callable[..., World]) -> None:
    orders = set()
    for i in range(8):
        world = make(PLAIN, always(Failure(500)))
        with world.session(host_data={**NODE, "node_address": f"0x{i}"}) as session:
            orders.add(tuple(world.exec_prompt(session, {"prompt": "p"}).pairs))
    assert len(orders) == 1


@pytest.mark.parametrize("backends", [CHAINS, PLAIN], ids=["chains", "plain"])
@pytest.mark.parametrize("status", [401, 402, 429, 503, None])
def test_what_fails_in_one_session_is_asked_first_in_the_next(
    make: Callable[..., World], backends: Any, status: int | None
) -> None:
    world = make(backends, always(Failure(status)))
    expected = world.ask().pairs
    with world.session() as session:
        for _ in range(4):
            world.exec_prompt(session, {"prompt": "p"})
    world.script = default_script
    assert world.ask().pairs == expected[:1]


DISABLES = """return {
  profiles = { own = { filter = { "not_disabled" }, selector = "ordered", retry_policy = "strict" } },
  retry_policies = { strict = { unknown = { action = "disable_provider" } } },
  policy = "own",
}
"""


def test_what_a_pool_showed_holds_for_its_sessions_next_call(make: Callable[..., World]) -> None:
    world = make(PLAIN, always(Failure(503)), files={"router-overlay.lua": DISABLES})
    with world.session() as session:
        first, second = (world.exec_prompt(session, {"prompt": "p"}).pairs for _ in range(2))
    assert first
    assert second == []


def test_a_session_left_open_says_nothing_to_the_next_on_0_2() -> None:
    world = World("0.2", PLAIN, script=always(Failure(401)))
    opened = world.open_session("1")
    expected = world.exec_prompt(opened, {"prompt": "p"}).pairs
    world.exec_prompt(opened, {"prompt": "p"})
    assert world.exec_prompt(world.open_session("2"), {"prompt": "p"}).pairs == expected


def interleaved(
    world: World, hosts: Sequence[dict[str, Any]], chance: random.Random
) -> list[list[tuple[Any, ...]]]:
    """Run several sessions' calls at once, in a random order of their steps; what each session saw."""
    sessions = [world.open_session(str(i), host) for i, host in enumerate(hosts)]
    out: list[list[tuple[Any, ...]]] = [[] for _ in hosts]
    tasks: list[Any] = [None] * len(hosts)
    while any(len(each) < 3 for each in out):
        i = chance.choice([i for i, each in enumerate(out) if len(each) < 3])
        tasks[i] = tasks[i] or world.start(sessions[i], {"prompt": f"prompt {i}"})
        if outcome := tasks[i].advance():
            out[i].append((outcome.data, outcome.pairs, [call.prompt["seed"] for call in outcome.calls]))
            assert {call.genvm_id for call in outcome.calls} == {str(i)}
            assert {call.prompt["user_message"] for call in outcome.calls} == {f"prompt {i}"}
            tasks[i] = None
    return out


# Of the first session alone: who fails, under the chains and under a policy that waits.
INTERLEAVED: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "chains": (CHAINS, 401, {}),
    "a policy that waits": (PLAIN, 429, {"files": files()}),
}


@pytest.mark.parametrize("kind", INTERLEAVED)
@pytest.mark.parametrize("number", range(4))
def test_interleaved_sessions_on_one_vm_see_what_they_see_alone(kind: str, number: int) -> None:
    backends, status, more = INTERLEAVED[kind]

    def script(request: Request) -> Any:
        fails = request.genvm_id == "0" and request.provider == "bert"
        return Failure(status) if fails else Answer(f"{request.genvm_id} {request.pair}")

    hosts = [{"node_address": "0xab", "tx_id": f"0x{i}"} for i in range(3)]
    at_once = interleaved(World("0.2", backends, script=script, **more), hosts, random.Random(number))  # noqa: S311 - see above
    for i, host in enumerate(hosts):
        alone = World("0.2", backends, script=script, **more)
        session = alone.open_session(str(i), host)
        outcomes = [alone.exec_prompt(session, {"prompt": f"prompt {i}"}) for _ in range(3)]
        seen = [(each.data, each.pairs, [call.prompt["seed"] for call in each.calls]) for each in outcomes]
        assert at_once[i] == seen
