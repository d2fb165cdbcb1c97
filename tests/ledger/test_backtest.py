"""Another policy over recorded runs, against figures made by hand; and the two commands that ask a ledger again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.cli.main import main
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.vm import default_runtime
from llm_policy_host.hindsight.backtest import Backtest, backtest
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.simulation.play import ANSWER, WAIT, Span
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Origin
from llm_policy_host.wiring import Host
from tests.ledger.setting import HELLO, Setting, config

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.simulation.play import Played

# `a` costs 1 and 2 USD a million tokens, `b` 2 and 3: 7 tokens read and 2 written are 11 and 20 µUSD
YES = {"answer": "yes", "latency_ms": 90, "usage": {"input": 7, "output": 2}}
WELL = {"answer": "well", "latency_ms": 40, "usage": {"input": 7, "output": 2}}
LIMITED = {"failure": "rate_limit", "latency_ms": 30}
SLOW = {"failure": "timeout", "latency_ms": 500}
DEAR = [
    "policy",
    ["top"],
    ["field", "price_in"],
    ["argmax"],
    ["id"],
    ["always", {"action": "next_candidate"}],
]
CHEAP = [
    "policy",
    ["top"],
    ["neg", ["field", "price_in"]],
    ["argmax"],
    ["id"],
    ["always", {"action": "abort"}],
]


async def held(scripts: dict[str, Any], runs: int, term: Any) -> Backtest:
    async with Setting(scripts) as setting:
        for _ in range(runs):
            await setting.ask()
    pasts = list(past_runs(setting.events()))
    return backtest(Decider(setting.store.blob_get), pasts, term)


def told(runs: list[Played]) -> list[tuple[float, str | None, str | None, float | None]]:
    return [
        (run.took_ms, run.route, run.error, None if run.cost_usd is None else round(run.cost_usd * 1_000_000))
        for run in runs
    ]


async def test_a_policy_is_held_against_what_happened() -> None:
    """The first run went to `b` after a failure of `a`; the others to `a`. The other policy asks `b` first."""
    made = await held({"a": [LIMITED, YES, YES], "b": [WELL]}, 3, DEAR)
    assert told(made.happened) == [(70, "b|m", None, 20), (90, "a|m", None, 11), (90, "a|m", None, 11)]
    assert told(made.instead) == [(40, "b|m", None, 20)] * 3
    assert (made.changed, made.left_out) == (3, {})


async def test_a_failure_that_was_seen_is_met_again() -> None:
    """The other policy gives up where the past one went on."""
    made = await held({"a": [LIMITED, YES], "b": [WELL]}, 2, CHEAP)
    assert told(made.instead) == [(30, None, "rate_limit", None), (90, "a|m", None, 11)]
    assert (made.changed, [run.attempts for run in made.instead]) == (0, [1, 1])


async def test_waits_are_in_what_happened() -> None:
    made = await held({"a": [SLOW, YES], "b": [WELL]}, 1, CHEAP)
    assert made.happened[0].spans == (
        Span(0, 500, "timeout", "a|m"),
        Span(500, 600, WAIT),
        Span(600, 690, ANSWER, "a|m"),
    )


async def test_the_same_policy_gives_what_happened() -> None:
    scripts = {"a": [LIMITED, YES, SLOW, YES, LIMITED, YES], "b": [WELL]}
    async with Setting(scripts) as setting:
        for _ in range(4):
            await setting.ask()
        term = setting.host.engine.profile_term("default")
    made = backtest(Decider(setting.store.blob_get), list(past_runs(setting.events())), term)
    assert told(made.instead) == told(made.happened)
    assert [run.spans for run in made.instead] == [run.spans for run in made.happened]
    assert made.changed == 0


async def test_a_route_does_as_it_did_when_it_was_asked_last_before() -> None:
    """`b` is asked by the first run and by the third, and is slower the second time."""
    later = {**WELL, "latency_ms": 400}
    made = await held({"a": [LIMITED, YES, LIMITED, YES], "b": [WELL, later]}, 4, DEAR)
    assert [run.took_ms for run in made.instead] == [40, 40, 400, 400]


async def test_what_cannot_be_known_is_left_out() -> None:
    made = await held({"a": [YES], "b": [WELL]}, 2, DEAR)
    assert (made.instead, made.left_out) == ([], {"nobody ever asked b|m": 2})


async def test_a_policy_that_is_refused_there_is_left_out() -> None:
    made = await held({"a": [YES]}, 1, ["policy", ["is", "unheard_of"], *DEAR[2:]])
    assert made.left_out == {"the policy is refused there: undeclared_field": 1}


async def test_what_a_budget_or_a_dead_process_ended_is_left_out() -> None:
    """A policy is not better for having been let: it would not have been either."""
    account = {"account": "team", "limits": {"calls": 2}, "window": "lifetime", "is_shadow": False}
    asked = dataclasses.replace(HELLO, origin=Origin(accounts=("team",)))
    async with Setting({"a": [YES, YES, YES]}) as setting:
        setting.ledger.log.append(Draft("AccountOpened", "host", "local", core=account))
        results = [await setting.ask(asked) for _ in range(3)]
    assert [result.error for result in results] == [None, None, "budget_exceeded"]
    made = backtest(Decider(setting.store.blob_get), list(past_runs(setting.events())), CHEAP)
    assert (len(made.instead), made.left_out) == (2, {"a budget or a gate ended it": 1})
    for lost, why in ((2, "in_doubt"), (3, "interrupted")):
        store = MemoryStore()
        rows = list(setting.store.rows)
        last = max(place for place, row in enumerate(rows) if row[2] == "RunCompleted")
        store.rows.extend(rows[: last + 1 - lost])
        store.blobs = setting.store.blobs
        open_log(store, VirtualClock(10**9), Folds)
        pasts = list(past_runs(map(read, store.lines())))
        assert pasts[-1].error == why
        assert backtest(Decider(store.blob_get), pasts, CHEAP).left_out == {
            "its caller left, or its process": 1
        }
        assert Decider(store.blob_get).again(pasts[-1]).difference is None


# Commands ----------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Make a config whose ledger holds three runs."""
    data = config({"a": [LIMITED, YES, YES], "b": [WELL]}, ledger={"file": "ledger.db"})
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(data))

    async def ask() -> None:
        async with Host.from_config(path, clock=VirtualClock(1_700_000_000_000)) as host:
            for _ in range(3):
                await host.run(HELLO)
                await host.clock.sleep_ms(3_600_000)

    asyncio.run(ask())
    (tmp_path / "dear.json").write_text(json.dumps(DEAR))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capsys.readouterr().out


