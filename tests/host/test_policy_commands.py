"""The commands that read, format, compare and prove policies, as a person or a program runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_policy_host.cli.main import main

CONFIG = """\
policy_envelope: [{price_max: {output: 3}}]  # the house's
providers:
  a: {api_kind: scripted, tier: partner}
  b: {api_kind: scripted}
models:
  m:
    capabilities: {context: 1000}
    served_by:
      - {provider: a, price_in: 1, price_out: 2}
      - {provider: b, price_in: 2, price_out: 1}
profiles:
  base:
    filter: [requirements, {price_max: {output: 2}}]
    retry_policy: patient
  child:
    extends: base
    scorer: [neg, [normalize, [field, price_out]]]
retry_policies:
  patient:
    timeout: {action: retry_same, attempts: 2, backoff_ms: [10, 20]}
    unknown: {action: abort}
"""
LUA = """\
local dsl = require("llm_policy").dsl
return {
  providers = { a = { api_kind = "scripted" } },
  models = { m = { served_by = { { provider = "a" } } } },
  profiles = { own = { filter = dsl.F.where(function() return true end) } },
}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.yaml"
    path.write_text(CONFIG)
    return path


class Told:
    """What a command said, and how it ended."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main(arguments)
        self.out, self.err = capsys.readouterr()

    @property
    def data(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def term(path: str, value: Any) -> str:
    Path(path).write_text(json.dumps(value))
    return path


@pytest.mark.usefixtures("config")
def test_explain_tells_every_profile_by_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "explain", "policy.yaml", "--json")
    assert [each["name"] for each in told.data] == ["base", "child"]
    child = told.data[1]
    assert child["made_of"] == ["extends base", "retry policy patient", "under the envelope of the config"]
    assert {each["verb"]: each["lines"] for each in child["chapters"]} == {
        "filter": ["price_out <= 2", "price_out <= 3", "meets the contract's requirements"],
        "rank": ["(1 - normalized price_out)", "0 unless not breaker_open"],
        "select": ["highest score first"],
        "mutate": ["unchanged"],
        "sequence": [
            "timeout: call the same again 2 times after 10, then 20 ms, then try the next candidate",
            "anything else: give up",
        ],
    }
    assert "  what failure leads to:\n" in Told(capsys, "explain", "policy.yaml", "-p", "base").out


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"action": "retry_same"}, "call the same again 1 time, then try the next candidate"),
        (
            {"action": "retry_same", "attempts": 2, "then_action": "disable_provider", "open_breaker_ms": 5},
            "call the same again 2 times, then disable the provider and try the next candidate; the breaker opens for 5 ms",
        ),
        ({"action": "abort", "attempts": 3, "weight": 0.5}, "give up; attempts 3; weight 0.5"),
        ({"action": "next_provider_same_model"}, "try the next provider of the same model"),
    ],
)
@pytest.mark.usefixtures("config")
def test_every_key_of_an_action_is_in_its_words(
    capsys: pytest.CaptureFixture[str], action: Any, words: str
) -> None:
    told = Told(capsys, "explain", "--term", term("t.json", ["always", action]))
    assert told.out.endswith(f"on any failure: {words}\n")


@pytest.mark.usefixtures("config")
def test_a_chain_is_told_in_either_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    for provider, model in (("provider", "model"), ("provider_id", "model_family")):
        Path("chain.json").write_text(json.dumps(["chain", [{provider: "a", model: "m"}]]))
        assert main(["hash", "chain.json", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["words"] == "exactly, in this order: a/m"


@pytest.mark.usefixtures("config")
def test_explain_tells_what_calls_functions_and_gives_it_no_identity(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own.lua").write_text(LUA)
    (told,) = Told(capsys, "explain", "own.lua", "--json").data
    assert told["identity"] is None
    assert any("a function of the operator holds" in line for line in told["chapters"][0]["lines"])


@pytest.mark.usefixtures("config")
def test_fmt_writes_in_place_once_and_keeps_comments(capsys: pytest.CaptureFixture[str]) -> None:
    Path("policy.yaml").write_text(
        CONFIG.replace(
            "  a: {api_kind: scripted, tier: partner}\n", "  a: {tier: partner, api_kind: scripted}\n"
        )
    )
    assert Told(capsys, "fmt", "policy.yaml", "--check").code == 1
    assert Told(capsys, "fmt", "policy.yaml", "--write").code == 0
    assert Path("policy.yaml").read_text() == CONFIG
    again = Told(capsys, "fmt", "policy.yaml", "--write", "--json")
    assert again.data == [{"ok": True, "written": False}]
    assert Told(capsys, "fmt", "policy.yaml", "--check").code == 0


@pytest.mark.usefixtures("config")
def test_a_profile_has_one_identity_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    Path("policy.yaml").write_text(CONFIG.split("\n", 1)[1])  # a caller's term comes without the envelope
    wanted = [each["identity"] for each in Told(capsys, "hash", "policy.yaml", "--json").data]
    for form, options in (
        ("yaml", ()),
        ("lua", ()),
        ("json", ()),
        ("yaml", ("--terms",)),
        ("lua", ("--terms",)),
    ):
        path = Path(f"other.{'yaml' if form == 'json' else form}")
        path.write_text(Told(capsys, "fmt", "policy.yaml", "--to", form, *options).out)
        assert [each["identity"] for each in Told(capsys, "hash", str(path), "--json").data] == wanted
    Path("base.json").write_text(Told(capsys, "fmt", "policy.yaml", "--profile", "base").out)
    assert Told(capsys, "hash", "base.json", "--json").data[0]["identity"] == wanted[0]
    assert Told(capsys, "fmt", "base.json", "--check").code == 0


@pytest.mark.usefixtures("config")
def test_a_lua_program_is_not_overwritten_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    source = LUA.replace("dsl.F.where(function() return true end)", "dsl.F.requirements()")
    Path("own.lua").write_text(source)
    assert Told(capsys, "fmt", "own.lua", "--write").code == 2
    assert Path("own.lua").read_text() == source
    assert Told(capsys, "fmt", "own.lua", "--write", "--force").code == 0
    assert Told(capsys, "fmt", "own.lua", "--check").code == 0
    assert "return {\n" in Path("own.lua").read_text()


@pytest.mark.usefixtures("config")
def test_comments_that_another_format_cannot_hold_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "fmt", "policy.yaml", "--to", "lua")
    assert told.err == "left out: # the house's\n"
    assert told.out.startswith("return {\n")


@pytest.mark.usefixtures("config")
def test_a_terms_format_tells_a_policy_by_its_normal_form(capsys: pytest.CaptureFixture[str]) -> None:
    first = term("1.json", ["and", ["top"], ["has_cap", "x"], ["is", "no_log"]])
    second = term("2.json", ["and", ["and", ["is", "no_log"]], ["has_cap", "x"]])
    assert Told(capsys, "fmt", first).out == Told(capsys, "fmt", second).out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("fmt", "policy.yaml", "--check", "--write"), 2),
        (("fmt", "policy.yaml", "--check", "--to", "lua"), 2),
        (("fmt", "policy.yaml", "--profile", "bse"), 2),
        (("fmt", "own.lua"), 2),
        (("fmt", "refused.json"), 4),
        (("fmt", "absent.json"), 2),
        (("fmt", "absent.yaml"), 1),
        (("explain",), 2),
        (("explain", "policy.yaml", "-p", "bse"), 2),
        (("explain", "--term", "refused.json"), 4),
        (("diff", "policy.yaml#base", "absent.yaml#base"), 1),
        (("diff", "policy.yaml#base", "refused.json"), 4),
        (("diff", "policy.yaml#base", "pred.json"), 2),
        (("diff", "policy.yaml", "policy.yaml", "--contracts", "absent.jsonl"), 2),
        (("implies", "policy.yaml#base"), 2),
        (("implies", "policy.yaml#base", "refused.json"), 4),
        (("implies", "policy.yaml#base", "selector.json"), 2),
        (("implies", "policy.yaml#base", "pred.json", "--present", "price"), 2),
        (("implies", "own.lua#own", "--envelope", "policy.yaml"), 2),
    ],
)
@pytest.mark.usefixtures("config")
def test_bad_usage_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int
) -> None:
    pytest.importorskip("z3")
    Path("own.lua").write_text(LUA)
    term("refused.json", ["nope"])
    term("pred.json", ["top"])
    term("selector.json", ["argmax"])
    told = Told(capsys, *arguments)
    assert (told.code, told.out) == (code, "")
    assert 1 <= told.err.count("\n") <= 2
    assert "Traceback" not in told.err


@pytest.mark.usefixtures("config")
def test_configs_are_compared_profile_by_profile(capsys: pytest.CaptureFixture[str]) -> None:
    changed = CONFIG.replace("output: 2", "output: 1").replace("  child:", "  kid:")
    Path("next.yaml").write_text(changed)
    told = Told(capsys, "diff", "policy.yaml", "next.yaml", "--json", "-n", "20")
    (data,) = told.data
    assert (told.code, data["ok"]) == (1, False)
    assert [
        (each["name"], each["identities"][0] is None, each["identities"][1] is None)
        for each in data["compared"]
    ] == [
        ("base", False, False),
        ("child", False, True),
        ("kid", True, False),
    ]
    base = data["compared"][0]
    assert [(each["kind"], each["verb"], each["after"]["words"]) for each in base["changes"]] == [
        ("changed", "filter", "price_out <= 1")
    ]
    assert base["decided"] == 20
    first = base["decisions"][0]
    assert (first["before"]["order"], first["after"]["order"]) == (["m @ a", "m @ b"], ["m @ b"])
    assert "  B  is not there\n" in Told(capsys, "diff", "policy.yaml", "next.yaml").out


@pytest.mark.usefixtures("config")
def test_what_is_the_same_differs_in_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("next.yaml").write_text(
        CONFIG.replace(
            "[requirements, {price_max: {output: 2}}]", "{requirements: true, price_max: {output: 2}}"
        )
    )
    told = Told(capsys, "diff", "policy.yaml", "next.yaml")
    assert told.code == 0
    assert "  decisions: 0 of 200 differ\n" in told.out
    Path("base.json").write_text(Told(capsys, "fmt", "policy.yaml", "-p", "base").out)
    assert Told(capsys, "diff", "policy.yaml#base", "base.json").code == 0  # under the same envelope


@pytest.mark.usefixtures("config")
def test_contracts_of_ones_own_are_decided_on_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.jsonl").write_text(
        '{"prompt": "x", "profile": "no", "policy_ir": ["no"]}\n\n{"requirements": {"tier": "partner"}}\n'
    )
    told = Told(capsys, "diff", "policy.yaml#base", "policy.yaml#child", "--contracts", "c.jsonl", "--json")
    (base,) = told.data[0]["compared"]
    assert base["decided"] == 2
    assert [each["place"] for each in base["decisions"]] == [1]
    Path("c.jsonl").write_text('"a prompt"\n{"profil": "x"}\n')
    assert (
        "c.jsonl:2: unknown key `profil`"
        in Told(capsys, "diff", "policy.yaml", "policy.yaml", "--contracts", "c.jsonl").err
    )


@pytest.mark.usefixtures("config")
def test_policies_that_call_functions_are_compared_by_what_they_decide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own.lua").write_text(LUA)
    Path("other.lua").write_text(LUA.replace("return true", "return false"))
    told = Told(capsys, "diff", "own.lua", "other.lua", "-n", "3")
    assert told.code == 1
    assert "  decisions: 3 of 3 differ" in told.out
    assert Told(capsys, "diff", "own.lua", "own.lua", "-n", "3").code == 0


@pytest.mark.usefixtures("config")
def test_a_profile_is_proved_against_an_envelope_as_it_is_without_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("z3")
    assert Told(capsys, "implies", "policy.yaml#base", "--envelope", "policy.yaml").code == 0
    wider = CONFIG.replace("{output: 2}", "{output: 4}")
    Path("wider.yaml").write_text(wider)
    told = Told(capsys, "implies", "wider.yaml#base", "--envelope", "wider.yaml", "--json")
    assert (told.code, told.data[0]["holds"]) == (1, False)
    assert told.data[0]["refused"] == {"reason": "cmp:price_out:le", "clause": "price_out <= 3"}
    bounded = ("--range", "price_out=0..2.5")
    assert Told(capsys, "implies", "wider.yaml#base", "--envelope", "wider.yaml", *bounded).code == 0
    assert (
        Told(capsys, "implies", "wider.yaml#base", "--envelope", "wider.yaml", "--catalog", "wider.yaml").code
        == 0
    )


@pytest.mark.usefixtures("config")
def test_requirements_of_every_request_count(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("z3")
    wanted = term(
        "wanted.json", ["and", ["has_cap", "tools"], ["cmp", "context", "ge", 9], ["tier_eq", "partner"]]
    )
    options = ("--need", "tools", "--min-context", "9", "--tier", "partner")
    assert Told(capsys, "implies", "policy.yaml#base", wanted).code == 1
    assert Told(capsys, "implies", "policy.yaml#base", wanted, *options).code == 0


@pytest.mark.usefixtures("config")
def test_a_policy_that_admits_nobody_is_said_to_imply_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("z3")
    told = Told(capsys, "implies", term("a.json", ["bot"]), term("b.json", ["is", "has_tee"]))
    assert (told.code, told.err) == (0, "`a.json` admits nobody there\n")


@pytest.mark.usefixtures("config")
def test_without_the_solver_it_is_said_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    told = Told(capsys, "implies", "policy.yaml#base", "policy.yaml#child")
    assert told.code == 2
    assert "pip install 'llm-policy[implies]'" in told.err
