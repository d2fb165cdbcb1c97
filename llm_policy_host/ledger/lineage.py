"""Which event may come when: one place for each open run, one state for each account, key and session.

INVARIANT: `admit` changes nothing when it refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import LedgerError

from .kinds import DIGEST, NAME, expression
from .schema import ADMITTED, ANSWERED, ENDED, START

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .event import Draft
    from .schema import Type

RUN_PREFIX = "run-"
RUN_LENGTH = len(RUN_PREFIX) + 26
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

_REMEMBERED = 1 << 17
"""Ended runs that a log surely remembers: their ids are random, so one that comes again is a mistake of
ours, seen at once if it is recent and by the verifier, which remembers all, in any case."""

_is_name = expression(NAME)
_is_digest = expression(DIGEST)


def is_run_id(text: Any) -> bool:  # noqa: ANN401 - from a line
    """Whether a value has the form of a run's id: `run-` and 26 characters of base32."""
    return (
        text.__class__ is str
        and len(text) == RUN_LENGTH
        and text[:4] == RUN_PREFIX
        and not text[4:].strip(_BASE32)
    )


class Run:
    """An open run: where it is, and what its next event must agree with."""

    __slots__ = (
        *("id", "tenant", "parent", "request", "first", "last", "place"),
        *("attempts", "proposal", "approval", "is_answered", "is_flow", "parts"),
    )

    def __init__(self, run: str, tenant: str, parent: str | None, request: dict[str, Any], seq: int) -> None:
        self.id = run
        self.tenant = tenant
        self.parent = parent
        self.request = request
        """The core of its RequestReceived."""
        self.first = self.last = seq
        self.place: str | None = START
        self.attempts = 0
        self.proposal: dict[str, Any] | None = None
        """The core of its last AttemptProposed."""
        self.approval: dict[str, Any] | None = None
        """The core of its last ApprovalRequested."""
        self.is_answered = False
        self.is_flow = bool(request.get("is_flow"))
        """Whether it is a flow: its calls are made by other runs, whose parent it is."""
        self.parts = 0
        """How many of those are open."""


class Lineage:
    """What is known of all runs and subjects at one place of the log."""

    def __init__(self, remembered: int | None = _REMEMBERED) -> None:
        """Begin before the first event; `remembered` bounds the ended runs known by id, None keeps all."""
        self.open: dict[str, Run] = {}
        self.subjects: dict[tuple[str, str], bool] = {}
        """Whether each account, key and session is open, by kind and name."""
        self.idem: dict[tuple[str, str], str] = {}
        """The run that each idempotency key of a tenant began."""
        self._remembered = remembered
        self._ended: set[str] = set()
        self._ended_before: set[str] = set()

    def admit(self, of: Type, seq: int, draft: Draft) -> int | None:
        """Take the next event; give its cause, or raise a `LedgerError` that names the rule it breaks."""
        _, _, tenant, run, parent, cause, idem, core, _, _ = draft
        row = of.row
        follows = row.follows
        if not follows:
            return self._outside(of, seq, draft)
        state = self.open.get(run)  # type: ignore[arg-type] # None is nobody's id
        if state is None:
            raise _refused("lineage", "run", self._absence(run))
        if state.place not in follows:
            raise _refused("lineage", "type", f"{of.name} may not follow: the run is `{state.place}`")
        if tenant != state.tenant or parent != state.parent or idem is not None:
            raise _refused("lineage", "run", "its tenant, parent or idem is not as the run began")
        last = state.last
        if cause != last and cause is not None:
            raise _refused("lineage", "cause", f"must be {last}, the run's last event")
        rule = _RULES.get(of.name)
        if rule is not None:
            rule(state, core)
        if row.leads_to is ENDED:
            self._end(state)
        state.place = row.leads_to
        state.last = seq
        return last

    def _outside(self, of: Type, seq: int, draft: Draft) -> int | None:
        """Take an event that follows none of its run: its cause may be any earlier one."""
        cause = draft.cause
        if not _is_name(draft.tenant):
            raise _refused("schema", "tenant", f"must be {NAME.words}")
        if cause is not None and not 0 < cause < seq:
            raise _refused("lineage", "cause", "must be the number of an earlier event")
        if of.row.is_in_run:
            return self._start(seq, draft)
        self._control(of, draft)
        return cause

    def _start(self, seq: int, draft: Draft) -> int | None:
        """Open a run."""
        _, _, tenant, run, parent, cause, idem, core, _, _ = draft
        if run is None or not is_run_id(run):
            raise _refused("schema", "run", "must be `run-` and 26 characters of base32")
        if run in self.open or run in self._ended or run in self._ended_before:
            raise _refused("lineage", "run", f"`{run}` has begun already")
        if idem is not None:
            if not _is_digest(idem):
                raise _refused("schema", "idem", f"must be {DIGEST.words}")
            if (tenant, idem) in self.idem:
                raise _refused("duplicate", "idem", f"run `{self.idem[tenant, idem]}` has it already")
        flow = None if parent is None else self._flow(parent, tenant, cause)
        session = core.get("session")
        if session is not None and not self.is_open("session", session):
            raise _refused("lineage", "core.session", f"no session `{session}` is open")
        self.open[run] = Run(run, tenant, parent, core, seq)
        if flow is not None:
            flow.parts += 1
            cause = flow.last
        if idem is not None:
            self.idem[tenant, idem] = run
        return cause

    def _flow(self, parent: str, tenant: str, cause: int | None) -> Run:
        """Find the flow that a run is a part of; its last event is the run's cause."""
        flow = self.open.get(parent)
        if flow is None or flow.place != ADMITTED or not flow.is_flow or flow.tenant != tenant:
            raise _refused("lineage", "parent", "is no flow of this tenant that is under way")
        if cause != flow.last and cause is not None:
            raise _refused("lineage", "cause", f"must be {flow.last}, the flow's last event")
        return flow

    def _control(self, of: Type, draft: Draft) -> None:
        """Take an event outside of runs."""
        core = draft.core
        if draft.run is not None or draft.parent is not None or draft.idem is not None:
            raise _refused("lineage", "run", f"{of.name} belongs to no run, parent or idem")
        if of.row.subject is None:
            return
        kind, key = of.row.subject
        subject, at = (kind, core[key]), f"core.{key}"
        if of.row.deed == "opens":
            if subject in self.subjects:
                raise _refused("lineage", at, f"there is {kind} `{core[key]}` already")
            above = core.get("parent")
            if above is not None and (kind, above) not in self.subjects:
                raise _refused("lineage", "core.parent", f"no {kind} `{above}`")
        elif not self.subjects.get(subject):
            raise _refused("lineage", at, f"no {kind} `{core[key]}` is open")
        self.subjects[subject] = of.row.deed != "closes"

    def is_open(self, kind: str, name: str) -> bool:
        """Whether there is such an account, key or session, and it is not closed."""
        return self.subjects.get((kind, name), False)

    def _end(self, state: Run) -> None:
        """Close a run, and remember its id for a while."""
        del self.open[state.id]
        if state.parent is not None:
            self.open[state.parent].parts -= 1
        self._ended.add(state.id)
        if self._remembered is not None and len(self._ended) >= self._remembered:
            self._ended_before, self._ended = self._ended, set()

    def _absence(self, run: str | None) -> str:
        if run is None:
            return "is missing"
        if run in self._ended or run in self._ended_before:
            return f"`{run}` has ended"
        return f"`{run}` has not begun"


