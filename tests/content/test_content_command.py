"""`llm-policy content`: what is kept, one run's, and a purge after which the chain is as good as before."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.store import contents
from llm_policy_host.values import Contract, Origin
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from pathlib import Path

SEAL = "k" * 32
CONFIG = """
providers: {acme: {api_kind: scripted}, spare: {api_kind: scripted}}
models: {small-1: {served_by: [{provider: acme}, {provider: spare}]}}
profiles: {default: {selector: ordered}}
host:
  ledger: {file: ledger.db}
  accounts: {acme-inc: {}, bmce: {}}
  content: {level: sealed, key: {env: SEAL}, retain_days: 30}
  scripts: {acme: [{failure: server_error}, {answer: "hello \\e[31myou"}], spare: [{answer: hello}]}
"""
SAID = "a prompt\x1b[2J of some length"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ask for two tenants; give their runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEAL", SEAL)
    (tmp_path / "policy.yaml").write_text(CONFIG)

    async def ask() -> list[str]:
        async with Host.from_config("policy.yaml") as host:
            made = []
            for account in ("acme-inc", "bmce"):
                origin = Origin(tenant=account, accounts=(account,))
                contract = Contract(messages=[{"role": "user", "content": SAID}], origin=origin)
                result = await host.run(contract)
                assert result.ok
                assert result.run_id is not None
                made.append(result.run_id)
            return made

    return asyncio.run(ask())


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["content", *words])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_what_is_kept_is_counted_by_tenant(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, told = said(capsys, "status", "--json")
    data = json.loads(told)
    assert (code, data["level"], len(runs)) == (0, "sealed", 2)
    held = {each["tenant"]: each["contents"] for each in data["held"]}
    assert held == {"acme-inc": 3, "bmce": 2}
    assert "acme-inc  sealed  3 contents" in said(capsys, "status")[1]


def test_a_runs_content_is_shown_and_steers_no_terminal(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = said(capsys, "show", runs[0][:12])
    assert code == 0
    assert "a prompt" in told
    assert "hello" in told
    assert "\x1b" not in told
    contents = json.loads(said(capsys, "show", runs[0], "--json")[1])["contents"]
    assert [each["name"] for each in contents] == ["request", "error.1", "answer.2"]
    assert json.loads(contents[0]["text"])["messages"] == [{"role": "user", "content": SAID}]
    assert json.loads(contents[-1]["text"])["text"].startswith("hello")
    assert "hello" not in said(capsys, "show", runs[0], "--name", "request")[1]


def test_after_a_purge_nobody_reads_it_and_the_chain_is_whole(
    runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SEAL")  # to purge, nobody needs the deployment's key
    before = (tmp_path / "ledger.db").read_bytes()
    assert said(capsys, "purge", "--tenant", "acme-inc") == (
        0,
        "acme-inc: its key is destroyed, 3 contents are gone\n",
    )
    monkeypatch.setenv("SEAL", SEAL)
    assert said(capsys, "show", runs[0])[0] == 2
    assert "hello" in said(capsys, "show", runs[1])[1]
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert main(["ledger", "verify"]) == 0
    capsys.readouterr()
    code, told = said(capsys, "purge", "--tenant", "acme-inc", "--json")
    assert (code, json.loads(told)["ok"]) == (2, False)
    assert "did you mean `bmce`" in said(capsys, "purge", "--tenant", "bmc")[1]


@pytest.mark.parametrize("level", ["none", "digest", "sealed"])
@pytest.mark.usefixtures("runs")
def test_a_start_forgets_what_is_too_old_at_every_level(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, level: str
) -> None:
    with closing(sqlite3.connect("content.db", isolation_level=None)) as made:
        made.execute("UPDATE content SET at_ms = 0 WHERE tenant = 'bmce'")
    (tmp_path / "policy.yaml").write_text(CONFIG.replace("level: sealed", f"level: {level}"))
    assert main(["run", "policy.yaml", "hello"]) == 0
    capsys.readouterr()
    held = json.loads(said(capsys, "status", "--json")[1])["held"]
    assert [each["contents"] for each in held if each["tenant"] == "acme-inc"] == [3]
    assert "bmce" not in {each["tenant"] for each in held}


@pytest.mark.usefixtures("runs")
def test_a_purge_that_a_reader_held_up_is_ended_by_the_next(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_BUSY_S", 0.0)
    with closing(sqlite3.connect("content.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        [(wrapped,)] = reader.execute("SELECT wrapped FROM tenant_key WHERE tenant = 'acme-inc'").fetchall()
        for _ in range(2):
            code, told = said(capsys, "purge", "--tenant", "acme-inc")
            assert (code, "purge once more" in told) == (2, True)
    assert said(capsys, "purge", "--tenant", "acme-inc") == (0, "acme-inc: 0 contents are gone\n")
    assert wrapped not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert said(capsys, "purge", "--tenant", "acme-inc")[0] == 2


def test_mistakes_are_told(
    runs: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "nothing is kept of a run that is or begins with `run-x1`" in said(capsys, "show", "run-x1")[1]
    assert "2 runs begin with `run-`" in said(capsys, "show", "run-")[1]
    assert "has no content `answer.9`" in said(capsys, "show", runs[0], "--name", "answer.9")[1]
    monkeypatch.setenv("SEAL", "o" * 32)
    assert "was made with another `host.content.key`" in said(capsys, "show", runs[0])[1]
    monkeypatch.setenv("SEAL", "short")
    assert "host.content.key: must have at least 32 characters" in said(capsys, "show", runs[0])[1]
    monkeypatch.delenv("SEAL")
    assert "host.content.key: the environment variable `SEAL` is not set" in said(capsys, "show", runs[0])[1]
    (tmp_path / "content.db").unlink()
    assert "nothing was kept yet" in said(capsys, "purge", "--tenant", "bmce")[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "{level: loud, key: {env: SEAL}}",
            "host.content.level: must be `none`, `digest`, `sealed` or `plain`",
        ),
        ("{level: sealed}", "host.content: keeping content needs a `key`"),
        ("{level: sealed, key: {env: SEAL, file: x}}", "with exactly one of `env`, `file` and `keyring`"),
        ("{level: sealed, kay: {env: SEAL}}", "unknown key `kay` (did you mean `key`?)"),
        ("{level: plain, key: {env: SEAL}, retain_days: 0}", "retain_days: must be a whole number above 0"),
    ],
)
def test_a_config_that_keeps_content_wrongly_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, told: str
) -> None:
    text = CONFIG.replace("{level: sealed, key: {env: SEAL}, retain_days: 30}", content)
    (tmp_path / "policy.yaml").write_text(text)
    assert main(["check", str(tmp_path / "policy.yaml")])
    assert told in capsys.readouterr().err


def test_a_key_that_is_not_set_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEAL", raising=False)
    (tmp_path / "policy.yaml").write_text(CONFIG)
    assert main(["check", str(tmp_path / "policy.yaml"), "--strict"]) == 1
    told = capsys.readouterr().err
    assert "$.host.content.key: the environment variable `SEAL` is not set" in told


def test_content_without_a_ledger_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(
        CONFIG.replace("  ledger: {file: ledger.db}\n  accounts: {acme-inc: {}, bmce: {}}\n", "")
    )
    assert main(["check", str(tmp_path / "policy.yaml")]) == 1
    assert "host.content: keeping content needs a `host.ledger`" in capsys.readouterr().err
