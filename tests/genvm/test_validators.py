"""The simulation over the strict fakes is the command's: the script decides as the engine does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.cli.main import main as command
from tests.genvm.validators import main as over_fakes
from tests.genvm.world import GENERATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.genvm.world import Generation

CATALOG = """
providers: {alpha: {base_url: x}, beta: {base_url: x, tier: partner}, gamma: {base_url: x}}
models:
  alpha/m1: {served_by: [{provider: alpha, provider_model_id: m1, price_in: 1}]}
  beta/m1: {served_by: [{provider: beta, provider_model_id: m1, price_in: 2}]}
  gamma/m3: {served_by: [{provider: gamma, provider_model_id: m3, price_in: 3}]}
"""
PROFILES = {
    "lottery.yaml": "{selector: sample, mutate: {jitter: {temperature: 0.4}}}",
    "cheap.yaml": "{scorer: [neg, [normalize, [field, price_in]]], retry_policy: patient}",
}
PLANS = "retry_policies: {patient: {rate_limit: {action: retry_same}, unknown: {action: next_candidate}}}\n"
OPTIONS = ["-n", "5", "-t", "12", "--seed", "3", "--missing", "20", "--loss", "all", "--rate-limit", "beta"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, profile in PROFILES.items():
        (tmp_path / name).write_text(f"{CATALOG}{PLANS}profiles: {{default: {profile}}}\n")
    return tmp_path


@pytest.mark.parametrize("generation", GENERATIONS)
def test_both_report_the_same(
    folder: Path, generation: Generation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["validators", str(folder), *OPTIONS]) == 0
    by_engine = capsys.readouterr().out
    assert over_fakes([str(folder), *OPTIONS, "--generation", generation]) == 0
    assert capsys.readouterr().out == by_engine


def test_a_family_that_is_no_backends_model_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "cheap.yaml").read_text().replace("gamma/m3:", "m3:")
    (folder / "cheap.yaml").write_text(text)
    assert over_fakes([str(folder), *OPTIONS]) == 2
    assert "`m3` is no model of one backend" in capsys.readouterr().err


def test_what_is_lost_is_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert over_fakes([str(folder), *OPTIONS, "--json"]) == 0
    scenarios = json.loads(capsys.readouterr().out)["scenarios"]
    lost = next(each for each in scenarios if each["scenario"] == "alpha lost")
    assert not any(route.endswith("@alpha") for route in lost["served"])
