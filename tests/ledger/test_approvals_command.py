"""Gates, approvals and sessions from the command line, each command over the ledger that the last one left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.cli.output import FAILED, OK, REFUSED, USAGE, WAITING
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Do = Callable[..., Any]

ANSWERS = {
    name: [{"answer": f"{name} says", "usage": {"input_tokens": 7, "output_tokens": 2}}] for name in "ab"
}
CONFIG = {
    "providers": {name: {"base_url": "http://nowhere.invalid", "api_kind": "scripted"} for name in "ab"},
    "models": {
        "m": {
            "capabilities": {"context": 1000},
            "served_by": [
                {"provider": "a", "price_in": 1, "price_out": 2},
                {"provider": "b", "price_in": 2, "price_out": 3},
            ],
        }
    },
    "profiles": {"default": {"selector": "ordered"}},
    "host": {
        "scripts": ANSWERS,
        "ledger": {"file": "ledger.db"},
        "gates": {"dear": {"when": {"cmp": ["estimate_usd", "gt", 0.0001]}, "reason": "cost"}},
    },
}
LONG = "please write a long text about nothing in particular"


@pytest.fixture
def do(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Do:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(json.dumps(CONFIG))

    def run(*words: str, code: int = OK) -> Any:
        told = main([*words, "--json"])
        out = capsys.readouterr().out
        assert told == code, out
        return json.loads(out)

    return run


def ask(do: Do, *words: str, code: int = OK, prompt: str = LONG) -> Any:
    return do("run", "policy.yaml", prompt, "--param", "max_tokens=5", *words, code=code)


def check(tmp_path: Path, open_runs: int = 0) -> None:
    store = open_sqlite(tmp_path / "ledger.db", mode="read")
    verdict = verify(store.lines(), store.blob_get, Folds())
    store.close()
    assert verdict.fault is None, verdict.fault
    assert verdict.open_runs == open_runs


def test_what_waits_is_approved_by_an_operator(do: Do, tmp_path: Path) -> None:
    assert ask(do, prompt="hi")["ok"]
    waits = ask(do, code=WAITING)
    approval = waits["approval"]["id"]
    assert (waits["error"], waits["approval"]["reason"]) == ("approval_required", "cost")
    check(tmp_path, open_runs=1)
    (listed,) = do("approvals", "list")["approvals"]
    assert (listed["id"], listed["target"], listed["state"]) == (approval, "a|m", "waiting")
    assert ask(do, "--approval", approval, code=WAITING)["approval"]["id"] == approval
    assert do("approvals", "approve", approval)["approval"]["decided_by"] == "operator"
    assert do("approvals", "list")["approvals"] == []
    assert ask(do, "--approval", approval, prompt="other", code=FAILED)["error"] == "approval_mismatch"
    answer = ask(do, "--approval", approval)
    assert (answer["response"]["text"], answer["run_id"]) == ("a says", waits["run_id"])
    assert ask(do, "--approval", approval, code=FAILED)["error"] == "approval_used"
    check(tmp_path)


def test_what_waits_is_denied_or_sent_elsewhere(do: Do, tmp_path: Path) -> None:
    denied, moved = (ask(do, code=WAITING)["approval"]["id"] for _ in range(2))
    assert do("approvals", "deny", denied)["approval"]["state"] == "denied"
    assert ask(do, "--approval", denied, code=REFUSED)["error"] == "approval_denied"
    assert "not_eligible" in do("approvals", "redirect", moved, "c|m", code=USAGE)["error"]
    assert do("approvals", "redirect", moved, "b|m")["approval"]["redirected"] == "b|m"
    assert ask(do, "--approval", moved)["response"]["text"] == "b says"
    assert "is denied" in do("approvals", "approve", denied, code=USAGE)["error"]
    assert "no approval" in do("approvals", "approve", "apr-none", code=USAGE)["error"]
    assert [each["state"] for each in do("approvals", "list", "--all")["approvals"]] == ["denied", "used"]
    check(tmp_path)


def test_a_mistake_in_a_gate_is_named(do: Do, tmp_path: Path) -> None:
    host = {**CONFIG["host"], "gates": {"g": {"when": ["cmp", "estimate_us", "gt", 1]}}}  # type: ignore[dict-item]
    (tmp_path / "policy.yaml").write_text(json.dumps({**CONFIG, "host": host}))
    (problem,) = do("check", "policy.yaml", code=FAILED)["problems"]
    assert problem["path"] == "$.host.gates.g.when"
    assert "did you mean `estimate_usd`" in problem["detail"]


def test_a_session_has_its_turns_its_money_and_its_mode(do: Do, tmp_path: Path) -> None:
    name = do("sessions", "open", "--max-turns", "2", "--max-usd", "0.0002")["session"]["name"]
    assert ask(do, "--session", name, prompt="hi")["ok"]
    do("sessions", "mode", name, "steward")
    do("sessions", "open", "poor", "--max-usd", "0.000001")
    refused = ask(do, "--session", "poor", prompt="hi", code=REFUSED)
    assert (refused["error"], refused["refusal"]["account"]) == ("budget_exceeded", "session:poor")
    assert ask(do, "--session", name, prompt="hi")["ok"]
    spent = ask(do, "--session", name, prompt="hi", code=REFUSED)
    assert spent["refusal"]["code"] == "turns_exceeded"
    rows = {each["name"]: each for each in do("sessions", "list")["sessions"]}
    assert (rows[name]["turns"], rows[name]["mode"], rows["poor"]["turns"]) == (2, "steward", 1)
    do("sessions", "close", name)
    assert "no session" in do("sessions", "mode", name, "work", code=USAGE)["error"]
    check(tmp_path)


def test_where_texts_are_kept_an_operator_gives_it_its_answer(do: Do, tmp_path: Path) -> None:
    approval = ask(do, code=WAITING)["approval"]["id"]
    do("approvals", "approve", approval)
    assert "is not kept here" in do("approvals", "resume", approval, code=USAGE)["error"]
    (tmp_path / "key").write_text(40 * "k")
    host = {**CONFIG["host"], "content": {"level": "plain", "key": {"file": "key"}}}  # type: ignore[dict-item]
    (tmp_path / "policy.yaml").write_text(json.dumps({**CONFIG, "host": host}))
    (tmp_path / "ledger.db").unlink()
    approval = ask(do, code=WAITING)["approval"]["id"]
    assert do("approvals", "resume", approval, code=WAITING)["approval"]["id"] == approval
    do("approvals", "approve", approval)
    assert do("approvals", "resume", approval)["response"]["text"] == "a says"
    assert do("approvals", "resume", approval, code=FAILED)["error"] == "approval_used"
    check(tmp_path)
