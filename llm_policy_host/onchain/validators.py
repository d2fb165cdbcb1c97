"""Simulated validators: each with its own catalog, policy and seeds, over the same transactions.

No model is asked. An answer is a deterministic function of the model, the prompt and the bucket that
the temperature falls into, and every prompt is another: two validators answer alike exactly where
both are the same. Consensus forgives more than that, so what agrees here is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from llm_policy_host.values import NOTHING, Failure, Inputs, nothing

from .seeds import call_seed, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llm_policy_host.core.engine import LuaEngine

BUCKET = 0.25
"""How far apart two temperatures must be, at least, to count as different."""

MAX_STEPS = 1000
"""A plan that goes on beyond this never ends for a transaction."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that validators run: the name of its file, its engine, and the profile that decides."""

    name: str
    engine: LuaEngine
    profile: str | None = None

    @property
    def providers(self) -> set[str]:
        """The providers of its catalog."""
        return {candidate["provider_id"] for candidate in self.engine.candidates}


@dataclass(frozen=True, slots=True)
class Validator:
    """A node: its address, its policy, and the providers where it has no account."""

    address: str
    policy: Policy
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What befalls the providers: `lost` do not answer, `limited` refuse a session's first call."""

    name: str
    lost: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()

    def failure(self, provider: str, earlier_calls: int) -> Failure | None:
        """Say how a provider fails a call; None where it answers."""
        if provider in self.lost:
            return Failure("network_error")
        if provider in self.limited and earlier_calls == 0:
            return Failure("rate_limit", 429)
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a validator came to in a transaction; `first` and `served` are routes, `family@provider`."""

    first: str | None = None
    served: str | None = None
    family: str | None = None
    bucket: int = 0
    attempts: int = 0
    error: str | None = None

    @property
    def content(self) -> tuple[str, int] | None:
        """What two answers to one prompt have in common when they are equal."""
        return None if self.family is None else (self.family, self.bucket)


Answering: TypeAlias = "Callable[[Validator, str, Scenario, Setting], Answer]"
"""How a node comes to its answer in a transaction."""


@dataclass(frozen=True, slots=True)
class Round:
    """One transaction: its leader, and the answers in the validators' order."""

    leader: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all validators are asked: so many transactions, of such a request, from a seed."""

    transactions: int
    seed: int = 0
    now_ms: int = 1_700_000_000_000
    request: Mapping[str, Any] = field(default_factory=nothing)


def validators(policies: Sequence[Policy], count: int, seed: int, missing: float = 0) -> list[Validator]:
    """Make nodes over policies in turn; each lacks a provider with the probability `missing`."""
    made = []
    for place in range(count):
        policy = policies[place % len(policies)]
        address = f"0x{draw(seed, 'node', place):040x}"
        without = {name for name in policy.providers if draw(seed, address, name) % 10**6 < missing * 10**6}
        made.append(Validator(address, policy, frozenset(without)))
    return made


def simulate(
    nodes: Sequence[Validator], scenario: Scenario, setting: Setting, answer_of: Answering | None = None
) -> list[Round]:
    """Let every node answer every transaction: by the engine, or as `answer_of` has it."""
    answer_of = answer_of or answer
    rounds = []
    for place in range(setting.transactions):
        transaction = f"0x{draw(setting.seed, 'transaction', place):064x}"
        answers = tuple(answer_of(node, transaction, scenario, setting) for node in nodes)
        rounds.append(Round(draw(setting.seed, "leader", place) % len(nodes), answers))
    return rounds


def answer(node: Validator, transaction: str, scenario: Scenario, setting: Setting, call: int = 1) -> Answer:
    """Let a node answer one call of a transaction: a session of its own, with fresh health."""
    engine = node.policy.engine
    engine.restore_state({"v": 1, "health": {"breakers": {}, "disabled": {}}})
    seed = call_seed(transaction, node.address, call)
    others = {"disabled": dict.fromkeys(sorted(node.without), True)} if node.without else NOTHING
    contract = dict(setting.request)
    if node.policy.profile is not None:
        contract["profile"] = node.policy.profile
    step, now_ms = engine.start(contract, Inputs(setting.now_ms, seed, others=others)), setting.now_ms
    calls: list[tuple[str, str]] = []
    params = dict(contract)
    for _ in range(MAX_STEPS):
        if step.status == "done":
            return _ended(calls, params, step.result)
        if step.status == "wait":
            now_ms = max(now_ms, int(step.until_ms))
            step = engine.wake(step.handle, now_ms)
            continue
        provider, family = step.candidate["provider_id"], step.candidate["model_family"]
        params = dict(contract) if step.params is None else dict(step.params)
        failure = scenario.failure(provider, sum(provider == earlier for earlier, _ in calls))
        calls.append((provider, family))
        if failure is None:
            step = engine.succeed(step.handle, now_ms)
        else:
            step = engine.fail(step.handle, now_ms, failure)
    return _ended(calls, params, {"ok": False, "error": f"no end within {MAX_STEPS} steps"})


def _ended(calls: Sequence[tuple[str, str]], params: Mapping[str, Any], result: Mapping[str, Any]) -> Answer:
    first = _route(calls[0]) if calls else None
    if not result.get("ok"):
        return Answer(first, attempts=len(calls), error=str(result.get("error")))
    temperature = params.get("temperature")
    bucket = int(temperature // BUCKET) if isinstance(temperature, int | float) else 0
    return Answer(first, _route(calls[-1]), calls[-1][1], bucket, len(calls))


def _route(call: tuple[str, str]) -> str:
    return f"{call[1]}@{call[0]}"


def scenarios(lost: Iterable[str], limited: Iterable[str]) -> list[Scenario]:
    """List what is simulated: all is well, then one misfortune at a time."""
    return [
        Scenario("all answer"),
        *(Scenario(f"{name} lost", lost=frozenset({name})) for name in lost),
        *(Scenario(f"{name} rate-limited", limited=frozenset({name})) for name in limited),
    ]
