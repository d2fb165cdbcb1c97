"""What the gateway does with a ledger: whose key it is, who pays, what is left, and why nobody pays.

A gateway without a ledger has no till.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.amounts import usd_text
from llm_policy_host.ledger.caveats import CONTENT_LEVELS, least_content
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.keyring import rights_of, spending
from llm_policy_host.ledger.kinds import NAME, expression
from llm_policy_host.ledger.sessions import SESSION_ACCOUNT
from llm_policy_host.values import Origin

from .errors import Problem, RefusedError, invalid, tally
from .skin import Caller, Granted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from llm_policy_host.ledger.folds import Folds
    from llm_policy_host.ledger.keys import Verifier
    from llm_policy_host.ledger.log import Log
    from llm_policy_host.ports import Clock, Keep
    from llm_policy_host.values import Result

    from .report import Headers

SESSION_HEADER: Final = "x-llm-policy-session"
CONTENT_HEADER: Final = b"x-llm-policy-content"
_LOCAL: Final = "local"
_STALE_MS: Final = 1000.0
"""How long a key that another process took back may still open a shared ledger's gateway."""

_REFUSALS: Final = {
    "revoked": "this key was taken back",
    "expired": "this key has expired",
    "not_yet": "this key is not good yet",
    "wrong_audience": "this key is for other hosts",
}
"""What is told of a genuine key; of any other nothing is."""

_UNPAID: Final = {
    "unpriced": "the price of this call is not known, and the account `{account}` has a limit in USD",
    "unbounded": "nothing bounds what this call may take, and `{account}` has a limit: set `max_tokens`",
}

_is_name = expression(NAME)


class GatewayLedger(Protocol):
    """A ledger as the gateway uses it."""

    @property
    def log(self) -> Log:
        """Give the log."""

    @property
    def folds(self) -> Folds:
        """Give balances and keys as they are now."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Give what keeps other threads of this process from appending."""


@dataclass(frozen=True, slots=True)
class Purse:
    """Who pays for a caller: the tenant, and the path of accounts, the leaf first."""

    tenant: str = _LOCAL
    accounts: tuple[str, ...] = ()
    openings: Sequence[dict[str, Any]] = ()


