"""What the keys of a source must say together, and what they say where they are absent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .document import Document

OPENROUTER_URL = "https://openrouter.ai/api/v1"
ANTSEED_COMMAND = ("antseed", "network", "browse", "--services", "--json")
ANTSEED_PIN = "x-antseed-pin-peer"
PIN_IN_BODY = "provider.only"

_PLACES = ("url", "file", "command")
_ONLY_OF = {"items": "json", "fields": "json", "price_unit": "json", "each_endpoint": "openrouter"}
_FIELDS = (
    "peer_id",
    "model_family",
    "wire_model_id",
    "price_in_usd_per_mtok",
    "price_out_usd_per_mtok",
    "capabilities",
    "expires_at_ms",
    "seller_endpoint",
)
_URL = re.compile(r"https?://[^/@\s?#]+(/[^\s#]*)?")
_SAFE_URL = re.compile(
    r"https://[^/@\s?#]+(/[^\s#]*)?|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/[^\s#]*)?"
)
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_RESERVED = frozenset(
    {"authorization", "cookie", "host", "content-length", "content-type", "transfer-encoding"}
)


def check_sources(document: Document, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Note what is wrong with each source as a whole."""
    for name, source in sources.items():
        for key, detail in _mistakes(source, document.data):
            document.report(("host", "sources", name, *([key] if key else [])), detail)


def filled(name: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """Give a source with what is meant where it says nothing."""
    every_ms = source.get("every_ms", 60_000)
    defaults: dict[str, Any] = {
        "discovery_id": name,
        "every_ms": every_ms,
        "ttl_ms": 3 * every_ms,
        "timeout_ms": 10_000,
        "max_offers_per_family": 64,
        "endpoints": [],
        "families": {},
    }
    kind = source.get("kind")
    if not any(key in source for key in _PLACES):
        defaults |= {"url": OPENROUTER_URL} if kind == "openrouter" else {"command": list(ANTSEED_COMMAND)}
    if kind == "antseed":
        defaults["pin"] = ANTSEED_PIN
    elif source.get("each_endpoint"):
        defaults["pin"] = PIN_IN_BODY
    return {**defaults, **source}


def _mistakes(source: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = source.get("kind")
    if kind is None:
        yield "", "a source needs a `kind`: `json`, `openrouter` or `antseed`"
    for key, only in _ONLY_OF.items():
        if key in source and kind not in (None, only):
            yield key, f"only a source of kind `{only}` has `{key}`"
    if "pin" in source and not _is_pin(source["pin"]):
        yield "pin", "must be the name of a header, or `provider.only`"
    yield from _place_mistakes(source)
    yield from _address_mistakes(source)
    yield from _field_mistakes(source.get("fields", {}), data)


def _place_mistakes(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = [key for key in _PLACES if key in source]
    if len(given) > 1:
        yield given[1], f"both `{given[0]}` and `{given[1]}` are given"
    if source.get("kind") == "json" and not given:
        yield "", "a source of kind `json` needs one of `url`, `file` and `command`"
    if "auth_env" in source and given != ["url"]:
        yield "auth_env", "only a `url` wants a token"
    if source.get("each_endpoint") and given not in ([], ["url"]):
        yield "each_endpoint", "endpoints are asked at a `url`"


def _address_mistakes(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    url, endpoints = source.get("url", OPENROUTER_URL), source.get("endpoints", ())
    if not _URL.fullmatch(url):
        yield "url", "must be an HTTP address without a user"
    elif "auth_env" in source and not _SAFE_URL.fullmatch(url):
        yield "url", "a token goes to an HTTPS address, or to this machine"
    if endpoints != "any" and not all(_SAFE_URL.fullmatch(place) for place in endpoints):
        yield "endpoints", "each must be an HTTPS address, or HTTP on this machine, without a user"


def _is_pin(pin: str) -> bool:
    return pin == PIN_IN_BODY or (_HEADER.fullmatch(pin) is not None and pin.lower() not in _RESERVED)


def _field_mistakes(fields: Iterable[str], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    declared = data.get("fields")
    known = [*_FIELDS, *(declared if isinstance(declared, dict) else ())]
    for name in fields:
        if name not in known and not name.startswith("capabilities."):
            near = nearest(name, known)
            hint = f", did you mean `{near}`" if near else ""
            yield "fields", f"`{name}` is neither an offer's word nor a declared field{hint}"
