"""`llm-policy ledger`: reads a SQLite file, an export, or what a config names; writes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.bookkeeping import open_ledger
from llm_policy_host.cli import bench_ledger
from llm_policy_host.cli.bench_calls import AT_ONCE
from llm_policy_host.cli.main import main
from llm_policy_host.clock import VirtualClock
from llm_policy_host.config.load import load_config
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.store.retention import DAY_MS
from llm_policy_host.store.sqlite import open_sqlite

from .drafts import draft, opening, run_id, whole_run

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
providers: {acme: {api_kind: scripted}}
models: {small-1: {served_by: [{provider: acme}]}}
profiles: {default: {}}
host: {ledger: {file: ledger.db}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a config, and a ledger with 14 events in two runs, one of them open."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(CONFIG)
    store = open_sqlite(tmp_path / "ledger.db")
    log, _ = open_log(store, VirtualClock(1_700_000_000_123), Folds)
    digest = log.blob(b"a catalog")
    for each in opening():
        log.append(each._replace(core={**each.core, "limits": {}}) if "limits" in each.core else each)
    log.append(draft("CatalogPublished", refs={"catalog": digest}))
    for each in whole_run(1, failures=1):
        log.append(each)
    log.append(draft("RequestReceived", 2))
    store.close()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    code = main(["ledger", *words])
    out = capsys.readouterr()
    return code, (out.out + out.err).splitlines()


def test_the_last_events_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = said(capsys, "tail", "-n", "2")
    assert (code, len(lines)) == (0, 2)
    assert lines[0].split() == ["14", "2023-11-14T22:13:20.123Z", "RunCompleted", run_id(1), "attempts=2"]
    _, typed = said(capsys, "tail", "--type", "AttemptOutcome", "--file", str(folder / "ledger.db"))
    assert [line.split()[0] for line in typed] == ["10", "13"]
    assert 'settled={"calls":1,"tokens":30,"usd_micro":12}' in typed[0]


def test_a_run_is_shown_by_the_beginning_of_its_id(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.is_dir()
    _, lines = said(capsys, "show", run_id(1))
    assert len(lines) == 8
    _, lines = said(capsys, "show", run_id(2), "--json")
    assert [json.loads(line)["type"] for line in lines] == ["RequestReceived"]
    assert said(capsys, "show", "run-") == (2, ["llm-policy: 2 runs begin with `run-`"])
    assert said(capsys, "show", "run-x") == (2, ["llm-policy: no run is or begins with `run-x`"])


def test_an_export_has_the_same_bytes_and_is_judged_alike(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, [good, blobs, head] = said(capsys, "verify")
    assert (code, good) == (0, "15 events are good, 1 run is open")
    assert blobs == "1 blob is what its name says"
    assert said(capsys, "export", "-o", "out.jsonl") == (0, ["out.jsonl: 15 events"])
    store = open_sqlite(folder / "ledger.db", mode="read")
    assert (folder / "out.jsonl").read_bytes().split(b"\n") == [*store.lines(), b""]
    store.close()
    _, lines = said(capsys, "verify", "--file", "out.jsonl")
    assert lines == [good, "its blobs are not here", head]
    assert main(["ledger", "export", "--after", "14"]) == 0
    assert (
        capsys.readouterr().out.encode() == (folder / "out.jsonl").read_bytes().splitlines(keepends=True)[14]
    )


@pytest.mark.parametrize("which", ["ledger.db", "again.db", "ledger.db-wal", "old/{segment}", "out.jsonl"])
def test_an_export_takes_the_place_of_no_file_that_it_reads(
    folder: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    config = folder / "policy.yaml"
    config.write_text(CONFIG.replace("file: ledger.db", "file: ledger.db, archive: old"))
    said(capsys, "archive", "--days", "0")
    said(capsys, "export", "-o", "out.jsonl")
    (folder / "again.db").symlink_to("ledger.db")
    name = which.format(segment=next((folder / "old").iterdir()).name)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    reader = open_sqlite(folder / "ledger.db", mode="read", archive=folder / "old")
    [*reader.lines()]
    source = ("--file", "out.jsonl") if which == "out.jsonl" else ()
    code, [line] = said(capsys, "export", "-o", name, *source)
    reader.close()
    assert (code, line.endswith("is a file of the ledger itself")) == (2, True), line
    assert before.items() <= {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}.items()


def test_an_export_that_fails_leaves_what_was_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "-o", "out.jsonl")
    data = (folder / "out.jsonl").read_bytes()
    (folder / "torn.jsonl").write_bytes(data[:-1])
    assert said(capsys, "export", "--file", "torn.jsonl", "-o", "out.jsonl")[0] == 2
    assert (folder / "out.jsonl").read_bytes() == data
    assert sorted(path.name for path in folder.glob("*out*")) == ["out.jsonl"]


def test_an_export_that_cannot_be_made_is_a_mistake_in_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, [line] = said(capsys, "export", "-o", "none/out.jsonl")
    assert (code, line) == (
        2,
        f"llm-policy: `{folder}/none/out.jsonl` cannot be written: no such file or directory",
    )
    said(capsys, "export", "-o", "out.jsonl")
    for source in ((), ("--file", "out.jsonl")):
        code, lines = said(capsys, "export", "--after", "-1", *source)
        assert (code, lines) == (2, ["llm-policy: --after: `-1` is not 0 or more"])
    assert said(capsys, "export", "-o", "/dev/null") == (0, ["/dev/null: 15 events"])


def test_what_is_wrong_is_named_by_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "export", "-o", "out.jsonl")
    data = (folder / "out.jsonl").read_bytes()
    bad = folder / "bad.jsonl"
    bad.write_bytes(data.replace(b"acme", b"acne", 1))
    assert said(capsys, "verify", "--file", "bad.jsonl") == (1, ["line 9: chain: hash: is not the line's"])
    code, [line] = said(capsys, "verify", "--file", "bad.jsonl", "--json")
    assert (code, json.loads(line)["fault"]["line"]) == (1, 9)
    bad.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    assert said(capsys, "verify", "--file", "bad.jsonl")[0] == 0
    head = json.loads(data.splitlines()[-1])["hash"]
    code, [line] = said(capsys, "verify", "--file", "bad.jsonl", "--head", head)
    assert (code, line.startswith("line 15: chain: head: ")) == (1, True)
    bad.write_bytes(b'{"seq":1}\n')
    message = "line 1: is no event: a record of JSON with 15 keys (see `llm-policy ledger verify`)"
    assert said(capsys, "tail", "--file", "bad.jsonl") == (2, [f"llm-policy: {message}"])


def test_more_spent_than_an_account_has_is_a_fault(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_sqlite(folder / "more.db")
    log, _ = open_log(store, VirtualClock())
    for each in (*opening(), *whole_run(1)):
        log.append(each)
    store.close()
    code, [line] = said(capsys, "verify", "--file", "more.db")
    assert (code, line) == (1, "line 8: budget_exceeded: accounts: budget_exceeded: `team` (usd_micro)")


def test_what_it_holds_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.is_dir()
    code, [line] = said(capsys, "stats", "--json")
    counted = json.loads(line)
    assert (code, counted["events"], counted["types"]["AttemptOutcome"]) == (0, 15, 2)
    assert (counted["usd_micro"], counted["tokens"], counted["calls"]) == (24, 60, 2)
    assert counted["outcomes"] == {"ok": 1, "timeout": 1}
    assert counted["tenants"] == {"team": 2}
    assert counted["from"] == counted["to"] == "2023-11-14T22:13:20.123Z"
    _, lines = said(capsys, "stats")
    assert ["outcomes", "timeout", "1"] in [line.split() for line in lines]


def test_a_ledger_that_is_not_there_is_told_and_not_made(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = folder / "nothing.db"
    assert said(capsys, "tail", "--file", str(missing))[0] == 2
    (folder / "policy.yaml").write_text(CONFIG.replace("ledger.db", "nothing.db"))
    code, [line] = said(capsys, "stats")
    assert (code, line) == (2, "llm-policy: nothing.db: there is no such file")
    assert not missing.exists()
    (folder / "policy.yaml").write_text("{}\n")
    assert said(capsys, "stats") == (
        2,
        ["llm-policy: `policy.yaml` has no `host.ledger`; `--file` names one"],
    )
    (folder / "policy.yaml").write_text("host: {ledger: {file: a, url_env: B}}\n")
    assert said(capsys, "stats")[0] == 1


def test_what_is_old_is_archived_and_verified_with_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "archive", "--days", "40000") == (0, ["nothing is that old"])
    # the open run is ended first, then all goes; what is left says where to
    name = "000000000001-000000000016.jsonl"
    assert said(capsys, "archive", "--days", "0") == (0, [f"{name}: 16 events"])
    assert (folder / "ledger.db.archive" / name).read_bytes().count(b"\n") == 16
    assert said(capsys, "verify")[1][0] == "17 events are good, 0 runs are open"
    assert "SnapshotTaken" in said(capsys, "tail", "-n", "1")[1][0]
    assert said(capsys, "archive", "--days", "-1") == (2, ["llm-policy: --days: `-1` is not 0 or more"])


def test_what_is_archived_goes_where_the_config_says_and_nowhere_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file alone does not say where its archive lies: the host would not find what went elsewhere."""
    config = folder / "policy.yaml"
    config.write_text(CONFIG.replace("file: ledger.db", "file: ledger.db, archive: old"))
    with pytest.raises(SystemExit) as left:
        said(capsys, "archive", "--days", "0", "--file", "ledger.db")
    assert left.value.code == 2
    assert said(capsys, "archive", "--days", "0")[0] == 0
    assert len([*(folder / "old").iterdir()]) == 1
    assert not (folder / "ledger.db.archive").exists()
    assert said(capsys, "verify")[0] == 0


def test_nothing_is_archived_under_a_host_that_writes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_sqlite(folder / "ledger.db")
    code, [line] = said(capsys, "archive", "--days", "0")
    store.close()
    assert code != 0
    assert "stop that one, or give each the mode `shared`" in line


def test_a_host_archives_at_its_start_what_its_config_lets_go(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "policy.yaml"
    config.write_text(CONFIG.replace("file: ledger.db", "file: ledger.db, retain_days: 30"))
    open_ledger(load_config(config), VirtualClock(1_700_000_000_123 + 31 * DAY_MS), {}).log.store.close()
    assert [path.name[-9:] for path in (folder / "ledger.db.archive").iterdir()] == ["015.jsonl"]
    assert said(capsys, "verify")[0] == 0


def test_the_benchmark_measures_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    for row in bench_ledger.rows(3):
        made = AT_ONCE if row.name.startswith("call") else 2 + 3 * bench_ledger.EVENTS_A_RUN
        assert row.act() == made
    assert main(["bench", "ledger", "--events", "50", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in rows][:2] == [bench_ledger.FLOOR, "append"]
    assert all(row["per_cpu_s"] > 0 for row in rows)
