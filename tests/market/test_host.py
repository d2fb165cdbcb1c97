"""A host over a market: real feeds and sellers on loopback, the core in between."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import ConfigError
from llm_policy_host.marketplace import pins, placeless, unfed
from llm_policy_host.values import Inputs
from tests.host.server import Server, answer, failing, http

from .feed import offer

if TYPE_CHECKING:
    from pathlib import Path

PRICE = {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}
CONTRACT = Contract(prompt="x", profile="cheap")


def config(source: dict[str, Any], **provider: Any) -> dict[str, Any]:
    return {
        "providers": {"bazaar": {"discovery": "marketplace", "discovery_id": "d", **provider}},
        "models": {
            "m": {
                "capabilities": {"context": 1000},
                "served_by": [{"provider": "bazaar", "provider_model_id": "acme/m"}],
            }
        },
        "profiles": {"cheap": PRICE},
        "host": {"sources": {"feed": {"discovery_id": "d", **source}}},
    }


def host(source: dict[str, Any], **provider: Any) -> Host:
    return Host.from_data(config(source, **provider), clock=VirtualClock(1_000_000), environment={})


def feed(*offers: Any) -> Any:
    return http(200, json.dumps(offers).encode())


async def test_the_cheapest_peer_serves_is_pinned_and_its_price_is_what_is_paid() -> None:
    offers = [
        offer("dear", price=5, price_out_usd_per_mtok=5),
        offer("cheap", price=2, price_out_usd_per_mtok=4),
    ]
    async with Server([feed(*offers)]) as market, Server([answer()]) as seller:
        source = {"kind": "json", "url": market.base_url, "pin": "x-antseed-pin-peer"}
        async with host(source, base_url=seller.base_url) as made:
            result = await made.run(CONTRACT)
    assert result.chosen is not None
    assert (result.chosen["served_by"], result.chosen["raw_price_in"]) == ("cheap", 2)
    assert seller.asked[0].headers["x-antseed-pin-peer"] == "cheap"
    assert seller.asked[0].body["model"] == "acme/m"
    # 7 tokens in and 3 out
    assert result.cost.usd == pytest.approx((7 * 2 + 3 * 4) / 1e6)
    assert result.cost.basis == "computed"


async def test_a_peers_own_endpoint_and_name_on_the_wire_are_used_where_that_is_allowed() -> None:
    async with Server([answer()]) as seller:
        mine = offer("a", seller_endpoint=seller.base_url, wire_model_id="m-v2")
        async with Server([feed(mine)]) as market:
            for endpoints, ok in (("any", True), ([seller.base_url], True), (["https://other.test"], False)):
                source = {"kind": "json", "url": market.base_url, "endpoints": endpoints}
                async with host(source, base_url="http://127.0.0.1:1/") as made:
                    assert (await made.run(CONTRACT)).ok is ok
    assert {asked.body["model"] for asked in seller.asked} == {"m-v2"}


async def test_openrouters_endpoints_are_peers_and_the_body_names_the_one_that_may_serve() -> None:
    listed = {"data": {"id": "acme/m", "endpoints": [{"tag": "deep/fp8", "pricing": {"prompt": "0.000001"}}]}}
    async with Server([http(200, json.dumps(listed).encode()), answer()]) as router:
        source = {"kind": "openrouter", "url": router.base_url, "each_endpoint": True}
        async with host(source, base_url=router.base_url) as made:
            result = await made.run(CONTRACT)
    assert result.chosen is not None
    assert result.chosen["served_by"] == "deep/fp8"
    assert [asked.path for asked in router.asked] == ["/v1/models/acme/m/endpoints", "/v1/chat/completions"]
    assert router.asked[1].body["provider"] == {"only": ["deep/fp8"], "allow_fallbacks": False}


async def test_openrouters_models_are_one_offer_each_and_pin_nobody() -> None:
    listed = {
        "data": [{"id": "acme/m", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}, {"id": "x/y"}]
    }
    async with Server([http(200, json.dumps(listed).encode()), answer()]) as router:
        made = host({"kind": "openrouter", "url": router.base_url}, base_url=router.base_url)
        async with made:
            result = await made.run(CONTRACT)
    assert result.chosen is not None
    assert (result.chosen["served_by"], result.chosen["raw_price_out"]) == ("openrouter", 2)
    assert router.asked[0].path == "/v1/models"
    assert "provider" not in router.asked[1].body


async def test_an_antseed_nodes_output_is_read_and_its_peer_pinned(tmp_path: Path) -> None:
    rows = [{"peerId": "ab12", "service": "acme/m", "inputUsdPerMillion": 0.2, "outputUsdPerMillion": 0.8}]
    script = tmp_path / "antseed"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(rows)}'\n")
    script.chmod(0o755)
    async with Server([answer()]) as node:
        source = {"kind": "antseed", "command": [str(script), "network", "browse", "--services", "--json"]}
        made = Host.from_data(config(source, base_url=node.base_url), environment={"PATH": "/bin:/usr/bin"})
        async with made:
            assert (await made.run(CONTRACT)).ok
    assert node.asked[0].headers["x-antseed-pin-peer"] == "ab12"


async def test_a_peer_that_fails_is_followed_by_the_next_and_set_aside_in_the_end() -> None:
    both = [offer("bad", price=1), offer("good", price=2)]
    down, up = failing(500, "down"), answer()
    async with Server([feed(*both)]) as market, Server([down, up] * 3 + [up]) as seller:
        source = {"kind": "json", "url": market.base_url, "pin": "x-peer"}
        async with host(source, base_url=seller.base_url) as made:
            for _ in range(4):
                assert (await made.run(CONTRACT)).ok
    assert [asked.headers["x-peer"] for asked in seller.asked] == ["bad", "good"] * 3 + ["good"]


async def test_what_attempts_showed_reaches_the_policies() -> None:
    fast = {"scorer": ["field", "success_rate"]}
    async with Server([feed(offer())]) as market, Server([failing(500, "down")]) as seller:
        data = config({"kind": "json", "url": market.base_url}, base_url=seller.base_url)
        made = Host.from_data(
            {**data, "profiles": {"fast": fast}}, clock=VirtualClock(1_000_000), environment={}
        )
        async with made:
            assert made.rank(Contract(profile="fast")).ordered[0].score == 1
            for _ in range(3):
                await made.run(Contract(prompt="x", profile="fast"))
            await made.clock.sleep_ms(250)
            assert made.rank(Contract(profile="fast")).ordered[0].score == 0


async def test_a_stream_without_preparation_asks_the_market_first() -> None:
    async with Server([feed(offer())]) as market, Server([answer()]) as seller:
        made = host({"kind": "json", "url": market.base_url}, base_url=seller.base_url)
        chunks = [chunk async for chunk in made.stream(CONTRACT)]
        await made.close()
    assert chunks[-1].result is not None
    assert chunks[-1].result.ok


def test_callers_without_a_loop_have_a_market_too(tmp_path: Path) -> None:
    (tmp_path / "offers.json").write_text(json.dumps([offer()]))
    data = config({"kind": "json", "file": "offers.json"}, base_url="scripted:", api_kind="scripted")
    with Host.from_data(data, directory=tmp_path, environment={}) as made:
        result = made.run_sync(CONTRACT)
        assert result.chosen is not None
        assert result.chosen["served_by"] == "peer-1"


async def test_a_closed_host_polls_nobody() -> None:
    async with Server([feed(offer())]) as market:
        async with host({"kind": "json", "url": market.base_url}, base_url="http://127.0.0.1:1"):
            pass
        assert len(asyncio.all_tasks()) == 1


def test_what_a_plan_is_given_is_carried_to_lua_once_and_never_mixed_up() -> None:
    made = host({"kind": "json", "url": "https://feed.test"}, base_url="https://b.test")
    engine, contract = made.engine, {"profile": "cheap"}

    def first(others: dict[str, Any], now_ms: int = 0) -> str:
        step = engine.start(contract, Inputs(now_ms, 1, others=others))
        return str(step.candidate["offer"]["peer_id"]) if step.status == "call" else step.status

    one, two = {"offers": {"d": [offer("a")]}}, {"offers": {"d": [offer("b", expires_at_ms=50)]}}
    assert [first(one), first(two), first(one), first(two), first(two, 49)] == ["a", "b", "a", "b", "b"]
    assert [first(two, 50), first(two, 51), first(two, 49), first(one, 51)] == ["done", "done", "b", "a"]
    assert [first({}), first({**one, "observed": {"bazaar|m": {"latency_ms": 1}}}), first(one)] == [
        "done",
        "a",
        "a",
    ]


# The config --------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"url": "https://a.test"}, "needs a `kind`"),
    "an unknown kind": ({"kind": "jsn", "url": "https://a.test"}, "must be `json`"),
    "no place": ({"kind": "json"}, "needs one of"),
    "two places": ({"kind": "json", "url": "https://a.test", "file": "x"}, "both `url` and `file`"),
    "a user in the address": ({"kind": "json", "url": "https://a:b@a.test"}, "without a user"),
    "a token in the clear": ({"kind": "json", "url": "http://a.test", "auth_env": "X"}, "HTTPS"),
    "a token for a file": ({"kind": "json", "file": "x", "auth_env": "X"}, "only a `url`"),
    "a mapping of another kind": ({"kind": "antseed", "items": "x"}, "only a source of kind `json`"),
    "a field that nobody knows": (
        {"kind": "json", "file": "x", "fields": {"pear_id": "x"}},
        "did you mean `peer_id`",
    ),
    "a pin that is a key": ({"kind": "json", "file": "x", "pin": "Authorization"}, "name of a header"),
    "a pin of two lines": ({"kind": "json", "file": "x", "pin": "a\r\nb"}, "name of a header"),
    "an endpoint in the clear": ({"kind": "json", "file": "x", "endpoints": ["http://a.test"]}, "HTTPS"),
    "a command that is a line": ({"kind": "antseed", "command": "antseed network"}, "a list of texts"),
    "a time below 1": ({"kind": "json", "file": "x", "every_ms": 0}, "above 0"),
    "an unknown key": ({"kind": "json", "file": "x", "evry_ms": 1}, "unknown key `evry_ms`"),
}


@pytest.mark.parametrize(("source", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_source_that_makes_no_sense_is_a_mistake_with_its_place(source: dict[str, Any], words: str) -> None:
    data = config({})
    data["host"]["sources"]["feed"] = source
    with pytest.raises(ConfigError) as caught:
        Host.from_data(data, environment={})
    assert any(
        words in str(problem) and "$.host.sources.feed" in problem.path for problem in caught.value.problems
    )


def test_who_is_fed_and_pinned_follows_from_the_config() -> None:
    def made(source: dict[str, Any], **provider: Any) -> Any:
        return host(source, **provider).config

    assert pins(made({"kind": "antseed"})) == {"bazaar": "x-antseed-pin-peer"}
    assert pins(made({"kind": "openrouter", "each_endpoint": True})) == {"bazaar": "provider.only"}
    assert pins(made({"kind": "openrouter"})) == {}
    assert unfed(made({"kind": "antseed"})) == []
    assert unfed(made({"kind": "antseed", "discovery_id": "other"})) == ["bazaar"]
    assert placeless(made({"kind": "antseed"})) == ["bazaar"]
    assert placeless(made({"kind": "antseed"}, base_url="https://b.test")) == []
    assert placeless(made({"kind": "json", "file": "x", "endpoints": "any"})) == []
