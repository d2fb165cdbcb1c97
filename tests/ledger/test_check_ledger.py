"""`llm-policy check --ledger`: a row for each invariant, what is violated, and no secret in what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.hindsight.invariants import INVARIANTS

ALL = [row.name for row in INVARIANTS]
SECRET = "sk-a-secret-of-the-config/+%"
COMMAND = """
providers: {acme: {api_kind: openai_compatible, base_url: "http://127.0.0.1:9/v1", auth: {kind: bearer, env: ACME_KEY}}}
models: {m: {served_by: [{provider: acme}]}}
profiles: {default: {}}
host: {ledger: {file: ledger.db}, keys: {team: {env: TEAM_KEY}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Write a ledger by a run that reaches nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", SECRET)
    monkeypatch.delenv("TEAM_KEY", raising=False)
    (tmp_path / "policy.yaml").write_text(COMMAND)
    assert main(["run", "policy.yaml", "where is the treasure?"]) == 1
    capsys.readouterr()
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_command_prints_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "policy.yaml", "--ledger", "--canary", "where is the treasure?"]) == 0
    told = capsys.readouterr()
    assert [line.split()[:2] for line in told.out.splitlines()[: len(ALL)]] == [["ok", name] for name in ALL]
    assert "1 secrets, 1 texts" in told.out
    assert "host.keys.team: not looked for: the environment variable `TEAM_KEY` is not set" in told.err
    assert main(["check", "policy.yaml", "--ledger", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["secrets"], list(data["not_looked_for"])) == (["providers.acme.auth"], ["host.keys.team"])
    assert [row["name"] for row in data["invariants"]] == ALL


def test_the_command_names_what_is_violated_and_no_secret(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = folder / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text(f"where is the treasure? {SECRET}")
    words = ["check", "policy.yaml", "--ledger", "--canary", "the treasure", "--also", "logs"]
    assert main(words) == 1
    told = "".join(capsys.readouterr())
    assert "VIOLATED  canary" in told
    assert f"  {Path('logs') / 'a.log'}: holds the canary `the treasure`" in told
    assert "a.log: holds providers.acme.auth" in told
    assert SECRET not in told
    assert main([*words, "--json"]) == 1
    found = {row["name"]: len(row["findings"]) for row in json.loads(capsys.readouterr().out)["invariants"]}
    assert {name for name, count in found.items() if count} == {"canary", "secret"}


def test_the_command_searches_the_content_for_secrets_and_the_ledgers_file_for_both(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "content.db").write_text(f"the treasure {SECRET}")
    assert main(["check", "policy.yaml", "--ledger", "--canary", "the treasure"]) == 1
    told = capsys.readouterr().out
    assert "VIOLATED  secret" in told
    assert "ok        canary" in told
    (folder / "content.db").unlink()
    (folder / "ledger.db.archive").mkdir()
    (folder / "ledger.db.archive" / "old").write_text("the treasure")
    assert main(["check", "policy.yaml", "--ledger", "--canary", "the treasure"]) == 1
    assert "VIOLATED  canary" in capsys.readouterr().out


def test_the_commands_mistakes_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "policy.yaml", "--ledger", "--canary", "short"]) == 2
    assert "--canary: `short` is too short: 8 letters at least" in capsys.readouterr().err
    assert main(["check", "policy.yaml", "--ledger", "--also", "nowhere"]) == 2
    assert "--also: there is no `nowhere`" in capsys.readouterr().err
    (folder / "policy.yaml").write_text(COMMAND.replace("ledger: {file: ledger.db}, ", ""))
    assert main(["check", "policy.yaml", "--ledger"]) == 2
    assert "has no `host.ledger`" in capsys.readouterr().err
