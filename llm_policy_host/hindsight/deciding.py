"""A past decision made again from what it rested on, in any Lua runtime; no clock is asked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.contexts import GATHERED
from llm_policy_host.ledger.desk import route_of
from llm_policy_host.ledger.digests import (
    decision_digest,
    params_digest,
    restored,
    texts_by_digest,
    trace_digest,
)
from llm_policy_host.ledger.encoding import text_of
from llm_policy_host.run.attempt import BOUNDS
from llm_policy_host.run.driver import BUDGET_EXCEEDED
from llm_policy_host.values import Failure, Inputs

from .history import CUT, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.values import Plain, Step

    from .history import Past, Tried

NOW_MS: Final = 0
"""The moment of every decision made again: what depended on moments is in the ctx, without them."""

_DIGESTS: Final = ("decision_digest", "trace_digest")
_MANY_FAILURES = 1_000
_NOWHERE: Final = "http://nowhere.invalid"
_NO_PARAMS: Final = frozenset(
    {"requirements", "scope", "tools", "images", "response_format", "extra_candidates", "policy_ir", *BOUNDS}
)


@dataclass(frozen=True, slots=True)
class Again:
    """A run decided again: both digests, and the first thing that is not as it was."""

    decision: str
    trace: str
    difference: str | None = None


class Decider:
    """Decides past runs in one runtime; engines of the catalogs are made once."""

    def __init__(
        self,
        get: Callable[[str], bytes | None],
        runtime: str | None = None,
        moments: Callable[[], int] | None = None,
    ) -> None:
        """Take where blobs are; `moments` gives what the core is told for a time, else always the same."""
        self.shelf = Shelf(get)
        self._now = moments or (lambda: NOW_MS)
        self._vm = Vm(runtime)
        self._engines: dict[str, LuaEngine] = {}
        self._texts: dict[str, dict[str, str]] = {}

    @property
    def runtime(self) -> str:
        """Name the runtime."""
        return self._vm.name

    def engine(self, catalog: str) -> LuaEngine:
        """Give the engine of a catalog."""
        if catalog not in self._engines:
            self._engines[catalog] = _engine_of(self._vm, self.shelf.plain(catalog))
        return self._engines[catalog]

    def begin(self, past: Past, policy: Plain = None) -> tuple[LuaEngine, Step]:
        """Plan a past run again, by another policy where one is given; the health is as it was then."""
        engine, contract, inputs = self._asked(past, policy)
        return engine, engine.start(contract, inputs)

    def shortlist(self, past: Past) -> frozenset[str]:
        """Name the routes that a past run's policy lists, whoever of them was asked."""
        engine, contract, inputs = self._asked(past)
        plan: Any = engine.rank(contract, inputs)
        return frozenset(f"{each['provider_id']}|{each['model_family']}" for each in plan["ordered"] or ())

    def _asked(self, past: Past, policy: Plain = None) -> tuple[LuaEngine, Plain, Inputs]:
        engine = self.engine(past.admitted["catalog_id"])
        _, parts = self.shelf.context(past.refs["ctx"])
        state = parts.get("state") or {}
        engine.restore_state(_state(state, self._now() + 1))
        term = self.shelf.plain(past.refs["policy"]) if policy is None else policy
        seed = past.admitted.get("seed")
        contract = {**self._shape(past, term), "policy_ir": term}
        if "seed" in contract:
            contract["seed"] = seed
        others = {name: parts[name] for name in GATHERED if parts.get(name)}
        return engine, contract, Inputs(self._now(), seed, others=others)

    def _shape(self, past: Past, term: Plain) -> dict[str, Any]:
        """Give what was asked; what is there by its digest gets the text of catalog or policy back."""
        shape, catalog = self.shelf.plain(past.refs["shape"]) or {}, past.admitted["catalog_id"]
        if catalog not in self._texts:
            self._texts[catalog] = texts_by_digest(self.shelf.plain(catalog))
        texts = {**self._texts[catalog], **texts_by_digest([term, shape])}
        return restored(shape, texts) if texts else shape

    def again(self, past: Past) -> Again:
        """Make a run's decisions again, and tell them what came of its attempts."""
        engine, step = self.begin(past)
        policy_id, _ = (
            engine.grounds(step.handle) if step.status != "done" or not _is_refused(step) else (None, 0)
        )
        providers = self._providers(past)
        skipped, waits, difference = past.skipped(), past.waits, None
        for number, tried in enumerate(past.tried, 1):
            while step.status == "wait":
                step = engine.wake(step.handle, self._now())
            if number in past.redirected and step.status == "call":
                moved = engine.revive(
                    engine.dump(step.handle), self._now(), route_of(past.redirected[number])
                )
                step = step if isinstance(moved, str) else moved
            difference = difference or self._difference(past, number, tried, step)
            if step.status != "call" or tried.kind in CUT:
                break
            if tried.kind is None:
                step = engine.succeed(step.handle, self._now())
            else:
                now = {name: name in skipped.get(number, ()) for name in providers}
                wait_ms = max(1, waits[number]) if number in waits else None
                failure = Failure(tried.kind, None, wait_ms)  # type: ignore[arg-type] # a kind
                step = engine.fail(step.handle, self._now(), failure, now)
        if step.status == "wait" and past.error == BUDGET_EXCEEDED:
            step = engine.wake(step.handle, self._now())
        if step.status != "done":
            kind = "cancelled" if past.end == "RunCancelled" else past.error or "cancelled"
            step = engine.abandon(step.handle, self._now(), kind)
        return self._told(past, step, policy_id, difference)

    def _told(self, past: Past, step: Step, policy_id: str | None, difference: str | None) -> Again:
        trace = step.result.get("trace") or {}
        admitted = past.admitted
        ctx, _ = self.shelf.context(past.refs["ctx"])
        decision = decision_digest(
            policy_id,
            admitted["catalog_id"],
            ctx,
            admitted.get("seed"),
            past.refs["shape"].removeprefix("sha256:"),
            text_of(trace.get("ranked") or ()),
        )
        whole = trace_digest(decision, trace.get("decision_path") or (), step.result.get("error"))
        if difference is None and not _claims_none(past):
            made = zip(_DIGESTS, (decision, whole), strict=True)
            difference = next((name for name, digest in made if digest != past.ended.get(name)), None)
        return Again(decision, whole, difference)

    def _difference(self, past: Past, number: int, tried: Tried, step: Step) -> str | None:
        """Say where an attempt is not the one that follows."""
        if step.status != "call":
            return f"attempt {number}: was {tried.route}, and nobody follows"
        candidate = step.candidate
        route = f"{candidate['provider_id']}|{candidate['model_family']}"
        if route != tried.route:
            return f"attempt {number}: was {tried.route}, and {route} follows"
        given = self.shelf.plain(past.refs["shape"]) or {}
        params = given if step.params is None else step.params
        names = {
            name: value for name, value in params.items() if name not in _NO_PARAMS and name != "_filters"
        }
        if tried.params is not None and params_digest(names) != tried.params:
            return f"attempt {number}: the parameters are not those that were sent"
        return None

    def _providers(self, past: Past) -> set[str]:
        """Name everyone who might be passed by."""
        catalog = self.shelf.plain(past.admitted["catalog_id"])
        extra = (self.shelf.plain(past.refs["shape"]) or {}).get("extra_candidates") or ()
        return {*(catalog.get("providers") or ()), *(candidate["provider_id"] for candidate in extra)}


