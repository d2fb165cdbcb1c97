"""Warnings that need the catalog: each with a config that deserves it, and one that nearly does."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from llm_policy_host.analysis.warnings import WARNINGS, oddities
from llm_policy_host.core.engine import LuaEngine
from llm_policy_host.values import Failure, Inputs
from llm_policy_host.wiring import Host
from tests.docs.pages import ROOT, read_page
from tests.host.test_cli import llm_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_policy_host.analysis.warnings import Oddity
    from llm_policy_host.values import FailureKind

CATALOG = """\
providers:
  acme: {api_kind: scripted, tier: partner, no_log: true}
  bravo: {api_kind: scripted, tier: marketplace}
  spare: {api_kind: scripted, scope: eu}
models:
  small-1:
    capabilities: {context: 32000, supports_tools: true}
    served_by:
      - {provider: acme, price_in: 0.40, price_out: 1.60, latency_ms: 300, bench: 7}
      - {provider: bravo, price_in: 0.25, price_out: 1.60, bench: 7}
      - {provider: spare, bench: 3}
  large-1:
    capabilities: {context: 128000, supports_tools: true}
    served_by: [{provider: acme, price_in: 3, price_out: 15, bench: 9}]
fields: {bench: {sort: Num, default: 0}, rank: {sort: Num}}
"""

MARKET = """\
  open: {discovery: marketplace, discovery_id: open, base_url: "https://open.test"}
