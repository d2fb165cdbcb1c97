"""The keys of a deployment as a fold over events, and the accounts that a key is charged to (spec 5.4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from .accounts import Accounts, Stamped
    from .keys import Grant


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A key as the ledger knows it: never the key itself."""

    key_id: str
    account: str | None
    rights: frozenset[str]
    root_digest: str
    minted_ms: int
    revoked_ms: int | None = None


class KeyRing:
    """Who has been given a key, and whose was taken back: that ends all that derive from it."""

    hears: Final = frozenset({"KeyMinted", "KeyRevoked"})
    """Events that change it."""

    def __init__(self) -> None:
        self._keys: dict[str, MintedKey] = {}
        self._revoked: set[str] = set()

    @property
    def revoked(self) -> AbstractSet[str]:
        """Give the ids that no longer count."""
        return self._revoked

    def apply(self, event: Stamped) -> None:
        """Take an event of the log into account."""
        if event.type == "KeyMinted":
            core = event.core
            self._keys[core["key_id"]] = MintedKey(
                core["key_id"],
                core.get("account"),
                frozenset(core["rights"]),
                core["root_digest"],
                event.ts,
            )
        elif event.type == "KeyRevoked":
            key_id = event.core["key_id"]
            self._revoked.add(key_id)
            if key_id in self._keys:
                self._keys[key_id] = replace(self._keys[key_id], revoked_ms=event.ts)

    def find(self, key_id: str) -> MintedKey | None:
        """Give a key that was minted here."""
        return self._keys.get(key_id)

    def minted(self) -> list[MintedKey]:
        """Give all of them, in the order in which they were minted."""
        return list(self._keys.values())


def rights_of(grant: Grant, key: MintedKey) -> frozenset[str]:
    """Give what a genuine key may be used for: what its caveats leave of what it was minted with."""
    return grant.rights & key.rights


def spending(
    grant: Grant, account: str | None, accounts: Accounts
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Give the accounts that a key is charged to, leaf to root, and those that are to be opened first.

    An opening is the core of an `AccountOpened` by the key's holder: a budget among the caveats is an
    account below the key's own, and each further one is below the last. An account stays where it is: where
    another than before is charged, a budget has one more account, below him.
    """
    path = () if account is None else accounts.path(account)
    openings = []
    for budget in grant.budgets:
        name = budget.account
        if name in accounts and accounts.path(name)[1:] != path:
            name = _below(name, path)
        if name not in accounts:
            openings.append(
                {
                    "account": name,
                    "parent": path[0] if path else None,
                    "limits": {budget.resource: budget.limit},
                    "window": budget.window,
                    "is_shadow": False,
                }
            )
        path = (name, *path)
    return path, openings


def _below(name: str, path: tuple[str, ...]) -> str:
    """Name a budget's account by who is charged, too."""
    below = hashlib.sha256("\n".join((name, *path)).encode()).hexdigest()[:32]
    return f"{name.rpartition(':')[0]}:{below}"
