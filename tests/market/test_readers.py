"""Feeds of each shape become offers of one shape."""

from __future__ import annotations

from typing import Any

import pytest

from llm_policy_host.market.readers import READERS, at, per_mtok

# as `GET /api/v1/models` answers, shortened
ROUTER_MODELS = {
    "data": [
        {
            "id": "acme/small-1",
            "name": "Acme: Small 1",
            "context_length": 131072,
            "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image"]},
            "pricing": {"prompt": "0.00000015", "completion": "0.0000006", "request": "0"},
            "top_provider": {"context_length": 131072, "max_completion_tokens": 16384},
            "supported_parameters": ["tools", "seed", "structured_outputs", "temperature"],
        },
        {"id": "acme/auto", "context_length": 2000000, "pricing": {"prompt": "-1", "completion": "-1"}},
        {"id": "acme/free", "context_length": 4096, "pricing": {"prompt": "0", "completion": "0"}},
    ]
}

# as `GET /api/v1/models/acme/small-1/endpoints` answers, shortened
ROUTER_ENDPOINTS = {
    "data": {
        "id": "acme/small-1",
        "architecture": {"input_modalities": ["text"]},
        "endpoints": [
            {
                "name": "Deep | acme/small-1",
                "provider_name": "Deep",
                "tag": "deep/fp8",
                "context_length": 32768,
                "pricing": {"prompt": "0.0000001", "completion": "0.0000004"},
                "supported_parameters": ["tools"],
            },
            {"provider_name": "Wide", "context_length": 131072, "pricing": {"prompt": "0.0000002"}},
        ],
    }
}

ANT_ROWS = [
    {"peerId": "ab12", "service": "small-1", "inputUsdPerMillion": 0.2, "outputUsdPerMillion": 0.8},
    {"peerId": "cd34", "name": "Alice", "service": "small-1", "pricing": {"inputUsdPerMillion": 0.3}},
]
ANT_PEERS = {
    "peers": [
        {
            "peerId": "ab12",
            "name": "Alice",
            "defaultInputUsdPerMillion": 1,
            "services": [
                {"name": "small-1", "inputUsdPerMillion": 0.2, "outputUsdPerMillion": 0.8},
                "small-2",
            ],
        }
    ]
}
ANT_SERVICES = {
    "services": [
        {"service": "small-1", "peers": [{"peerId": "ab12", "name": "Alice", "inputUsdPerMillion": 0.2}]},
    ]
}


def read(kind: str, data: Any, **settings: Any) -> list[Any]:
    records = READERS[kind](data, settings)
    assert records is not None
    return [
        {key: value for key, value in record.items() if value is not None}
        if isinstance(record, dict)
        else record
        for record in records
    ]


def test_openrouters_models_become_offers_in_usd_per_million() -> None:
    small, auto, free = read("openrouter", ROUTER_MODELS)
    assert small == {
        "peer_id": "openrouter",
        "model_family": "acme/small-1",
        "wire_model_id": "acme/small-1",
        "price_in_usd_per_mtok": 0.15,
        "price_out_usd_per_mtok": 0.6,
        "capabilities": {
            "context": 131072,
            "supports_tools": True,
            "supports_json_mode": True,
            "supports_seed": True,
            "supports_vision": True,
        },
    }
    assert auto["price_in_usd_per_mtok"] < 0
    assert (free["price_in_usd_per_mtok"], free["price_out_usd_per_mtok"]) == (0, 0)


def test_each_endpoint_of_a_model_is_a_peer_with_its_own_price() -> None:
    deep, wide = read("openrouter", ROUTER_ENDPOINTS)
    assert (deep["peer_id"], deep["price_in_usd_per_mtok"], deep["price_out_usd_per_mtok"]) == (
        "deep/fp8",
        0.1,
        0.4,
    )
    assert deep["capabilities"] == {
        "context": 32768,
        "supports_tools": True,
        "supports_json_mode": False,
        "supports_seed": False,
        "supports_vision": False,
    }
    assert (wide["peer_id"], "price_out_usd_per_mtok" in wide) == ("Wide", False)


def test_rows_of_an_antseed_node_become_offers() -> None:
    first, second = read("antseed", ANT_ROWS)
    assert first == {
        "peer_id": "ab12",
        "model_family": "small-1",
        "wire_model_id": "small-1",
        "price_in_usd_per_mtok": 0.2,
        "price_out_usd_per_mtok": 0.8,
    }
    assert (second["peer_id"], second["model_family"], second["price_in_usd_per_mtok"]) == (
        "cd34",
        "small-1",
        0.3,
    )


def test_peers_with_services_and_services_with_peers_are_flattened() -> None:
    one, two = read("antseed", ANT_PEERS)
    assert (one["peer_id"], one["model_family"], one["price_in_usd_per_mtok"]) == ("ab12", "small-1", 0.2)
    assert (two["peer_id"], two["model_family"], two["price_in_usd_per_mtok"]) == ("ab12", "small-2", 1)
    (three,) = read("antseed", ANT_SERVICES)
    assert (three["peer_id"], three["model_family"], three["price_in_usd_per_mtok"]) == (
        "ab12",
        "small-1",
        0.2,
    )


def test_a_json_feed_is_read_by_dotted_keys() -> None:
    data = {
        "result": {"rows": [{"who": {"id": "p"}, "model": "m", "usd": ["0.000001", 2e-6], "ctx": 8, "q": 4}]}
    }
    fields = {
        "peer_id": "who.id",
        "model_family": "model",
        "price_in_usd_per_mtok": "usd.0",
        "price_out_usd_per_mtok": "usd.1",
        "capabilities.context": "ctx",
        "quality": "q",
    }
    assert read("json", data, items="result.rows", fields=fields, price_unit="usd_per_token") == [
        {
            "peer_id": "p",
            "model_family": "m",
            "price_in_usd_per_mtok": 1.0,
            "price_out_usd_per_mtok": 2.0,
            "capabilities": {"context": 8},
            "quality": 4,
        }
    ]


def test_a_json_feed_without_a_mapping_uses_an_offers_own_words() -> None:
    record = {"peer_id": "p", "model_family": "m", "price_in_usd_per_mtok": 1.0}
    assert read("json", [record]) == read("json", {"offers": [record]}) == [record]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("data", [None, 1, "x", {}, {"data": 3}, {"data": {"endpoints": {}}}, {"offers": {}}])
def test_data_of_another_shape_is_no_feed(kind: str, data: Any) -> None:
    assert READERS[kind](data, {}) is None


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "items", [[None], [[]], ["x"], [{"id": {}, "pricing": 3}], [{"services": [{"peers": [1]}]}]]
)
def test_odd_items_are_passed_on_to_be_judged(kind: str, items: list[Any]) -> None:
    for data in (items, {"data": items}, {"services": items}):
        list(READERS[kind](data, {}) or ())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.00000015", 0.15),
        ("3e-6", 3.0),
        (0, 0.0),
        ("", ""),
        ("free", "free"),
        (None, None),
        (True, True),
        ([], []),
    ],
)
def test_a_price_per_token_is_carried_exactly(value: Any, expected: Any) -> None:
    assert per_mtok(value) == expected


def test_a_path_that_leads_nowhere_gives_nothing() -> None:
    data = {"a": [{"b": 1}]}
    assert (at(data, "a.0.b"), at(data, "a.1.b"), at(data, "a.b"), at(data, "x.y"), at(data, "")) == (
        1,
        None,
        None,
        None,
        data,
    )
