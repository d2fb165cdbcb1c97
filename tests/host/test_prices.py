"""What an answer cost, and how that is known; what is not known is never 0."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host import Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import ConfigError, HostError
from llm_policy_host.providers.prices import Prices, Snapshot, flat_prices
from llm_policy_host.values import Cost, Response, Usage

if TYPE_CHECKING:
    from pathlib import Path

# 2026-01-01
CLOCK = VirtualClock(1_767_225_600_000)
SNAPSHOT = Snapshot()
BASES = {
    "openai": "https://api.openai.com/v1",
    "bare": "https://api.openai.com",
    "moonshot": "https://api.moonshot.ai/v1",
    "thief": "https://api.openai.com.thief.test/v1",
    "own": "https://llm.example/v1",
    "anthropic": "",
    "here": "http://127.0.0.1:8080/v1",
}
PRICES = Prices(BASES, CLOCK, SNAPSHOT)
USAGE = Usage(input_tokens=1_000_000, output_tokens=500_000)


def chosen(provider: str = "own", model: str = "nobody-knows-1", **prices: float) -> dict[str, Any]:
    return {"provider_id": provider, "model_family": model, "served_model_id": model, **prices}


def cost(
    route: dict[str, Any], usage: Usage | None = USAGE, api_kind: str = "openai_compatible", **more: Any
) -> Cost:
    return PRICES.cost(Response(text="x", usage=usage, **more), route, api_kind)


def test_what_the_provider_reports_goes_before_everything() -> None:
    route = chosen(raw_price_in=1.0, raw_price_out=1.0)
    assert cost(route, cost_usd=0.25) == Cost(0.25, "reported")
    assert cost(route, None, cost_usd=0.0) == Cost(0.0, "reported")
    assert cost(route, api_kind="openai_codex", cost_usd=0.5) == Cost(0.5, "reported")


@pytest.mark.parametrize("reported", [-1.0, float("nan"), float("inf"), True, "1"])
def test_a_report_that_is_no_amount_is_none(reported: Any) -> None:
    assert cost(chosen(), cost_usd=reported) == Cost()


def test_a_call_more_of_a_subscription_costs_nothing() -> None:
    assert cost(chosen(raw_price_in=1.0, raw_price_out=1.0), api_kind="openai_codex") == Cost(
        0.0, "subscription"
    )
    assert cost(chosen(), None, api_kind="openai_codex") == Cost(0.0, "subscription")


def test_known_prices_and_usage_are_computed_by_the_raw_price() -> None:
    route = chosen(raw_price_in=2.0, raw_price_out=8.0, price_in=4.0, price_out=16.0, price_multiplier=2.0)
    assert cost(route) == Cost(6.0, "computed")
    assert cost(route, Usage(input_tokens=1_000_000, reasoning_tokens=1_000_000)) == Cost(10.0, "computed")


def test_what_was_cached_is_estimated_at_the_price_of_input() -> None:
    route = chosen(raw_price_in=2.0, raw_price_out=8.0)
    usage = Usage(input_tokens=500_000, cached_read_tokens=400_000, cache_write_tokens=100_000)
    assert cost(route, usage) == Cost(2.0, "estimated")
    assert cost(chosen(raw_price_in=0, raw_price_out=0), usage) == Cost(0.0, "computed")


def test_classes_that_do_not_add_up_make_an_estimate() -> None:
    usage = Usage(input_tokens=1_000_000, reported_total_tokens=1_000_001)
    assert cost(chosen(raw_price_in=2.0, raw_price_out=8.0), usage) == Cost(2.0, "estimated")


def test_one_price_is_enough_where_nothing_is_counted_of_the_other() -> None:
    assert cost(chosen(raw_price_in=2.0), Usage(input_tokens=1_000_000)) == Cost(2.0, "computed")
    assert cost(chosen(raw_price_in=2.0)) == Cost()
    assert cost(chosen(raw_price_out=2.0)) == Cost()


def test_unknown_usage_and_unknown_prices_are_unknown() -> None:
    assert cost(chosen(raw_price_in=1.0, raw_price_out=1.0), None) == Cost(None, "unknown")
    assert cost(chosen()) == Cost(None, "unknown")
    assert cost(chosen(), Usage()) == Cost(None, "unknown")


def test_a_vendors_own_prices_are_found_by_its_address() -> None:
    assert cost(chosen("openai", "gpt-4o-mini")) == Cost(0.45, "computed")
    assert cost(chosen("openai", "an-alias"), model="gpt-4o-mini-2024-07-18") == Cost(0.45, "computed")
    assert cost(chosen("bare", "gpt-4o-mini")) == Cost(0.45, "computed")
    assert cost(chosen("moonshot", "kimi-k2-0905-preview")).basis == "computed"
    assert cost(chosen("openai", "no-such-model")) == Cost()


def test_a_name_alone_proves_no_price() -> None:
    for provider in ("own", "thief", "here", "absent"):
        assert cost(chosen(provider, "gpt-4o-mini")) == Cost()


def test_a_dialect_without_an_address_goes_to_its_vendor() -> None:
    found = cost(chosen("anthropic", "claude-3-5-haiku-20241022"), api_kind="anthropic")
    assert (found.basis, found.usd is not None and found.usd > 0) == ("computed", True)
    assert cost(chosen("anthropic", "gpt-4o-mini"), api_kind="ollama") == Cost()


def test_vendors_prices_of_what_is_cached_are_used() -> None:
    usage = Usage(input_tokens=0, cached_read_tokens=1_000_000)
    assert cost(chosen("openai", "gpt-4o-mini"), usage) == Cost(0.075, "computed")
    written = cost(chosen("openai", "gpt-4o-mini"), Usage(cache_write_tokens=1_000_000))
    assert written == Cost(0.15, "estimated")


def test_the_catalogs_price_goes_before_the_vendors() -> None:
    assert cost(chosen("openai", "gpt-4o-mini", raw_price_in=1.0, raw_price_out=0.0)) == Cost(1.0, "computed")


def test_what_a_vendor_does_not_price_is_unknown() -> None:
    assert cost(chosen("openai", "text-embedding-3-small"), Usage(output_tokens=5)) == Cost()
    assert cost(chosen("openai", "text-embedding-3-small"), Usage(input_tokens=1_000_000)) == Cost(
        0.02, "computed"
    )


def test_names_that_providers_make_up_fill_no_memory() -> None:
    snapshot = Snapshot()
    for number in range(5_000):
        snapshot.find(BASES["openai"], "openai_compatible", f"model-{number}")
    assert len(snapshot._known) <= 2_000


def test_the_snapshot_is_named() -> None:
    assert PRICES.snapshot_id.startswith("genai-prices/")


def test_prices_of_routes_with_prices_of_their_own_need_no_snapshot() -> None:
    def wants(**candidate: Any) -> bool:
        return PRICES.is_wanted_for([{"api_kind": "openai_compatible", **candidate}])

    assert wants(base_url="https://api.openai.com/v1")
    assert wants(base_url="https://api.openai.com/v1", price_in=1)
    assert not wants(base_url="https://api.openai.com/v1", price_in=1, price_out=1)
    assert not wants(base_url="http://localhost:1/v1")
    assert not wants(base_url="scripted:", api_kind="scripted")
    assert wants(api_kind="anthropic")
    assert not wants(api_kind="openai_codex")


def test_the_package_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, llm_policy_host, llm_policy_host.cli.main; print('genai_prices' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Files -------------------------------------------------------------------------------------------

UPDATE = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "https://api\\.openai\\.com",
        "models": [
            {
                "id": "gpt-4o-mini",
                "match": {"equals": "gpt-4o-mini"},
                "prices": {"input_mtok": 100, "output_mtok": 200},
            }
        ],
    }
]


def test_an_updated_file_takes_the_place_of_the_packaged_prices(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(UPDATE))
    prices = Prices(BASES, CLOCK, Snapshot(file))
    assert prices.cost(Response(usage=USAGE), chosen("openai", "gpt-4o-mini"), "openai_compatible").usd == 200
    assert "+sha256:" in prices.snapshot_id
    assert flat_prices(Snapshot(file)) == {
        "openai/gpt-4o-mini input_mtok": "100",
        "openai/gpt-4o-mini output_mtok": "200",
    }


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"id": 3}]', "[{}]"])
def test_a_file_of_something_else_is_refused_with_the_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.json").write_text(text)
    with pytest.raises(HostError, match="no prices"):
        Snapshot(tmp_path / "prices.json").load()
    config = {
        "providers": {"a": {"base_url": "https://a.test"}},
        "models": {"m": {"served_by": [{"provider": "a"}]}},
        "host": {"prices": "prices.json"},
    }
    with pytest.raises(ConfigError, match="prices"):
        Host.from_data(config, directory=tmp_path)


# Laws --------------------------------------------------------------------------------------------

COUNTS = st.integers(min_value=0, max_value=10**8)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    cached_read_tokens=COUNTS,
    cache_write_tokens=COUNTS,
    output_tokens=COUNTS,
    reasoning_tokens=COUNTS,
)
AMOUNTS = st.none() | st.floats(min_value=0, max_value=1e4)
ROUTES = st.builds(
    lambda model, read, written: {
        key: value
        for key, value in chosen(*model, raw_price_in=read, raw_price_out=written).items()
        if value is not None
    },
    st.sampled_from([("own", "x"), ("openai", "gpt-4o-mini"), ("openai", "x")]),
    AMOUNTS,
    AMOUNTS,
)


@given(USAGES, ROUTES)
def test_a_cost_is_an_amount_exactly_where_it_is_known(usage: Usage, route: dict[str, Any]) -> None:
    found = cost(route, usage)
    assert (found.usd is None) == (found.basis == "unknown")
    assert found.usd is None or 0 <= found.usd < float("inf")


@given(USAGES, USAGES, st.floats(min_value=0, max_value=1e4), st.floats(min_value=0, max_value=1e4))
def test_two_answers_cost_what_their_sum_costs(one: Usage, two: Usage, read: float, written: float) -> None:
    both = Usage(
        one.input_tokens + two.input_tokens,
        one.cached_read_tokens + two.cached_read_tokens,
        one.cache_write_tokens + two.cache_write_tokens,
        one.output_tokens + two.output_tokens,
        one.reasoning_tokens + two.reasoning_tokens,
    )
    route = chosen(raw_price_in=read, raw_price_out=written)
    parts = [cost(route, usage).usd or 0.0 for usage in (one, two)]
    assert cost(route, both).usd == pytest.approx(sum(parts))


@given(USAGES)
def test_more_tokens_never_cost_less(usage: Usage) -> None:
    more = Usage(
        usage.input_tokens + 1, usage.cached_read_tokens, usage.cache_write_tokens, usage.output_tokens + 1
    )
    less = Usage(usage.input_tokens, usage.cached_read_tokens, usage.cache_write_tokens, usage.output_tokens)
    for route in (chosen(raw_price_in=1.0, raw_price_out=2.0), chosen("openai", "gpt-4o-mini")):
        assert (cost(route, more).usd or 0) >= (cost(route, less).usd or 0)