def _refused(code: str, path: str, detail: str) -> LedgerError:
    return LedgerError(code, path, detail)


def _proposed(state: Run, core: dict[str, Any]) -> None:
    if state.is_flow:
        raise _refused("lineage", "type", "AttemptProposed may not follow: a flow's parts ask for it")
    if core["attempt"] != state.attempts + 1:
        raise _refused("lineage", "core.attempt", f"must be {state.attempts + 1}, the run's next")
    state.attempts += 1
    state.proposal = core


def _outcome(state: Run, core: dict[str, Any]) -> None:
    if core["attempt"] != state.attempts:
        raise _refused("lineage", "core.attempt", f"must be {state.attempts}, which is under way")
    state.is_answered = core.get("kind") is None


def _asked(state: Run, core: dict[str, Any]) -> None:
    if state.is_flow or state.parent is not None:
        raise _refused("lineage", "type", "ApprovalRequested may not follow: nothing of a flow waits")
    if core["attempt"] != state.attempts + 1:
        raise _refused("lineage", "core.attempt", f"must be {state.attempts + 1}, the run's next")
    state.approval = core


def _decided(state: Run, core: dict[str, Any]) -> None:
    asked = state.approval
    if asked is None or core["approval"] != asked["approval"]:
        raise _refused("lineage", "core.approval", "is not the one that the run waits for")


def _counted(state: Run, core: dict[str, Any]) -> None:
    if state.parts:
        raise _refused("lineage", "type", f"may not follow: {state.parts} of the flow's parts are open")
    if core["attempts"] != state.attempts:
        raise _refused("lineage", "core.attempts", f"must be {state.attempts}, as many as were proposed")


def _completed(state: Run, core: dict[str, Any]) -> None:
    _counted(state, core)
    if not (state.is_answered if state.place == ANSWERED else state.is_flow):
        raise _refused("lineage", "type", "RunCompleted may not follow: nothing has answered")


_RULES: Mapping[str, Callable[[Run, dict[str, Any]], None]] = {
    "AttemptProposed": _proposed,
    "AttemptOutcome": _outcome,
    "ApprovalRequested": _asked,
    "ApprovalDecided": _decided,
    "RunCompleted": _completed,
    "RunFailed": _counted,
    "RunCancelled": _counted,
}
"""What an event must agree with in its run, beside its place."""
