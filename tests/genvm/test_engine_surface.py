"""The engine serves the script that GenVM v0.6 ships, which knows nothing of ours (spec 4.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .backends import backend, model
from .values import Answer, Failure, Request
from .world import GENERATIONS, Generation, World, default_script, genvm_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

USER = Path(__file__).parent / "scripts" / "engine_user.lua"
# The script's chain is the byte order of the names, backwards.
BACKENDS = {
    "a": backend({"m": model(), "n": model(json=False)}),
    "b": backend({"m": model(image=True)}),
    "c": backend({"vendor/m:latest": model(json=False, image=True)}),
}
CHAIN = ["c/vendor/m:latest", "b/m", "a/n", "a/m"]


def world(
    script: Callable[[Request], Any] = default_script, generation: Generation = "0.6", **more: Any
) -> World:
    made = World(generation, BACKENDS, path=USER, script=script, **more)
    assert made.load_error is None
    return made


def failing(*failures: Failure) -> Callable[[Request], Any]:
    """Make a script that fails so often, then answers."""
    left = list(failures)
    return lambda _request: left.pop(0) if left else Answer("text")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_first_of_the_chain_is_asked(generation: Generation) -> None:
    assert world(generation=generation).ask().pairs == CHAIN[:1]


def test_every_failure_falls_through_in_the_chains_order() -> None:
    outcome = world(failing(Failure(503), Failure(408), Failure(None))).ask()
    assert (outcome.pairs, outcome.data) == (CHAIN, "text")


@pytest.mark.parametrize("status", [None, 400, 401, 402, 403, 404, 408, 418, 429, 500, 503, 504, 529])
def test_all_are_asked_before_the_end_and_the_trace_may_be_raised(status: int | None) -> None:
    error = world(lambda _request: Failure(status)).ask()
    assert error.pairs == CHAIN
    path = error.user_error.ctx["trace"]["decision_path"]
    assert [each["attempt"] for each in path if each["event"] == "attempted"] == [1, 2, 3, 4]


def test_kinds_outside_our_list_get_the_action_of_unknown() -> None:
    outcome = world(lambda _request: Failure(529)).ask()
    assert outcome.user_error.ctx["error"] == "exhausted: server_overloaded"


def test_nobody_is_skipped_by_a_breaker_within_a_session() -> None:
    made = world(lambda _request: Failure(503))
    with made.session() as session:
        orders = [made.exec_prompt(session, {"prompt": "p"}).pairs for _ in range(6)]
    assert orders == [CHAIN] * 6


def test_needs_take_out_who_lacks_them() -> None:
    made = world(lambda _request: Failure(500))
    assert made.ask(response_format="json").pairs == ["b/m", "a/m"]
    assert made.ask(images=[b"\x89PNG"]).pairs == ["c/vendor/m:latest", "b/m"]
    assert made.ask(images=[b"\x89PNG"], response_format="json").pairs == ["b/m"]


def test_a_setup_starts_anew() -> None:
    made = world(lambda _request: Failure(401))
    assert [made.ask().pairs for _ in range(4)] == [CHAIN] * 4


def test_the_trace_survives_the_payload_rules() -> None:
    made = world(failing(Failure(429), Failure(504, b"<html>\xff</html>")))
    made.ask()
    (entry,) = made.logs
    assert [each["provider_id"] for each in entry["trace"]["ranked"]] == ["c", "b", "a", "a"]
    attempts = [each for each in entry["trace"]["decision_path"] if each["event"] == "attempted"]
    assert [each.get("error_kind") for each in attempts] == ["http_error", "gateway_timeout", None]
    assert entry["trace"]["policy_id"].startswith("sha256:")
    assert entry["chosen"]["served_model_id"] == "n"


def test_the_order_is_the_same_in_every_vm() -> None:
    orders = {tuple(world(lambda _r: Failure(500), random_state=i).ask().pairs) for i in range(10)}
    assert orders == {tuple(CHAIN)}


def test_what_is_no_user_error_passes_through() -> None:
    outcome = world(lambda _request: Failure(kind="internal")).ask()
    assert (outcome.pairs, outcome.error.message) == (CHAIN[:1], "internal")


# GenVM's own ------------------------------------------------------------------------------------------


def own_script() -> Any:
    libraries = genvm_libraries()
    if libraries is None:
        pytest.skip("GENVM_LUA_DIR is not set: GenVM's own Lua libraries are not here")
    return libraries


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_engine_serves_over_genvms_own_libraries(generation: Generation) -> None:
    libraries = own_script()
    assert world(generation=generation, libraries=libraries, shuffle=False).ask().pairs == CHAIN[:1]


def test_genvms_own_script_runs_unmodified_on_this_engine() -> None:
    libraries = own_script()
    scripts = sorted(libraries.parent.rglob("genvm-llm-default.lua"))
    if not scripts:
        pytest.skip("GENVM_LUA_DIR holds no genvm-llm-default.lua")
    if 'require("llm_policy")' not in scripts[0].read_text("utf-8"):
        pytest.skip("this genvm-llm-default.lua does not require the engine")
    made = World("0.6", BACKENDS, path=scripts[0], libraries=libraries, shuffle=False)
    assert made.load_error is None
    assert made.ask().error is None
