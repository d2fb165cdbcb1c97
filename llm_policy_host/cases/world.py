"""The world of a case: the config with what differs in it, an engine of its own, no network and no keys."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Contract

from .rows import REQUIREMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.core.vm import Vm
    from llm_policy_host.values import Plain

    from .case_file import Case

_OF_THE_WIRE = ("auth", "auth_env", "base_url")
_REQUIREMENTS = frozenset(row.key for row in REQUIREMENTS)
_SAME = ("params", "images", "scope", "timeout_ms", "deadline_ms")
_TOOL = {"type": "function", "function": {"name": "tool", "parameters": {"type": "object"}}}


def read_route(text: str) -> tuple[str, str]:
    """Read `MODEL @ PROVIDER` as (provider, family)."""
    family, _, provider = text.rpartition("@")  # without `@`: a provider alone
    return provider.strip(), family.strip()


def route_text(provider: str, family: str, peer: str | None = None) -> str:
    """Write a route as cases name it; a peer's by its own name."""
    return f"{family} @ {provider if peer is None else peer}"


def catalog_of(core: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give a config whose every provider is scripted, with the case's changes in its catalog."""
    out = copy.deepcopy(dict(core))
    for part in ("providers", "models"):
        for name, record in changes.get(part, {}).items():
            known = out.setdefault(part, {}).setdefault(name, {})
            _merge(known, record)
    for text, record in changes.get("routes", {}).items():
        _merge(_route(out, *read_route(text)), record)
    for provider in (out.get("providers") or {}).values():
        provider["api_kind"] = "scripted"
        for key in _OF_THE_WIRE:
            provider.pop(key, None)
    return out


def _merge(known: dict[str, Any], record: Mapping[str, Any]) -> None:
    for key, value in record.items():
        if value is None:
            known.pop(key, None)
        elif isinstance(value, dict) and isinstance(known.get(key), dict):
            _merge(known[key], value)
        else:
            known[key] = value


def _route(core: dict[str, Any], provider: str, family: str) -> dict[str, Any]:
    routes: list[dict[str, Any]] = (
        core.setdefault("models", {}).setdefault(family, {}).setdefault("served_by", [])
    )
    found = next((route for route in routes if route.get("provider") == provider), None)
    if found is None:
        found = {"provider": provider}
        routes.append(found)
    return found


def engine_of(vm: Vm, core: Mapping[str, Any], case: Case) -> LuaEngine:
    """Make the engine of a case, in the state that the case says."""
    made = create_engine(vm, catalog_of(core, case.catalog))
    if not isinstance(made, LuaEngine):
        raise UsageError("; ".join(f"{mistake.path}: {mistake.detail}" for mistake in made))
    threshold = (core.get("defaults") or {}).get("circuit_breaker_threshold", 3)
    state = case.state
    breakers = {
        _health_key(name): {"failures": threshold, "until_ms": case.now_ms + left_ms}
        for name, left_ms in state.get("breakers", {}).items()
    }
    disabled = {name: case.now_ms + left_ms for name, left_ms in state.get("disabled", {}).items()}
    prices = {_key(name): prices for name, prices in state.get("prices", {}).items()}
    made.restore_state({"v": 1, "health": {"breakers": breakers, "disabled": disabled}, "prices": prices})
    return made


def _key(text: str) -> str:
    """Give a route as the core's records of it are keyed."""
    return "|".join(read_route(text))


def _health_key(text: str) -> str:
    return _key(text) if "@" in text else text


def gathered(state: Mapping[str, Any]) -> dict[str, Plain]:
    """Give what a host would have gathered."""
    parts = {
        "credits": state.get("credits"),
        "observed": {_key(name): seen for name, seen in state.get("observed", {}).items()},
        "price_multipliers": state.get("multipliers"),
        "offers": state.get("offers"),
    }
    return {name: value for name, value in parts.items() if value}


def contract_of(case: Case, term: Plain) -> Contract:
    """Make the contract that a case's `request` describes."""
    request = case.request
    form = request.get("response_format")
    return Contract(
        messages=[{"role": "user", "content": request.get("prompt", "")}],
        profile=case.profile,
        policy_ir=term,
        requirements={key: value for key, value in request.items() if key in _REQUIREMENTS},
        tools=[_TOOL] if request.get("tools") else (),
        response_format=None if form is None else {"type": form},
        seed=case.seed,
        chain=_chain(request["chain"]) if "chain" in request else None,
        **{name: request[name] for name in _SAME if name in request},
    )


def _chain(routes: Sequence[str]) -> list[dict[str, str]]:
    named = (read_route(text) for text in routes)
    return [{"provider": provider, "model": family} for provider, family in named]
