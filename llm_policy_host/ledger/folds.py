"""What the log keeps beside its own rules, balances and keys: asked before an event, and told after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import LedgerError
from llm_policy_host.values import Refused

from .account import Refusal
from .accounts import Accounts
from .approvals import Approvals
from .keyring import KeyRing
from .schema import ROWS
from .sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .accounts import Emitted
    from .chain import Fold
    from .event import Event


TURNS_EXCEEDED = "turns_exceeded"
"""The code of a request to a session that has had all its turns."""


class AccountRefusedError(LedgerError):
    """An event that the accounts do not take; `refusal` says which, of what, and until when."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        what = f" ({refusal.resource})" if refusal.resource else ""
        self.said = Refused(refusal.code, refusal.resource, refusal.account, refusal.until_ms)
        super().__init__(refusal.code, "accounts", f"{refusal.code}: `{refusal.account}`{what}")


class Folds:
    """The accounts and the keys of a log, its sessions, and what waits for approval."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.ring = KeyRing()
        self.sessions = Sessions()
        self.approvals = Approvals()
        self._checked: dict[str, Any] | None = None
        self._checks: Mapping[str, Callable[[Emitted, int], None]] = {
            **dict.fromkeys(self.accounts.checks, self._check_accounts),
            "RequestReceived": self._check_turns,
            "ApprovalDecided": self.approvals.check,
        }
        folds = (self.accounts, self.ring, self.sessions, self.approvals)
        self._applies: Mapping[str, tuple[Callable[[Event], None], ...]] = {
            kind: tuple(fold.apply for fold in folds if kind in fold.hears) for kind in ROWS
        }

    def check(self, draft: Emitted, ts: int) -> None:
        """Refuse an event that the accounts do not take at a moment."""
        check = self._checks.get(draft.type)
        if check is not None:
            check(draft, ts)
        self._checked = draft.core

    def apply(self, event: Event) -> None:
        """Take an event; one that was not checked just now, because it is read from a store, is checked."""
        if event.core is not self._checked:
            self.check(event, event.ts)
        self._checked = None
        for apply in self._applies[event.type]:
            apply(event)

    def _check_accounts(self, draft: Emitted, ts: int) -> None:
        refusal = self.accounts.check(draft, ts)
        if refusal is not None:
            raise AccountRefusedError(refusal)

    def _check_turns(self, draft: Emitted, _ts: int) -> None:
        if self.sessions.is_used_up(draft):
            raise AccountRefusedError(Refusal(TURNS_EXCEEDED, draft.core["session"], "turns"))


def _conforms(folds: Folds) -> Fold:
    """Let the type checker prove that a log takes it."""
    return folds
