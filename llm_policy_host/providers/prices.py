"""What an answer cost: as its provider reported, else computed from known prices; unknown is never 0.

Vendors' prices come from the packaged snapshot of genai-prices, or from a file that an operator updated by
an explicit command. Importing that package takes 0.2 s and 30 MB: it is done when a route without prices
of its own first needs it, or ahead of that by `load`. It asks no network.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import HostError
from llm_policy_host.values import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from genai_prices.types import ModelInfo, ModelPrice, Provider

    from llm_policy_host.ports import Clock, Pricer
    from llm_policy_host.values import CostBasis, Response, Usage

SUBSCRIPTIONS: Final = frozenset({"openai_codex"})
"""Dialects whose calls are paid by the month: one more costs nothing."""

_VENDORS: Final = {"anthropic": "anthropic", "google": "google", "bedrock": "aws"}
"""Whose prices hold for a dialect that goes to its vendor without being told where."""

# no vendor is on this machine, and none is asked of what plays a script
_NO_VENDOR = re.compile(r"https?://(127\.|localhost|\[::1\])|scripted:")
_MAX_KNOWN = 2_000
_UNKNOWN: Final = Cost()
_NUMBERS: Final = frozenset({int, float})


class Snapshot:
    """Vendors' prices as of some day; `id` is stamped on what was computed from them."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._providers: Sequence[Provider] | None = None
        self._text = None if file is None else _read(file)
        digest = "" if self._text is None else f"+sha256:{hashlib.sha256(self._text).hexdigest()[:12]}"
        self.id = f"genai-prices/{metadata.version('genai-prices')}{digest}"
        self._known: dict[tuple[str, str, str], tuple[Provider, ModelInfo] | None] = {}
        self._lock = threading.Lock()

    def load(self) -> Sequence[Provider]:
        """Read the prices, once."""
        with self._lock:
            if self._providers is None:
                self._providers = _packaged() if self._text is None else _parsed(self._text)
                self._text = None
        return self._providers

    def find(self, base_url: str, api_kind: str, model: str) -> tuple[Provider, ModelInfo] | None:
        """Find a model at the vendor whose address it is; None where the vendor or the model is not known."""
        if not _may_have_vendor(base_url, api_kind):
            return None
        key = (base_url, api_kind, model)
        if key not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                # providers name models as they like: what they name must not fill the memory
                self._known.clear()
            self._known[key] = self._look_up(base_url, api_kind, model)
        return self._known[key]

    def _look_up(self, base_url: str, api_kind: str, model: str) -> tuple[Provider, ModelInfo] | None:
        providers = list(self.load())
        vendor = next((entry for entry in providers if _is_vendor(entry, base_url, api_kind)), None)
        found = vendor.find_model(model, all_providers=providers) if vendor is not None else None
        return (vendor, found) if vendor is not None and found is not None else None


class Prices:
    """Prices answers; `base_urls` says where each provider is called."""

    def __init__(self, base_urls: Mapping[str, str], clock: Clock, snapshot: Snapshot | None = None) -> None:
        self._base_urls = dict(base_urls)
        self._clock = clock
        self._snapshot = snapshot or Snapshot()

    @property
    def snapshot_id(self) -> str:
        """Name the snapshot of vendors' prices."""
        return self._snapshot.id

    def load(self) -> None:
        """Read the snapshot ahead of the first call that needs it; it takes 0.2 s."""
        self._snapshot.load()

    def is_wanted_for(self, candidates: Iterable[Mapping[str, Any]]) -> bool:
        """Whether one of these routes may need the snapshot."""
        return any(_needs_vendor(candidate) for candidate in candidates)

    def cost(self, response: Response, chosen: Mapping[str, Any], api_kind: str) -> Cost:
        """Price an answer of a chosen route: reported, subscription, computed, estimated or unknown."""
        if _is_amount(response.cost_usd):
            return Cost(response.cost_usd, "reported")
        if api_kind in SUBSCRIPTIONS:
            return Cost(0.0, "subscription")
        usage = response.usage
        if usage is None:
            return _UNKNOWN
        cost = _by_route(usage, chosen) or self._by_vendor(response, usage, chosen, api_kind) or _UNKNOWN
        if cost.basis == "computed" and not usage.is_consistent:
            return Cost(cost.usd, "estimated")
        return cost

    def _by_vendor(
        self, response: Response, usage: Usage, chosen: Mapping[str, Any], api_kind: str
    ) -> Cost | None:
        base_url = self._base_urls.get(str(chosen.get("provider_id")), "")
        for name in (response.model, chosen.get("served_model_id"), chosen.get("model_family")):
            found = self._snapshot.find(base_url, api_kind, str(name)) if name else None
            if found is not None:
                moment = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
                return _vendor_cost(usage, *found, moment)
        return None


