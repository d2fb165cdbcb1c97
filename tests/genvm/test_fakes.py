"""The fakes are strict: what the Rust side would refuse fails here, each mistake by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .backends import backend, model
from .natives import ModuleKilledError
from .values import Answer, Failure, NativeError, UserError
from .world import GENERATIONS, Generation, StrictError, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BACKENDS = {"a": backend({"m": model()}), "b": backend({"m": model({"greybox": {"text": 1}})})}

GOOD = """
local llm, lib = require("lib-llm"), require("lib-genvm")
local function request(ctx, args)
  local mapped = llm.exec_prompt_transform(args)
  return { provider = "a", model = "m", format = mapped.format, prompt = mapped.prompt }
end
local function ask(ctx, req)
  local answer = llm.rs.exec_prompt_in_provider(ctx, req)
  return { data = answer.data, consumed_gen = 0 }
end
function ExecPrompt(ctx, args, remaining_gen)
  local req = request(ctx, args)
  %s
  return ask(ctx, req)
end
function ExecPromptTemplate(ctx, args)
  local mapped = llm.exec_prompt_template_transform(args)
  return ask(ctx, { provider = "a", model = "m", format = mapped.format, prompt = mapped.prompt })
end
"""


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Make a world whose script has some lines before its call of the provider."""

    def make(lines: str = "", generation: Generation = "0.6", **more: Any) -> World:
        path = tmp_path / "script.lua"
        path.write_text(GOOD % lines, "utf-8")
        return World(generation, BACKENDS, path=path, **more)

    return make


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_good_script_passes(world: Callable[..., World], generation: Generation) -> None:
    made = world(generation=generation)
    assert made.ask().data == "text of a/m"
    assert made.ask(response_format="json").data == {"from": "a/m"}
    args = {"template": "EqComparative", "leader_answer": "1", "validator_answer": "2", "principle": "same"}
    with made.session() as session:
        outcome = made.exec_prompt_template(session, args)
    assert outcome.data is True
    assert outcome.calls[0].prompt["user_message"] == "1 and 2 by same"