def test_backtest_prints_both_sides(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = said(capsys, "backtest", kept / "dear.json", "-c", kept / "policy.yaml")
    assert code == 0
    assert "over 3 runs, 3 of them decided otherwise" in out
    rows = {line.split("  ")[0]: line.split()[-1] for line in out.splitlines() if "  " in line}
    assert "0.000042 USD" in out
    assert "0.000060 USD" in out
    assert rows["calls a run"] == "1.00"


def test_what_has_no_price_costs_nobody_knows_what(
    kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = config({"a": [LIMITED, YES, YES], "b": [WELL]}, ledger={"file": "unpriced.db"})
    del data["models"]["m"]["served_by"][1]["price_out"]
    path = tmp_path / "unpriced.yaml"
    path.write_text(json.dumps(data))
    (tmp_path / "in.jsonl").write_text('"hello"\n' * 2)
    said(capsys, "run", path, "--batch", tmp_path / "in.jsonl", "--concurrency", 1)
    where = ("backtest", kept / "dear.json", "-c", path)
    code, out = said(capsys, *where, "--json")
    found = json.loads(out)
    assert [found[side]["unpriced"] for side in ("happened", "instead")] == [1, 2]
    assert (code, round(found["happened"]["usd"], 6), found["instead"]["usd"]) == (0, 0.000011, None)
    _, out = said(capsys, *where)
    assert re.split(" {2,}", out.splitlines()[-1])[1:] == ["0.000011 USD and 1 unpriced", "- and 2 unpriced"]


def test_a_bare_term_is_under_the_envelope_of_the_ledgers_config(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept / "policy.yaml"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "policy_envelope": ["not", ["provider_eq", "b"]]})
    )
    code, out = said(capsys, "backtest", kept / "dear.json", "-c", path, "--json")
    assert (code, json.loads(out)["instead"]["routes"].keys()) == (0, {"a|m"})


def test_backtest_looks_at_runs_since_a_moment(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = (kept / "dear.json", "-c", kept / "policy.yaml", "--json")
    for when, runs in (("90m", 2), ("30m", 1), ("1d", 3), ("2023-11-14", 3), ("2023-11-14T23:30:00Z", 1)):
        code, out = said(capsys, "backtest", *where, "--since", when)
        assert (code, json.loads(out)["runs"]) == (0, runs), when
    assert said(capsys, "backtest", *where, "--since", "2099-01-01")[0] == 1
    assert said(capsys, "backtest", *where, "--since", "soon")[0] == 2


def test_backtest_draws(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = kept / "page.html"
    code, _ = said(capsys, "backtest", kept / "dear.json", "-c", kept / "policy.yaml", "--html", page)
    assert code == 0
    text = page.read_text()
    assert text.count("<svg") == 1
    assert "what happened" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_redecide_agrees_on_every_runtime(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, tail = said(capsys, "ledger", "tail", "--type", "RunCompleted", "-c", kept / "policy.yaml", "--json")
    run = "run-" + tail.split("run-")[1][:26]
    code, out = said(capsys, "redecide", run, "--runtime", "all", "-c", kept / "policy.yaml", "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["run"]) == (0, True, run)
    assert len(found["runtimes"]) >= 4
    assert {each["trace_digest"] for each in found["runtimes"].values()} == {found["trace_digest"]}
    code, out = said(capsys, "redecide", run[:9], "--file", kept / "ledger.db")
    lines = ["  a|m: rate_limit", "  b|m: answered", f"{default_runtime()}: the same"]
    assert (code, out.splitlines()[1:]) == (0, lines)


def test_redecide_says_what_it_cannot_find(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "redecide", "run-none", "-c", kept / "policy.yaml")[0] == 2
    assert said(capsys, "redecide", "run-", "-c", kept / "policy.yaml")[0] == 2
    said(capsys, "ledger", "export", "-c", kept / "policy.yaml", "-o", kept / "lines.jsonl")
    code = main(["redecide", "run-", "--file", str(kept / "lines.jsonl")])
    assert code == 2
