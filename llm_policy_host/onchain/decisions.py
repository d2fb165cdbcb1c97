"""Decisions written down so that anyone can derive them again, in any runtime.

A record holds all that a decision rests on: the policy's term, the catalog's candidates without
their addresses, the contract's shape, the inputs and the health at that moment. Messages are no
part of it: no policy reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.digest import Digest
from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Inputs, Plain

from .commitments import catalog_identity, public_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = "llm-policy-decision/v1"

_SCHEMA_KEYS = ("fields", "params", "tier_order", "defaults")
_STEERING = ("profile", "policy_ir", "chain", "extra_candidates")
_NO_PARAMS = frozenset({*_STEERING, "requirements", "scope", "tools", "images", "response_format"})
_INPUTS = ("state", "observed", "price_multipliers", "credits", "disabled")
_SHAPES = {"schema": dict, "policy": list, "catalog": list, "contract": dict, "inputs": dict, "decided": dict}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a logged decision is not the derived one."""

    path: str
    logged: Plain
    derived: Plain

    def __str__(self) -> str:
        """Say both sides."""
        return f"{self.path}: logged `{self.logged}`, derived `{self.derived}`"


def schema_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what of a config a term's meaning rests on; its default profile names nothing here."""
    schema = {name: config[name] for name in _SCHEMA_KEYS if config.get(name)}
    defaults = {name: value for name, value in schema.pop("defaults", {}).items() if name != "profile"}
    return {**schema, "defaults": defaults} if defaults else schema


def record(engine: LuaEngine, schema: Mapping[str, Any], contract: Plain, inputs: Inputs) -> dict[str, Any]:
    """Decide a contract, and write down what was decided and what it rests on.

    The engine's health is what it was before. An error of the decision itself (`no_candidates`)
    is recorded; a contract that the core refuses is the caller's mistake.
    """
    if inputs.others.get("offers"):
        raise UsageError("a decision over a marketplace's offers cannot be recorded")
    state = engine.dump_state()
    try:
        term, decided = _decide(engine, contract, inputs)
    finally:
        engine.restore_state(state)
    catalog = public_candidates([*engine.candidates, *contract.get("extra_candidates", ())])
    return {
        "format": FORMAT,
        "schema": dict(schema),
        "policy": term,
        "catalog": catalog,
        "contract": {name: value for name, value in contract.items() if name not in _STEERING},
        "inputs": {"now_ms": inputs.now_ms, "seed": inputs.seed, "state": state, **inputs.others},
        "decided": {**decided, "catalog_id": catalog_identity(Digest(Vm()), catalog)},
    }


def verify(logged: Mapping[str, Any], runtime: str | None = None) -> Difference | None:
    """Derive a recorded decision again; None where all that it says is so, else the first difference."""
    check(logged)
    return _difference("decided", logged["decided"], derive(logged, runtime))


def derive(logged: Mapping[str, Any], runtime: str | None = None) -> dict[str, Any]:
    """Decide again from a record, in a runtime of its own."""
    vm = Vm(runtime)
    engine = create_engine(vm, {**logged["schema"], "providers": {}, "models": {}})
    if not isinstance(engine, LuaEngine):
        mistakes = "; ".join(f"{mistake.path}: {mistake.detail}" for mistake in engine)
        raise UsageError(f"the record's schema is none: {mistakes}")
    given = dict(logged["inputs"])
    now_ms, seed, state = given.pop("now_ms", 0), given.pop("seed", None), given.pop("state", None)
    if state is not None:
        engine.restore_state(state)
    contract = {**logged["contract"], "policy_ir": logged["policy"], "extra_candidates": logged["catalog"]}
    _, decided = _decide(engine, contract, Inputs(now_ms, seed, others=given))
    return {**decided, "catalog_id": catalog_identity(Digest(vm), logged["catalog"])}


def check(logged: Plain) -> None:
    """Refuse what has not the shape of a record."""
    if not isinstance(logged, dict) or logged.get("format") != FORMAT:
        raise UsageError(f"no record of a decision: its `format` is not `{FORMAT}`")
    for name, kind in _SHAPES.items():
        value = logged.get(name)
        if not isinstance(value, kind):
            raise UsageError(f"{name}: must be a {'record' if kind is dict else 'list'}")
    if not logged["decided"]:
        raise UsageError("decided: says nothing")
    _check_inputs(logged["inputs"])


def _check_inputs(inputs: Mapping[str, Any]) -> None:
    now_ms = inputs.get("now_ms", 0)
    if isinstance(now_ms, bool) or not isinstance(now_ms, int | float):
        raise UsageError("inputs.now_ms: must be a number")
    for name, value in inputs.items():
        if name in _INPUTS and not isinstance(value, dict):
            raise UsageError(f"inputs.{name}: must be a record")
        if name not in (*_INPUTS, "now_ms", "seed"):
            raise UsageError(f"inputs.{name}: unknown key")


def _decide(engine: LuaEngine, contract: Plain, inputs: Inputs) -> tuple[Plain, dict[str, Any]]:
    """Take a contract to its first call; the term that decided, and what it decided."""
    step = engine.start(contract, replace(inputs, is_full_trace=True))
    decided: dict[str, Any] = {}
    if step.status == "call":
        params = contract if step.params is None else step.params
        decided["first"] = {
            "provider_id": step.candidate["provider_id"],
            "model_family": step.candidate["model_family"],
            "params": _parameters(params),
        }
        step = engine.succeed(step.handle, inputs.now_ms)
    result = step.result
    if result.get("refusal") or "policy_term" not in result["trace"]:
        refusal = result.get("refusal") or {}
        said = " at ".join(str(refusal[name]) for name in ("code", "path") if name in refusal)
        raise UsageError(f"nothing was decided: {result.get('error')}{': ' + said if said else ''}")
    trace = result["trace"]
    return trace["policy_term"], {
        **decided,
        "order": trace["ranked"],
        "rejected": trace["rejected"],
        "policy_id": trace["policy_id"],
        **({} if result["ok"] else {"error": result["error"]}),
    }


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the sampling parameters of a request, without what steers it."""
    return {name: value for name, value in given.items() if name not in _NO_PARAMS}


def _difference(path: str, logged: Plain, derived: Plain) -> Difference | None:
    """Find the first thing logged that is not derived; what the log leaves out is not asked."""
    if isinstance(logged, Mapping) and logged and isinstance(derived, Mapping):
        pairs = [(f"{path}.{name}", logged[name], derived.get(name)) for name in sorted(logged)]
        return _first(pairs)
    if isinstance(logged, list) and logged and isinstance(derived, list):
        both = min(len(logged), len(derived))
        pairs = [(f"{path}[{place + 1}]", logged[place], derived[place]) for place in range(both)]
        found = _first(pairs)
        if found is None and len(logged) != len(derived):
            return Difference(path, f"{len(logged)} entries", f"{len(derived)} entries")
        return found
    is_empty = all(value in ({}, []) for value in (logged, derived))
    is_same = logged == derived and isinstance(logged, bool) == isinstance(derived, bool)
    return None if is_empty or is_same else Difference(path, logged, derived)


def _first(pairs: Sequence[tuple[str, Plain, Plain]]) -> Difference | None:
    found = (_difference(*pair) for pair in pairs)
    return next((difference for difference in found if difference is not None), None)
