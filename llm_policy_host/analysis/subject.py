"""What an analysis is about: a term with the names that it was written under."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Plain

_SCHEMA_KEYS = ("fields", "params", "tier_order")
_EVERYTHING = ["policy", ["top"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]


@dataclass(frozen=True, slots=True)
class Subject:
    """An admitted term in normal form, how it is called, and the schema that gives its names meaning."""

    name: str
    sort: str
    term: Plain
    schema: Mapping[str, Any] = field(default_factory=nothing)


def schema_of(core: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a config a term may name; of its transforms the names."""
    schema = {key: core[key] for key in _SCHEMA_KEYS if core.get(key)}
    return {**schema, "customs": sorted(core["customs"])} if core.get("customs") else schema


def bare_engine(core: Mapping[str, Any]) -> LuaEngine:
    """Make an engine of a config's data, with a health of its own."""
    engine = create_engine(Vm(), core)
    if not isinstance(engine, LuaEngine):
        raise UsageError("; ".join(f"{mistake.path}: {mistake.detail}" for mistake in engine))
    return engine


def envelope_of(core: Mapping[str, Any]) -> Plain:
    """Give a config's envelope as a Pred: the filter that it leaves of a policy which admits everything."""
    schema = {key: core[key] for key in _SCHEMA_KEYS if core.get(key)}
    profiles = {"everything": {"policy_ir": _EVERYTHING}}
    envelope = {"policy_envelope": core["policy_envelope"]} if "policy_envelope" in core else {}
    whole = {**schema, **envelope, "providers": {}, "models": {}, "profiles": profiles}
    return bare_engine(whole).profile_term("everything")[1]
