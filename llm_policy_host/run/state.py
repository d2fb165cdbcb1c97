"""A run under way, and what surrounds it: the values that the driver and its sender share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.ports import Pricer
    from llm_policy_host.values import Attempt, Change, Contract, Credential, Failure, Response, Step


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the driver is told of its host once.

    `new_seed` gives a run's seed where its caller did not; `gather` what the host knows now, the
    same mapping as long as nothing of it changed; `observe` is told of each attempt.
    """

    new_seed: Callable[[], int]
    deadline_ms: int = 50_000
    timeout_ms: int = 30_000
    is_full_trace: bool = False
    gather: Callable[[], Mapping[str, Any]] = nothing
    observe: Callable[[Attempt], None] | None = None
    pricer: Pricer | None = None


@dataclass(slots=True)
class Run:
    """A run under way."""

    contract: Contract
    step: Step
    seed: int
    ends_at_ms: int
    is_late: bool = False
    attempts: int = 0
    api_kind: str = ""
    upstream_ms: float = 0.0
    response: Response | None = None
    credentials: dict[str, Credential] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be asked for it."""
        return self.is_late or self.step.status == "done"
