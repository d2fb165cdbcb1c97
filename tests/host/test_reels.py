"""`llm-policy run --record`, `--replay` and `--now-ms`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .test_cli import llm_policy

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
providers:
  a: {api_kind: scripted}
  b: {api_kind: scripted}
models:
  m: {served_by: [{provider: a, price_in: 1}, {provider: b, price_in: 2}]}
profiles:
  cheap: {scorer: [neg, [normalize, [field, price_in]]]}
host:
  scripts:
    a: [{failure: rate_limit, latency_ms: 300, retry_after_ms: 20000}, {answer: "a: {prompt}", latency_ms: 9000}]
    b: [{answer: "b: {prompt}", latency_ms: 12345, chunks: 3, gap_ms: 500}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(CONFIG)
    return path


def test_a_run_under_virtual_time_is_the_same_bytes_each_time_and_when_replayed(
    config: Path, tmp_path: Path
) -> None:
    tapes = [tmp_path / name for name in ("one", "two")]
    asked = ("run", config, "--json", "hi")
    runs = [llm_policy(*asked, "--seed", 7, "--now-ms", 5000, "--record", tape) for tape in tapes]
    config.write_text(CONFIG.split("host:", maxsplit=1)[0])
    replays = [llm_policy(*asked, "--replay", tapes[0]) for _ in range(2)]
    assert [run.returncode for run in (*runs, *replays)] == [0] * 4
    outputs = {_without_run_id(run.stdout) for run in (*runs, *replays)}
    assert len(outputs) == 1
    (data,) = (json.loads(output) for output in outputs)
    assert data["response"]["text"] == "b: hi"
    assert data["trace"]["total_latency_ms"] == 300 + 12345
    assert tapes[0].read_bytes() == tapes[1].read_bytes()


def _without_run_id(text: str) -> str:
    data: dict[str, Any] = json.loads(text)
    data.pop("run_id", None)
    return json.dumps(data)


def test_a_batch_and_a_stream_replay(config: Path, tmp_path: Path) -> None:
    batch, tape = tmp_path / "batch.jsonl", tmp_path / "tape"
    batch.write_text("\n".join(json.dumps(f"prompt {place}") for place in range(6)))
    asked = ("run", config, "--batch", batch)
    live = llm_policy(*asked, "--now-ms", 0, "--record", tape)
    replayed = llm_policy(*asked, "--replay", tape)
    assert replayed.returncode == live.returncode == 0
    answers = [[json.loads(line)["response"] for line in run.stdout.splitlines()] for run in (live, replayed)]
    assert answers[0] == answers[1]
    runs = [
        line["run"] for line in map(json.loads, tape.read_text().splitlines()) if line["type"] == "attempt"
    ]
    assert runs == sorted(runs), "one run begins when the one before it is over"

    streamed = tmp_path / "streamed"
    assert (
        llm_policy("run", config, "--stream", "hi", "--now-ms", 0, "--record", streamed).stdout == "b: hi\n"
    )
    assert llm_policy("run", config, "--stream", "hi", "--replay", streamed).stdout == "b: hi\n"


def test_a_flow_that_is_not_the_recorded_one_is_a_mismatch(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG + "  gateway: {flows: {checked: {audit: {draft: cheap}}}}\n")
    tape = tmp_path / "tape"
    asked = ("flow", "run", config, "checked")
    live = llm_policy(*asked, "hi", "--now-ms", 0, "--record", tape)
    assert (live.returncode, llm_policy(*asked, "hi", "--replay", tape).stdout) == (0, live.stdout)
    run = llm_policy(*asked, "bye", "--replay", tape)
    assert (run.returncode, "llm-policy: replay_mismatch: run 1" in run.stderr) == (2, True)


def test_another_prompt_is_a_mismatch_that_names_the_field(config: Path, tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    llm_policy("run", config, "hi", "--now-ms", 0, "--record", tape)
    run = llm_policy("run", config, "bye", "--replay", tape)
    assert (run.returncode, run.stdout) == (2, "")
    complaint = "replay_mismatch: run 1, attempt 1: not as recorded: `messages`"
    assert f"llm-policy: {complaint}\n" in run.stderr
    run = llm_policy("run", config, "bye", "--replay", tape, "--json")
    assert json.loads(run.stdout.splitlines()[-1]) == {"ok": False, "error": complaint}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("b: {", "b: {base_url: 'http://127.0.0.1:9/v1'}\n  c: {", "`b` speaks `openai_compatible`"),
        (
            "host:",
            "host:\n  sources: {peers: {kind: json, file: offers.json}}",
            "the source `peers` is polled",
        ),
    ],
)
def test_virtual_time_is_refused_where_somebody_outside_would_be_waited_for(
    old: str, new: str, what: str, config: Path, tmp_path: Path
) -> None:
    config.write_text(CONFIG.replace(old, new, 1))
    tape = tmp_path / "tape"
    run = llm_policy("run", config, "hi", "--now-ms", 0, "--record", tape)
    assert run.returncode == 2, run.stderr
    assert f"`--now-ms` is for scripted providers and `--replay`: {what}" in run.stderr
    assert not tape.exists()


def test_a_config_that_is_refused_leaves_no_recording_behind(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG.replace("price_in: 1", "price_inn: 1"))
    tape = tmp_path / "tape"
    assert llm_policy("run", config, "hi", "--record", tape).returncode == 1
    assert not tape.exists()


def test_recording_and_replaying_exclude_each_other(config: Path) -> None:
    run = llm_policy("run", config, "hi", "--record", "x", "--replay", "y")
    assert (run.returncode, "not allowed with argument" in run.stderr) == (2, True)
