"""Runs as a ledger has them when their process is gone: what is done, in doubt, or may be tried anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .recovery import IN_DOUBT, INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .event import Event

_ENDS: Final = frozenset({"RequestRejected", "RunCompleted", "RunFailed", "RunCancelled"})


@dataclass(slots=True)
class PastRun:
    """A run: how it began, whether its last attempt answered or is in doubt, and how it ended."""

    run: str
    tenant: str
    idem: str | None
    parent: str | None
    request: Mapping[str, Any]
    admitted: Mapping[str, Any] | None = None
    last: str | None = None
    """Its last attempt: `answer`, a failure's kind, or `calling`; None where there is none."""
    end: str | None = None
    error: str | None = None
    parts: list[PastRun] = field(default_factory=list)
    """Of a flow, its nodes' runs in the order in which they began."""

    @property
    def is_flow(self) -> bool:
        """Whether it is a flow's."""
        return bool(self.request.get("is_flow"))

    @property
    def node(self) -> str:
        """Name the node of its flow that it is."""
        return str(self.request.get("node"))

    @property
    def is_answered(self) -> bool:
        """Whether somebody answered: it is paid for."""
        return self.last == _ANSWER

    @property
    def is_in_doubt(self) -> bool:
        """Whether it may be paid for, and nobody knows."""
        return self.last in (IN_DOUBT, _CALLING)

    @property
    def is_vain(self) -> bool:
        """Whether its process went away while nobody was asked, and nobody had answered: it may run anew."""
        return self.error == INTERRUPTED and not (self.is_answered or self.is_in_doubt)


_ANSWER: Final = "answer"
_CALLING: Final = "calling"


def past_runs(events: Iterable[Event]) -> dict[str, PastRun]:
    """Read runs by their ids, in the order in which they began."""
    runs: dict[str, PastRun] = {}
    for event in events:
        if event.run is None:
            continue
        if event.type == "RequestReceived":
            run = PastRun(event.run, event.tenant, event.idem, event.parent, event.core)
            runs[event.run] = run
            if event.parent in runs:
                runs[event.parent].parts.append(run)
        elif event.run in runs:
            _take(runs[event.run], event)
    return runs


def _take(run: PastRun, event: Event) -> None:
    if event.type == "PolicyAdmitted":
        run.admitted = event.core
    elif event.type == "AttemptProposed":
        run.last = _CALLING
    elif event.type == "AttemptOutcome":
        run.last = event.core.get("kind") or _ANSWER
    elif event.type in _ENDS:
        run.end, run.error = event.type, event.core.get("error") or event.core.get("code")
