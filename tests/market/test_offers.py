"""What makes a record of a feed an offer, and what drops it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.market.offers import REASONS, Offer, Rules, origin, read_offer
from llm_policy_host.values import Inputs

from .feed import FAMILIES, offer

RULES = Rules(FAMILIES, frozenset({"https://seller.test:443"}))
NOW = 1_000_000

DROPPED: dict[str, tuple[Any, str]] = {
    "no record": (17, "shape"),
    "no peer": (offer(peer=""), "peer"),
    "a peer that no header can carry": (offer(peer="a\r\nx-evil: 1"), "peer"),
    "a peer beyond its bound": (offer(peer="p" * 257), "peer"),
    "no family": ({"peer_id": "p"}, "family"),
    "a family beyond its bound": (offer(family="é" * 129), "family"),
    "a name on the wire that is none": (offer(wire_model_id=""), "family"),
    "a price below 0": (offer(price=-1), "price"),
    "a price that is text": (offer(price="cheap"), "price"),
    "a price without end": (offer(price=math.inf), "price"),
    "a price that is no number": (offer(price=math.nan), "price"),
    "a price that is a flag": (offer(price=True), "price"),
    "a second price below 0": (offer(price_out_usd_per_mtok=-0.1), "price"),
    "a price beyond every double": (offer(price=10**400), "price"),
    "capabilities that are a list": (offer(capabilities=["tools"]), "capabilities"),
    "capabilities that are records": (offer(capabilities={"context": {"max": 1}}), "capabilities"),
    "a context that is text": (offer(capabilities={"context": "128k"}), "capabilities"),
    "more capabilities than anyone has": (
        offer(capabilities={f"c{i}": True for i in range(65)}),
        "capabilities",
    ),
    "an end in the past": (offer(expires_at_ms=NOW), "expired"),
    "an end in the past, as text": (offer(expires_at_ms="1970-01-01T00:00:01Z"), "expired"),
    "an end that is no moment": (offer(expires_at_ms="soon"), "shape"),
    "an endpoint that nobody allowed": (offer(seller_endpoint="https://thief.test/v1"), "endpoint"),
    "an endpoint with a user": (offer(seller_endpoint="https://a:b@seller.test/v1"), "endpoint"),
    "an endpoint without encryption": (offer(seller_endpoint="http://seller.test/v1"), "endpoint"),
    "an endpoint that is no address": (offer(seller_endpoint=[]), "endpoint"),
}


@pytest.mark.parametrize(("raw", "reason"), DROPPED.values(), ids=DROPPED)
def test_a_bad_offer_is_dropped_for_one_reason_of_a_closed_list(raw: Any, reason: str) -> None:
    assert read_offer(raw, RULES, NOW, 60_000) == reason
    assert reason in REASONS


def test_an_offer_that_no_route_of_the_config_wants_is_none_and_no_mistake() -> None:
    assert read_offer(offer(family="other"), RULES, NOW, 60_000) is None


def test_a_price_that_is_not_given_stays_unknown() -> None:
    found = read_offer({"peer_id": "p", "model_family": "m"}, RULES, NOW, 60_000)
    assert isinstance(found, Offer)
    assert not any(key.startswith("price") for key in found.record)
    assert found.price == math.inf


def test_an_offer_is_known_by_the_configs_name_of_its_family() -> None:
    found = read_offer(offer(family="m-on-wire", wire_model_id="m-on-wire"), RULES, NOW, 60_000)
    assert isinstance(found, Offer)
    assert (found.family, found.record["wire_model_id"]) == ("m", "m-on-wire")


def test_an_offer_that_names_no_end_is_good_for_a_while_and_its_record_does_not_say_so() -> None:
    found = read_offer(offer(), RULES, NOW, 60_000)
    assert isinstance(found, Offer)
    assert (found.until_ms, "expires_at_ms" in found.record) == (NOW + 60_000, False)


def test_an_allowed_endpoint_and_a_declared_field_are_taken() -> None:
    found = read_offer(offer(seller_endpoint="https://seller.test/v1", quality=-3, note="x"), RULES, NOW, 1)
    assert isinstance(found, Offer)
    assert found.record["seller_endpoint"] == "https://seller.test/v1"
    assert (found.record["quality"], "note" in found.record) == (-3, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.test/v1", "https://a.test:443"),
        ("https://A.test:8443", "https://a.test:8443"),
        ("http://127.0.0.1:8377/v1", "http://127.0.0.1:8377"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://10.0.0.1/", None),
        ("ftp://a.test/", None),
        ("https://a.test\\@b.test/", None),
        ("https://a.test:99999/", None),
        ("https://", None),
        ("", None),
    ],
)
def test_an_origin_is_https_or_this_machine(url: str, expected: str | None) -> None:
    assert origin(url) == expected


def _engine() -> LuaEngine:
    config = {
        "providers": {
            "bazaar": {"discovery": "marketplace", "discovery_id": "d", "base_url": "https://b.test"}
        },
        "models": {"m": {"capabilities": {"context": 1000}, "served_by": [{"provider": "bazaar"}]}},
        "profiles": {"any": {}},
    }
    engine = create_engine(Vm(), config)
    assert isinstance(engine, LuaEngine)
    return engine


ENGINE = _engine()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {"peer_id": st.sampled_from(["p", "q"]) | JSON, "model_family": st.just("m") | JSON},
    optional={
        name: JSON | st.floats(min_value=0, max_value=1e6)
        for name in (
            "price_in_usd_per_mtok",
            "price_out_usd_per_mtok",
            "capabilities",
            "expires_at_ms",
            "extra",
        )
    },
)


@given(RECORDS)
def test_whatever_is_taken_for_an_offer_the_core_takes_for_a_candidate(raw: Any) -> None:
    found = read_offer(raw, Rules({"m": "m"}), NOW, 60_000)
    if not isinstance(found, Offer):
        assert found is None or found in REASONS
        return
    json.dumps(found.record, allow_nan=False)
    ranked = ENGINE.rank({"profile": "any"}, Inputs(NOW, 1, others={"offers": {"d": [found.record]}}))
    assert [one["served_by"] for one in ranked["ordered"]] == [found.peer_id]