def _by_route(usage: Usage, chosen: Mapping[str, Any]) -> Cost | None:
    """Price by the catalog's or the offer's own prices; what is cached has none of its own there."""
    read, written = chosen.get("raw_price_in"), chosen.get("raw_price_out")
    taken = usage.input_tokens + usage.cached_read_tokens + usage.cache_write_tokens
    given = usage.output_tokens + usage.reasoning_tokens
    if (taken and not _is_amount(read)) or (given and not _is_amount(written)):
        return None
    if not _is_amount(read) and not _is_amount(written):
        return None
    usd = (taken * (read or 0.0) + given * (written or 0.0)) / 1_000_000
    has_cache = bool(usage.cached_read_tokens or usage.cache_write_tokens) and bool(read)
    return _cost(usd, "estimated" if has_cache else "computed")


def _vendor_cost(usage: Usage, vendor: Provider, model: ModelInfo, moment: datetime) -> Cost | None:
    from genai_prices import Usage as VendorUsage  # noqa: PLC0415 - 30 MB: only where it is needed

    prices = model.get_prices(moment)
    counts = {
        "input_tokens": usage.input_tokens + usage.cached_read_tokens + usage.cache_write_tokens,
        "cache_read_tokens": usage.cached_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens + usage.reasoning_tokens,
    }
    if any(counts[f"{side}_tokens"] and _price(prices, side) is None for side in ("input", "output")):
        return None
    try:
        calculated = model.calc_price(VendorUsage(**counts), vendor, genai_request_timestamp=moment)
    except (ValueError, ArithmeticError):
        return None
    is_guess = any(
        counts[f"{side}_tokens"] and _price(prices, side) is None for side in ("cache_read", "cache_write")
    )
    return _cost(float(calculated.total_price), "estimated" if is_guess else "computed")


def _price(prices: ModelPrice, name: str) -> object:
    return getattr(prices, f"{name}_mtok", None)


def _cost(usd: float, basis: CostBasis) -> Cost | None:
    return Cost(usd, basis) if math.isfinite(usd) else None


def _is_amount(value: Any) -> bool:  # noqa: ANN401 - foreign
    return type(value) in _NUMBERS and 0 <= value < math.inf


def _may_have_vendor(base_url: str, api_kind: str) -> bool:
    return _NO_VENDOR.match(base_url) is None if base_url else api_kind in _VENDORS


def _needs_vendor(candidate: Mapping[str, Any]) -> bool:
    kind = str(candidate.get("api_kind"))
    has_prices = "price_in" in candidate and "price_out" in candidate
    is_asked = kind not in SUBSCRIPTIONS and _may_have_vendor(str(candidate.get("base_url") or ""), kind)
    return is_asked and not has_prices


def _is_vendor(provider: Provider, base_url: str, api_kind: str) -> bool:
    """Whether an address is a vendor's; a dialect that names none goes to its own vendor."""
    if base_url:
        found = re.match(provider.api_pattern, base_url)
        return found is not None and _ends_a_name(provider.api_pattern, found[0], base_url[found.end() :])
    return provider.id == _VENDORS.get(api_kind)


def _ends_a_name(pattern: str, matched: str, rest: str) -> bool:
    """Whether a vendor's pattern matched whole names of a host, none that merely begins like them."""
    return rest[:1] in {"", "/", ":"} or matched.endswith("/") or pattern.endswith("\\.")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise HostError(f"the prices `{file}` cannot be read: {(error.strerror or '').lower()}") from None


def _packaged() -> Sequence[Provider]:
    from genai_prices.data import providers  # noqa: PLC0415 - 30 MB: only where it is needed

    return providers


def _parsed(text: bytes) -> Sequence[Provider]:
    from genai_prices.types import _providers_from_raw  # noqa: PLC0415 - the package's own way in, unnamed

    try:
        return _providers_from_raw(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise HostError(f"these are no prices as genai-prices writes them ({type(error).__name__})") from None


def update_url() -> str:
    """Give where the package itself fetches newer prices; here only an explicit command does."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL  # noqa: PLC0415 - as above

    return DEFAULT_UPDATE_URL


def flat_prices(snapshot: Snapshot) -> dict[str, str]:
    """Give every price of a snapshot as text, keyed `provider/model price`."""
    return dict(_flat(snapshot.load()))


def _flat(providers: Sequence[Provider]) -> Iterator[tuple[str, str]]:
    for provider in providers:
        for model in provider.models:
            entries = model.prices if isinstance(model.prices, list) else [model.prices]
            for place, entry in enumerate(entries):
                prices = getattr(entry, "prices", entry)
                when = f" [{place + 1}]" if len(entries) > 1 else ""
                for name, price in vars(prices).items():
                    if price is not None and not name.startswith("_"):
                        yield f"{provider.id}/{model.id}{when} {name}", _written(price)


def _written(price: Any) -> str:  # noqa: ANN401 - a number, or one with tiers
    tiers = getattr(price, "tiers", None)
    if tiers is None:
        return str(price)
    return ", ".join([str(price.base), *(f"{tier.price} above {tier.start}" for tier in tiers)])


def _conforms(prices: Prices) -> Pricer:
    """Let the type checker prove the port."""
    return prices