"""


def found(tmp_path: Path, text: str, *, with_market: bool = False) -> list[Oddity]:
    catalog = CATALOG
    if with_market:
        catalog = catalog.replace("models:\n", f"{MARKET}models:\n")
        catalog = catalog.replace(
            "served_by: [{provider: acme,", "served_by: [{provider: open}, {provider: acme,"
        )
    path = tmp_path / "policy.yaml"
    path.write_text(catalog + text)
    host = Host.from_config(path)
    return oddities(host.config, host.engine, host.language)


PLANTED = [
    tuple(str(each[key]) for key in ("kind", "deserves", "at", "does_not"))
    for each in yaml.safe_load((Path(__file__).parent / "warnings.yaml").read_text())
]


@pytest.mark.parametrize(("kind", "planted", "path", "near_miss"), PLANTED)
def test_what_deserves_a_warning_gets_it_at_its_place(
    tmp_path: Path, kind: str, planted: str, path: str, near_miss: str
) -> None:
    told = [(each.kind, each.problem.path) for each in found(tmp_path, planted)]
    assert (kind, path) in told
    assert [each.kind for each in found(tmp_path, near_miss) if each.kind == kind] == []


def test_every_kind_of_warning_is_tried() -> None:
    assert {kind for kind, *_ in PLANTED} == set(WARNINGS)


def test_a_place_is_a_line_and_a_column_of_the_file(tmp_path: Path) -> None:
    (odd,) = found(tmp_path, "profiles:\n  x:\n    filter:\n      family_in: [smal-1, small-1]\n")
    lines = (tmp_path / "policy.yaml").read_text().splitlines()
    assert lines[odd.problem.line - 1][odd.problem.column - 1 :].startswith("smal-1")
    assert (odd.kind, odd.problem.nearest) == ("missing_name", "small-1")


def test_an_inherited_clause_is_told_once_where_it_is_written(tmp_path: Path) -> None:
    text = "profiles: {x: {filter: {is: has_tee}}, y: {extends: x, selector: ordered}, z: {extends: x}}"
    assert [each.problem.path for each in found(tmp_path, text)] == ["$.profiles.x.filter.is"]


def test_of_two_clauses_that_imply_one_another_one_changes_nothing(tmp_path: Path) -> None:
    text = "profiles: {x: {filter: [{cmp: [latency_ms, lt, 2]}, {none_of: [{cmp: [latency_ms, ge, 2]}]}]}}"
    assert [each.kind for each in found(tmp_path, text)] == ["idle_clause"]


def test_a_policy_in_a_file_is_told_where_it_is_named(tmp_path: Path) -> None:
    term = ["policy", ["is", "has_tee"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]
    (tmp_path / "own.json").write_text(json.dumps(term))
    (odd,) = found(tmp_path, "profiles: {x: {policy_ir: own.json}}")
    assert (odd.kind, odd.problem.path) == ("nobody_passes", "$.profiles.x.policy_ir")


# What only offers, requests and measurements will tell -------------------------------------------

POSSIBLE = [
    "profiles: {x: {filter: {price_max: {input: 0.01}}}}",
    "profiles: {x: {filter: {cmp: [bench, ge, 100]}}}",
    "profiles: {x: {filter: {served_by_in: [peer-1]}}}",
    "profiles: {x: {filter: {any_of: [[has_cap, vision], [cmp, context, ge, 1000000]]}}}",
    "profiles: {x: {filter: [requirements, {cmp: [bench, ge, 3]}]}}",
    "profiles: {x: {scorer: [clamp, 0, 1, [field, context]]}}",
    "profiles: {x: {mutate: [when, [cmp, bench, gt, 50], [set_param, n, 1]]}}",
]


@pytest.mark.parametrize("text", POSSIBLE)
def test_what_offers_may_bring_is_not_warned_of(tmp_path: Path, text: str) -> None:
    told = [each for each in found(tmp_path, text, with_market=True) if each.kind != "unpriced"]
    assert told == []
    assert [each for each in found(tmp_path, text) if each.kind != "unpriced"] != []


def test_what_no_offer_can_bring_is_warned_of(tmp_path: Path) -> None:
    for text in (
        "profiles: {x: {filter: [{cmp: [price_in, le, 0.1]}, {cmp: [price_in, ge, 0.2]}]}}",
        "profiles: {x: {filter: {family_in: [large-2]}}}",
        "profiles: {x: {filter: {is: has_tee}}}",
    ):
        assert "nobody_passes" in {each.kind for each in found(tmp_path, text, with_market=True)}


@pytest.mark.parametrize(
    "clause",
    [
        "{cmp: [latency_ms, le, 1]}",
        "{cmp: [credits, ge, 5]}",
        "{cmp: [success_rate, lt, 0.5]}",
        "{is: breaker_open}",
        "{none_of: [requirements]}",
        "scope_matches",
    ],
)
def test_what_state_and_requests_may_bring_is_not_warned_of(tmp_path: Path, clause: str) -> None:
    assert found(tmp_path, f"profiles: {{x: {{filter: [not_disabled, {clause}]}}}}") == []


def test_functions_of_this_host_are_not_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "policy.lua"
    path.write_text(
        'local dsl = require("llm_policy").dsl\n'
        "return {\n"
        '  providers = { a = { api_kind = "scripted" } },\n'
        "  models = { m = { served_by = { { provider = 'a' } } } },\n"
        "  policy_envelope = { price_max = { input = 1 } },\n"
        "  profiles = {\n"
        "    own = { filter = dsl.F.where(function() return false end) },\n"
        "    named = { filter = { family_in = { 'n' } } },\n"
        "    whole = {},\n"
        "  },\n"
        "}\n"
    )
    host = Host.from_config(path)
    told = [(each.kind, each.name) for each in oddities(host.config, host.engine, host.language)]
    assert sorted(told) == [("missing_name", "named"), ("nobody_passes", "named")]


# Waits, against the engine --------------------------------------------------------------------------

FOLLOWING = ["next_candidate", "disable_provider", "next_provider_same_model", "abort"]


@pytest.mark.parametrize("word", FOLLOWING)
@pytest.mark.parametrize("backoff", [700, [100, 2000], [300]])
def test_the_told_wait_is_what_the_engine_waits(tmp_path: Path, word: str, backoff: Any) -> None:
    action = {"action": "retry_same", "attempts": 3, "backoff_ms": backoff, "then_action": word}
    plan = ["override", ["always", {"action": "abort"}], "rate_limit", action]
    text = (
        f"profiles: {{x: {{filter: not_disabled, retry_policy: {json.dumps(plan)}}}}}\nhost: {{deadline_ms: "
    )
    (odd,) = found(tmp_path, f"{text}1}}")
    assert odd.kind == "long_wait"
    host = Host.from_config(tmp_path / "policy.yaml")
    assert isinstance(host.engine, LuaEngine)
    waited_ms = play(host.engine, "rate_limit")
    assert [each.kind for each in found(tmp_path, f"{text}{waited_ms}}}")] == []
    (odd,) = found(tmp_path, f"{text}{waited_ms - 1}}}")
    assert f" {waited_ms} ms over" in odd.problem.detail or f" {waited_ms - 1} ms for" in odd.problem.detail


MIXED = [
    {"rate_limit": (1, 100), "timeout": (3, 10)},
    {"rate_limit": (2, [5, 70]), "timeout": (4, [30, 20, 1])},
    {"rate_limit": (1.5, 40), "timeout": (0, 900)},
]


@pytest.mark.parametrize("mixed", MIXED)
def test_the_worst_of_several_failures_is_found(tmp_path: Path, mixed: dict[FailureKind, Any]) -> None:
    plan: Any = ["always", {"action": "next_candidate"}]
    for kind, (attempts, backoff) in mixed.items():
        action = {"action": "retry_same", "attempts": attempts, "backoff_ms": backoff}
        plan = ["override", plan, kind, action]
    profile = {"filter": "not_disabled", "selector": ["top_k", 1, ["argmax"]], "retry_policy": plan}
    found(tmp_path, f"profiles: {{x: {json.dumps(profile)}}}")
    engine = Host.from_config(tmp_path / "policy.yaml").engine
    assert isinstance(engine, LuaEngine)
    worst_ms = max(play(engine, *kinds) for kinds in product(mixed, repeat=5))
    for deadline_ms in sorted({1, 10, 30, 40, 70, 100, worst_ms - 1, worst_ms}):
        told = found(
            tmp_path, f"profiles: {{x: {json.dumps(profile)}}}\nhost: {{deadline_ms: {deadline_ms}}}"
        )
        assert [each.kind for each in told] == ["long_wait"] * (deadline_ms < worst_ms), deadline_ms


def play(engine: LuaEngine, *kinds: FailureKind) -> int:
    """Let every call fail at once, in these ways, the last again and again; give how long was waited."""
    now_ms, to_come = 0, [*kinds]
    step = engine.start({"profile": "x"}, Inputs(0, 0))
    while step.status != "done":
        if step.status == "wait":
            now_ms = int(step.until_ms)
            step = engine.wake(step.handle, now_ms)
        else:
            kind = to_come.pop(0) if len(to_come) > 1 else to_come[0]
            step = engine.fail(step.handle, now_ms, Failure(kind))
    return now_ms


# The command, and what is shipped --------------------------------------------------------------------


def test_check_tells_them_and_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(CATALOG + "profiles: {x: {filter: {family_in: [smal-1, small-1]}}}\n")
    place = f"{path}:16:37: $.profiles.x.filter.family_in[1]"
    assert llm_policy("check", path).stderr == (
        f"warning: {place}: no model `smal-1` in the catalog (did you mean `small-1`?)\n"
    )
    done = llm_policy("check", path, "--strict", "--json")
    data = json.loads(done.stdout)
    assert (done.returncode, data["ok"]) == (1, False)
    assert data["warnings"] == [
        {
            "what": "missing_name",
            "name": "x",
            "file": str(path),
            "line": 16,
            "column": 37,
            "path": "$.profiles.x.filter.family_in[1]",
            "detail": "no model `smal-1` in the catalog",
            "nearest": "small-1",
        }
    ]


def shipped() -> Iterator[tuple[str, dict[str, str], str]]:
    """Give what is shipped: where it stands, the files of its page, and the config among them."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        files: dict[str, str] = {}
        for block in read_page(path).blocks:
            name = block.value("file")
            if name and "refused" not in block.words:
                files[name] = block.text
                if re.search(r"\bproviders\b[\s\S]*\bmodels\b", block.text) and name.endswith(
                    (".yaml", ".lua")
                ):
                    yield f"{path.relative_to(ROOT)}:{block.line}", dict(files), name
    scaffold = ROOT / "llm_policy_host" / "cli" / "scaffold"
    yield "scaffold", {file.name: file.read_text() for file in scaffold.iterdir()}, "policy.yaml"
    text = (ROOT / "example_host" / "example.py").read_text().partition('CONFIG = """')[2].partition('"""')[0]
    yield "example_host", {"policy.lua": f"return {text}"}, "policy.lua"


# the page of `check` shows a config that is odd
SHIPPED = [each for each in shipped() if each[2] != "odd.yaml"]


@pytest.mark.parametrize(("files", "name"), [each[1:] for each in SHIPPED], ids=[each[0] for each in SHIPPED])
def test_nothing_is_odd_about_what_is_shipped(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    host = Host.from_config(tmp_path / name)
    assert [str(each.problem) for each in oddities(host.config, host.engine, host.language)] == []
