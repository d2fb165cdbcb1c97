"""The command line, as a person or a program runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.localmodel import cache_directory, cached

from .test_wiring import MISTAKEN

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
providers:
  a: {base_url: "scripted:", api_kind: scripted}
  b: {base_url: "scripted:", api_kind: scripted, auth_env: LLM_POLICY_TEST_KEY}
models:
  m:
    capabilities: {context: 1000}
    served_by: [{provider: a, price_in: 1}, {provider: b, price_in: 2}]
profiles:
  cheap: {scorer: [neg, [normalize, [field, price_in]]]}
host:
  scripts:
    a: [{answer: "hello from a"}]
"""


def llm_policy(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llm_policy_host", *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=env, timeout=120, check=False
    )


def _lines(run: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(CONFIG)
    return path


def test_run_answers_one_prompt(config: Path) -> None:
    run = llm_policy("run", config, "--profile", "cheap", "hi")
    assert (run.returncode, run.stdout) == (0, "hello from a\n")
    assert "served by m @ a" in run.stderr


def test_run_reads_standard_input_and_prints_json(config: Path) -> None:
    (data,) = _lines(llm_policy("run", config, "--json", stdin="hi"))
    assert (data["ok"], data["response"]["text"], data["chosen"]["provider_id"]) == (
        True,
        "hello from a",
        "a",
    )


def test_run_streams(config: Path) -> None:
    assert llm_policy("run", config, "--stream", "hi").stdout == "hello from a\n"


def test_run_answers_a_batch_in_its_order(config: Path, tmp_path: Path) -> None:
    batch = tmp_path / "batch.jsonl"
    batch.write_text(
        '"one"\n{"prompt": "two", "profile": "cheap"}\n\nnonsense\n{"promt": "x"}\n{"prompt": "y", "profile": "absent"}\n'
    )
    run = llm_policy("run", config, "--batch", batch, "--json")
    assert [(data["line"], data["ok"]) for data in _lines(run)] == [
        (1, True),
        (2, True),
        (3, False),
        (4, False),
        (5, False),
    ]
    assert run.returncode == 1
    assert "5/5 prompts" in run.stderr


def test_a_line_that_holds_what_no_contract_can_ends_no_batch(config: Path, tmp_path: Path) -> None:
    bad = {
        '{"messages": 5}': "`messages`: is not a list of records",
        '{"messages": [5]}': "`messages`: is not a list of records",
        '{"prompt": "x", "params": 5}': "`params`: is not a record",
        '{"prompt": "x", "params": null}': "`params`: is not a record",
        '{"prompt": "x", "origin": {}}': "unknown key `origin`",
        '{"prompt": "x", "auth_override": {"a": "k"}}': "unknown key `auth_override`",
        '{"prompt": "x", "deadline_ms": "a"}': "`deadline_ms`: is not a whole number below 2^53",
        '{"prompt": "x", "seed": 1e30}': "`seed`: is not a whole number below 2^53",
        '{"prompt": "x", "seed": 1000000000000000000000000}': "`seed`: is not a whole number below 2^53",
        '{"prompt": "x", "dialect": []}': "`dialect`: is not a dialect",
    }
    batch = tmp_path / "batch.jsonl"
    batch.write_text("\n".join([*bad, '{"prompt": "x", "profile": null, "seed": null}']))
    data = _lines(llm_policy("run", config, "--batch", batch, "--json"))
    assert [each["error"] for each in data] == [*bad.values(), None]


def test_rank_lists_who_would_serve_and_who_not(config: Path) -> None:
    run = llm_policy("rank", config, "--json")
    (data,) = _lines(run)
    assert [entry["provider_id"] for entry in data["ordered"]] == ["a"]
    assert data["rejected"][0]["provider_id"] == "b"
    assert data["disabled"] == {"b": "the environment variable `LLM_POLICY_TEST_KEY` is not set"}
    assert "m @ a" in llm_policy("rank", config).stdout


def test_a_policy_that_leaves_nobody_exits_with_4(config: Path) -> None:
    assert llm_policy("rank", config, "--min-context", "5000").returncode == 4
    assert llm_policy("run", config, "--min-context", "5000", "hi").returncode == 4


def test_a_refused_term_exits_with_4(config: Path, tmp_path: Path) -> None:
    term = tmp_path / "term.json"
    term.write_text('["nonsense"]')
    run = llm_policy("run", config, "--policy", term, "hi")
    assert run.returncode == 4
    assert "unknown_op" in run.stderr
    assert llm_policy("hash", term).returncode == 4


def test_hash_prints_the_identity(config: Path) -> None:
    run = llm_policy("hash", stdin='["and", ["top"], ["is", "disabled"]]')
    assert run.returncode == 0
    assert run.stdout == llm_policy("hash", stdin='["is", "disabled"]').stdout
    assert run.stdout.startswith("sha256:")
    (data,) = _lines(llm_policy("hash", config, "--json"))
    assert (data["profile"], data["sort"]) == ("cheap", "Policy")
    assert data["encoding"].startswith("sigma-pol/v2:(policy ")


@pytest.mark.parametrize("text", ["", "[", '["and",["top"],null,["bot"]]', '["top"] x', "\x00", "[" * 10_000])
def test_hash_refuses_what_is_no_term(text: str) -> None:
    assert llm_policy("hash", stdin=text).returncode == 4


def test_doctor_tells_what_runs_and_never_a_secret(config: Path) -> None:
    run = llm_policy("doctor", config, LLM_POLICY_TEST_KEY="hunter2")
    assert run.returncode == 0
    for text in ("runtime:", "lua:", "model:", "secret set", "scripted"):
        assert text in run.stdout
    (data,) = _lines(llm_policy("doctor", config, "--json"))
    assert data["providers"][1]["state"].startswith("disabled: ")
    assert "hunter2" not in run.stdout + run.stderr


def test_five_mistakes_are_five_lines(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(MISTAKEN)
    run = llm_policy("run", path, "hi")
    lines = [line for line in run.stderr.splitlines() if line.startswith(f"{path}:")]
    assert run.returncode == 1
    assert len(lines) == 5
    assert "(did you mean `api_kind`?)" in lines[0]
    (data,) = _lines(llm_policy("rank", path, "--json"))
    assert [problem["line"] for problem in data["problems"]] == [4, 8, 9, 12, 14]


def test_a_missing_config_is_said_plainly(tmp_path: Path) -> None:
    run = llm_policy("run", tmp_path / "absent.yaml", "hi")
    assert run.returncode == 1
    assert "no such file" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("run", "--nonsense"), ("run",), ("hash", "absent.json"), ("rank",)]
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    run = llm_policy(*arguments)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_the_scripted_demo_tells_its_story() -> None:
    run = llm_policy("demo", "--scripted")
    assert run.returncode == 0, run.stderr
    stories = run.stdout.split("── prompt ")[1:]
    assert len(stories) == 3
    for story in stories:
        for label in ("answer", "served by", "why", "ranked", "survived", "policy"):
            assert f"   {label}" in story
        assert "network_error" in story
        assert "sha256:" in story
    assert "min_context" in stories[1]
    assert "no_log" in stories[2]


@pytest.mark.realmodel
def test_the_demo_answers_with_a_real_model() -> None:
    if cached(cache_directory(os.environ)) is None or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("the demo's model is not on this machine: run `llm-policy demo` once")
    run = llm_policy("demo", "--json")
    assert run.returncode == 0, run.stderr
    results = _lines(run)
    assert "Paris" in results[0]["response"]["text"]
    assert [result["chosen"]["provider_id"] for result in results] == ["small", "medium", "large"]
    for result in results:
        assert result["failures"][0]["kind"] == "network_error"
        assert result["response"]["usage"]["output_tokens"] > 0
        assert result["trace"]["rejected"]
        assert result["trace"]["policy_id"].startswith("sha256:")


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    term = tmp_path / "term.json"
    term.write_text('["and", ' + ", ".join(['["has_cap", "c"]'] * 4000) + "]")
    command = f"set -o pipefail; '{sys.executable}' -m llm_policy_host hash '{term}' | head -c 1"
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
