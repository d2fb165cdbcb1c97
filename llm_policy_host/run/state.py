"""A run under way, and what surrounds it: the values that the driver and its sender share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.ports import Page, Pricer
    from llm_policy_host.values import (
        Approval,
        Attempt,
        Change,
        Contract,
        Credential,
        Failure,
        Refused,
        Response,
        Step,
    )


class OpenRun(Protocol):
    """Begins a run: gives its number, the seed it draws by and what the host knows in that moment."""

    def __call__(
        self, seed: int, others: Mapping[str, Any], *, is_given: bool
    ) -> tuple[int, int, Mapping[str, Any]]:
        """Take what would hold; `is_given` says that the seed is the caller's own."""


def unnumbered(seed: int, others: Mapping[str, Any], *, is_given: bool) -> tuple[int, int, Mapping[str, Any]]:
    """Let what would hold, hold: nobody asks for the run's number."""
    del is_given
    return 0, seed, others


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the driver is told of its host once.

    `new_seed` gives a run's seed where its caller did not; `gather` what the host knows now, the
    same mapping as long as nothing of it changed; `observe` is told of each attempt; `open_run` of each run.
    """

    new_seed: Callable[[], int]
    deadline_ms: int = 50_000
    timeout_ms: int = 30_000
    is_full_trace: bool = False
    gather: Callable[[], Mapping[str, Any]] = nothing
    observe: Callable[[Attempt], None] | None = None
    pricer: Pricer | None = None
    open_run: OpenRun = unnumbered


@dataclass(slots=True)
class Run:
    """A run under way. `sent` is the attempt under way as it was measured, once it has left a provider."""

    contract: Contract
    step: Step
    seed: int
    ends_at_ms: int
    page: Page
    number: int = 0
    is_late: bool = False
    attempts: int = 0
    api_kind: str = ""
    upstream_ms: float = 0.0
    response: Response | None = None
    refused: Refused | None = None
    approval: Approval | None = None
    sent: Attempt | None = None
    credentials: dict[str, Credential] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be asked for it."""
        return self.is_late or self.approval is not None or self.step.status == "done"
