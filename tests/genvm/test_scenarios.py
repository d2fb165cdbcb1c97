"""What a validator's calls come to under the greybox script, in both generations (spec 4.2)."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from .backends import backend, greybox
from .scenario import CHAINS, IMAGE_CHAIN, PLAIN, PNG, TEXT_CHAIN, always, first
from .values import Answer, Failure, NativeError
from .world import Generation, World, genvm_libraries

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES: dict[str, tuple[dict[str, Any], str]] = {
    "EqComparative": (
        {"template": "EqComparative", "leader_answer": "one", "validator_answer": "1", "principle": "same"},
        "one and 1 by same",
    ),
    "EqNonComparativeValidator": (
        {"template": "EqNonComparativeValidator", "task": "t", "criteria": "c", "input": "i", "output": "o"},
        "t c i o",
    ),
    "EqNonComparativeLeader": (
        {"template": "EqNonComparativeLeader", "task": "t", "criteria": "c", "input": "i"},
        "t c i",
    ),
}


def lines(world: World, message: str) -> list[dict[str, Any]]:
    return [line for line in world.logs if line.get("message") == message]


def test_genvms_own_libraries_are_tested_too() -> None:
    if genvm_libraries() is None:
        pytest.skip("GENVM_LUA_DIR is not set: GenVM's own Lua libraries are not here")


# What is asked and answered ----------------------------------------------------------------------------


def test_the_globals_that_genvm_calls_are_there(make: Callable[..., World]) -> None:
    world = make()
    for name in (b"ExecPrompt", b"ExecPromptTemplate", b"Setup", b"Teardown"):
        assert world.executor.has(name)


def test_text_is_answered_by_the_head_of_the_chain(make: Callable[..., World]) -> None:
    outcome = make().ask("hello")
    assert (outcome.pairs, outcome.data) == (TEXT_CHAIN[:1], "text of bert/fast")
    assert (outcome.calls[0].format, outcome.calls[0].prompt["user_message"]) == ("text", "hello")


def test_json_is_answered_by_who_can_and_passes_untouched(make: Callable[..., World]) -> None:
    said = {"a": [1, 2, {"b": "ü"}], "c": 1.5, "d": None}
    outcome = make(script=lambda _request: said).ask(response_format="json")
    assert (outcome.pairs, outcome.data, outcome.calls[0].format) == (["anna/fast"], said, "json")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("verdict", [True, False])
def test_templates_are_asked_in_their_format(make: Callable[..., World], name: str, *, verdict: bool) -> None:
    args, message = TEMPLATES[name]
    world = make(script=lambda request: verdict if request.format == "bool" else "text")
    with world.session() as session:
        outcome = world.exec_prompt_template(session, args)
    is_leader = name == "EqNonComparativeLeader"
    assert outcome.data == ("text" if is_leader else verdict)
    assert outcome.calls[0].format == ("text" if is_leader else "bool")
    assert outcome.calls[0].prompt["system_message"]
    assert message in outcome.calls[0].prompt["user_message"]


@pytest.mark.parametrize("said", ["true", {"result": True}, 1])
def test_a_verdict_that_is_no_boolean_reaches_no_contract(make: Callable[..., World], said: Any) -> None:
    world = make(script=first(said))
    with world.session() as session:
        outcome = world.exec_prompt_template(session, TEMPLATES["EqComparative"][0])
    assert (outcome.data, len(outcome.calls)) == (True, 2)


def test_images_take_the_image_chain_then_who_sees_in_the_text_chain(make: Callable[..., World]) -> None:
    world = make(script=always(Failure(500)))
    outcome = world.ask(images=[PNG, PNG])
    assert outcome.pairs == IMAGE_CHAIN
    assert all(call.prompt["images"] == [PNG, PNG] for call in outcome.calls)
    assert world.ask(images=[PNG], response_format="json").pairs == ["carl/wide"]


@pytest.mark.parametrize("prompt", ["", " \n\t", "\u200b\u2060"])
def test_an_empty_prompt_is_refused_before_anybody_is_asked(make: Callable[..., World], prompt: str) -> None:
    outcome = make().ask(prompt)
    assert (outcome.pairs, outcome.user_error.causes[0], outcome.user_error.fatal) == (
        [],
        "EMPTY_PROMPT",
        False,
    )


def test_a_prompts_text_is_filtered_by_default(make: Callable[..., World]) -> None:
    outcome = make().ask("\ufb01ne\u200b \n text ")
    assert outcome.calls[0].prompt["user_message"] == "fine text"


@pytest.mark.parametrize("consumed", [None, 0, 0.0, 3, 3.0])
def test_what_is_consumed_is_an_integer(make: Callable[..., World], consumed: Any) -> None:
    outcome = make(consumed_gen=lambda _given: consumed).ask()
    assert outcome.error is None


def test_a_prompt_without_a_list_of_images_is_text(make: Callable[..., World]) -> None:
    assert make().ask(images=None).pairs == TEXT_CHAIN[:1]


@pytest.mark.parametrize("backends", [{}, {"anna": backend({})}], ids=["none", "empty"])
def test_a_node_without_models_says_so(make: Callable[..., World], backends: Any) -> None:
    assert make(backends).ask().user_error.causes[0] == "NO_PROVIDER_FOR_PROMPT"


# Failures ------------------------------------------------------------------------------------------------

FAILURES = {
    "400": Failure(400),
    "401": Failure(401),
    "402": Failure(402),
    "403": Failure(403),
    "404": Failure(404),
    "408": Failure(408),
    "418": Failure(418),
    "429": Failure(429),
    "500": Failure(500),
    "503": Failure(503),
    "504": Failure(504),
    "529": Failure(529),
    "html": Failure(502, b"<!DOCTYPE html><html>\xff\xfe<b>Bad gateway</b></html>" * 200),
    "no connection": Failure(None),
}
KINDS = {
    "400": "bad_request",
    "401": "auth_error",
    "402": "payment_required",
    "403": "auth_error",
    "404": "model_unavailable",
    "408": "timeout",
    "418": "unknown",
    "429": "rate_limit",
    "500": "server_error",
    "503": "server_error",
    "504": "timeout",
    "529": "server_error",
    "html": "server_error",
    "no connection": "network_error",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_falls_through_to_the_next(make: Callable[..., World], name: str) -> None:
    outcome = make(script=first(FAILURES[name])).ask()
    assert (outcome.pairs, outcome.data) == (TEXT_CHAIN[:2], "text of anna/fast")


@pytest.mark.parametrize("name", FAILURES)
def test_when_all_are_exhausted_the_trace_is_raised(make: Callable[..., World], name: str) -> None:
    outcome = make(script=always(FAILURES[name])).ask()
    error = outcome.user_error
    assert outcome.pairs == TEXT_CHAIN
    assert (error.causes[0], error.fatal) == ("NO_PROVIDER_FOR_PROMPT", True)
    attempts = [each for each in error.ctx["trace"]["decision_path"] if each["event"] == "attempted"]
    assert [each["error_kind"] for each in attempts] == [KINDS[name]] * 3
    assert "html" not in json.dumps(error.ctx)


def test_a_prompt_that_nobody_can_serve_is_exhausted_at_once(make: Callable[..., World]) -> None:
    outcome = make({"bert": backend({"fast": greybox(text=1, json=False)})}).ask(response_format="json")
    assert (outcome.pairs, outcome.user_error.causes[0]) == ([], "NO_PROVIDER_FOR_PROMPT")
    assert "trace" in outcome.user_error.ctx


@pytest.mark.parametrize("kind", ["internal", "exhausted"])
def test_what_is_no_user_error_is_raised_again_as_it_is(make: Callable[..., World], kind: str) -> None:
    raised: list[NativeError] = []

    def note(error: NativeError) -> NativeError:
        raised.append(error)
        return error

    outcome = make(script=always(Failure(kind=kind)), on_raise=note).ask()
    assert outcome.pairs == TEXT_CHAIN[:1]
    assert outcome.error is raised[0]


def test_a_log_that_fails_ends_no_call(make: Callable[..., World]) -> None:
    world = make(script=first(Failure(429)), log_fails=True)
    assert world.ask().data == "text of anna/fast"


# Budget and timeouts -------------------------------------------------------------------------------------


def test_a_spent_budget_is_exhausted_by_the_native_alone(
    make: Callable[..., World], generation: Generation
) -> None:
    world = make(remaining_gen=5, compares_rat=True, script=lambda _request: Answer("text", consumed_gen=9))
    outcome = world.ask()
    assert len(outcome.calls) == 1
    if generation == "0.2":
        assert (outcome.data, outcome.consumed_gen) == ("text", 9)
    else:
        assert (world.exhausted, outcome.error.user, outcome.error.message) == (1, None, "exhausted")


def test_a_budget_that_suffices_is_left_alone(make: Callable[..., World]) -> None:
    world = make(remaining_gen=50, compares_rat=True, script=lambda _request: Answer("text", consumed_gen=9))
    assert (world.ask().data, world.exhausted) == ("text", 0)


def test_the_nearest_timeout_counts(make: Callable[..., World], generation: Generation) -> None:
    backends = {
        "a": backend({"m": greybox(text=1, timeout=3), "n": greybox(text=2)}, timeout=9),
        "b": backend({"m": greybox(text=3)}),
    }
    more = {} if generation == "0.2" else {"timeout": 20}
    calls = make(backends, always(Failure(500)), **more).ask().calls
    assert [call.timeout for call in calls[:2]] == [3, 9]
    assert calls[2].timeout in {None, more.get("timeout")}


# The catalog ---------------------------------------------------------------------------------------------


def test_flags_are_each_pairs_own(make: Callable[..., World]) -> None:
    calls = make(script=always(Failure(500))).ask().calls
    flags = {call.pair: call.prompt["use_max_completion_tokens"] for call in calls}
    assert flags == {"bert/fast": False, "anna/fast": True, "carl/wide": False}


def test_one_model_name_on_two_backends_is_two_candidates(make: Callable[..., World]) -> None:
    backends = {name: backend({"vendor/m": greybox(text=1)}) for name in ("two", "one")}
    outcome = make(backends, always(Failure(401))).ask()
    assert outcome.pairs == ["one/vendor/m", "two/vendor/m"]


def test_equal_places_are_ordered_by_priority_then_by_bytes(make: Callable[..., World]) -> None:
    row = {"m": greybox(text=1), "M": greybox(text=1)}
    backends = {
        "é": backend(row),
        "b": backend(row),
        "B": backend(row),
        "z": backend(row, 5),
        "y": backend(row, -1),
    }
    pairs = make(backends, always(Failure(500))).ask().pairs
    assert pairs == [f"{name}/{each}" for name in ("z", "B", "b", "é", "y") for each in ("M", "m")]


def test_a_disabled_model_is_never_asked(make: Callable[..., World]) -> None:
    assert "anna/off" not in make(script=always(Failure(500))).ask().pairs


def test_without_chains_the_whole_catalog_is_ranked(make: Callable[..., World]) -> None:
    world = make(PLAIN, always(Failure(500)))
    assert sorted(world.ask().pairs) == ["anna/large", "anna/small", "bert/large", "bert/small"]
    assert sorted(world.ask(response_format="json").pairs) == ["anna/large", "anna/small", "bert/small"]
    assert world.ask(images=[PNG]).pairs == ["anna/large"]
    assert lines(world, "greybox: using text chain") == []


def test_required_chains_that_are_missing_fail_the_loading(generation: Generation) -> None:
    files = {"router-overlay.lua": "return { greybox_required = true }"}
    world = World(generation, PLAIN, files=files)
    assert world.load_error is not None
    assert "greybox" in str(world.load_error)
    assert World(generation, CHAINS, files=files).load_error is None


def shuffled(rows: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    names = list(rows)
    chance.shuffle(names)
    out = {name: rows[name] for name in names}
    return {
        name: {**each, "models": shuffled(each["models"], chance)} if "models" in each else each
        for name, each in out.items()
    }


@pytest.mark.parametrize("backends", [CHAINS, PLAIN], ids=["chains", "plain"])
def test_thirty_fresh_vms_have_one_order(make: Callable[..., World], backends: Any) -> None:
    chance = random.Random(1)  # noqa: S311 - an order to test with
    orders, policies = set(), set()
    for i in range(30):
        world = make(shuffled(backends, chance), always(Failure(500)), random_state=i, seed_bytes=bytes([i]))
        with world.session(host_data={"node_address": f"0x{i}", "tx_id": "0x1"}) as session:
            orders.add(tuple(world.exec_prompt(session, {"prompt": "p"}).pairs))
        policies |= {line["policy_id"] for line in world.logs if "policy_id" in line}
    assert len(orders) == 1
    assert len(policies) == 1


# What is logged ------------------------------------------------------------------------------------------


def test_operators_find_the_chain_and_the_success(make: Callable[..., World]) -> None:
    world = make(script=first(Failure(503)))
    world.ask()
    world.ask()
    assert [line["count"] for line in lines(world, "greybox: using text chain")] == [3, 3]
    told = [
        (line["provider"], line["model"], line["is_primary"]) for line in lines(world, "greybox: success")
    ]
    assert told == [("anna", "fast", False), ("bert", "fast", True)]
    world.ask(images=[PNG])
    assert [line["count"] for line in lines(world, "greybox: using image chain")] == [2]


def test_the_policy_is_named_by_its_identity(make: Callable[..., World]) -> None:
    world = make()
    world.ask()
    named = [line["policy_id"] for line in world.logs if "policy_id" in line]
    assert named
    assert all(name.startswith("sha256:") and len(name) == 71 for name in named)


def test_an_error_page_reaches_no_log(make: Callable[..., World]) -> None:
    world = make(script=always(FAILURES["html"]))
    world.ask()
    assert "html" not in json.dumps(world.logs).replace("html_", "")


# What may be absent ----------------------------------------------------------------------------------------

OPTIONAL = (
    *("filter_text", "filter_image", "random_bytes", "random_float", "json_parse", "json_stringify"),
    *("monotonic_ms", "sleep_seconds", "log_json", "exhaust"),
)


@pytest.mark.parametrize("absent", [*OPTIONAL, "all"])
def test_an_absent_native_is_done_without(make: Callable[..., World], absent: str) -> None:
    names = set(OPTIONAL) if absent == "all" else {absent}
    world = make(script=first(Failure(429)), without=names)
    with world.session(host_data={}) as session:
        assert world.exec_prompt(session, {"prompt": "p"}).data == "text of anna/fast"
