"""`llm-policy keys` and `llm-policy accounts`."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.store.database import StoreError
from llm_policy_host.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "r" * 40
CONFIG = """
providers: {acme: {api_kind: scripted}}
models: {small-1: {served_by: [{provider: acme, price_in: 1, price_out: 1}]}}
host:
  scripts: {acme: [{answer: hi}]}
  ledger: {file: ledger.db}
  keys_root: {env: KEYS_ROOT}
  audience: east
  accounts: {research: {usd: 100, window: day}}
"""


class Run:
    """Runs commands in a folder and gives what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> Any:
        try:
            ended = main([*words, "--json"])
        except SystemExit as left:
            ended = int(left.code or 0)
        out, err = self._capsys.readouterr()
        assert ended == code, (out, err)
        return json.loads(out) if out else err


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "policy.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYS_ROOT", ROOT)
    return Run(capsys)


@pytest.mark.parametrize(
    "words",
    [
        "keys mint --account research",
        "keys revoke {key}",
        "accounts open alice --usd 1",
        "accounts adjust bob --usd 2",
        "sessions open night",
        "sessions mode day steward",
        "sessions close day",
    ],
)
def test_what_could_not_be_written_is_not_said_to_be_done(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A disk that fills up before the last group is written: the command fails, and says nothing else."""
    key = run("keys", "mint")["key_id"]
    run("accounts", "open", "bob")
    run("sessions", "open", "day")

    def full(*_: object) -> None:
        raise StoreError("ledger.db", "database or disk is full")

    monkeypatch.setattr(SqliteDatabase, "insert", full)
    told = run(*words.format(key=key).split(), code=2)
    assert told == {"ok": False, "error": "ledger.db: database or disk is full"}


def test_a_key_is_made_narrowed_shown_taken_back_and_never_stored(run: Run, tmp_path: Path) -> None:
    run("accounts", "open", "alice", "--parent", "research", "--usd", "12.5")
    made = run(
        "keys", "mint", "--account", "alice", "--expires", "30d", "--audience", "east", "--right", "call"
    )
    narrowed = run(
        "keys",
        "narrow",
        made["key"],
        "--model",
        "small-1",
        "--model",
        "a",
        "--usd",
        "0.25",
        "--content",
        "digest",
    )
    assert narrowed["key_id"] == made["key_id"]
    shown = run("keys", "show", narrowed["key"], "--config", "policy.yaml")
    assert shown["models"] == ["a", "small-1"]
    assert (shown["usd_micro"], shown["content"], shown["rights"]) == (250_000, "digest", ["call"])
    assert (shown["account"], shown["is_checked"]) == ("alice", True)
    assert run("keys", "list")["keys"][0]["revoked_ms"] is None
    assert run("keys", "revoke", narrowed["key"])["key_id"] == made["key_id"]
    for key in (made["key"], narrowed["key"]):
        assert run("keys", "show", key, "-c", "policy.yaml", code=4)["error"] == "revoked"
    assert run("keys", "show", made["key"])["is_checked"] is False
    assert run("keys", "list")["keys"][0]["revoked_ms"] is not None
    assert run("ledger", "verify")["ok"]
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (made["key"], narrowed["key"], made["key"].rpartition(".")[2], ROOT):
        assert secret.encode() not in written


def test_narrowing_needs_nothing_but_the_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = run("keys", "mint")
    assert run("keys", "list")["keys"][0]["rights"] == ["call", "embed", "flow", "stream"]
    (tmp_path / "policy.yaml").unlink()
    (tmp_path / "ledger.db").unlink()
    monkeypatch.delenv("KEYS_ROOT")
    monkeypatch.setattr("sys.stdin", io.StringIO(made["key"] + "\n"))
    narrowed = run("keys", "narrow", "--calls", "3", "--not-before", "2026-01-31T00:00:00")
    assert run("keys", "show", narrowed["key"])["not_before_ms"] == 1_769_817_600_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["keys", "mint", "--account", "reserch"], "no account `reserch` is open (did you mean `research`?)"),
        (["keys", "mint", "--right", "cal"], "rights: must be a list of"),
        (["keys", "narrow", "lpk_a.b.c", "--calls", "1"], "the key cannot be narrowed: malformed"),
        (["keys", "revoke", "nobody"], "no key `nobody` was minted here"),
        (["accounts", "adjust", "research", "--usd", "1"], "is an account of `policy.yaml`: change it there"),
        (["accounts", "open", "key:a"], "reserved_name: `key:a`"),
        (["accounts", "open", "b", "--parent", "nobody"], "no account `nobody` is open"),
        (["accounts", "show", "nobody"], "no ledger"),
    ],
)
def test_what_cannot_be_is_told(run: Run, words: list[str], told: str) -> None:
    if words[:2] == ["accounts", "show"]:
        run("accounts", "open", "x")
        told = "no account `nobody` is open"
    assert told in run(*words, code=2)["error"]


@pytest.mark.parametrize(
    "option",
    [("--usd", "0.0000001"), ("--usd", "-1"), ("--usd", "nan"), ("--calls", "1.5"), ("--expires", "soon")],
)
def test_an_amount_or_a_moment_that_is_none_is_a_mistake_of_use(run: Run, option: tuple[str, str]) -> None:
    assert f"argument {option[0]}: `{option[1]}` is no " in run("keys", "narrow", "-", *option, code=2)


def test_a_root_that_is_missing_or_short_makes_no_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS_ROOT", "short")
    assert run("keys", "mint", code=2)["error"] == "host.keys_root: must have at least 32 characters"
    monkeypatch.delenv("KEYS_ROOT")
    assert (
        run("keys", "mint", code=2)["error"]
        == "host.keys_root: the environment variable `KEYS_ROOT` is not set"
    )


def test_a_key_of_another_deployment_is_no_key_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("keys", "mint")
    monkeypatch.setenv("KEYS_ROOT", "s" * 40)
    assert run("keys", "show", made["key"], "-c", "policy.yaml", code=4)["error"] == "bad_signature"


def test_accounts_are_opened_adjusted_and_shown_as_a_tree(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("accounts", "open", "alice", "--parent", "research", "--usd", "12.5", "--calls", "9", "--shadow")
    row = run(
        "accounts", "adjust", "alice", "--usd", "none", "--tokens", "5", "--no-shadow", "--window", "hour"
    )["accounts"][0]
    assert (row["limits"], row["window"], row["is_shadow"]) == ({"tokens": 5, "calls": 9}, "hour", False)
    assert row["remaining"] == {"usd_micro": 100_000_000, "tokens": 5, "calls": 9}
    assert [each["account"] for each in run("accounts", "show")["accounts"]] == ["research", "alice"]
    assert [each["account"] for each in run("accounts", "show", "alice")["accounts"]] == ["alice"]
    assert main(["accounts", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "research  day   usd 0 of 100  tokens 0       calls 0",
        "  alice   hour  usd 0         tokens 0 of 5  calls 0 of 9",
    ]
