"""The accounts of one OAuth provider: which of them serves a call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Credential, Failure, Missing

from .account import Account
from .endpoint import Endpoint
from .store import TokenStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llm_policy_host.ports import Clock

    from .endpoint import Wire

DEFAULT_ACCOUNT = "default"
"""The name of a provider's only account."""

_STICKS = 5.0
"""How many percent more than the least used account the last one may be used, and still serve."""


@dataclass(frozen=True, slots=True)
class OAuthTools:
    """What accounts need of the world: time, where relative paths start, a connection."""

    clock: Clock
    directory: Path
    connect: Callable[[], Wire]


@dataclass(slots=True)
class _Quota:
    """What a provider said of an account: percent used until when, and until when it serves nobody."""

    used: float = 0.0
    resets_ms: float = 0.0
    closed_until_ms: float = 0.0


class OAuthProvider:
    """Chooses, for each call, the account that is least used; the last one while it is near that.

    Staying keeps a prompt cache warm. An account that is exhausted or cannot give its token is
    passed over for the others.
    """

    def __init__(self, provider_id: str, auth: Mapping[str, Any], tools: OAuthTools) -> None:
        self.id = provider_id
        self._clock = tools.clock
        self.client = {name: str(auth[name]) for name in ("token_url", "client_id")}
        self.store = TokenStore(tools.directory / Path(str(auth["store"])).expanduser())
        self.endpoint = Endpoint(tools.clock, tools.connect)
        names: Sequence[str] = auth.get("accounts") or (DEFAULT_ACCOUNT,)
        self.accounts = {
            name: Account(provider_id, name, self.client, self.store, self.endpoint, tools.clock)
            for name in names
        }
        self._quotas = {name: _Quota() for name in names}
        self._last: str | None = None

    def find(self) -> Credential | Missing:
        """Say whether any account has tokens, without asking anyone."""
        reasons = []
        for account in self.accounts.values():
            tokens = account.find()
            if not isinstance(tokens, Missing):
                return Credential(tokens.access, account.name, dict(tokens.extras))
            reasons.append(tokens.reason)
        return Missing("; ".join(dict.fromkeys(reasons)))

    async def credential(self) -> Credential | Failure:
        """Give the credential of the account that serves this call."""
        names = self._in_order()
        failure = None if names else self._exhausted()
        for name in names:
            found = await self.accounts[name].credential()
            if isinstance(found, Credential):
                self._last = name
                return found
            failure = failure or found
        return failure or Failure("auth_error", detail="no account is configured")

    def refused(self, credential: Credential) -> None:
        """Take note that the provider did not accept a credential."""
        account = self.accounts.get(credential.account or "")
        if account is not None:
            account.refused(credential)

    def note_quota(self, account: str, used: float, resets_ms: float, *, is_closed: bool) -> bool:
        """Take note how many percent of an account are used, until when; give whether any serves now."""
        quota = self._quotas.get(account)
        if quota is not None:
            quota.used, quota.resets_ms = used, resets_ms
            quota.closed_until_ms = resets_ms if is_closed else 0.0
        return bool(self._in_order())

    def _in_order(self) -> list[str]:
        """Give the accounts that may serve, the best first; the config's order where nothing is known."""
        now_ms = self._clock.now_ms()
        used = {
            name: quota.used if now_ms < quota.resets_ms else 0.0
            for name, quota in self._quotas.items()
            if now_ms >= quota.closed_until_ms
        }
        ordered = sorted(used, key=lambda name: used[name])
        last = self._last
        if last in used and used[last] <= used[ordered[0]] + _STICKS:
            ordered.remove(last)
            ordered.insert(0, last)
        return ordered

    def _exhausted(self) -> Failure:
        opens_ms = min((quota.closed_until_ms for quota in self._quotas.values()), default=math.inf)
        wait_ms = max(0, math.ceil(opens_ms - self._clock.now_ms()))
        return Failure("rate_limit", retry_after_ms=wait_ms, detail="every account is used up")
