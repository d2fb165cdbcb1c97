"""Variants keep their intent; tables and reports are what brute force finds."""

from __future__ import annotations

import copy
import itertools
import json
from array import array
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.analysis.corpus import corpus
from llm_policy_host.analysis.decisions import Side, decide
from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.cli.commit import policy_identity
from llm_policy_host.cli.main import main
from llm_policy_host.core.language import Identified, Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.diversity import table as tables
from llm_policy_host.diversity.report import Routes, report
from llm_policy_host.diversity.table import Row, Table, Work, decide_all
from llm_policy_host.diversity.variants import KINDS, Tolerances, variants
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Failure, Inputs
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.analysis.corpus import Occasion
    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.values import Plain

CORE: dict[str, Any] = {
    "providers": {
        name: {"base_url": f"https://{name}.example/v1"} for name in ("acme", "bravo", "chi", "delta")
    },
    "models": {
        "small": {
            "capabilities": {"context": 32000, "supports_seed": True},
            "served_by": [
                {"provider": "acme", "price_in": 0.40, "price_out": 1.60},
                {"provider": "bravo", "price_in": 0.38, "price_out": 1.55},
                {"provider": "chi", "price_in": 0.36, "price_out": 1.50},
            ],
        },
        "large": {
            "capabilities": {"context": 128000, "supports_vision": True},
            "served_by": [
                {"provider": "delta", "price_in": 0.45, "price_out": 1.70},
                {"provider": "acme", "price_in": 2.5, "price_out": 10},
            ],
        },
    },
    "profiles": {
        "intent": {
            "filter": ["requirements", "not_disabled", {"price_max": {"output": 12}}],
            "scorer": ["neg", ["normalize", ["field", "price_in"]]],
        }
    },
    "policy_envelope": {"price_max": {"output": 20}},
}
SELECTORS: list[Plain] = [
    ["argmax"],
    ["ordered"],
    ["sample", 0.5],
    ["top_k", 2, ["argmax"]],
    ["prefer", ["family_eq", "small"], ["argmax"]],
    ["chain", [{"provider": "acme", "model": "small"}, {"provider": "bravo", "model": "small"}]],
]
PLANS: list[Plain] = [
    ["always", {"action": "next_candidate"}],
    ["override", ["always", {"action": "next_candidate"}], "network_error", {"action": "abort"}],
    ["always", {"action": "next_provider_same_model"}],
    ["always", {"action": "retry_same", "attempts": 1, "then_action": "next_provider_same_model"}],
    ["always", {"action": "retry_same", "attempts": 0, "then_action": "retry_same"}],
    ["always", {"action": "disable_provider"}],
]


def intent(selector: Plain = ("argmax",), plan: Plain = None) -> Plain:
    """Give the profile's term without the envelope, with another selector and plan."""
    without = {name: value for name, value in CORE.items() if name != "policy_envelope"}
    term = copy.deepcopy(bare_engine(without).profile_term("intent"))
    return [*term[:3], list(selector), term[4], plan or PLANS[0]]


def identity(term: Plain) -> str:
    """Give the identity of an admitted term."""
    found = LANGUAGE.identify(term, {})
    assert isinstance(found, Identified), found
    return found.identity


LANGUAGE = Language(Vm())
CANDIDATES = bare_engine(CORE).candidates


def made(term: Plain, count: int = 20, seed: int = 1, **tolerances: Any) -> list[Plain]:
    """Make variants."""
    return [*variants(term, CANDIDATES, Tolerances(**tolerances), count, seed, identity)]


@pytest.mark.parametrize("selector", SELECTORS, ids=str)
def test_variants_differ_in_identity_and_keep_filter_and_failure_plan(selector: Plain) -> None:
    term = intent(selector)
    terms = made(term, kinds=[*KINDS])
    assert len({identity(each) for each in [*terms, term]}) == len(terms) + 1
    for each in terms:
        assert (each[1], each[5]) == (term[1], term[5])
    assert terms == made(term, kinds=[*KINDS])
    assert terms != made(term, kinds=[*KINDS], seed=2)


def test_an_intent_that_leaves_nothing_to_vary_is_refused() -> None:
    with pytest.raises(UsageError, match="only 1 different policies were found"):
        made(intent(), kinds=["chains"], cost=0)


def test_a_seed_that_the_intent_sends_is_its_own() -> None:
    term = intent()
    term[4] = ["when", ["has_cap", "seed"], ["inject_seed", "seed"]]
    assert "set_param" not in json.dumps(made(term))


@pytest.mark.parametrize("cost", [0.05, 0.25, 1])
def test_the_first_of_a_chain_is_no_dearer_than_the_tolerance_on_any_contract(cost: float) -> None:
    terms = made(intent(), 10, kinds=["chains", "seeds"], cost=cost)
    engine = bare_engine(CORE)
    prices = {
        f"{each['model_family']} @ {each['provider_id']}": Tolerances().price(each) or 0
        for each in engine.candidates
    }
    occasions = corpus(engine.candidates, 3, 60)
    for term, occasion in itertools.product(terms, (each for each in occasions if not each.open)):
        order = decide(Side(engine, {"policy_ir": term}), occasion).order
        if order:
            least = min(prices[route] for route in order)
            assert prices[order[0]] <= least * (1 + cost) * (1 + 1e-12)