MISTAKES = {
    "max_tokens of the float subtype": "req.prompt.max_tokens = 10.0",
    "no max_tokens": "req.prompt.max_tokens = nil",
    "a seed of the float subtype": "req.prompt.seed = 1.0",
    "a negative seed": "req.prompt.seed = -1",
    "no temperature": "req.prompt.temperature = nil",
    "a boolean as text": "req.prompt.use_max_completion_tokens = 1",
    "an unknown format": "req.format = 'yaml'",
    "an unknown field": "req.models = {}",
    "an unknown model": "req.model = 'n'",
    "another ctx": "ctx = { __ctx_llm = ctx.__ctx_llm }",
    "a call in a sort": "table.sort({ 1, 2 }, function() ask(ctx, req) end)",
    "a guarded call in a sort": "pcall(table.sort, { 1, 2 }, function() ask(ctx, req) end)",
    "a call in a gsub": "string.gsub('a', 'a', function() ask(ctx, req) end)",
    "a call in a require": "package.preload.m = function() ask(ctx, req) end require('m')",
    "a call in a coroutine": "coroutine.wrap(function() ask(ctx, req) end)()",
    "a number as a log's key": "lib.rs.log_json({ message = 'm', [3] = 1 })",
    "a function in a log": "lib.rs.log_json({ message = 'm', f = print })",
    "a userdata in a log": "lib.rs.log_json({ message = 'm', f = ctx.__ctx_llm })",
    "a cycle in a guarded log": "local t = {} t.t = t pcall(lib.rs.log_json, t)",
    "a NaN in a log": "lib.rs.log_json({ message = 'm', f = 0 / 0 })",
    "bytes in a log": r"lib.rs.log_json({ message = '\255' })",
    "a fraction in a non-fatal error": "lib.rs.user_error({ causes = { 'C' }, fatal = false, ctx = { a = 1.5 } })",
    "an error without fatal": "lib.rs.user_error({ causes = { 'C' }, ctx = {} })",
    "an error that is a table": "error({ causes = { 'C' } })",
    "as_user_error of text": "lib.rs.as_user_error('text')",
    "an unknown text filter": "lib.rs.filter_text('a', { 'NFD' })",
    "an unknown image filter": r"lib.rs.filter_image('\x89PNG', { { GaussianNoise = 1 } })",
    "a global": "leaked = 1",
    "a shared table changed": "llm.providers.a.models.m.seen = true",
    "a selection changed": "llm.select_providers_for(req.prompt, 'text').a = nil",
    "math.random": "pcall(math.random)",
    "an answer without data": "do return { consumed_gen = 0 } end",
    "an answer that is text": "do return 'text' end",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused(world: Callable[..., World], mistake: str) -> None:
    with pytest.raises(StrictError):
        world(MISTAKES[mistake]).ask()


@pytest.mark.parametrize("lines", ["lib.rs.sleep_seconds(-1)", "lib.rs.sleep_seconds(0 / 0)"])
def test_a_bad_sleep_kills_the_module(world: Callable[..., World], lines: str) -> None:
    with pytest.raises(ModuleKilledError):
        world(lines).ask()


@pytest.mark.parametrize("answer", ["nil", "0.0", "-1"])
def test_0_2_wants_an_integer_consumed(world: Callable[..., World], answer: str) -> None:
    with pytest.raises(StrictError, match="consumed_gen"):
        world(f"do return {{ data = 'text', consumed_gen = {answer} }} end", "0.2").ask()


def test_a_fatal_error_may_carry_a_fraction_and_keeps_its_content(world: Callable[..., World]) -> None:
    made = world("lib.rs.user_error({ causes = { 'C', 'D' }, fatal = true, ctx = { a = 1.5 } })")
    assert made.ask().user_error == UserError(["C", "D"], fatal=True, ctx={"a": 1.5})


def test_a_native_error_is_opaque_and_survives_raising(world: Callable[..., World]) -> None:
    lines = """
    local ok, e = pcall(ask, ctx, req)
    assert(not ok and type(e) == "userdata" and not pcall(function() return e.causes end))
    local user = lib.rs.as_user_error(e)
    assert(user.fatal == true and math.type(user.ctx.status) == "float" and user.ctx.status == 503)
    error(e)
    """
    outcome = world(lines, script=lambda _request: Failure(503)).ask()
    assert outcome.user_error.ctx["status"] == 503.0


def test_what_is_no_user_error_says_nothing(world: Callable[..., World]) -> None:
    lines = "local _, e = pcall(ask, ctx, req) assert(lib.rs.as_user_error(e) == nil) error(e, 0)"
    error = world(lines, script=lambda _request: Failure(kind="internal")).ask().error
    assert isinstance(error, NativeError)
    assert error.user is None


def test_the_budget_is_no_number_from_0_6(world: Callable[..., World]) -> None:
    assert world("assert(math.type(remaining_gen) == 'integer')", "0.2").ask().error is None
    assert world("assert(type(remaining_gen) == 'userdata')").ask().error is None
    assert "compare" in world("local _ = remaining_gen > 1").ask().error


def test_a_null_meta_is_a_userdata_on_0_2_alone(world: Callable[..., World]) -> None:
    lines = "error(type(llm.providers.a.meta) .. type(llm.providers.b.models.m.meta), 0)"
    assert world(lines, "0.2").ask().error == "userdatatable"
    assert world(lines).ask().error == "niltable"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_functions_are_absent_by_generation(world: Callable[..., World], generation: Generation) -> None:
    lines = "error(type(llm.rs.exhaust) .. type(lib.rs.monotonic_ms) .. type(lib.rs.random_float), 0)"
    made = world(lines, generation, without={"random_float"})
    assert made.ask().error == ("nilnilnil" if generation == "0.2" else "functionfunctionnil")


def test_what_genvm_does_not_open_is_not_there(world: Callable[..., World]) -> None:
    world("assert(debug == nil and utf8 == nil and os == nil and python == nil)").ask()
    assert "assert" not in str(world("assert(not pcall(require, 'debug'))").ask().error)


def test_nothing_asynchronous_is_served_while_a_script_loads(tmp_path: Path) -> None:
    path = tmp_path / "script.lua"
    path.write_text("pcall(__dflt.sleep_seconds, 1)", "utf-8")
    with pytest.raises(StrictError, match="nothing can yield"):
        World("0.6", BACKENDS, path=path)


def test_what_a_module_holds_is_seen(world: Callable[..., World]) -> None:
    made = world(
        "package.loaded.m = package.loaded.m or { n = 0 } package.loaded.m.n = package.loaded.m.n + 1"
    )
    made.ask()
    held = made.executor.held()
    made.ask()
    assert held != made.executor.held()


def test_two_sessions_interleave_at_their_calls_on_0_2(world: Callable[..., World]) -> None:
    made = world("", "0.2", script=lambda request: Answer(request.genvm_id))
    first, second = made.open_session("1"), made.open_session("2")
    tasks = [made.start(session, {"prompt": "p"}) for session in (first, second)]
    assert [task.advance() for task in tasks] == [None, None]
    assert [task.run().data for task in reversed(tasks)] == ["2", "1"]


def test_a_vm_of_0_6_serves_one_session(world: Callable[..., World]) -> None:
    made = world()
    made.open_session("1")
    with pytest.raises(RuntimeError):
        made.open_session("2")
