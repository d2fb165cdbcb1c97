"""The examples beside the script work as they are, and what an operator writes wrong is said at loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua53 import LuaRuntime

from tests.genvm.backends import model
from tests.genvm.values import Failure, Request
from tests.genvm.world import GENERATIONS, Generation, World

GENVM = Path(__file__).resolve().parents[2] / "genvm"
PNG = b"\x89PNG1"
POLICY = (GENVM / "greybox-policy.example.lua").read_text("utf-8")
OVERLAY = (GENVM / "router-overlay.example.lua").read_text("utf-8")


def backends(generation: Generation) -> dict[str, Any]:
    """Read the backends of an example; what it leaves to GenVM has GenVM's defaults."""
    rows = yaml.safe_load((GENVM / f"llm-module.v{generation}.example.yaml").read_text("utf-8"))["backends"]
    return {
        name: {**row, "models": {key: {**model(), **each} for key, each in row["models"].items()}}
        for name, row in rows.items()
    }


def world(
    generation: Generation, overlay: str | None = None, policy: str | None = None, **more: Any
) -> World:
    files = {"router-overlay.lua": overlay, "greybox-policy.lua": policy}
    given = {name: text for name, text in files.items() if text is not None}
    return World(generation, backends(generation), files=given, **more)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_yaml_and_the_overlay_make_chains(generation: Generation) -> None:
    made = world(generation, OVERLAY, script=lambda _request: Failure(500))
    assert made.load_error is None
    assert made.ask().pairs == ["acme/small-1", "bravo/small-1", "bravo/eye-1"]
    assert made.ask(images=[PNG]).pairs == ["bravo/eye-1"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_policy_decides_where_it_is(generation: Generation) -> None:
    def limited(request: Request) -> Any:
        return Failure(429) if request.provider == "acme" else "answer"

    made = world(generation, OVERLAY, POLICY, script=limited)
    outcome = made.ask()
    assert outcome.pairs == ["acme/small-1", "acme/small-1", "bravo/small-1"]
    assert [round(seconds, 3) for seconds in made.sleeps] == [0.5]
    assert len({call.prompt["temperature"] for call in outcome.calls}) == 3
    assert all(0.2 <= call.prompt["temperature"] <= 1 for call in outcome.calls)


def test_the_seed_moves_image_filters_within_their_amplitude() -> None:
    made = world("0.6", OVERLAY, POLICY)
    for transaction in range(20):
        with made.session(host_data={"node_address": "0xab", "tx_id": f"{transaction}"}) as session:
            made.exec_prompt(session, {"prompt": "p", "images": [PNG]})
    noise = [row[0]["GuassianNoise"] for row in made.image_filters]
    quality = [row[1]["JPEG"] for row in made.image_filters]
    assert len(set(noise)) == 20
    assert all(0.01 <= each <= 0.03 for each in noise)
    assert len(set(quality)) > 3
    assert all(type(each) is int and 88 <= each <= 96 for each in quality)


def test_a_filter_of_several_numbers_is_written_with_dots() -> None:
    recipe = '{ { ["Unsharpen.1"] = 2, ["Unsharpen.2"] = 3.5 } }'
    policy = f'return {{ policy = "p", profiles = {{ p = {{ mutate = {{ filter_image = {recipe} }} }} }} }}'
    made = world("0.6", policy)
    assert made.ask(images=[PNG]).error is None
    assert made.image_filters == [[{"Unsharpen": [2, 3.5]}]]


def test_what_no_provider_takes_is_not_sent() -> None:
    params = 'seed = -1, max_tokens = 5.5, temperature = -1, top_p = 0.5, style = "dry", timeout_ms = 7'
    overlay = f"""return {{ policy = "p", params = {{ "style" }},
      profiles = {{ p = {{ mutate = {{ set_param = {{ {params} }} }} }} }} }}"""
    (call,) = world("0.6", overlay).ask().calls
    prompt = call.prompt
    assert prompt["seed"] >= 0
    assert (prompt["max_tokens"], prompt["temperature"]) == (5, 0)
    assert prompt["extra"] in ({"top_p": 0.5, "style": b"dry"}, {"top_p": 0.5, "style": "dry"})


def test_a_policy_with_a_function_in_it_is_local() -> None:
    overlay = """local dsl = require("llm_policy").dsl
    local function is_bravo(candidate) return candidate.provider_id == "bravo" end
    return { policy = dsl.policy({ filter = dsl.F.all_of({ dsl.F.requirements(), dsl.F.where(is_bravo) }) }) }"""
    made = world("0.6", overlay)
    assert made.ask().calls[0].provider == "bravo"
    assert made.logs[-1]["policy_id"] == "local"


WRONG = {
    "return { polcy = 1 }": "did you mean `policy`",
    'return { models = { ["acme/x"] = {} } }': "GenVM has no such entry",
    "return { providers = { x = {} } }": "GenVM has no such entry",
    'return { models = { ["acme/small-1"] = { price_inn = 1 } } }': "did you mean `price_in`",
    'return { models = { ["acme/small-1"] = { provider = "bravo" } } }': "GenVM's YAML",
    'return { providers = { acme = { base_url = "https://x" } } }': "GenVM's YAML",
    'return { policy = "nobody" }': "no profile `nobody`",
    'return { policy = { "policy", { "top" } } }': "another number of arguments",
    "return": "returns nothing",
    "x(": "unexpected symbol",
    'return { policy = "p", profiles = { p = { mutate = { filter_text = { "NFCK" } } } } }': "did you mean",
    'return { policy = "p", profiles = { p = { mutate = { filter_image = { { GaussianNoise = 1 } } } } } }': "did you mean `GuassianNoise`",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_at_loading(text: str) -> None:
    assert WRONG[text] in str(world("0.6", text).load_error)


def test_two_policies_are_one_too_many() -> None:
    assert "one of them must go" in str(world("0.6", 'return { policy = "default" }', POLICY).load_error)


def test_a_broken_policy_file_is_not_skipped() -> None:
    assert "no such module" in str(world("0.6", None, 'error("no such module")').load_error)


def test_a_disabled_model_may_stand_in_the_overlay() -> None:
    assert world("0.6", 'return { models = { ["bravo/off-1"] = { price_in = 1 } } }').load_error is None


def test_the_yamls_say_what_the_installer_sets() -> None:
    for generation in GENERATIONS:
        data = yaml.safe_load((GENVM / f"llm-module.v{generation}.example.yaml").read_text("utf-8"))
        directory = Path(data["lua_script_path"]).parent
        assert data["lua_path"].startswith(f"{directory}/?.lua;{directory}/lua/?.lua;")


def test_no_module_reaches_for_what_genvm_has_not() -> None:
    lua = LuaRuntime(register_builtins=False)
    lua.execute("os, io, debug, utf8, coroutine = nil, nil, nil, nil, nil")
    lua.execute(f"package.path = '{GENVM}/?.lua;{GENVM.parent}/lua/?.lua'")
    lua.execute("__llm, __dflt = { providers = {} }, {}")
    lua.execute('require("dispatch")')
    assert lua.eval("type(ExecPrompt) == 'function' and type(ExecPromptTemplate) == 'function'")