def reached(engine: LuaEngine, term: Plain, occasion: Occasion) -> frozenset[str]:
    """Play a run in which every call fails; who was called."""
    breaker = {"failures": 1_000_000, "until_ms": 1_000_000}
    engine.restore_state(
        {"v": 1, "health": {"breakers": dict.fromkeys(occasion.open, breaker), "disabled": {}}}
    )
    others: dict[str, Any] = {
        "disabled": dict.fromkeys(occasion.disabled, True),
        "credits": occasion.credits or {},
    }
    contract = {**occasion.contract, "policy_ir": term}
    contract.pop("seed", None)
    step, called = engine.start(contract, Inputs(1, 0, others=others)), set()
    while step.status == "call":
        called.add(step.candidate["provider_id"])
        step = engine.fail(step.handle, 1, Failure("network_error"))
    return frozenset(called)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([each for each in SELECTORS if each[0] != "sample"]),
    st.sampled_from(PLANS),
    st.integers(0, 999),
)
def test_a_table_holds_what_the_engine_decides_and_whom_its_runs_reach(
    selector: Plain, plan: Plain, seed: int
) -> None:
    term = intent(selector, plan)
    terms = [*made(term, 3, seed), term]
    occasions = corpus(CANDIDATES, seed, 6)
    table = decide_all(Work(CORE, terms, seed), occasions, 1)
    engine = bare_engine(CORE)
    names = [f"{each['model_family']} @ {each['provider_id']}" for each in engine.candidates]
    for row, occasion in zip(table.rows, occasions, strict=True):
        for place, each in enumerate(terms):
            wanted = decide(Side(engine, {"policy_ir": each}), occasion).chosen
            found = row.firsts[place]
            assert (names[found - 1] if found else None) == wanted
            assert table.sets[row.reached[place]] == reached(engine, each, occasion)


def test_a_table_is_the_same_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LEAST_PAIRS", 0)
    term = intent(["sample", 0.5])
    work = Work(CORE, [*made(term, 5), term], 1)
    occasions = corpus(CANDIDATES, 1, 20)
    one, two = (decide_all(work, occasions, jobs) for jobs in (1, 2))
    assert one.identities == two.identities
    assert [row.firsts for row in one.rows] == [row.firsts for row in two.rows]
    for left, right in zip(one.rows, two.rows, strict=True):
        assert [one.sets[each] for each in left.reached] == [two.sets[each] for each in right.reached]


ROUTES = Routes(["m @ a", "m @ b", "m @ c"], ["a", "b", "c"], [1.0, 2.0, 4.0])
SETS = [frozenset(), frozenset("a"), frozenset("ab"), frozenset("abc")]


def made_table(firsts: list[list[int]], sets: list[list[int]]) -> Table:
    """Write a table down; the last policy is the intent."""
    rows = [Row(array("H", row), array("H", whom)) for row, whom in zip(firsts, sets, strict=True)]
    return Table([str(place) for place in range(len(firsts[0]))], rows, SETS)


def test_a_report_counts_what_was_counted_by_hand() -> None:
    table = made_table(
        [[1, 1, 2, 3, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], [[1, 2, 2, 3, 2], [1, 2, 2, 3, 1], [0] * 5]
    )
    found = report(table, ROUTES, 2)
    assert (found.validators, found.contracts, found.decided, found.orders) == (4, 3, 2, 3)
    assert found.same_first == pytest.approx((2 / 12 + 1) / 2)
    assert found.entropy_bits == pytest.approx(1.5 / 2)
    assert found.firsts == {"m @ a": 6 / 8, "m @ b": 1 / 8, "m @ c": 1 / 8}
    one, two = found.stops
    assert (one.providers, one.stopped, one.moved, one.halted) == (("a",), 2 / 8, 6 / 8, 0)
    assert (two.providers, two.stopped, two.moved, two.halted) == (("a", "b"), 6 / 8, 7 / 8, 1)
    assert [(each.stopped, each.moved, each.halted) for each in found.intent_stops] == [
        (0.5, 1, 0.5),
        (1, 1, 1),
    ]
    assert found.costs is not None
    assert (found.costs.p50, found.costs.most, found.costs.intent) == (0, 1.5, 0)


@given(st.lists(st.lists(st.integers(1, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_two_validators_choose_alike_as_often_as_pairs_do(firsts: list[list[int]]) -> None:
    found = report(made_table(firsts, [[3] * 6 for _ in firsts]), ROUTES, 1)
    pairs = [one == other for row in firsts for one, other in itertools.permutations(row[:-1], 2)]
    assert found.same_first == pytest.approx(sum(pairs) / len(pairs))


def run(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Run the command on a file of the config."""
    (folder / "policy.yaml").write_text(yaml.safe_dump(CORE))
    given_ = [
        "diversify",
        str(folder / "policy.yaml"),
        "--n",
        "5",
        "--contracts",
        "30",
        "--seed",
        "4",
        "--json",
    ]
    assert main([*given_, *options]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_a_written_policy_has_under_the_envelope_the_identity_that_was_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = run(tmp_path, capsys, "--out", str(tmp_path / "out"))
    index = [json.loads(line) for line in (tmp_path / "out/index.jsonl").read_text().splitlines()]
    assert [each["identity"] for each in index] == [each["identity"] for each in data["policies"]]
    for each in index:
        term = json.loads((tmp_path / "out" / each["file"]).read_text())
        host = Host.from_data({**CORE, "profiles": {"own": {"policy_ir": term}}}, environment={})
        assert policy_identity(host, "own") == each["identity"]
    assert data["intent"] == policy_identity(Host.from_data(CORE, environment={}), "intent")
    assert ET.fromstring((tmp_path / "out/diversity.svg").read_text()).tag.endswith("svg")  # noqa: S314 - our own


def test_the_same_seed_gives_the_same_policies_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, capsys) == run(tmp_path, capsys)
    assert run(tmp_path, capsys) != run(tmp_path, capsys, "--seed", "5")
