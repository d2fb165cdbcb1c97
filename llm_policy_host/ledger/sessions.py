"""Sessions as a fold over events: their mode, their turns, and how many they may take.

What a session may spend is an account of its own (`session:NAME`) above which its key's or caller's stands, so that
spending is held and settled in one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .accounts import Emitted, Stamped

SESSION_ACCOUNT: Final = "session:"
"""What the names of sessions' own accounts begin with."""

_KINDS: Final = frozenset({"RequestReceived", "SessionOpened", "ModeChanged", "SessionClosed"})


@dataclass(slots=True)
class Session:
    """A session as it is now."""

    name: str
    account: str | None
    key_id: str | None
    mode: str
    max_turns: int | None
    max_usd_micro: int | None
    opened_ms: int
    turns: int = 0
    closed: str | None = None
    """Why it was closed."""

    @property
    def has_turns(self) -> bool:
        """Whether it may take one more request."""
        return self.max_turns is None or self.turns < self.max_turns


class Sessions:
    """The fold."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def find(self, name: str) -> Session | None:
        """Give one by its name."""
        return self._sessions.get(name)

    def all(self) -> list[Session]:
        """Give all of them, in the order in which they were opened."""
        return list(self._sessions.values())

    def is_steward(self, name: str) -> bool:
        """Whether its calls with tools need a person's approval."""
        found = self._sessions.get(name)
        return found is not None and found.mode == "steward"

    def is_used_up(self, draft: Emitted) -> bool:
        """Whether an event is a request to a session that has had all its turns."""
        name = draft.core.get("session") if draft.type == "RequestReceived" else None
        found = None if name is None else self._sessions.get(name)
        return found is not None and not found.has_turns

    def apply(self, event: Stamped) -> None:
        """Take an event of the log into account."""
        kind, core = event.type, event.core
        if kind not in _KINDS:
            return
        if kind == "RequestReceived":
            found = self._sessions.get(core.get("session") or "")
            if found is not None:
                found.turns += 1
        elif kind == "SessionOpened":
            self._sessions[core["session"]] = _session(core, event.ts)
        elif kind == "ModeChanged":
            self._sessions[core["session"]].mode = core["mode"]
        elif kind == "SessionClosed":
            self._sessions[core["session"]].closed = core["why"]


def _session(core: dict[str, Any], ts: int) -> Session:
    return Session(
        core["session"],
        core.get("account"),
        core.get("key_id"),
        core["mode"],
        core.get("max_turns"),
        core.get("max_usd_micro"),
        ts,
    )
