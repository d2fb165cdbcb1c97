"""What the log keeps beside its own rules, balances and keys: asked before an event, and told after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import LedgerError

from .accounts import Accounts
from .keyring import KeyRing

if TYPE_CHECKING:
    from .account import Refusal
    from .accounts import Emitted, Stamped
    from .chain import Fold


class AccountRefusedError(LedgerError):
    """An event that the accounts do not take; `refusal` says which, of what, and until when."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        what = f" ({refusal.resource})" if refusal.resource else ""
        super().__init__(refusal.code, "accounts", f"{refusal.code}: `{refusal.account}`{what}")


class Folds:
    """The accounts and the keys of a log."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.ring = KeyRing()
        self._checked: dict[str, Any] | None = None

    def check(self, draft: Emitted, ts: int) -> None:
        """Refuse an event that the accounts do not take at a moment."""
        refusal = self.accounts.check(draft, ts)
        if refusal is not None:
            raise AccountRefusedError(refusal)
        self._checked = draft.core

    def apply(self, event: Stamped) -> None:
        """Take an event; one that was not checked just now, because it is read from a store, is checked."""
        if event.core is not self._checked:
            self.check(event, event.ts)
        self._checked = None
        self.accounts.apply(event)
        self.ring.apply(event)


def _conforms(folds: Folds) -> Fold:
    """Let the type checker prove that a log takes it."""
    return folds