class Till:
    """The gateway's side of one ledger, and of the content plane beside it.

    `payer` is the account of callers whose key names none.
    """

    def __init__(
        self,
        ledger: Callable[[], GatewayLedger],
        clock: Clock,
        payer: Callable[[], str | None],
        keep: Callable[[], Keep | None],
    ) -> None:
        self.keep = keep
        self._ledger = ledger
        self._clock = clock
        self._payer = payer
        self._looked_ms = float("-inf")

    @property
    def ledger(self) -> GatewayLedger:
        """Give the ledger."""
        return self._ledger()

    @property
    def log(self) -> Log:
        """Give the log."""
        return self._ledger().log

    @property
    def folds(self) -> Folds:
        """Give balances and keys as they are now."""
        return self._ledger().folds

    async def refresh(self, stale_ms: float = _STALE_MS) -> None:
        """Learn what other processes wrote, where there are others and it is some time ago."""
        log = self.log
        if log.is_shared and self._clock.elapsed_ms() - self._looked_ms > stale_ms:
            self._looked_ms = self._clock.elapsed_ms()
            await log.refresh()

    # Keys -------------------------------------------------------------------------------------

    def caller(self, key: bytes, verify: Verifier) -> Caller | None:
        """Give the holder of a key of the ledger, None where it is none; `RefusedError` where it ended."""
        ring = self.folds.ring
        grant = verify(key, self._clock.now_ms(), ring.revoked)
        if isinstance(grant, str):
            if grant in _REFUSALS:
                raise RefusedError(401, f"api_key_{grant}", _REFUSALS[grant])
            return None
        minted = ring.find(grant.key_id)
        if minted is None:
            return None
        rights = rights_of(grant, minted)
        profiles = grant.caveats.get("profiles")
        may = {"policy"} if profiles is None else set()
        if "read_ledger" in rights:
            may.add("metadata")
        may |= rights & {"approve", "session"}
        return Caller(grant.key_id, profiles, frozenset(may), Granted(grant, rights, minted.account))

    # Who pays ---------------------------------------------------------------------------------

    def purse(self, caller: Caller | None) -> Purse:
        """Say who pays for a caller."""
        accounts = self.folds.accounts
        granted = None if caller is None else caller.granted
        account = (granted and granted.account) or self._payer()
        if granted is None:
            path = () if account is None else accounts.path(account)
            return Purse(path[-1] if path else _LOCAL, path)
        path, openings = spending(granted.grant, account, accounts)
        return Purse(path[-1] if path else _LOCAL, path, openings)

    async def origin(
        self, caller: Caller | None, api: str, content: str | None = None, session: str | None = None
    ) -> Origin:
        """Say who asks, and through what; accounts of a key's own budgets are opened where they are not."""
        purse = self.purse(caller)
        for core in purse.openings:
            await self._open(purse.tenant, core)
        granted = None if caller is None else caller.granted
        name = caller.name if caller is not None and _is_name(caller.name) else None
        accounts = purse.accounts
        if session is not None:
            accounts = self._session(session, name or None, accounts)
        return Origin(
            api=api,
            by="gateway",
            tenant=purse.tenant,
            accounts=accounts,
            key_id=name or None,
            grant=None if granted is None else granted.grant.chain,
            session=session,
            content=least_content(content, None if granted is None else granted.grant.content),
        )

    def _session(self, name: str, key_id: str | None, accounts: tuple[str, ...]) -> tuple[str, ...]:
        """Give the path that pays in a session; to those whose it is not there is no such session."""
        found = self.folds.sessions.find(name)
        own = SESSION_ACCOUNT + name
        path = self.folds.accounts.path(own) if own in self.folds.accounts else (own, *accounts)
        if (
            found is None
            or found.closed is not None
            or found.key_id not in (None, key_id)
            or found.account not in (None, *accounts)
            or path[1:] != accounts
        ):
            raise RefusedError(404, "unknown_session", "no such session of yours is open", SESSION_HEADER)
        return path if own in self.folds.accounts else accounts

    async def _open(self, tenant: str, core: dict[str, Any]) -> None:
        ledger, draft = self._ledger(), Draft("AccountOpened", "keyholder", tenant, core=core)
        try:
            # several processes take turns by the store's own lock
            with nullcontext() if ledger.log.is_shared else ledger.lock:
                await ledger.log.accept(draft)
        except LedgerError:
            if core["account"] not in self.folds.accounts:
                raise

    # What is left -----------------------------------------------------------------------------

    def remaining(self, accounts: Sequence[str]) -> Headers:
        """Give the headers that say what a caller may still use, where a limit says so."""
        if not accounts or accounts[0] not in self.folds.accounts:
            return []
        left = self.folds.accounts.remaining(accounts[0], self._clock.now_ms())
        return [
            (
                b"x-llm-policy-remaining-" + name,
                usd_text(left[key]).encode() if name == b"usd" else b"%d" % left[key],
            )
            for key, name in _REMAINING
            if key in left
        ]

    def problem(self, result: Result) -> Problem:
        """Say why nobody pays: 429 where waiting helps within a minute, else 402."""
        refusal = result.refusal or {}
        code, account, resource = refusal.get("code"), refusal.get("account"), refusal.get("resource")
        until_ms, now_ms = refusal.get("until_ms"), self._clock.now_ms()
        metadata = {**tally(result), "account": account, "resource": resource, "until_ms": until_ms}
        if code == "turns_exceeded":
            return Problem(403, code, "this session has had all its turns", SESSION_HEADER, metadata=metadata)
        if code != "budget_exceeded":
            words = _UNPAID.get(str(code), "the account `{account}` does not take this call")
            return Problem(402, str(code), words.format(account=account), metadata=metadata)
        wait_ms = None if until_ms is None else max(0, until_ms - now_ms)
        if self._is_rate(account):
            message = f"`{account}` has no {resource} left in this minute"
            return Problem(429, "rate_exceeded", message, None, wait_ms, metadata)
        message = f"the budget of `{account}` has not enough {resource} left for this call"
        return Problem(402, "budget_exceeded", message, None, wait_ms, metadata)

    def _is_rate(self, account: str | None) -> bool:
        accounts = self.folds.accounts
        if account is None or account not in accounts:
            return False
        return accounts.balance(account, 0).window == "minute"


def content_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Read how much of what is said may be kept at most, as a caller asks; None where he says nothing."""
    given = headers.get(CONTENT_HEADER)
    if given is None:
        return None
    level = given.decode("latin-1").strip()
    if level not in CONTENT_LEVELS:
        raise invalid(
            "must be one of " + " ".join(f"`{each}`" for each in CONTENT_LEVELS), CONTENT_HEADER.decode()
        )
    return level


_REMAINING: Final = (("usd_micro", b"usd"), ("tokens", b"tokens"), ("calls", b"calls"))