def backwards(from_ms: int = 10**12) -> Callable[[], int]:
    """Make a clock that runs backwards, an hour at each look."""
    moments = itertools.count(from_ms, -3_600_000)
    return lambda: max(0, next(moments))


def _claims_none(past: Past) -> bool:
    """Whether a run has no digests to be compared: it was ended when nobody drove it."""
    return past.end != "RunCompleted" and not any(past.ended.get(name) for name in _DIGESTS)


def _is_refused(step: Step) -> bool:
    return step.result.get("error") in ("policy_refused", "unknown_profile")


def _engine_of(vm: Vm, catalog: Mapping[str, Any]) -> LuaEngine:
    """Make the engine of a catalog that names no address."""
    core: dict[str, Any] = {name: value for name, value in catalog.items() if value}
    core["providers"] = {
        name: dict(provider or {}) | ({} if _is_market(provider) else {"base_url": _NOWHERE})
        for name, provider in (catalog.get("providers") or {}).items()
    }
    defaults = {
        name: value for name, value in (core.pop("defaults", None) or {}).items() if name != "profile"
    }
    core |= {"models": core.get("models") or {}, **({"defaults": defaults} if defaults else {})}
    engine = create_engine(vm, core)
    if not isinstance(engine, LuaEngine):
        mistakes = "; ".join(f"{mistake.path}: {mistake.detail}" for mistake in engine)
        raise LedgerError("blob", "catalog", f"is none for this version: {mistakes}")
    return engine


def _is_market(provider: Any) -> bool:  # noqa: ANN401 - of a catalog
    return bool(provider) and provider.get("discovery") == "marketplace"


def _state(state: Mapping[str, Any], until_ms: int) -> dict[str, Plain]:
    """Give the engine's state in which a ctx was: breakers open and providers disabled now."""
    open_until = {"failures": _MANY_FAILURES, "until_ms": until_ms}
    made: dict[str, Plain] = {
        "v": 1,
        "health": {
            "breakers": dict.fromkeys(state.get("breakers") or (), open_until),
            "disabled": dict.fromkeys(state.get("disabled") or (), until_ms),
        },
        "prices": state.get("prices") or {},
    }
    return made if not state.get("credits") else {**made, "credits": state["credits"]}
