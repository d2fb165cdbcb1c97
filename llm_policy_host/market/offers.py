"""What a peer offers: a record from a feed becomes an offer, or a reason why it is none.

Nothing of a feed is trusted: an offer names who gets a prompt and what it costs. Reasons are a closed
list, since they label metrics.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

REASONS: Final = (
    "shape",
    "peer",
    "family",
    "price",
    "capabilities",
    "endpoint",
    "expired",
    "duplicate",
    "too_many",
)
"""Why an offer is dropped."""

ANY_ENDPOINT: Final = "any"

_NAME_BYTES = 256
_MAX_CAPABILITIES = 64
# what a header can carry: the peer's id may become one
_PEER = re.compile(r"[!-~]{1,256}")
_OWN = frozenset(
    {
        "peer_id",
        "model_family",
        "wire_model_id",
        "price_in_usd_per_mtok",
        "price_out_usd_per_mtok",
        "capabilities",
        "expires_at_ms",
        "seller_endpoint",
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source's offers are held against.

    `families` gives the family of each name under which a feed may know one; `endpoints` are the
    origins that an offer may send a call to.
    """

    families: Mapping[str, str] = field(default_factory=nothing)
    endpoints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Offer:
    """A peer's offer of a model family; `record` is what the core gets of it (spec 3.3)."""

    family: str
    peer_id: str
    record: Mapping[str, Any]
    until_ms: float

    @property
    def key(self) -> tuple[str, str, str]:
        """Name what two offers cannot both be."""
        return self.family, self.peer_id, str(self.record.get("wire_model_id", ""))

    @property
    def price(self) -> float:
        """Give both prices together; an unknown one is higher than every number."""
        known = (self.record.get("price_in_usd_per_mtok"), self.record.get("price_out_usd_per_mtok"))
        return math.inf if None in known else sum(part for part in known if part is not None)


def read_offer(raw: Any, rules: Rules, now_ms: int, ttl_ms: int) -> Offer | str | None:  # noqa: ANN401 - foreign
    """Give the offer of a feed's record, why it is none, or nothing where the config has no use for it.

    An offer that names no end is good for `ttl_ms`.
    """
    record: dict[str, Any] = {}
    reason = _take_names(raw, record)
    if reason is not None:
        return reason
    family = rules.families.get(record["model_family"])
    if family is None:
        return None
    record["model_family"] = family
    reason = (
        _take_prices(raw, record)
        or _take_capabilities(raw, record)
        or _take_endpoint(raw, record, rules)
        or _take_end(raw, record, now_ms)
    )
    if reason is not None:
        return reason
    record |= {key: value for key, value in raw.items() if key not in _OWN and _is_scalar(value)}
    return Offer(family, record["peer_id"], record, record.get("expires_at_ms", now_ms + ttl_ms))


def amount(value: Any) -> float | None:  # noqa: ANN401 - foreign
    """Read a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) and value >= 0 else None
    except OverflowError:
        return None


def origin(url: Any) -> str | None:  # noqa: ANN401 - foreign
    """Give the origin of an address that a call may go to: HTTPS, or plain HTTP on this machine."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
        if parts is None or not parts.hostname or parts.username or parts.password or parts.fragment:
            return None
        port = parts.port
    except ValueError:
        return None
    is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or {'https': 443, 'http': 80}[parts.scheme]}"


def _is_name(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) and 0 < len(value.encode(errors="surrogatepass")) <= _NAME_BYTES


def _is_scalar(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, bool) or (isinstance(value, int | float) and amount(abs(value)) is not None)


def _take_names(raw: Any, record: dict[str, Any]) -> str | None:  # noqa: ANN401
    if not isinstance(raw, dict):
        return "shape"
    peer, name, wire = (raw.get(key) for key in ("peer_id", "model_family", "wire_model_id"))
    if not isinstance(peer, str) or not _PEER.fullmatch(peer):
        return "peer"
    if not _is_name(name) or not (wire is None or _is_name(wire)):
        return "family"
    record |= {"peer_id": peer, "model_family": name}
    if wire is not None:
        record["wire_model_id"] = wire
    return None


def _take_prices(raw: Mapping[str, Any], record: dict[str, Any]) -> str | None:
    """Take the prices; one that is not given stays unknown, it is never 0."""
    for name in ("price_in_usd_per_mtok", "price_out_usd_per_mtok"):
        given = raw.get(name)
        if given is None:
            continue
        price = amount(given)
        if price is None:
            return "price"
        record[name] = price
    return None


def _take_capabilities(raw: Mapping[str, Any], record: dict[str, Any]) -> str | None:
    given = raw.get("capabilities")
    if given is None:
        return None
    if not isinstance(given, dict) or len(given) > _MAX_CAPABILITIES:
        return "capabilities"
    known = {key: value for key, value in given.items() if value is not None}
    if not all(_is_name(key) and (_is_scalar(value) or _is_name(value)) for key, value in known.items()):
        return "capabilities"
    if "context" in known and amount(known["context"]) is None:
        return "capabilities"
    record["capabilities"] = known
    return None


def _take_endpoint(raw: Mapping[str, Any], record: dict[str, Any], rules: Rules) -> str | None:
    """Take where calls go, if the operator allowed the place: the provider's key goes there too."""
    given = raw.get("seller_endpoint")
    if given is None:
        return None
    place = origin(given)
    if place is None or not (place in rules.endpoints or ANY_ENDPOINT in rules.endpoints):
        return "endpoint"
    record["seller_endpoint"] = given
    return None


def _take_end(raw: Mapping[str, Any], record: dict[str, Any], now_ms: int) -> str | None:
    given = raw.get("expires_at_ms")
    if given is None:
        return None
    until_ms = _moment_ms(given) if isinstance(given, str) else amount(given)
    if until_ms is None:
        return "shape"
    record["expires_at_ms"] = until_ms
    return None if until_ms > now_ms else "expired"


def _moment_ms(text: str) -> float | None:
    """Read a date as ISO 8601 writes it."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000
    except (ValueError, OverflowError):
        return None
