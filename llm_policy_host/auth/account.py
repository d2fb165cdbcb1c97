"""One account of an OAuth provider: gives its token, refreshed before it ends, once for all callers."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.values import Credential, Failure, Missing

from .flight import Flights
from .store import StoreError
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock

    from .endpoint import Endpoint
    from .store import TokenStore

SKEW_MS = 60_000
"""How long before its end a token is refreshed: no run is longer (spec 3.4)."""

_FIRST_PAUSE_MS = 1_000
_LONGEST_PAUSE_MS = 60_000
_YOUNG_MS = 60_000

_log = logging.getLogger("llm_policy.auth")


@dataclass(frozen=True, slots=True)
class _Setback:
    """A refresh that failed: until when, and for which tokens, its failure stands for the next ones."""

    failure: Failure
    tokens: Tokens
    until_ms: float
    pause_ms: int


class Account:
    """Gives one account's credential.

    A failed refresh is not tried again before a pause, which doubles; one that the server refused,
    not before the tokens are others.
    """

    def __init__(
        self,
        provider: str,
        name: str,
        client: Mapping[str, str],
        store: TokenStore,
        endpoint: Endpoint,
        clock: Clock,
    ) -> None:
        self.name = name
        self._provider = provider
        self._client = client
        self._store = store
        self._endpoint = endpoint
        self._clock = clock
        self._flights: Flights[Tokens | Failure] = Flights()
        self._refused: Tokens | None = None
        self._setback: _Setback | None = None
        self._refreshed_ms: float = -math.inf
        self._given: tuple[Tokens, Credential] | None = None

    def find(self) -> Tokens | Missing:
        """Give the tokens as they are in the store."""
        return self._store.find(self._provider, self.name, self._client)

    async def credential(self) -> Credential | Failure:
        """Give a token that will hold for a run."""
        tokens = self.find()
        if isinstance(tokens, Missing):
            return Failure("auth_error", detail=tokens.reason)
        if self._is_good(tokens):
            return self._credential(tokens)
        outcome = self._standing(tokens) or await self._flights.join(self.name, self._refresh)
        if isinstance(outcome, Tokens):
            return self._credential(outcome)
        is_alive = tokens.expires_at_ms is not None and self._clock.now_ms() < tokens.expires_at_ms
        if is_alive and not tokens.is_same(self._refused):
            # the refresh came early: the token still holds, and the next call tries again
            return self._credential(tokens)
        return outcome

    def refused(self, credential: Credential) -> None:
        """Take note that the provider did not accept a token, if it is the present one."""
        given = self._given
        if given is None or credential.secret is None:
            return
        if credential.secret.reveal() == given[0].access.reveal():
            self._refused = given[0]

    def _is_good(self, tokens: Tokens) -> bool:
        if self._refused is not None and tokens.is_same(self._refused):
            return False
        return tokens.expires_at_ms is None or self._clock.now_ms() < tokens.expires_at_ms - SKEW_MS

    def _credential(self, tokens: Tokens) -> Credential:
        if self._given is None or self._given[0] is not tokens:
            self._given = (tokens, Credential(tokens.access, self.name, dict(tokens.extras)))
        return self._given[1]

    async def _refresh(self) -> Tokens | Failure:
        """Refresh, unless another process just did or the last failure still stands."""
        try:
            async with self._store.locked(self._clock):
                tokens = self.find()
                if isinstance(tokens, Missing):
                    return Failure("auth_error", detail=tokens.reason)
                if self._is_good(tokens):
                    return tokens
                return self._standing(tokens) or await self._exchange(tokens)
        except StoreError as error:
            return Failure("auth_error", detail=str(error))

    def _standing(self, tokens: Tokens) -> Failure | None:
        now_ms, setback = self._clock.now_ms(), self._setback
        if setback is not None and tokens.is_same(setback.tokens) and now_ms < setback.until_ms:
            return setback.failure
        if tokens.is_same(self._refused) and now_ms < self._refreshed_ms + _YOUNG_MS:
            # a token fresh from the server was refused: another would be too
            return Failure("auth_error", detail=f"the account `{self.name}` was refused with a fresh token")
        return None

    async def _exchange(self, tokens: Tokens) -> Tokens | Failure:
        outcome = await self._endpoint.refresh(self._client, tokens)
        if isinstance(outcome, Failure):
            self._setback = self._next_setback(outcome, tokens)
            return outcome
        self._setback = None
        self._refreshed_ms = self._clock.now_ms()
        try:
            self._store.put(self._provider, self.name, self._client, outcome)
        except StoreError as error:
            # the new tokens serve this process; others, and the next one, will need a login
            _log.warning("new tokens of the account `%s` are not kept: %s", self.name, error)
        return outcome

    def _next_setback(self, failure: Failure, tokens: Tokens) -> _Setback:
        if failure.kind == "auth_error":
            return _Setback(failure, tokens, math.inf, 0)
        before = self._setback.pause_ms if self._setback else 0
        pause_ms = min(_LONGEST_PAUSE_MS, before * 2 or _FIRST_PAUSE_MS)
        wait_ms = max(pause_ms, failure.retry_after_ms or 0)
        return _Setback(failure, tokens, self._clock.now_ms() + wait_ms, pause_ms)
