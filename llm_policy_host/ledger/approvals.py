"""Attempts that wait for a person, as a fold over events: who asked, for what, and what was decided.

INVARIANT: nobody decides on his own request: not by the key that made it nor by one narrowed from it, which
has its id, and not from the session that it came through. Whom it is answered to is narrower: the very key
that asked, since what another of the same id may is something else.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import LedgerError

from .event import Draft
from .schema import ASKING, DECIDED, ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Origin

    from .accounts import Emitted
    from .event import Event

WAITING: Final = "waiting"
STATES: Final[Mapping[str, str]] = {
    "approve": "approved",
    "redirect": "redirected",
    "deny": "denied",
    "expire": "expired",
}
"""What each decision makes of what waits for it."""

GRANTED: Final = frozenset({"approved", "redirected"})
EXPIRED: Final = "approval_expired"
"""The error of a run that nobody let go on in time, or that nobody came for once he might."""

_REMEMBERED: Final = 4096
_WAITS: Final = frozenset({ASKING, DECIDED})


@dataclass(frozen=True, slots=True)
class Asking:
    """An attempt that was not made, because a gate held.

    `until_ms` is when it must be decided; once it may go on, when whoever asked must have come for it: from
    the decision on he has as long as there was to decide.
    """

    id: str
    run: str
    tenant: str
    gate: str
    reason: str
    target: str
    attempt: int
    estimate_micro: int | None
    asked_ms: int
    until_ms: int
    parked: str | None
    request: str | None
    key_id: str | None
    grant: str | None
    session: str | None
    accounts: tuple[str, ...] = ()
    state: str = WAITING
    redirected: str | None = None
    decided_by: str | None = None

    def is_of(self, key_id: str | None, session: str | None) -> bool:
        """Whether a key or a session is the one that the request came through."""
        return (key_id is not None and key_id == self.key_id) or (
            session is not None and session == self.session
        )

    def is_asked_by(self, tenant: str, origin: Origin) -> bool:
        """Whether a request is by who asked for it: with the same caveats, and in the same session."""
        theirs = (tenant, origin.key_id, origin.grant, origin.session)
        return theirs == (self.tenant, self.key_id, self.grant, self.session)


class Approvals:
    """The fold: all that wait, and the last of those that do no longer."""

    hears: Final = frozenset(name for name, row in ROWS.items() if _WAITS.intersection(row.follows or ()))
    """Events that change it: what may come of a run that waits; a first request is among them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Asking] = {}
        self._granted: dict[str, Asking] = {}
        self._over: OrderedDict[str, Asking] = OrderedDict()
        self._by_run: dict[str, str] = {}
        self._first_ms: float = math.inf

    def find(self, approval: str) -> Asking | None:
        """Give one by its id."""
        return self._waiting.get(approval) or self._granted.get(approval) or self._over.get(approval)

    def waiting(self) -> list[Asking]:
        """Give those that wait for a decision, the oldest first."""
        return list(self._waiting.values())

    def all(self) -> list[Asking]:
        """Give all that are known, the oldest first."""
        found = [*self._over.values(), *self._granted.values(), *self._waiting.values()]
        return sorted(found, key=lambda asking: (asking.asked_ms, asking.id))

    def due(self, now_ms: int) -> list[Asking]:
        """Give those whose time is over; quick until the first one's is."""
        if now_ms < self._first_ms:
            return []
        open_ = [*self._waiting.values(), *self._granted.values()]
        self._first_ms = min((asking.until_ms for asking in open_), default=math.inf)
        return [asking for asking in open_ if asking.until_ms <= now_ms]

    def check(self, draft: Emitted, ts: int) -> None:
        """Refuse a decision on one's own request, and one that comes too late."""
        if draft.type != "ApprovalDecided":
            return
        asking, core = self._waiting.get(draft.core["approval"]), draft.core
        if asking is None:
            return
        if core["decision"] != "expire" and asking.until_ms <= ts:
            raise LedgerError("expired", "core.approval", "its time to be decided is over")
        if asking.is_of(core.get("key_id"), core.get("session")):
            raise LedgerError("own_request", "core.key_id", "nobody decides on his own request")

    def apply(self, event: Event) -> None:
        """Take an event of the log into account."""
        kind, run = event.type, event.run
        if run in self._by_run:
            self._go_on(kind, run or "", event)
        if kind == "ApprovalRequested":
            asking = _asking(event)
            self._waiting[asking.id] = asking
            self._first_ms = min(self._first_ms, asking.until_ms)
            self._by_run[asking.run] = asking.id

    def _go_on(self, kind: str, run: str, event: Event) -> None:
        name = self._by_run[run]
        if kind == "ApprovalDecided":
            self._decide(name, event)
            return
        # the run goes on, asks for another, or is over
        del self._by_run[run]
        place = self._waiting if name in self._waiting else self._granted
        if name in place:
            is_expired = event.core.get("error") == EXPIRED
            state = "used" if kind == "AttemptProposed" else "expired" if is_expired else "ended"
            self._end(replace(place.pop(name), state=state))

    def _decide(self, name: str, event: Event) -> None:
        core, asking = event.core, self._waiting.pop(name)
        asking = replace(
            asking,
            state=STATES[core["decision"]],
            redirected=core.get("target"),
            decided_by=core.get("key_id") or event.by,
            until_ms=event.ts + asking.until_ms - asking.asked_ms,
        )
        if asking.state in GRANTED:
            self._granted[name] = asking
            self._first_ms = min(self._first_ms, asking.until_ms)
        else:
            self._end(asking)

    def _end(self, asking: Asking) -> None:
        self._over[asking.id] = asking
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)


def _asking(event: Event) -> Asking:
    core, refs = event.core, event.refs
    return Asking(
        core["approval"],
        event.run or "",
        event.tenant,
        core["gate"],
        core.get("reason") or core["gate"],
        core["target"],
        core["attempt"],
        core.get("estimate_micro"),
        event.ts,
        event.obs.get("until_ms") or event.ts,
        refs.get("state"),
        refs.get("request"),
        core.get("key_id"),
        core.get("grant"),
        core.get("session"),
        tuple(core.get("accounts") or ()),
    )


def decided(
    asking: Asking,
    decision: str,
    by: str,
    *,
    target: str | None = None,
    key_id: str | None = None,
    session: str | None = None,
) -> list[Draft]:
    """Give the events of a decision; one that grants nothing ends its run."""
    core: dict[str, Any] = {"approval": asking.id, "decision": decision}
    given = {"target": target, "key_id": key_id, "session": session}
    core |= {name: value for name, value in given.items() if value is not None}
    drafts = [Draft("ApprovalDecided", by, asking.tenant, asking.run, core=core)]
    if STATES[decision] not in GRANTED:
        drafts.append(_ended(asking, f"approval_{STATES[decision]}"))
    return drafts


def expired(asking: Asking) -> list[Draft]:
    """Give the events that end one whose time is over: nobody decided, or nobody came."""
    return decided(asking, "expire", "host") if asking.state == WAITING else [_ended(asking, EXPIRED)]


def _ended(asking: Asking, error: str) -> Draft:
    core = {"attempts": asking.attempt - 1, "error": error}
    return Draft("RunFailed", "host", asking.tenant, asking.run, core=core)
