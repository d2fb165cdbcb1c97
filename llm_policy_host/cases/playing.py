"""Plays a case: explains the plan, and drives the run over scripted providers, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import HostError, UsageError
from llm_policy_host.providers.scripted import Scripted
from llm_policy_host.run.driver import Driver, Surroundings
from llm_policy_host.run.explanation import explanation
from llm_policy_host.run.shape import shape
from llm_policy_host.values import Credential, Inputs, Result

from .bodies import contract_of_body
from .expectations import Mismatch, Played, mismatches
from .world import contract_of, engine_of, gathered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.values import Contract, Failure, Plain
    from llm_policy_host.wiring import Host

    from .case_file import Case


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: what is not as expected, and what was seen on the way."""

    case: Case
    mismatches: tuple[Mismatch, ...]
    played: Played | None = None
    truths: Sequence[Mapping[str, Any]] = ()
    policy_id: str | None = None
    term: Plain = field(default=None, repr=False)

    @property
    def is_ok(self) -> bool:
        """Whether all is as expected."""
        return not self.mismatches


class _NoKeys:
    """Lets everyone call scripted providers."""

    def at_once(self, provider_id: str) -> Credential:
        """Give an empty credential."""
        del provider_id
        return Credential()

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Give an empty credential."""
        del provider_id
        return Credential()

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Take no note."""


class Player:
    """Plays the cases of one config."""

    def __init__(self, host: Host, terms: Mapping[str, Plain]) -> None:
        """Take the config's host, and the policies of files by their names."""
        self._host = host
        self._terms = terms
        self._vm = Vm(host.config.settings.runtime)

    def play(self, case: Case) -> Outcome:
        """Play a case; what cannot be played is a mismatch of its own."""
        try:
            return self._played(case)
        except HostError as error:
            return Outcome(case, (Mismatch((), "a case that can be played", str(error)),))

    def told(self, case: Case) -> Plain:
        """Explain a case's plan, and nothing more."""
        stage = self._stage(case)
        return stage.engine.explain(shape(stage.contract), stage.inputs)

    def _played(self, case: Case) -> Outcome:
        stage = self._stage(case)
        contract = stage.contract
        told = stage.engine.explain(shape(contract), stage.inputs)
        truths = stage.engine.truths(shape(contract), stage.inputs)
        shown = explanation(contract, told) if "policy" in told else {"ordered": [], "rejected": []}
        result = asyncio.run(stage.run(is_stream=bool(case.request.get("stream"))))
        calls = stage.provider.calls
        played = Played(shown, result, dict(calls[-1].params) if calls else {}, stage.passed_ms())
        policy = told.get("policy") or {}
        return Outcome(
            case,
            tuple(mismatches(case.expect, played)),
            played,
            truths.get("nodes") or (),
            policy.get("id"),
            policy.get("term"),
        )

    def _stage(self, case: Case) -> _Stage:
        term = None if case.policy is None else self._terms[case.policy]
        engine = engine_of(self._vm, self._host.config.core, case)
        return _Stage(self._host, engine, case, self._contract(case, term))

    def _contract(self, case: Case, term: Plain) -> Contract:
        if case.body is None:
            return contract_of(case, term)
        contract = contract_of_body(self._host, case.body, profile=case.profile)
        if isinstance(contract.policy_ir, str):  # by this name only the host's own engine knows it
            told = self._host.explain(contract)
            contract = dataclasses.replace(contract, policy_ir=told["policy"]["term"])
        return dataclasses.replace(contract, seed=case.seed if contract.seed is None else contract.seed)


class _Stage:
    """An engine, a clock and a provider for one run."""

    def __init__(self, host: Host, engine: LuaEngine, case: Case, contract: Contract) -> None:
        settings, defaults = host.config.settings, host.config.core.get("defaults") or {}
        others = gathered(case.state)
        self.engine, self.contract = engine, contract
        self.inputs = Inputs(case.now_ms, contract.seed, others=others)
        self._from_ms = case.now_ms
        self._clock = VirtualClock(case.now_ms)
        self.provider = Scripted(case.script, self._clock)
        around = Surroundings(
            new_seed=lambda: case.seed,
            deadline_ms=settings.deadline_ms,
            timeout_ms=defaults.get("timeout_ms", 30_000),
            is_full_trace=True,
            gather=lambda: others,
        )
        self._driver = Driver(engine, {"scripted": self.provider}, _NoKeys(), self._clock, around)

    def passed_ms(self) -> float:
        """Say how much virtual time passed."""
        return self._clock.elapsed_ms() - self._from_ms

    async def run(self, *, is_stream: bool) -> Result:
        """Take the contract to its result, by the way that its caller wants."""
        if not is_stream:
            return await self._driver.run(self.contract)
        async with aclosing(self._driver.stream(self.contract)) as chunks:
            async for chunk in chunks:
                if chunk.result is not None:
                    return chunk.result
        raise UsageError("the stream ended without a result")
