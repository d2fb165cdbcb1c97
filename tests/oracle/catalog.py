"""Who could answer: the candidates of a call in canonical order (spec 2.2).

A candidate is provider x served_by of a model; of a marketplace provider, one for each
living offer in `inputs.offers[discovery_id]` whose `model_family` is the model's. An offer lives
when `peer_id` and `model_family` are names, the prices it gives are finite and >= 0, and
`expires_at_ms` is absent or > `now_ms` (`price_in` may be spelled `price_in_usd_per_mtok`). Its
`wire_model_id` is the served_model_id, else the served_by's `provider_model_id`, else the family;
its `capabilities` win key by key over the model's. `contract.extra_candidates` with two names
(`provider_id`, `model_family`) join. Order: the bytes of model_family, provider_id,
served_model_id, peer_id ("" without offer), then place of declaration (served_by, offer; extras
last). A raw price is the offer's, else the served_by's, else that of `metrics["family@provider"]`,
else of `metrics["provider|family"]`, else absent; price = bounded raw x multiplier, of
`inputs.price_multipliers[provider.source or provider_id]`, 1 unless a finite number > 0.
`inputs.observed["provider|family"]` overrides success_rate, latency_ms, tok_s and declared fields
of a candidate. Credits are `inputs.credits`, by provider, over `metrics.credits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .meaning import bound
from .signature import dense, is_name, number, part, raw, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Data

OBSERVED = ("success_rate", "latency_ms", "tok_s")


@dataclass
class Catalog:
    """What the candidates of one call are made of."""

    config: Data
    metrics: Data
    contract: Data
    inputs: Data

    def candidates(self) -> list[dict[str, Data]]:
        """List the candidates in canonical order."""
        found = [*self._catalog()]
        for extra in dense(part(self.contract, "extra_candidates")) or []:
            if is_name(part(extra, "provider_id")) and is_name(part(extra, "model_family")):
                named = {"served_model_id": extra["model_family"], **extra}
                found.append(self._priced(named, named, {}))
        return sorted(found, key=_canonical)

    def _catalog(self) -> Iterator[dict[str, Data]]:
        now = number(part(self.inputs, "now_ms")) or 0.0
        for family, model in record(part(self.config, "models")).items():
            for served in dense(part(model, "served_by")) or []:
                name = served["provider"]
                provider = part(self.config, "providers", name)
                candidate = {
                    **{k: v for k, v in provider.items() if k in ("tier", "scope", "source")},
                    **{k: v for k, v in provider.items() if k in ("has_tee", "no_log")},
                    **{k: v for k, v in served.items() if k != "provider"},
                    "provider_id": name,
                    "model_family": family,
                    "served_model_id": served.get("provider_model_id", family),
                    "capabilities": record(part(model, "capabilities")),
                }
                if provider.get("discovery", "static") == "static":
                    yield self._priced(candidate, served, {})
                    continue
                for offer in dense(part(self.inputs, "offers", provider["discovery_id"])) or []:
                    if _is_alive(offer, now) and offer["model_family"] == family:
                        yield self._priced(_offered(candidate, offer), served, offer)

    def _priced(self, candidate: Data, served: Data, offer: Data) -> dict[str, Data]:
        provider, family = candidate["provider_id"], candidate["model_family"]
        seed, seed_by_route = f"{family}@{provider}", f"{provider}|{family}"
        key = candidate.get("source", provider)
        factor = number(part(self.inputs, "price_multipliers", key))
        factor = factor if factor is not None and factor > 0 else 1.0
        done = {k: v for k, v in candidate.items() if k not in ("price_in", "price_out")}
        done["price_multiplier"] = factor
        for name in ("price_in", "price_out"):
            price = _price(
                _offer_price(offer, name),
                served.get(name),
                part(self.metrics, seed, name),
                part(self.metrics, seed_by_route, name),
            )
            if price is not None:
                done[f"raw_{name}"], done[name] = price, bound(price * factor)
        observed = record(part(self.inputs, "observed", seed_by_route))
        names = (*OBSERVED, *record(part(self.config, "fields")))
        return done | {k: v for k, v in observed.items() if k in names}


def _offered(candidate: Data, offer: Data) -> Data:
    capabilities = {**candidate["capabilities"], **record(offer.get("capabilities"))}
    wire = offer.get("wire_model_id", candidate["served_model_id"])
    return {**candidate, "capabilities": capabilities, "served_model_id": wire, "offer": offer}


def _canonical(candidate: Data) -> list[bytes]:
    keys = ("model_family", "provider_id", "served_model_id")
    names = [candidate[key] for key in keys] + [part(candidate, "offer", "peer_id") or ""]
    return [raw(name) for name in names]


def _price(*sources: Data) -> float | None:
    values = [number(each) for each in sources]
    return next((value for value in values if value is not None and value >= 0), None)


def _offer_price(offer: Data, name: str) -> Data:
    return part(offer, name) if name in record(offer) else part(offer, name + "_usd_per_mtok")


def _is_alive(offer: Data, now: float) -> bool:
    given = [_offer_price(offer, name) for name in ("price_in", "price_out")]
    expiry = part(offer, "expires_at_ms")
    return (
        is_name(part(offer, "peer_id"))
        and is_name(part(offer, "model_family"))
        and all(each is None or _price(each) is not None for each in given)
        and (expiry is None or (number(expiry) is not None and expiry > now))
    )
