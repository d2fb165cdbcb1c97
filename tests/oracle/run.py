"""What a run does: spec 2.2 to 2.4, simulated step by step (2.2 in `catalog`, 2.4 here).

Plan. `policy_ir` of the contract, else its `profile`, else `defaults.profile`, else `default`, else
the only profile, else `unknown_profile`; a chain of the contract goes before the profile's, and
is refused at `$.chain`. A term that is not admitted as Policy: `policy_refused`. The filter is and(envelope, filter) in normal
form; after it, in this order and not part of the policy: pin.provider (`provider_id`), pin.model
(`model_family`), max_latency_ms (`cmp:latency_ms:le`). ctx.seed is the contract's, else the
inputs'. ctx.state is that of the start for the whole run (breakers open at `now_ms`, disabled
until later than `now_ms`: the engine's and `inputs.disabled`); only ctx.attempt moves on.

Call. The parameters are the declared ones that the contract has, and `timeout_ms` if it has none:
`defaults.timeout_ms`, else 30000; mutated anew from these for every attempt. A provider disabled at
the moment of the call is passed over with a `skipped` entry; after `next_provider_same_model` only
candidates of that family are looked at, and passed over. A wait ends exactly at its `until_ms`.

Failure, at now = the time of its event; the entries of the decision path in this order:
1. `attempted`: latency_ms is the event's, else the time since the call; error_kind as it came.
2. Health (`breaker_opened` route, then provider, each only where its until_ms grew). No evidence:
   bad_request content_filter context_overflow empty_completion stream_interrupted. Else the route's
   failures grow by 1; the provider's too for auth_error payment_required rate_limit network_error
   timeout server_error. With open_breaker_ms > 0 they grow to the threshold at least. At the
   threshold until = max(until, now + d), d the first given of: event.retry_after_ms (0 too),
   action.open_breaker_ms > 0, the config's time for rate_limit or for other kinds. An until that has
   passed leaves the failures: the next one opens again (half-open). Open is now < until. A success
   removes both entries.
3. `stream_interrupted` aborts. `retry_same`, while the retries of this visit of the candidate
   (over all kinds) are fewer than `attempts` (default 1): wait max(backoff, event.retry_after_ms),
   `retry_scheduled` with until_ms = now + wait also where that is now, a wait step only where it is
   later; else `then_action`, where `retry_same` and nothing mean `next_candidate`.
4. `disable_provider` writes `provider_disabled` and goes to the next candidate. `abort`: the error
   is the kind. Nobody left: `exhausted: <last kind>`, or `no_candidates` before any failure.

Whose health it is (decision 0016). Nothing of health is written, and `disable_provider` holds within the
run alone, where the event says `is_callers_fault`, and for a route that the contract brings at an address
of its own: an extra candidate of that provider_id and model_family whose `base_url` or `api_kind` is not
that of the config's provider, or whose provider the config has not. Under a caller's policy the second
holds too, and `open_breaker_ms` counts as absent: `policy_ir`, with `inputs.is_callers_policy`, but for one
whose Xform and FailPlan are together those of a profile. A call lists its `callers_bounds`, those of
timeout_ms, ttft_ms, idle_ms (in this order) that are finite numbers > 0 and shorter than the operator's:
under a caller's policy that is the default timeout alone; else, where the contract gives any of them, what
the mutation gives without those of the contract. What is no such number bounds nothing; the default then
stands for timeout_ms.

Observation: `health` lists {scope: provider | route, key, failures, until_ms} (until_ms 0: never
open) and {scope: disabled, key, until_ms} of what is disabled still at the end, by scope and key
in bytes. A case whose events end too early has no `result`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .catalog import Catalog
from .config import observe_config
from .contract import refusal as contract_refusal
from .language import Refusal, check, normal_form
from .meaning import classify, enveloped, integer_seed, scores, select, transform, verdict
from .signature import Schema, dense, number, part, raw, record
from .sugar import SugarError, lower

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Data

__all__ = ["Engine", "observe_config", "observe_run", "observe_runs"]

NOT_EVIDENCE = (
    *("bad_request", "content_filter", "context_overflow"),
    *("empty_completion", "stream_interrupted"),
)
OF_THE_PROVIDER = (
    *("auth_error", "payment_required", "rate_limit"),
    *("network_error", "timeout", "server_error"),
)
BOUNDS = ("timeout_ms", "ttft_ms", "idle_ms")
DEFAULTS = {
    "timeout_ms": 30000.0,
    "circuit_breaker_threshold": 3.0,
    "circuit_breaker_failure_ms": 300000.0,
    "circuit_breaker_rate_limit_ms": 30000.0,
    "disable_provider_ttl_ms": 300000.0,
}
CHOSEN = (
    *("provider_id", "model_family", "served_model_id", "price_in", "price_out"),
    *("raw_price_in", "raw_price_out", "price_multiplier"),
)


def observe_run(case: Data) -> Data:
    """Answer the steps, the result and the health of one run of a fresh engine.

    The escapes of the case are read before, here and below.
    """
    return observe_runs({**case, "runs": [case]})[0]


def observe_runs(case: Data) -> Data:
    """Answer the same for each run, in order, of one engine."""
    engine = Engine(case["config"], case.get("metrics"))
    return [engine.run(each["contract"], each.get("inputs", {}), each["events"]) for each in case["runs"]]


# Health -----------------------------------------------------------------------------------------


@dataclass
class Breaker:
    """Consecutive failures of a route or a provider, and until when it is open."""

    failures: float = 0.0
    until: float = 0.0


@dataclass
class Engine:
    """A config, and what its runs leave behind."""

    config: Data
    metrics: Data = None
    breakers: dict[tuple[str, str], Breaker] = field(default_factory=dict)
    disabled: dict[str, float] = field(default_factory=dict)

    def default(self, name: str) -> float:
        """Answer a setting of `defaults`, or what stands for it."""
        own = number(part(self.config, "defaults", name))
        return DEFAULTS[name] if own is None else own

    def is_open(self, scope: str, key: str, now: float) -> bool:
        """Tell whether a breaker is open."""
        return (scope, key) in self.breakers and now < self.breakers[scope, key].until

    def fail(self, scope: str, key: str, now: float, event: Data, action: Data) -> float | None:
        """Count a failure; answer until when it opened the breaker, if it did."""
        breaker = self.breakers.setdefault((scope, key), Breaker())
        threshold = self.default("circuit_breaker_threshold")
        at_once = number(action.get("open_breaker_ms")) or None
        breaker.failures += 1
        if at_once:
            breaker.failures = max(breaker.failures, threshold)
        if breaker.failures < threshold:
            return None
        is_rate_limit = event["error_kind"] == "rate_limit"
        usual = self.default(f"circuit_breaker_{'rate_limit' if is_rate_limit else 'failure'}_ms")
        durations = (retry_after(event), at_once, usual)
        until = now + next(each for each in durations if each is not None)
        if until <= breaker.until:
            return None
        breaker.until = until
        return until

    def succeed(self, candidate: Data) -> None:
        """Forget the failures of a route and of its provider."""
        self.breakers.pop(("route", route(candidate)), None)
        self.breakers.pop(("provider", candidate["provider_id"]), None)

    def health(self, now: float) -> list[Data]:
        """List what the engine remembers."""
        kept: list[Data] = [
            {"scope": scope, "key": key, "failures": each.failures, "until_ms": each.until}
            for (scope, key), each in self.breakers.items()
        ]
        kept += [
            {"scope": "disabled", "key": key, "until_ms": until}
            for key, until in self.disabled.items()
            if now < until
        ]
        return sorted(kept, key=lambda row: (row["scope"], raw(row["key"])))

    def run(self, contract: Data, inputs: Data, events: Data) -> Data:
        """Plan and walk; each call takes the next event."""
        walk = Walk(self, record(contract), record(inputs), list(events))
        result = walk.refusal() or walk.go()
        seen = {"steps": walk.steps, "health": self.health(walk.now)}
        return seen | ({"result": {**result, "decision_path": walk.path}} if result else {})


def route(candidate: Data) -> str:
    """Answer the key of a candidate's route."""
    return f"{candidate['provider_id']}|{candidate['model_family']}"


