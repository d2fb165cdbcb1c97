"""Sessions as a fold over events: their mode, their turns, and how many they may take.

A turn is a request of a caller's: a flow is one, whatever its parts are. What a session may spend is an
account of its own, `session:NAME`, below the account that pays: spending is held and settled in one place.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .event import Draft

if TYPE_CHECKING:
    from .accounts import Emitted, Stamped

SESSION_ACCOUNT: Final = "session:"
"""What the names of sessions' own accounts begin with."""
MODES: Final = ("work", "steward")
"""How a session works; as a steward it asks before each call with tools."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


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

    hears: Final = frozenset({"RequestReceived", "SessionOpened", "ModeChanged", "SessionClosed"})
    """Events that change it."""

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
        is_turn = draft.type == "RequestReceived" and draft.parent is None
        name = draft.core.get("session") if is_turn else None
        found = None if name is None else self._sessions.get(name)
        return found is not None and not found.has_turns

    def apply(self, event: Stamped) -> None:
        """Take an event of the log into account."""
        kind, core = event.type, event.core
        if kind == "RequestReceived":
            found = self._sessions.get(core.get("session") or "")
            if found is not None and event.parent is None:
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


def is_session_name(text: str) -> bool:
    """Whether a text may name a session."""
    return _NAME.match(text) is not None


def new_session() -> str:
    """Make a name that nobody guesses."""
    return f"ses-{secrets.token_hex(10)}"


def opening(  # noqa: PLR0913 - what an event of it holds
    name: str,
    by: str,
    tenant: str,
    *,
    account: str | None = None,
    key_id: str | None = None,
    mode: str = "work",
    max_turns: int | None = None,
    max_usd_micro: int | None = None,
) -> list[Draft]:
    """Give the events that open a session, with an account of its own where its spending is limited."""
    given = {
        "account": account,
        "key_id": key_id,
        "max_turns": max_turns,
        "max_usd_micro": max_usd_micro,
        "mode": mode,
        "session": name,
    }
    core = {key: value for key, value in given.items() if value is not None}
    drafts = [Draft("SessionOpened", by, tenant, core=core)]
    if max_usd_micro is not None:
        budget = {
            "account": SESSION_ACCOUNT + name,
            "is_shadow": False,
            "limits": {"usd_micro": max_usd_micro},
            "parent": account,
            "window": "lifetime",
        }
        drafts.insert(0, Draft("AccountOpened", by, tenant, core=budget))
    return drafts
