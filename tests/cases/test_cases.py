"""`test`: cases in YAML are played by the real driver, and coverage is what the core evaluated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.analysis.subject import bare_engine
from llm_policy_host.cases.rows import EXPECT
from llm_policy_host.cli.main import main
from llm_policy_host.values import Inputs
from tests.oracle.meaning import verdict
from tests.oracle.signature import Schema

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
providers:
  acme: {base_url: "https://acme.example", auth_env: KEY_THAT_NOBODY_SET, tier: partner}
  bravo: {api_kind: scripted, tier: marketplace}
models:
  small:
    capabilities: {context: 32000}
    served_by:
      - {provider: acme, price_in: 0.4, price_out: 1.6}
      - {provider: bravo, price_in: 0.25, price_out: 1.1}
profiles:
  cheap:
    scorer: [neg, [normalize, [field, price_in]]]
    mutate: {clamp: {temperature: 0.5}}
    retry_policy: patient
retry_policies:
  patient:
    rate_limit: {action: retry_same, attempts: 1, backoff_ms: 250}
    timeout: {action: abort}
    unknown: {action: next_candidate}
"""


class Workspace:
    """A folder with a config and cases, and what `test` says of them."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        (directory / "policy.yaml").write_text(CONFIG)

    def test(self, cases: str, *options: str) -> tuple[int, Any]:
        (self.directory / "policy.test.yaml").write_text(cases)
        code = main(["test", str(self.directory), "--json", *options])
        return code, json.loads(self._capsys.readouterr().out)

    def case(self, text: str) -> dict[str, Any]:
        """Play one case, in flow style; give its line of the answer."""
        code, data = self.test(f"cases:\n  - {{name: it, {text}}}\n")
        (case,) = data["cases"]
        assert (code == 0) is case["ok"]
        return dict(case)


@pytest.fixture
def workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Workspace:
    return Workspace(tmp_path, capsys)


GOOD = {
    "order": "expect: {order: [small @ bravo, small@acme]}",
    "an open order": 'expect: {order: [small @ bravo, "..."]}',
    "prices of the catalog": "catalog: {routes: {small @ acme: {price_in: 0.1}}}, expect: {chosen: small @ acme}",
    "a key taken away": "catalog: {routes: {small @ bravo: {price_in: null}}}, expect: {chosen: small @ acme}",
    "a route more": "catalog: {providers: {new: {}}, routes: {small @ new: {price_in: 0}}}, expect: {chosen: small @ new}",
    "learned prices": "catalog: {routes: {small @ acme: {price_in: null}}}, state: {prices: {small @ acme: {price_in: 0.1}}}, expect: {chosen: small @ acme}",
    "multipliers": "state: {multipliers: {bravo: 9}}, expect: {chosen: small @ acme}",
    "disabled": "state: {disabled: {bravo: 5}}, expect: {rejected: {small @ bravo: not}, chosen: small @ acme}",
    "a provider's breaker": "state: {breakers: {bravo: 5}}, expect: {chosen: small @ acme}",
    "a route's breaker": "state: {breakers: {small @ bravo: 5}}, expect: {chosen: small @ acme}",
    "needs": "request: {needs: [tools]}, expect: {error: no_candidates, chosen: nobody, order: []}",
    "tools": "request: {tools: true}, expect: {rejected: {small @ acme: 'missing_capability:tools'}}",
    "a pin": "request: {pin: {provider: acme}}, expect: {order: [small @ acme]}",
    "a body": "body: {model: 'pin:acme/small', temperature: 0.9}, expect: {chosen: small @ acme, params: {temperature: 0.5}}",
    "a body's wishes": "body: {provider: {sort: price, ignore: [bravo]}}, expect: {order: [small @ acme]}",
    "a parameter": "request: {params: {temperature: 0.9}}, expect: {params: {temperature: 0.5, top_p: null}}",
    "a range": "request: {params: {temperature: 0.3}}, expect: {params: {temperature: {from: 0.2, to: 0.4}}}",
    "an answer": "script: {bravo: [{answer: 'to {prompt}'}]}, request: {prompt: you}, expect: {text: to you}",
    "a wait": "script: {bravo: [{failure: rate_limit}]}, expect: {took_ms: 250, within_ms: 250, attempts: [{small @ bravo: rate_limit}, {small @ bravo: rate_limit}, {small @ acme: ok}]}",
    "a retry that answers": "script: {bravo: [{failure: rate_limit}, {answer: x, latency_ms: 40}]}, expect: {took_ms: 290, chosen: small @ bravo}",
    "an attempt's bound": "script: {bravo: [{hang: true}]}, request: {timeout_ms: 700}, expect: {error: timeout, took_ms: 700}",
    "the deadline": "script: {bravo: [{failure: rate_limit}]}, request: {deadline_ms: 100}, expect: {error: timeout, took_ms: 0}",
    "a cut stream": "script: {bravo: [{answer: a b c d, chunks: 4, cut_after: 2}]}, request: {stream: true}, expect: {error: stream_interrupted}",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_case_that_is_true_passes(workspace: Workspace, text: str) -> None:
    assert workspace.case(text)["mismatches"] == []


BAD = {
    "order": "expect: {order: [small @ acme, small @ bravo]}",
    "chosen": "expect: {chosen: small @ acme}",
    "rejected": "expect: {rejected: {small @ acme: min_tier}}",
    "params": "request: {params: {temperature: 0.9}}, expect: {params: {temperature: 0.9}}",
    "attempts": "expect: {attempts: [{small @ bravo: rate_limit}]}",
    "error": "expect: {error: no_candidates}",
    "text": "expect: {text: nothing}",
    "took_ms": "expect: {took_ms: 1}",
    "within_ms": "script: {bravo: [{answer: x, latency_ms: 40}]}, expect: {within_ms: 39}",
}


@pytest.mark.parametrize("name", BAD)
def test_a_case_that_is_wrong_fails_at_its_place_with_the_trace(workspace: Workspace, name: str) -> None:
    case = workspace.case(BAD[name])
    (mismatch,) = case["mismatches"]
    assert mismatch["path"].split(".")[:2] == ["expect", name]
    assert mismatch["line"] == 2
    assert mismatch["column"] > BAD[name].index(name)
    assert [entry["provider"] for entry in case["trace"]["ordered"]] == ["bravo", "acme"]
    assert case["trace"]["decision_path"][0]["event"] == "attempted"


def test_every_expectation_has_a_case_that_fails() -> None:
    assert set(BAD) == {row.key for row in EXPECT}


def test_what_a_file_says_stands_under_what_a_case_says(workspace: Workspace) -> None:
    code, data = workspace.test(
        "state: {disabled: {bravo: 5}, breakers: {acme: 5}}\ncatalog: {routes: {small @ acme: {price_out: 9}}}\n"
        "cases:\n"
        "  - {name: all, expect: {order: [small @ acme], rejected: {small @ bravo: not}}}\n"
        "  - {name: more, state: {disabled: {acme: 5}}, expect: {order: []}}\n"
    )
    assert (code, [case["ok"] for case in data["cases"]]) == (0, [True, True])


MISTAKES = {
    "profil: cheap, expect: {chosen: nobody}": "unknown key `profil`",
    "expect: {chosn: nobody}": "unknown key `chosn`",
    "expect: {order: [acme]}": "must be a list of routes",
    "expect: {attempts: [{small @ acme: rate_limt}]}": "must be a list of `{ROUTE: ok or failure kind}`",
    "profile: chep, expect: {chosen: nobody}": "no profile `chep`",
    "policy: absent.lua, expect: {chosen: nobody}": "cannot be read: no such file or directory",
    "script: {bravoo: []}, expect: {chosen: nobody}": "no provider `bravoo`",
    "script: {bravo: [{failure: rate_limt}]}, expect: {chosen: nobody}": "unknown failure kind `rate_limt`",
    "state: {breakers: {small @ bravoo: 1}}, expect: {chosen: nobody}": "no provider `bravoo`",
    "profile: cheap": "a case needs an `expect`",
    "request: {}, body: {}, expect: {chosen: nobody}": "both `request` and `body` are given",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_file_is_told_with_its_place(workspace: Workspace, text: str) -> None:
    code, data = workspace.test(f"cases:\n  - {{name: it, {text}}}\n")
    (problem,) = data["problems"]
    assert code == 1
    assert MISTAKES[text] in problem["detail"]
    assert problem["line"] == 2


def test_a_file_without_cases_fails(workspace: Workspace) -> None:
    code, data = workspace.test("cases: []\n")
    assert (code, data["ok"], len(data["empty"])) == (1, False, 1)


# Coverage -----------------------------------------------------------------------------------------


def missing(data: Any) -> set[tuple[str, str]]:
    (coverage,) = data["coverage"]
    return {(point["what"], point["words"]) for point in coverage["missing"]}


def test_coverage_names_what_no_case_has_seen(workspace: Workspace) -> None:
    _, data = workspace.test("cases:\n  - {name: it, expect: {chosen: small @ bravo}}\n")
    assert missing(data) == {
        ("false", "(meets the contract's requirements and not disabled)"),
        ("false", "meets the contract's requirements"),
        ("false", "not disabled"),
        ("true", "disabled"),
        ("false", "not breaker_open"),
        ("true", "breaker_open"),
        ("failure", "rate_limit"),
        ("failure", "timeout"),
        ("failure", "any other failure"),
        ("chosen", "small @ acme"),
    }


WHOLE = """\
profile: cheap
cases:
  - {name: disabled, state: {disabled: {bravo: 5}}, expect: {chosen: small @ acme}}
  - {name: broken, state: {breakers: {bravo: 5}}, expect: {chosen: small @ acme}}
  - {name: asked, request: {min_context: 1e9}, expect: {chosen: nobody}}
  - {name: limited, script: {bravo: [{failure: rate_limit}, {answer: x}]}, expect: {chosen: small @ bravo}}
  - {name: late, script: {bravo: [{failure: timeout}]}, expect: {error: timeout}}
  - {name: other, script: {bravo: [{failure: server_error}]}, expect: {chosen: small @ acme}}
