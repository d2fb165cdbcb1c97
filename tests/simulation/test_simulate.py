"""`llm-policy simulate`: files read, figures, pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.cli.main import main
from llm_policy_host.errors import ConfigError
from llm_policy_host.simulation.distribution import SHAPES, Distribution
from llm_policy_host.simulation.reading import read_conduct
from llm_policy_host.simulation.summary import at_share

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
providers:
  acme: {api_kind: scripted}
  bravo: {api_kind: scripted}
models:
  small-1:
    served_by:
      - {provider: acme, price_in: 1, price_out: 2}
      - {provider: bravo, price_in: 2, price_out: 4}
profiles:
  patient: {scorer: [neg, [normalize, [field, price_in]]], retry_policy: patient}
  hasty: {extends: patient, retry_policy: hasty}
retry_policies:
  patient: {rate_limit: {action: retry_same, attempts: 1, backoff_ms: 500}}
  hasty: {unknown: {action: next_candidate}}
defaults: {profile: patient}
"""
BEHAVIOUR = """
behaviour:
  acme: {latency_ms: {uniform: [100, 300]}, failures: {rate_limit: 0.5}}
  bravo: {latency_ms: 50}
"""
CANDIDATES = [
    {"provider_id": "acme", "model_family": "small-1"},
    {"provider_id": "bravo", "model_family": "small-1", "source": "market"},
    {"provider_id": "chi", "model_family": "large-1", "source": "market"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a config and a file of behaviours."""
    (tmp_path / "policy.yaml").write_text(CONFIG)
    (tmp_path / "behaviour.yaml").write_text(BEHAVIOUR)
    return tmp_path


def simulate(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run the command; its exit code and what it printed."""
    script = str(folder / "behaviour.yaml")
    code = main(["simulate", str(folder / "policy.yaml"), "--script", script, "--runs", "200", *options])
    return code, capsys.readouterr().out


def test_the_same_seed_gives_the_same_output_and_another_does_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [simulate(folder, capsys, "--json", "--seed", seed) for seed in ("1", "1", "2")]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0][1])["policies"] != json.loads(outputs[2][1])["policies"]


def test_two_policies_meet_the_same_providers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = simulate(folder, capsys, "--json", "--against", "hasty")
    first, second = json.loads(text)["policies"]
    assert (code, first["policy"], second["policy"]) == (0, "patient", "hasty")
    # whoever hit a limit at the first call is exactly who the hasty one sends on
    assert second["providers"]["bravo"] == second["failures"]["rate_limit"]
    assert first["providers"]["bravo"] < second["providers"]["bravo"]
    assert first["cost_usd"]["mean"] < second["cost_usd"]["mean"]
    assert first["latency_ms"]["p99"] > second["latency_ms"]["p99"]


def test_the_figures_are_those_of_the_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "behaviour.yaml").write_text("behaviour:\n  acme: {latency_ms: 70, failures: {hang: 1}}\n")
    _, text = simulate(folder, capsys, "--json", "--deadline-ms", "400")
    (found,) = json.loads(text)["policies"]
    assert (found["success"], found["latency_ms"], found["errors"]) == (0.0, None, {"timeout": 1.0})
    assert found["deadline"] == {"p50": 1.0, "p99": 1.0, "most": 1.0, "mean": 1.0}


