"""Occasions to decide on: contracts and the state of providers, drawn from a catalog by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Plain

_NEEDS = ("tools", "vision", "json_mode", "seed")
_PRIVACY = ("tee_required", "no_log")
_CREDITS = (0, 1, 10, 100)
_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Occasion:
    """A contract as the core sees it, and what is so of providers when it comes."""

    contract: Mapping[str, Plain]
    disabled: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    credits: Mapping[str, float] | None = None

    def words(self) -> str:
        """Say what is special about it."""
        requirements = dict(self.contract.get("requirements") or {})
        told = [f"{name} {_told(value)}" for name, value in requirements.items()]
        told += [f"scope {self.contract['scope']}"] if "scope" in self.contract else []
        told += [f"{name} disabled" for name in self.disabled] + [
            f"{name}'s breaker open" for name in self.open
        ]
        return ", ".join(told) or "nothing required"


def corpus(candidates: Sequence[Mapping[str, Any]], seed: int, count: int) -> list[Occasion]:
    """Draw occasions that the candidates of a catalog can be told apart by; the first requires nothing."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    traits = _traits(candidates)
    return [Occasion({"seed": 0}), *(_occasion(rng, traits) for _ in range(count - 1))][:count]


def _traits(candidates: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """List what the candidates have, without doubles, in order."""
    contexts = {(each.get("capabilities") or {}).get("context") for each in candidates}
    whole = sorted(each for each in contexts if isinstance(each, int | float))
    named = {
        key: sorted({each[key] for each in candidates if isinstance(each.get(key), str)})
        for key in ("provider_id", "model_family", "tier", "scope")
    }
    return {**named, "min_context": [number for each in whole for number in (each, each + 1)]}


def _occasion(rng: random.Random, traits: Mapping[str, Sequence[Any]]) -> Occasion:
    wanted: dict[str, Any] = {}
    needs = [need for need in _NEEDS if rng.random() < 0.15]
    if needs:
        wanted["needs"] = needs
    for key, share in (("min_context", 0.4), ("model_family", 0.1), ("tier", 0.1)):
        if rng.random() < share and traits[key]:
            wanted[key] = rng.choice(traits[key])
    if rng.random() < 0.1:
        wanted["privacy"] = rng.choice(_PRIVACY)
    contract: dict[str, Plain] = {"seed": rng.randrange(_SEEDS)}
    if wanted:
        contract["requirements"] = wanted
    if traits["scope"] and rng.random() < 0.3:
        contract["scope"] = rng.choice(traits["scope"])
    unwell = [tuple(name for name in traits["provider_id"] if rng.random() < 0.08) for _ in range(2)]
    credits_now = {name: rng.choice(_CREDITS) for name in traits["provider_id"] if rng.random() < 0.5}
    return Occasion(contract, unwell[0], unwell[1], credits_now)


def _told(value: Plain) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)
