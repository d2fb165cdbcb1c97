"""What a validator can show of its policy: commitments, decisions derived again, simulated nodes."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from llm_policy_host.core.digest import Digest
from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.errors import UsageError
from llm_policy_host.onchain.commitments import catalog_identity, commit, is_revealed_by, part_salt, read_salt
from llm_policy_host.onchain.decisions import record, schema_of, verify
from llm_policy_host.onchain.plot import draw_svg
from llm_policy_host.onchain.seeds import call_seed
from llm_policy_host.onchain.spread import spread
from llm_policy_host.onchain.validators import (
    BUCKET,
    Answer,
    Policy,
    Round,
    Scenario,
    Setting,
    answer,
    scenarios,
    simulate,
    validators,
)
from llm_policy_host.values import Failure, Inputs
from tests.genvm.backends import backend, model
from tests.genvm.validators import lua
from tests.genvm.values import Failure as ProviderFailure
from tests.genvm.world import GENERATIONS, World

from .test_cli import llm_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.onchain.validators import Validator
    from tests.genvm.values import Request
    from tests.genvm.world import Generation

ROOT = Path(__file__).resolve().parents[2]
SALT = bytes(range(16))

CONFIG: dict[str, Any] = {
    "fields": {"greybox_rank": {"sort": "Num", "default": 9}},
    "providers": {
        "alpha": {"base_url": "https://alpha.example/v1", "auth_env": "ALPHA_KEY", "tier": "partner"},
        "beta": {"base_url": "https://beta.example/v1", "auth": {"kind": "bearer", "env": "BETA_KEY"}},
    },
    "models": {
        "m1": {
            "served_by": [
                {"provider": "alpha", "price_in": 1, "greybox_rank": 2},
                {"provider": "beta", "price_in": 0.1},
            ]
        },
        "m2": {"served_by": [{"provider": "beta", "price_in": 3}], "capabilities": {"context": 8000}},
    },
    "retry_policies": {
        "carry_on": {"unknown": {"action": "next_candidate"}},
        "patient": {"rate_limit": {"action": "retry_same", "attempts": 2, "backoff_ms": 500}},
        "endless": {"unknown": {"action": "retry_same", "attempts": 1e9}},
    },
    "profiles": {
        "cheap": {
            "filter": ["requirements", "not_disabled"],
            "scorer": ["neg", ["normalize", ["field", "price_in"]]],
            "mutate": [{"jitter": {"temperature": 0.4}}],
            "retry_policy": "carry_on",
        },
        "lottery": {"selector": "sample", "retry_policy": "carry_on"},
        "patient": {"scorer": ["field", "price_in"], "retry_policy": "patient"},
        "endless": {"retry_policy": "endless"},
        "nobody": {"filter": {"family_in": ["absent"]}},
    },
    "defaults": {"profile": "cheap"},
    "policy_envelope": ["not", ["tier_eq", "marketplace"]],
}


def engine_of(config: Mapping[str, Any] = CONFIG, runtime: str | None = None) -> LuaEngine:
    made = create_engine(Vm(runtime), config)
    assert isinstance(made, LuaEngine)
    return made


def logged(contract: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"seed": 7, "temperature": 0.5} if contract is None else contract
    inputs = Inputs(1000, given.get("seed"), others=more)
    made = record(engine_of(), schema_of(CONFIG), given, inputs)
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


# Commitments ------------------------------------------------------------------------------------------


def test_a_commitment_is_the_hash_of_salt_and_identity() -> None:
    made = commit("sha256:ab", SALT)
    assert made.commitment == "sha256:" + hashlib.sha256(SALT + b"sha256:ab").hexdigest()
    assert is_revealed_by(made.commitment, "sha256:ab", SALT)
    assert not is_revealed_by(made.commitment, "sha256:ac", SALT)
    assert not is_revealed_by(made.commitment, "sha256:ab", SALT[::-1])
    assert not is_revealed_by("nön", "sha256:ab", SALT)


def test_the_salt_of_one_part_says_nothing_of_the_others() -> None:
    policy, catalog = part_salt(SALT, "policy"), part_salt(SALT, "catalog")
    assert len({SALT, policy, catalog}) == 3
    assert len(policy) == 32


@pytest.mark.parametrize("text", ["", "xy", "00", "0" * 31, "é"])
def test_a_salt_that_is_none_or_too_short_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_salt(text)


def test_the_catalogs_identity_is_of_its_encoding_and_the_same_in_every_runtime() -> None:
    text = (
        '[{"api_kind":"openai_compatible","capabilities":[],"greybox_rank":2,"model_family":"m1","price_in":1,'
        '"provider_id":"alpha","served_model_id":"m1","tier":"partner"},'
        '{"api_kind":"openai_compatible","capabilities":[],"model_family":"m1","price_in":0.10000000000000001,'
        '"provider_id":"beta","served_model_id":"m1"},'
        '{"api_kind":"openai_compatible","capabilities":{"context":8000},"model_family":"m2","price_in":3,'
        '"provider_id":"beta","served_model_id":"m2"}]'
    )
    wanted = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    found = {
        catalog_identity(Digest(Vm(name)), engine_of(runtime=name).candidates)
        for name in available_runtimes()
    }
    assert found == {wanted}


def test_no_address_and_no_account_is_in_a_catalogs_identity() -> None:
    moved = copy.deepcopy(CONFIG)
    moved["providers"]["alpha"] |= {"base_url": "https://elsewhere.example", "auth_env": "OTHER"}
    dearer = copy.deepcopy(CONFIG)
    dearer["models"]["m2"]["served_by"][0]["price_in"] = 4
    before, after, changed = (
        catalog_identity(Digest(Vm()), engine_of(each).candidates) for each in (CONFIG, moved, dearer)
    )
    assert before == after != changed


# Decisions --------------------------------------------------------------------------------------------

CONTRACTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a jittered temperature": ({"seed": 7, "temperature": 0.5}, {}),
    "a sampled order": ({"profile": "lottery", "seed": 12}, {}),
    "no seed": ({"temperature": 0.5}, {}),
    "a disabled provider": ({"seed": 1}, {"disabled": {"beta": True}}),
    "observed prices": ({"seed": 1}, {"price_multipliers": {"beta": 50}}),
    "a pin": ({"seed": 1, "requirements": {"pin": {"provider": "alpha"}}}, {}),
    "a need nobody has": ({"seed": 1, "requirements": {"min_context": 10**6}}, {}),
    "a policy of the caller": (
        {"policy_ir": ["policy", ["top"], ["field", "greybox_rank"], ["argmax"], ["id"], ["always", {"action": "abort"}]]},
        {},
    ),
    "a chain of the caller": (
        {"policy_ir": ["policy", ["top"], ["zero"], ["chain", [{"provider": "beta", "model": "m2"}]], ["id"], ["always", {"action": "abort"}]]},
        {},
    ),
    "candidates of the caller": (
        {"seed": 1, "extra_candidates": [{"provider_id": "own", "model_family": "m0", "price_in": 0, "base_url": "https://own.example"}]},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRACTS)
@pytest.mark.parametrize("runtime", available_runtimes())
def test_a_recorded_decision_is_derived_again(case: str, runtime: str) -> None:
    contract, inputs = CONTRACTS[case]
    assert verify(logged(contract, **inputs), runtime) is None


def test_a_record_says_what_the_engine_ranks_and_calls() -> None:
    engine, contract = engine_of(), {"seed": 7, "temperature": 0.5}
    ranked = engine.rank(contract, Inputs(1000, 7))["ordered"]
    step = engine.start(contract, Inputs(1000, 7))
    decided = logged()["decided"]
    assert decided["order"] == ranked
    assert decided["first"]["params"] == step.params
    assert decided["first"]["provider_id"] == step.candidate["provider_id"] == "beta"
    assert decided["first"]["params"]["temperature"] != 0.5


def test_a_record_holds_no_address() -> None:
    assert "example" not in json.dumps(logged(CONTRACTS["candidates of the caller"][0]))
    assert "KEY" not in json.dumps(logged())


def test_recording_leaves_the_engines_health_as_it_was() -> None:
    engine = engine_of()
    step = engine.start({}, Inputs(0))
    engine.fail(step.handle, 0, Failure("auth_error", 401))
    before = engine.dump_state()
    made = record(engine, schema_of(CONFIG), {}, Inputs(1))
    assert engine.dump_state() == before == made["inputs"]["state"]
    assert before["health"]["breakers"]


def test_the_health_at_the_moment_is_part_of_what_a_decision_rests_on() -> None:
    engine = engine_of({**CONFIG, "defaults": {"profile": "cheap", "circuit_breaker_threshold": 1}})
    engine.fail(engine.start({}, Inputs(0)).handle, 0, Failure("server_error", 500))
    made = json.loads(json.dumps(record(engine, schema_of(CONFIG), {}, Inputs(1))))
    assert made["decided"]["first"]["provider_id"] == "alpha"
    assert verify(made) is None
    del made["inputs"]["state"]
    assert "first" in str(verify(made)) or "order" in str(verify(made))


TAMPERED = {
    "the first choice": (("decided", "first", "provider_id"), "alpha", "decided.first.provider_id"),
    "a parameter": (("decided", "first", "params", "temperature"), 0.5, "decided.first.params.temperature"),
    "the order": (("decided", "order", 0, "provider_id"), "alpha", "decided.order[1].provider_id"),
    "the order's length": (("decided", "order"), [], "decided.order"),
    "the policy's identity": (("decided", "policy_id"), "sha256:0", "decided.policy_id"),
    "the catalog's identity": (("decided", "catalog_id"), "sha256:0", "decided.catalog_id"),
    "an invented error": (("decided", "error"), "no_candidates", "decided.error"),
    "a price": (("catalog", 1, "price_in"), 100, "decided.catalog_id"),
    "the seed": (("contract", "seed"), 8, "decided.first.params.seed"),
    "the policy": (("policy", 3), ["ordered"], "decided.first.provider_id"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_the_first_thing_that_differs_is_named(what: str) -> None:
    at, value, path = TAMPERED[what]
    changed = logged()
    place: Any = changed
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    found = verify(changed)
    assert found is not None
    assert found.path == path


def test_a_log_that_tells_less_is_held_to_what_it_tells() -> None:
    told = logged()
    told["decided"] = {"first": {"provider_id": "beta"}, "policy_id": told["decided"]["policy_id"]}
    assert verify(told) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "v0"),
        ("schema", []),
        ("schema", {"fields": 3}),
        ("policy", {}),
        ("policy", ["nonsense"]),
        ("catalog", {}),
        ("catalog", [None]),
        ("catalog", [{"provider_id": "a"}]),
        ("contract", 3),
        ("contract", {"seed": 0.5}),
        ("inputs", {"now_ms": "now"}),
        ("inputs", {"now_ms": True}),
        ("inputs", {"state": {"v": 2}}),
        ("inputs", {"state": []}),
        ("inputs", {"offers": {}}),
        ("decided", {}),
        ("decided", None),
    ],
)
def test_what_is_no_record_is_refused(key: str, value: Any) -> None:
    with pytest.raises(UsageError):
        verify({**logged(), key: value})


@pytest.mark.parametrize("given", [None, [], 3, "x", {}])
def test_another_value_is_no_record(given: Any) -> None:
    with pytest.raises(UsageError):
        verify(given)


# Simulated validators ---------------------------------------------------------------------------------


def test_a_seed_is_of_transaction_node_and_call() -> None:
    seeds = [call_seed(f"tx{t}", f"n{n}", c) for t in range(5) for n in range(5) for c in range(1, 4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 - 1 for seed in seeds)
    assert call_seed("ab", "c", 1) != call_seed("a", "bc", 1)


def played(profile: str, scenario: Scenario, count: int = 4, **request: Any) -> list[Round]:
    nodes = validators([Policy("x", engine_of(), profile)], count, seed=1)
    return simulate(nodes, scenario, Setting(6, 1, request=request))


CALM = Scenario("calm")


def test_a_simulation_is_the_same_whenever_it_is_run() -> None:
    assert played("lottery", CALM) == played("lottery", CALM)


def test_one_policy_without_chance_agrees_wholly() -> None:
    found = spread("calm", rounds := played("patient", CALM, temperature=0.7), rounds)
    assert (found.agree, found.same_model, found.majority, found.answers) == (1, 1, 1, 1)
    assert found.served == {"m2@beta": 1}
    assert (found.moved, found.fell_through, found.silent, found.attempts) == (0, 0, 0, 1)


def test_a_jittered_temperature_parts_answers_and_not_models() -> None:
    found = spread("calm", rounds := played("cheap", CALM, 8, temperature=0.7), rounds)
    assert found.same_model == 1
    assert 0 < found.agree < 1


def test_a_lost_provider_is_fallen_through() -> None:
    before = played("cheap", CALM)
    after = played("cheap", Scenario("x", lost=frozenset({"beta"})))
    found = spread("x", after, before)
    assert found.first_choices == {"m1@beta": 1}
    assert found.served == {"m1@alpha": 1}
    assert (found.moved, found.fell_through, found.silent, found.attempts) == (4, 4, 0, 2)


def test_a_plan_that_retries_outlasts_a_rate_limit() -> None:
    limited = Scenario("x", limited=frozenset({"beta"}))
    found = spread("x", played("patient", limited), played("patient", CALM))
    assert found.served == {"m2@beta": 1}
    assert (found.moved, found.fell_through) == (0, 4)
    assert spread("x", played("cheap", limited), played("cheap", CALM)).moved == 4


def test_who_reaches_nobody_is_silent_and_agrees_with_nobody() -> None:
    gone = Scenario("x", lost=frozenset({"alpha", "beta"}))
    found = spread("x", played("cheap", gone), played("cheap", CALM))
    assert found.served == {"nobody": 1}
    assert (found.agree, found.majority, found.answers, found.silent) == (0, 0, 0, 4)


def test_a_filter_that_leaves_nobody_and_a_plan_without_end_are_silent() -> None:
    setting = Setting(1)
    (node,) = validators([Policy("x", engine_of(), "nobody")], 1, seed=1)
    assert answer(node, "t", CALM, setting) == Answer(error="no_candidates")
    (node,) = validators([Policy("x", engine_of(), "endless")], 1, seed=1)
    gone = Scenario("x", lost=frozenset({"alpha", "beta"}))
    assert "no end" in str(answer(node, "t", gone, setting).error)


def test_one_sessions_failures_do_not_reach_the_next() -> None:
    (node,) = validators([Policy("x", engine_of(), "cheap")], 1, seed=1)
    gone, setting = Scenario("x", lost=frozenset({"beta"})), Setting(1)
    for place in range(5):
        assert answer(node, str(place), gone, setting).first == "m1@beta"


def test_a_node_lacks_providers_by_its_own_chance() -> None:
    nodes = validators([Policy("x", engine_of(), "cheap")], 40, seed=2, missing=0.5)
    assert {node.without for node in nodes} == {
        frozenset(each) for each in ((), ("alpha",), ("beta",), ("alpha", "beta"))
    }
    for node in nodes:
        served = answer(node, "t", CALM, Setting(1)).served
        assert served is None or served.partition("@")[2] not in node.without


def test_one_misfortune_at_a_time() -> None:
    names = [each.name for each in scenarios(["a"], ["a", "b"])]
    assert names == ["all answer", "a lost", "a rate-limited", "b rate-limited"]


def test_the_plot_is_well_formed_whatever_names_are() -> None:
    rounds = [Round(0, (Answer("<m>@&", "<m>@&", "<m>", 1, 1), Answer(error="x")))]
    root = ET.fromstring(draw_svg([spread('a"<', rounds, rounds)]))  # noqa: S314 - our own text
    assert len(root.findall(".//{*}title")) == 2


# The simulation and the script ------------------------------------------------------------------------

MODELS = {"alpha/m1": 1, "alpha/m2": 5, "beta/m1": 2, "gamma/m3": 3}
OVERLAYS: dict[str, dict[str, Any]] = {
    "cheap, jittered": CONFIG["profiles"]["cheap"],
    "by lot": {**CONFIG["profiles"]["lottery"], "mutate": {"set_param": {"seed": "from_ctx"}}},
    "patient": {**CONFIG["profiles"]["cheap"], "retry_policy": "patient"},
    "the same model elsewhere": {"retry_policy": "same"},
    "nobody": CONFIG["profiles"]["nobody"],
}
PLANS = {
    "carry_on": CONFIG["retry_policies"]["carry_on"],
    "patient": {**CONFIG["retry_policies"]["patient"], "unknown": {"action": "disable_provider"}},
    "same": {"unknown": {"action": "next_provider_same_model"}},
}


def node_config(profile: dict[str, Any]) -> dict[str, Any]:
    """Give the config that the script makes of the world's backends and an overlay."""
    routes = {name: name.split("/") for name in MODELS}
    return {
        "providers": {provider: {"base_url": "x"} for provider, _ in routes.values()},
        "models": {
            name: {
                "served_by": [{"provider": provider, "provider_model_id": model, "price_in": MODELS[name]}]
            }
            for name, (provider, model) in routes.items()
        },
        "retry_policies": PLANS,
        "profiles": {"own": profile},
    }