def test_the_picture_and_the_page_are_well_formed_and_name_everybody(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, page = folder / "a.svg", folder / "a.html"
    simulate(folder, capsys, "--against", "hasty", "--svg", str(picture))
    root = ET.fromstring(picture.read_text())  # noqa: S314 - our own
    told = " ".join(root.itertext())
    assert all(name in told for name in ("patient", "hasty", "rate_limit", "small-1 @ bravo", "waits"))
    simulate(folder, capsys, "--against", "hasty", "--html", str(page))
    assert "<svg" in page.read_text()
    assert "http" not in page.read_text().replace("http://www.w3.org/2000/svg", "")


def test_where_all_runs_are_refused_the_exit_code_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = simulate(folder, capsys, "--need", "vision")
    assert code == 4


WRONG = [
    ("every_ms: {exponentail: 4}", "x.yaml:1:12: $.every_ms.exponentail: no distribution `exponentail` (did you mean `exponential`?)"),
    ("requests: {}", "x.yaml:1:1: $.requests: no key `requests` (did you mean `request`?)"),
    ("behaviour: {acm: {}}", "x.yaml:1:13: $.behaviour.acm: no provider `acm` (did you mean `acme`?)"),
    ("behaviour: {acme: {models: {small: {}}}}", "x.yaml:1:29: $.behaviour.acme.models.small: no model of this provider `small` (did you mean `small-1`?)"),
    ("otherwise: {failures: {rate_limits: 0.1}}", "x.yaml:1:24: $.otherwise.failures.rate_limits: no failure kind `rate_limits` (did you mean `rate_limit`?)"),
    ("otherwise: {failures: {hang: 1.5}}", "x.yaml:1:30: $.otherwise.failures.hang: must be a number from 0 to 1"),
    ("otherwise: {failures: {hang: 0.6, timeout: 0.6}}", "x.yaml:1:23: $.otherwise.failures: the shares are more than 1 together"),
    ("otherwise: {failures: {hang: {}}}", "x.yaml:1:30: $.otherwise.failures.hang: needs a `share`"),
    ("otherwise: {outages: [{from_ms: 1}]}", "x.yaml:1:23: $.otherwise.outages[1]: needs `for_ms`"),
    ("otherwise: {latency_ms: {uniform: [2, 1]}}", "x.yaml:1:35: $.otherwise.latency_ms.uniform: the second number is below the first"),
    ("otherwise: {latency_ms: {lognormal: {p50: 1}}}", "x.yaml:1:37: $.otherwise.latency_ms.lognormal: must be `{p50, p99}`: half are below the first, 99 of 100 below the second"),
    ("otherwise: {latency_ms: -1}", "x.yaml:1:25: $.otherwise.latency_ms: must be a number from 0 on"),
    ("otherwise: {turns: [{failure: nope}]}", "x.yaml:1:21: $.otherwise.turns[1]: names the unknown failure kind `nope`"),
    ("otherwise: {turns: [], latency_ms: 1}", "x.yaml:1:24: $.otherwise.latency_ms: beside `turns`, which say all"),
    ("behaviour: {acme: {price_factor: 0}}", "x.yaml:1:34: $.behaviour.acme.price_factor: must be a number above 0"),
    ("behaviour: {bravo: {price_factor: 1}, chi: {price_factor: 1}}", "x.yaml:1:59: $.behaviour.chi.price_factor: the prices of the source `market` have a factor"),
    ("otherwise: {price_factor: 1}", "x.yaml:1:13: $.otherwise.price_factor: no key `price_factor`"),
    ("[]", "x.yaml:1:1: $: must be a record"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text for text, _ in WRONG])
def test_a_mistake_is_named_with_its_place_and_the_nearest_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_conduct(text, "x.yaml", CANDIDATES)
    assert [str(problem) for problem in caught.value.problems] == [message]


NUMBERS = {
    "constant": (5,),
    "uniform": (2, 8),
    "exponential": (100,),
    "lognormal": (700, 5000),
    "values": (1, 4, 9),
}


@given(st.sampled_from(sorted(NUMBERS)), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_what_is_drawn_grows_with_the_uniform_number_and_is_never_negative(
    shape: str, one: float, other: float
) -> None:
    drawn = [Distribution(shape, NUMBERS[shape]).at(uniform) for uniform in sorted((one, other))]
    assert 0 <= drawn[0] <= drawn[1]


def test_shapes_have_the_middle_and_the_tail_that_they_say() -> None:
    def at(shape: str, share: float) -> Any:
        return pytest.approx(Distribution(shape, NUMBERS[shape]).at(share))

    assert (at("lognormal", 0.5), at("lognormal", 0.99)) == (700, 5000)
    assert (at("uniform", 0.5), at("exponential", 0.5), at("values", 0.5)) == (5, 69.3147180559945, 4)
    assert set(NUMBERS) == {*SHAPES, "constant"}


@given(st.lists(st.integers(), min_size=1), st.floats(0.01, 1))
def test_a_share_of_all_is_at_most_the_number_at_that_share_and_no_smaller_number_does(
    numbers: list[int], share: float
) -> None:
    found = at_share(sorted(numbers), share)
    assert sum(number <= found for number in numbers) >= share * len(numbers)
    assert sum(number < found for number in numbers) < share * len(numbers)


def test_a_term_may_stand_against_a_profile_and_a_refused_one_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    term = folder / "term.json"
    term.write_text('["policy", ["top"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]')
    _, text = simulate(folder, capsys, "--json", "--against", str(term))
    assert set(json.loads(text)["policies"][1]["errors"]) == {"rate_limit"}
    term.write_text('["polics"]')
    code, text = simulate(folder, capsys, "--json", "--against", str(term))
    assert (code, "no operation `polics`" in text) == (4, True)