"""


def test_coverage_is_whole_where_all_was_seen(workspace: Workspace) -> None:
    code, data = workspace.test(WHOLE, "--min-coverage", "100")
    assert (code, missing(data)) == (0, set())


@pytest.mark.parametrize("name", ["disabled", "broken", "asked", "limited", "late", "other"])
def test_each_case_of_a_whole_coverage_is_needed(workspace: Workspace, name: str) -> None:
    rest = "".join(f"{line}\n" for line in WHOLE.splitlines() if f"name: {name}," not in line)
    code, data = workspace.test(rest, "--min-coverage", "100")
    assert code == 1
    assert missing(data)
    assert workspace.test(rest, "--min-coverage", "50")[0] == 0


def test_a_profile_that_no_case_is_about_is_told_of(workspace: Workspace) -> None:
    config = workspace.directory / "policy.yaml"
    config.write_text(CONFIG.replace("profiles:\n", "profiles:\n  other: {selector: ordered}\n"))
    code, data = workspace.test(WHOLE)
    assert (code, [entry["profile"] for entry in data["untested"]]) == (0, ["other"])
    assert workspace.test(WHOLE, "--min-coverage", "1")[0] == 1


def test_truths_are_the_oracles() -> None:
    """Each predicate of the filter over all candidates, each other one over those whom the filter leaves."""
    pred = [
        "and",
        ["cmp", "price_in", "le", 0.3],
        ["or", ["is", "disabled"], ["not", ["tier_eq", "partner"]]],
    ]
    gate = ["cmp", "price_out", "gt", 5]
    term = [
        "policy",
        pred,
        ["gate", gate, ["field", "price_in"]],
        ["argmax"],
        ["id"],
        ["always", {"action": "abort"}],
    ]
    prices = [0.1, 0.2, 0.3, 0.4, None, 0.25]
    routes = [
        {"provider": f"p{i}", "tier": ("partner", "fallback")[i % 2], "price_out": i * 2}
        | ({} if price is None else {"price_in": price})
        for i, price in enumerate(prices)
    ]
    core = {
        "providers": {route["provider"]: {"api_kind": "scripted"} for route in routes},
        "models": {"m": {"served_by": routes}},
    }
    engine = bare_engine(core)
    told = engine.truths({"policy_ir": term}, Inputs(0, others={"disabled": {"p0": True}}))
    normal = engine.explain({"policy_ir": term}, Inputs(0))["policy"]["term"]
    ctx = {"request": {}, "state": {"disabled": {"p0": True}}}

    def holding(node: Any, among: list[Any]) -> list[Any]:
        return [one for one in among if verdict(node, one, ctx, Schema()) == ""]

    everyone = list(engine.candidates)
    left = holding(normal[1], everyone)
    nodes = {node["path"]: node for node in told["nodes"]}
    wanted = {path: (node, everyone) for path, node in below(normal[1], "$.policy[1]")}
    wanted["$.policy[2].gate[1]"] = (gate, left)
    assert nodes.keys() == wanted.keys()
    for path, (node, among) in wanted.items():
        yes = len(holding(node, among))
        assert (nodes[path]["yes"], nodes[path]["no"]) == (yes, len(among) - yes), path
    assert 0 < len(left) < len(everyone)


def below(node: Any, path: str) -> list[tuple[str, Any]]:
    children = node[1:] if node[0] in ("and", "or", "not") else []
    found = [(path, node)]
    for place, child in enumerate(children, 1):
        found += below(child, f"{path}.{node[0]}[{place}]")
    return found


# Workspaces ---------------------------------------------------------------------------------------


def test_a_new_workspace_passes_its_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "ws")]) == 0
    assert main(["test", str(tmp_path / "ws"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {one["name"] for one in data["coverage"]} == {"cheap", "quick", "careful"}
    assert next(one["percent"] for one in data["coverage"] if one["name"] == "cheap") == 100


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert "is there already" in capsys.readouterr().err


def test_a_new_policy_fails_its_test_until_it_has_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", str(tmp_path)])
    assert main(["new-policy", "night", "--config", str(tmp_path / "policy.yaml")]) == 0
    cases = tmp_path / "night.test.yaml"
    assert main(["test", str(cases)]) == 1
    assert "there are no cases" in capsys.readouterr().err
    written = cases.read_text().replace("cases: []", "cases: [{name: it, expect: {chosen: small-1 @ bravo}}]")
    cases.write_text(written)
    assert main(["test", str(cases)]) == 0


def test_a_policys_name_is_no_path(tmp_path: Path) -> None:
    main(["init", str(tmp_path)])
    assert main(["new-policy", "../night", "--config", str(tmp_path / "policy.yaml")]) == 2


# Policies in files --------------------------------------------------------------------------------

LUA = """
local dsl = require("llm_policy").dsl
return dsl.policy({ filter = dsl.F.min_tier("partner") })
"""


def rank(directory: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    main(["rank", str(directory / "policy.yaml"), "--json", *options])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["careful.lua", "careful.json"])
def test_a_profile_may_name_the_file_of_its_policy(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = workspace.directory / "policy.yaml"
    path.write_text(CONFIG.replace("profiles:\n", f"profiles:\n  careful: {{policy_ir: {name}}}\n"))
    term = ["policy", ["min_tier", "partner"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]
    (workspace.directory / name).write_text(LUA if name.endswith(".lua") else json.dumps(term))
    ranked = rank(workspace.directory, capsys, "--profile", "careful")
    assert {entry["reason"] for entry in ranked["rejected"]} == {"min_tier"}
    by_file = rank(workspace.directory, capsys, "--policy", str(workspace.directory / name))
    assert by_file["rejected"] == ranked["rejected"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("return {", "careful.lua`"),
        ("return { f = function() end }", "must return plain data"),
        ("return {'policies'}", "no operation `policies`"),
        (None, "cannot be read: no such file or directory"),
    ],
)
def test_a_policy_file_that_is_none_is_a_mistake_where_it_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], text: str | None, told: str
) -> None:
    path = workspace.directory / "policy.yaml"
    path.write_text(CONFIG.replace("profiles:\n", "profiles:\n  careful: {policy_ir: careful.lua}\n"))
    if text is not None:
        (workspace.directory / "careful.lua").write_text(text)
    problems = rank(workspace.directory, capsys)["problems"]
    assert [(problem["line"], told in problem["detail"]) for problem in problems] == [(11, True)]