def retry_after(event: Data) -> float | None:
    """Read how long a provider asks to wait."""
    after = number(event.get("retry_after_ms"))
    return after if after is not None and after >= 0 else None


# The run ----------------------------------------------------------------------------------------


class Walk:
    """One run: its plan, and what has happened."""

    def __init__(self, engine: Engine, contract: Data, inputs: Data, events: list[Data]) -> None:
        self.engine, self.contract, self.inputs, self.events = engine, contract, inputs, events
        self.event: Data = {}
        self.schema = Schema.read(engine.config)
        self.now = number(inputs.get("now_ms")) or 0.0
        self.attempt, self.last_kind = 0, ""
        self.steps: list[Data] = []
        self.path: list[Data] = []
        self.policy: Data = None
        self.is_callers = False
        self.disabled: dict[str, float] = {}

    def refusal(self) -> Data:
        """Find the policy; answer the result of a contract that has none."""
        if first := contract_refusal(self.contract, self.schema):
            return _refused(*first)
        self.policy = self.contract.get("policy_ir")
        if self.policy is None:
            profile = self._profile()
            if profile not in record(part(self.engine.config, "profiles")):
                return {"ok": False, "error": "unknown_profile"}
            try:
                self.policy = lower(profile, self.engine.config, self.contract.get("chain"))
            except SugarError:  # a config of the case that `observe_config` refuses
                return {"ok": False, "error": "unknown_profile"}
        answer = check(self.policy, self.schema, "Policy")
        if isinstance(answer, Refusal):
            return _refused(answer.code, answer.path)
        if envelope := part(self.engine.config, "policy_envelope"):
            self.policy = enveloped(self.policy, envelope)
        self.policy = normal_form(self.policy)
        if self.contract.get("policy_ir") is not None and self.inputs.get("is_callers_policy") is True:
            self.is_callers = self.policy[4:] not in self._ways()
        return None

    def _ways(self) -> Iterator[Data]:
        """Give the Xform and the FailPlan of each profile."""
        for profile in record(part(self.engine.config, "profiles")):
            with suppress(SugarError):
                yield normal_form(lower(profile, self.engine.config, None))[4:]

    def _profile(self) -> Data:
        profiles = record(part(self.engine.config, "profiles"))
        named = self.contract.get("profile", part(self.engine.config, "defaults", "profile"))
        if named is None and "default" not in profiles and len(profiles) == 1:
            return next(iter(profiles))
        return "default" if named is None else named

    def go(self) -> Data:
        """Walk the shortlist; answer the result, or nothing where the events end."""
        ctx = self._ctx()
        shortlist = self._shortlist(ctx)
        place, family = 0, None
        while place < len(shortlist):
            candidate = shortlist[place]
            place += 1
            if family is not None and candidate["model_family"] != family:
                continue
            if self._is_disabled(candidate["provider_id"]):
                names = {k: candidate[k] for k in ("provider_id", "model_family")}
                self.path.append({"event": "skipped", **names, "reason": "disabled"})
                continue
            word = self._visit(candidate, ctx)
            if word == "":
                return None
            if word == "success":
                return {"ok": True, "chosen": self._chosen(candidate)}
            if word == "abort":
                return {"ok": False, "error": self.last_kind}
            if word == "disable_provider":
                self._disable(candidate)
            family = candidate["model_family"] if word == "next_provider_same_model" else None
        error = f"exhausted: {self.last_kind}" if self.last_kind else "no_candidates"
        return {"ok": False, "error": error}

    def _ctx(self) -> dict[str, Data]:
        until = {**record(self.inputs.get("disabled")), **self.engine.disabled}
        credits_ = record(part(self.engine.metrics, "credits")) | record(self.inputs.get("credits"))
        state = {
            "ema": {},
            "breakers": {k: True for s, k in self.engine.breakers if self._is_open(s, k)},
            "disabled": {key: True for key in until if self._is_disabled(key)},
            "credits": credits_,
        }
        ctx = {"request": self.contract, "state": state, "now_ms": self.now}
        seeds = [integer_seed(each.get("seed")) for each in (self.contract, self.inputs)]
        seed = next((each for each in seeds if each is not None), None)
        return ctx if seed is None else {**ctx, "seed": seed}

    def _is_open(self, scope: str, key: str) -> bool:
        return self.engine.is_open(scope, key, self.now)

    def _is_disabled(self, provider: str) -> bool:
        extras = [part(self.inputs, "disabled", provider), part(self.event, "disabled", provider)]
        until = [number(extra) or 0.0 for extra in extras if extra is not True]
        until += [each.get(provider, 0.0) for each in (self.engine.disabled, self.disabled)]
        return True in extras or self.now < max(until)

    def _shortlist(self, ctx: Data) -> list[Data]:
        _, pred, scorer, selector, _, _ = self.policy
        preds = [pred, *self._pins()]
        engine = self.engine
        catalog = Catalog(engine.config, engine.metrics, self.contract, self.inputs)
        survivors = [
            each
            for each in catalog.candidates()
            if not any(verdict(p, each, ctx, self.schema) for p in preds)
        ]
        values = scores(scorer, survivors, ctx, self.schema)
        scored = list(zip(survivors, values, strict=True))
        return [each for each, _ in select(selector, scored, ctx, self.schema)]

    def _pins(self) -> list[Data]:
        wanted = part(self.contract, "requirements")
        pin, latency = part(wanted, "pin"), number(part(wanted, "max_latency_ms"))
        pins = [
            [op, part(pin, key)]
            for op, key in (("provider_eq", "provider"), ("family_eq", "model"))
            if isinstance(part(pin, key), str)
        ]
        return pins + ([] if latency is None else [["cmp", "latency_ms", "le", latency]])

    def _parameters(self) -> dict[str, Data]:
        given = {k: v for k, v in self.contract.items() if k in self.schema.params}
        return {"timeout_ms": self.engine.default("timeout_ms"), **given}

    def _call(self, candidate: Data, ctx: Data) -> Data:
        """Call the candidate; answer the event, or nothing where there is none left."""
        self.attempt += 1
        ctx = {**ctx, "attempt": self.attempt}
        params = transform(self.policy[4], self._parameters(), candidate, ctx, self.schema)
        names = {"provider": candidate["provider_id"], "model": candidate["model_family"]}
        bounds = self._callers_bounds(candidate, ctx, params)
        shorter = {"callers_bounds": bounds} if bounds else {}
        self.steps.append({"call": {**names, "params": params, **shorter}})
        if not self.events:
            return None
        event = self.event = dict(self.events.pop(0))
        after = event.get("after_ms", 10)
        self.now += after
        if event["ok"] is not True:
            event["error_kind"] = event.get("error_kind", "unknown")
        extras = {k: event[k] for k in ("error_kind", "http_status") if k in event}
        where = {k: candidate[k] for k in ("provider_id", "model_family")}
        self.path.append(
            {"event": "attempted", "attempt": self.attempt, **where}
            | {"latency_ms": event.get("latency_ms", after), **extras}
        )
        return event

    def _callers_bounds(self, candidate: Data, ctx: Data, params: dict[str, Data]) -> list[str]:
        """Name the bounds of a call that the caller made shorter than the operator's are."""
        usual = self.engine.default("timeout_ms")
        own: dict[str, Data] = {}
        if not self.is_callers:
            given = {k: v for k, v in self._parameters().items() if k not in BOUNDS}
            own = transform(self.policy[4], {**given, "timeout_ms": usual}, candidate, ctx, self.schema)
            if not set(BOUNDS) & set(self.contract):
                return []
        longest = {name: _bound(own.get(name)) for name in BOUNDS}
        longest["timeout_ms"] = longest["timeout_ms"] or usual
        return [
            name
            for name in BOUNDS
            if (bound := _bound(params.get(name))) is not None and bound < (longest[name] or math.inf)
        ]

    def _visit(self, candidate: Data, ctx: Data) -> str:
        """Call a candidate until it succeeds or the plan leads elsewhere: answer the word."""
        retries = 0
        while event := self._call(candidate, ctx):
            if event["ok"] is True:
                if not self._is_foreign(candidate):
                    self.engine.succeed(candidate)
                return "success"
            self.last_kind = event["error_kind"]
            action = classify(self.policy[5], self.last_kind)
            self._count(candidate, event, action)
            if self.last_kind == "stream_interrupted":
                return "abort"
            if action["action"] != "retry_same":
                return str(action["action"])
            if retries >= action.get("attempts", 1):
                then = str(action.get("then_action", "next_candidate"))
                return "next_candidate" if then == "retry_same" else then
            retries += 1
            self._wait(max(_backoff(action, retries), retry_after(event) or 0.0))
        return ""

    def _count(self, candidate: Data, event: Data, action: Data) -> None:
        if self.last_kind in NOT_EVIDENCE or self._is_foreign(candidate) or self._is_callers_fault():
            return
        if self.is_callers:
            action = {**action, "open_breaker_ms": 0.0}
        keys = [("route", route(candidate))]
        if self.last_kind in OF_THE_PROVIDER:
            keys.append(("provider", candidate["provider_id"]))
        for scope, key in keys:
            until = self.engine.fail(scope, key, self.now, event, action)
            if until is not None:
                opened = {"scope": scope, "key": key, "until_ms": until}
                self.path.append({"event": "breaker_opened", **opened})

    def _wait(self, wait: float) -> None:
        until = self.now + wait
        coming = {"attempt": self.attempt + 1, "until_ms": until}
        self.path.append({"event": "retry_scheduled", **coming})
        if until > self.now:
            self.steps.append({"wait_until_ms": until})
        self.now = until

    def _disable(self, candidate: Data) -> None:
        provider = candidate["provider_id"]
        until = self.now + self.engine.default("disable_provider_ttl_ms")
        is_own = self.is_callers or self._is_foreign(candidate) or self._is_callers_fault()
        (self.disabled if is_own else self.engine.disabled)[provider] = until
        entry = {"provider_id": provider, "until_ms": until}
        self.path.append({"event": "provider_disabled", **entry})

    def _is_callers_fault(self) -> bool:
        return self.event.get("is_callers_fault") is True

    def _is_foreign(self, candidate: Data) -> bool:
        """Tell whether the contract brings the candidate's route, at an address that is not the config's."""
        extra = dense(part(self.contract, "extra_candidates")) or []
        return any(route(each) == route(candidate) and not self._is_at_home(each) for each in extra)

    def _is_at_home(self, extra: Data) -> bool:
        provider = part(self.engine.config, "providers", extra["provider_id"])
        return provider is not None and _address(provider) == _address(extra)

    def _chosen(self, candidate: Data) -> dict[str, Data]:
        chosen = {key: candidate[key] for key in CHOSEN if key in candidate}
        peer = part(candidate, "offer", "peer_id")
        return {**chosen, "served_by": peer if isinstance(peer, str) else candidate["provider_id"]}


def _refused(code: str, path: str) -> Data:
    """Answer the result of a contract that is refused."""
    return {"ok": False, "error": "policy_refused", "refusal": {"code": code, "path": path}}


def _bound(value: Data) -> float | None:
    """Read how long something may take; what is no number above 0 bounds nothing."""
    seen = number(value)
    return seen if seen is not None and seen > 0 else None


def _address(record_: Data) -> tuple[Data, Data]:
    kind = part(record_, "api_kind")
    return part(record_, "base_url"), "openai_compatible" if kind is None else kind


def _backoff(action: Data, retry: int) -> float:
    """Answer the wait before a retry, counted from 1; the last of a list repeats."""
    steps = action.get("backoff_ms", 0)
    if isinstance(steps, list):
        steps = steps[min(retry, len(steps)) - 1]
    return float(steps)