def overlay(profile: dict[str, Any]) -> str:
    models = {name: {"price_in": price} for name, price in MODELS.items()}
    return "return " + lua(
        {"models": models, "profiles": {"own": profile}, "retry_policies": PLANS, "policy": "own"}
    )


def worlds_answer(world: World, node: Validator, transaction: str, scenario: Scenario) -> Answer:
    """Let the script answer, as `answer` lets the engine."""
    tried: list[str] = []

    def script(request: Request) -> Any:
        failure = scenario.failure(request.provider, tried.count(request.provider))
        tried.append(request.provider)
        return "said" if failure is None else ProviderFailure(failure.http_status)

    world.script = script
    with world.session("7", {"node_address": node.address, "tx_id": transaction}) as session:
        outcome = world.exec_prompt(session, {"prompt": "hello"})
    routes = [f"{call.provider}/{call.model}@{call.provider}" for call in outcome.calls]
    assert all(call.prompt["seed"] == call_seed(transaction, node.address, 1) for call in outcome.calls)
    first = routes[0] if routes else None
    if outcome.error is not None:
        return Answer(first, attempts=len(routes), error="error")
    bucket = int(outcome.calls[-1].prompt["temperature"] // BUCKET)
    return Answer(first, routes[-1], routes[-1].partition("@")[0], bucket, len(routes))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_simulated_is_what_the_script_does(name: str, generation: Generation) -> None:
    backends = {
        "alpha": backend({"m1": model(), "m2": model()}),
        "beta": backend({"m1": model()}),
        "gamma": backend({"m3": model()}),
    }
    world = World(generation, backends, files={"router-overlay.lua": overlay(OVERLAYS[name])})
    assert world.load_error is None
    nodes = validators([Policy(name, engine_of(node_config(OVERLAYS[name])), "own")], 3, seed=4)
    setting = Setting(2, request={"temperature": 0.7})
    every = frozenset({"alpha", "beta", "gamma"})
    plans = [*scenarios(["alpha"], ["alpha"]), Scenario("none", lost=every)]
    for plan, node, transaction in itertools.product(plans, nodes, ("0x01", "0x02")):
        simulated = answer(node, transaction, plan, setting)
        if simulated.error is not None:
            simulated = replace(simulated, error="error")
        assert worlds_answer(world, node, transaction, plan) == simulated, (plan.name, transaction)


def block(name: str) -> str:
    """Give a file of the guide."""
    text = (ROOT / "docs" / "guide" / "genvm.md").read_text("utf-8")
    found = re.search(rf"^```\w+ file={re.escape(name)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found[1]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_guides_overlay_decides_what_its_config_says(generation: Generation, tmp_path: Path) -> None:
    node = tmp_path / "node.yaml"
    node.write_text(block("node.yaml"))
    backends = yaml.safe_load(block("llm-module.yaml"))["backends"]
    for each in backends.values():
        each["models"] = {name: model(**_named(row)) for name, row in each["models"].items()}
    world = World(generation, backends, files={"router-overlay.lua": block("greybox/router-overlay.lua")})
    assert world.load_error is None
    outcome = world.ask()
    (decision,) = [line for line in world.logs if line.get("message") == "greybox: decision"]
    made = json.loads(llm_policy("commit", node, "--json").stdout)
    assert decision["policy_id"] == made["policy"]["identity"]
    options = ("--seed", decision["seed"], "--param", "temperature=0.7", "--param", "max_tokens=1000")
    told = json.loads(llm_policy("verify-decision", "--record", node, *options).stdout)["decided"]
    (asked,) = outcome.calls
    assert told["first"]["provider_id"] == asked.provider == decision["provider"]
    assert told["first"]["params"]["temperature"] == asked.prompt["temperature"]
    assert told["first"]["params"]["seed"] == asked.prompt["seed"]


def _named(row: dict[str, Any]) -> dict[str, Any]:
    short = {"supports_json": "json", "supports_image": "image"}
    return {short.get(name, name): value for name, value in row.items()}


# The commands -----------------------------------------------------------------------------------------

YAML = """\
providers:
  alpha: {base_url: "https://alpha.example/v1"}
  beta: {base_url: "https://beta.example/v1", auth_env: LLM_POLICY_TEST_KEY}
models:
  m: {served_by: [{provider: alpha, price_in: 2}, {provider: beta, price_in: 1}]}
profiles:
  cheap: {filter: [not_disabled], scorer: [neg, [normalize, [field, price_in]]], mutate: {jitter: {temperature: 0.4}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(YAML)
    return path


def test_commit_prints_what_verify_accepts(config: Path) -> None:
    made = json.loads(llm_policy("commit", config, "--json").stdout)
    for part in ("policy", "catalog"):
        revealed = [made[part][key] for key in ("identity", "salt", "commitment")]
        assert llm_policy("commit", "--verify", *revealed).returncode == 0
        assert llm_policy("commit", "--verify", *revealed[:2], "sha256:0").returncode == 1
    again = json.loads(llm_policy("commit", config, "--json", "--salt", made["salt"]).stdout)
    assert again == made
    assert json.loads(llm_policy("commit", config, "--json").stdout)["salt"] != made["salt"]


def test_the_committed_policy_is_the_one_that_hash_prints(config: Path) -> None:
    made = json.loads(llm_policy("commit", config, "--json").stdout)
    assert made["policy"]["identity"] == json.loads(llm_policy("hash", config, "--json").stdout)["identity"]
    assert made["policy"]["identity"] in llm_policy("commit", config).stdout


@pytest.mark.parametrize(
    "arguments", [(), ("CONFIG", "-p", "absent"), ("CONFIG", "--salt", "00"), ("--verify", "a", "zz", "b")]
)
def test_commit_refuses_what_makes_no_sense(config: Path, arguments: tuple[str, ...]) -> None:
    given = [str(config) if each == "CONFIG" else each for each in arguments]
    run = llm_policy("commit", *given)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_a_decision_is_recorded_and_verified_everywhere(config: Path) -> None:
    recorded = llm_policy("verify-decision", "--record", config, "--seed", 3, "--param", "temperature=0.7")
    assert recorded.returncode == 0
    assert json.loads(recorded.stdout)["inputs"]["disabled"] == {"beta": True}
    run = llm_policy("verify-decision", "--runtime", "all", stdin=recorded.stdout)
    assert run.returncode == 0
    assert run.stdout.count(": equal") == len(available_runtimes())
    changed = recorded.stdout.replace('"served_by": "alpha"', '"served_by": "beta"')
    run = llm_policy("verify-decision", "-", stdin=changed)
    assert run.returncode == 1
    assert "differs at decided.order[1].served_by: logged `beta`, derived `alpha`" in run.stdout


@pytest.mark.parametrize("text", ["", "[", "{}", "[" * 100_000, '{"a": 1, "a": 1}', '{"a": NaN}', "\x00"])
def test_verify_decision_refuses_what_is_no_record(text: str) -> None:
    run = llm_policy("verify-decision", stdin=text)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_validators_reads_a_folder_and_writes_table_plot_and_json(config: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(YAML)
    (folder / "b.json").write_text(json.dumps(CONFIG))
    (folder / "notes.txt").write_text("no config")
    options = ("-n", 4, "-t", 5, "--seed", 3, "--loss", "all", "--rate-limit", "alpha")
    run = llm_policy("validators", folder, *options, "--svg", plot)
    assert run.returncode == 0, run.stderr
    assert "4 validators, 5 transactions, seed 3" in run.stdout
    for name in ("all answer", "alpha lost", "beta lost", "alpha rate-limited"):
        assert name in run.stdout
        assert name in plot.read_text()
    data = json.loads(llm_policy("validators", folder, *options, "--json").stdout)
    assert sorted(data["validators"].values()) == ["a.yaml", "a.yaml", "b.json", "b.json"]
    assert data["scenarios"][0]["scenario"] == "all answer"
    for arguments in (
        (config, "-n", 1),
        (config, "--loss", "nobody"),
        (config, "-p", "absent"),
        (config, "--temperature", "nan"),
        (tmp_path / "none", "-n", 2),
        (config, "-t", 0),
    ):
        assert llm_policy("validators", *arguments).returncode in (1, 2)


LOCAL = """
local llm_policy = require("llm_policy")
local F = llm_policy.dsl.F
return {
  providers = { a = { base_url = "x" } },
  models = { m = { served_by = { { provider = "a" } } } },
  profiles = { own = { filter = F.where(function() return true end) } },
}
"""


@pytest.mark.parametrize("command", [("commit",), ("validators",), ("verify-decision", "--record")])
def test_a_policy_with_functions_of_its_own_can_be_shown_to_nobody(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "own.lua"
    path.write_text(LOCAL)
    run = llm_policy(*command, path)
    assert run.returncode == 2
    assert "functions of this host" in run.stderr


def test_hash_says_which_profile_has_no_identity(tmp_path: Path) -> None:
    path = tmp_path / "own.lua"
    path.write_text(LOCAL)
    run = llm_policy("hash", path)
    assert (run.returncode, run.stdout) == (0, "")
    assert "own has no identity" in run.stderr
