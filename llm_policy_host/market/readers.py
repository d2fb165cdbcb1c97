"""The shapes of feeds: each reader turns one feed's data into records of an offer's own words.

A reader translates and leaves judging to `offers`: what it cannot find it leaves out, and what
is odd it passes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

Records = Iterable[Any]
Reader = Callable[[Any, Mapping[str, Any]], Records | None]
"""Data and the source's settings to records; None where the data is no such feed."""

PER_MTOK: Final = "usd_per_mtok"
PER_TOKEN: Final = "usd_per_token"  # noqa: S105 - a unit
UNITS: Final = (PER_MTOK, PER_TOKEN)

_PRICES = ("price_in_usd_per_mtok", "price_out_usd_per_mtok")
_OWN = (
    "peer_id",
    "model_family",
    "wire_model_id",
    *_PRICES,
    "capabilities",
    "expires_at_ms",
    "seller_endpoint",
)


def at(data: Any, path: str) -> Any:  # noqa: ANN401 - foreign
    """Follow dotted keys, numbers being places of a list from 0; None where they lead nowhere."""
    for step in path.split(".") if path else ():
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdigit() and len(step) < 9 and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def per_mtok(value: Any, unit: str = PER_TOKEN) -> Any:  # noqa: ANN401 - foreign
    """Give a price per million tokens, exactly; what is no number is passed on to be refused."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        price = Decimal(str(value))
        return float(price * 1_000_000 if unit == PER_TOKEN else price)
    except (InvalidOperation, OverflowError, ValueError):
        return value


def read_json(data: Any, settings: Mapping[str, Any]) -> Records | None:  # noqa: ANN401 - foreign
    """Read any list of records: `items` leads to it, `fields` to what each record holds."""
    path = settings.get("items")
    items = at(data, path) if path else _list_in(data, "offers", "data")
    if not isinstance(items, list):
        return None
    paths = {**{name: name for name in _OWN}, **settings.get("fields", {})}
    unit = settings.get("price_unit", PER_MTOK)
    return (_mapped(item, paths, unit) for item in items)


def _list_in(data: Any, *names: str) -> Any:  # noqa: ANN401
    if isinstance(data, dict):
        return next((data[name] for name in names if isinstance(data.get(name), list)), None)
    return data


def _mapped(item: Any, paths: Mapping[str, str], unit: str) -> Any:  # noqa: ANN401
    if not isinstance(item, dict):
        return item
    record: dict[str, Any] = {}
    for name, path in paths.items():
        value = at(item, path)
        if value is None:
            continue
        group, dot, key = name.partition(".")
        if dot and group == "capabilities":
            record["capabilities"] = {**(record.get("capabilities") or {}), key: value}
        else:
            record[name] = per_mtok(value, unit) if name in _PRICES else value
    return record


def read_openrouter(data: Any, _settings: Mapping[str, Any]) -> Records | None:  # noqa: ANN401 - foreign
    """Read OpenRouter's list of models, or the list of one model's endpoints."""
    found = at(data, "data")
    if isinstance(found, list):
        return (_router_offer(item, item, "openrouter") for item in found if isinstance(item, dict))
    endpoints = at(found, "endpoints")
    if not isinstance(endpoints, list):
        return None
    return (
        _router_offer(found, {**item, "architecture": found.get("architecture")}, _endpoint_name(item))
        for item in endpoints
        if isinstance(item, dict)
    )


def _endpoint_name(item: Mapping[str, Any]) -> Any:  # noqa: ANN401
    return item.get("tag") or item.get("provider_name")


def _router_offer(model: Mapping[str, Any], item: Mapping[str, Any], peer: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "peer_id": peer,
        "model_family": model.get("id"),
        "wire_model_id": model.get("id"),
        "price_in_usd_per_mtok": per_mtok(at(item, "pricing.prompt")),
        "price_out_usd_per_mtok": per_mtok(at(item, "pricing.completion")),
        "capabilities": _router_capabilities(item),
    }


def _router_capabilities(item: Mapping[str, Any]) -> dict[str, Any]:
    said = item.get("supported_parameters")
    params = said if isinstance(said, list) else []
    sees = at(item, "architecture.input_modalities")
    found: dict[str, Any] = {
        "supports_tools": "tools" in params,
        "supports_json_mode": "response_format" in params or "structured_outputs" in params,
        "supports_seed": "seed" in params,
        "supports_vision": isinstance(sees, list) and "image" in sees,
    }
    context = item.get("context_length")
    return found if context is None else {**found, "context": context}


def read_antseed(data: Any, _settings: Mapping[str, Any]) -> Records | None:  # noqa: ANN401 - foreign
    """Read what an AntSeed buyer node prints for `network browse --services --json`.

    A row is a peer's service, or a peer with its services, or a service with its peers: what a row
    does not say itself, the one around it does. A peer serves through the buyer node: its own
    address is not used.
    """
    rows = _list_in(data, "services", "peers", "offers", "rows", "results")
    return _ant_offers(rows, {}) if isinstance(rows, list) else None


_ANT_WORDS: Mapping[str, tuple[str, ...]] = {
    "peer_id": ("peerId", "peer_id", "peer.peerId", "peer.id"),
    "model_family": ("service", "serviceId", "service_id", "model", "modelId", "name"),
    "price_in": (
        "inputUsdPerMillion",
        "pricing.inputUsdPerMillion",
        "price.inputUsdPerMillion",
        "defaultInputUsdPerMillion",
    ),
    "price_out": (
        "outputUsdPerMillion",
        "pricing.outputUsdPerMillion",
        "price.outputUsdPerMillion",
        "defaultOutputUsdPerMillion",
    ),
    "context": ("contextWindow", "contextLength", "context"),
    "expires": ("expiresAtMs", "expiresAt"),
}


# What a row that holds a list of others does not say of itself: its `name` is a peer's then, or a service's.
_ANT_GROUPS: Mapping[str, str] = {"services": "model_family", "peers": "peer_id"}


def _ant_offers(rows: Iterable[Any], around: Mapping[str, Any], depth: int = 0) -> Iterator[Any]:
    for row in rows:
        if isinstance(row, str) and "peer_id" in around:
            yield _ant_offer({**around, "model_family": row})
            continue
        if not isinstance(row, dict):
            yield row
            continue
        group = next((name for name in _ANT_GROUPS if isinstance(row.get(name), list)), None)
        said = {**_ant_said(row, _ANT_GROUPS.get(group or "")), **_names(around)}
        said = {**around, **said}
        if group is not None and depth < len(_ANT_GROUPS):
            yield from _ant_offers(row[group], said, depth + 1)
        else:
            yield _ant_offer(said)


def _names(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _ANT_GROUPS.values() if name in said}


def _ant_said(row: Mapping[str, Any], unsaid: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, words in _ANT_WORDS.items():
        found = next((value for word in words if (value := at(row, word)) is not None), None)
        if found is not None and name != unsaid:
            said[name] = found
    return said


def _ant_offer(said: Mapping[str, Any]) -> dict[str, Any]:
    offer = {
        "peer_id": said.get("peer_id"),
        "model_family": said.get("model_family"),
        "wire_model_id": said.get("model_family"),
        "price_in_usd_per_mtok": per_mtok(said.get("price_in"), PER_MTOK),
        "price_out_usd_per_mtok": per_mtok(said.get("price_out"), PER_MTOK),
        "expires_at_ms": said.get("expires"),
    }
    if "context" in said:
        offer["capabilities"] = {"context": said["context"]}
    return offer


READERS: Final[Mapping[str, Reader]] = {
    "json": read_json,
    "openrouter": read_openrouter,
    "antseed": read_antseed,
}
"""How a source's data is read, by its kind: a new shape is a function and a row."""
