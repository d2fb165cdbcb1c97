"""Where attempts are stopped that a person has to see first: the operator's gates, and who asks again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from llm_policy_host.errors import LedgerError
from llm_policy_host.values import Approval, Held, Turned

from .amounts import usd_of
from .approvals import EXPIRED, GRANTED, WAITING
from .encoding import encode, read
from .said import request_bytes
from .sessions import SESSION_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.values import Contract, Plain

    from .approvals import Approvals, Asking
    from .folds import Folds

TTL_MS: Final = 24 * 3_600_000
"""How long an attempt waits for a person, where the config does not say: then it is denied."""

APPROVAL_REQUIRED: Final = "approval_required"
"""The error of a run that a gate put off, or ended where it cannot be put off."""

STALE: Final = "approval_stale"
"""The error of a run that cannot go on: its catalog or its policy has changed."""

STEWARD: Final = Held("steward", "steward")
"""The gate of sessions in the mode `steward`: it holds for every request that brings tools."""

_FORMAT: Final = "parked/1"
_ASKED: Final = (
    "profile",
    "kind",
    "images",
    "requirements",
    "scope",
    "seed",
    "extra_candidates",
    "chain",
    "timeout_ms",
)


class Judged(Protocol):
    """A gate as the judge gives it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def reason(self) -> str:
        """The word that it gives."""


class Judge(Protocol):
    """The core's judge of gates."""

    def held(
        self, candidate: Mapping[str, Any], request: Mapping[str, Plain], facts: Mapping[str, Plain]
    ) -> Judged | None:
        """Give the first gate that holds for an attempt."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is known of an attempt before it is made, beside its candidate."""

    shape: Mapping[str, Plain]
    attempt: int
    hold: Mapping[str, int]
    account: str | None
    spent_micro: int | None
    is_stream: bool
    session: str | None


class Desk:
    """Says which attempt waits, and gives back what was put off to who asks for it again."""

    def __init__(
        self,
        folds: Callable[[], Folds],
        judge: Judge | None,
        ref: Callable[[str, bytes], str],
        now_ms: Callable[[], int],
        ttl_ms: int = TTL_MS,
    ) -> None:
        """Take who gives the folds of a log, which are others once it was read again.

        `ref` gives the keyed digest of a tenant's bytes.
        """
        self.ttl_ms = ttl_ms
        self._folds = folds
        self._judge = judge
        self._ref = ref
        self._now_ms = now_ms
        self._taken: set[str] = set()
        self.has_gates = judge is not None

    @property
    def approvals(self) -> Approvals:
        """Give what waits, as it is now."""
        return self._folds().approvals

    def held(self, candidate: Mapping[str, Any], ahead: Ahead) -> Held | None:
        """Give the gate that holds for an attempt."""
        session = ahead.session
        if session is not None and ahead.shape.get("tools") and self._folds().sessions.is_steward(session):
            return STEWARD
        if self._judge is None:
            return None
        gate = self._judge.held(candidate, ahead.shape, self._facts(ahead))
        return None if gate is None else Held(gate.name, gate.reason)

    def _facts(self, ahead: Ahead) -> dict[str, Plain]:
        hold, shape = ahead.hold, ahead.shape
        left: Mapping[str, int] = {}
        spent, accounts = 0, self._folds().accounts
        if ahead.account is not None and ahead.account in accounts:
            now_ms = self._now_ms()
            left = accounts.remaining(ahead.account, now_ms)
            spent = accounts.balance(ahead.account, now_ms).used["usd_micro"]
        return {
            "attempt": ahead.attempt,
            "estimate_tokens": hold.get("tokens"),
            "estimate_usd": _usd(hold.get("usd_micro")),
            "images": bool(shape.get("images")),
            "privacy": bool((shape.get("requirements") or {}).get("privacy")),
            "remaining_calls": left.get("calls"),
            "remaining_tokens": left.get("tokens"),
            "remaining_usd": _usd(left.get("usd_micro")),
            "run_spent_usd": _usd(ahead.spent_micro),
            "spent_usd": _usd(spent),
            "stream": ahead.is_stream,
            "tools": bool(shape.get("tools")),
        }

    def paying(self, session: str) -> tuple[str, ...]:
        """Give the path from a session's own account, where it has one."""
        own, accounts = SESSION_ACCOUNT + session, self._folds().accounts
        return accounts.path(own) if own in accounts else ()

    def request(self, tenant: str, contract: Contract) -> str:
        """Name what a caller asked, so that nobody learns it from the name."""
        rest = {name: value for name in _ASKED if (value := getattr(contract, name)) not in (None, (), {})}
        return self._ref(tenant, request_bytes(contract) + b"\n" + encode(rest))

    def again(self, tenant: str, contract: Contract) -> Asking | Turned:
        """Find what a caller asks for again, by its approval; or say why he gets nothing of it."""
        origin = contract.origin
        asking = self.approvals.find(origin.approval or "")
        if asking is None or not asking.is_asked_by(tenant, origin):
            return Turned("approval_unknown")
        if asking.request != self.request(tenant, contract):
            return Turned("approval_mismatch", asking.run)
        if asking.state == WAITING:
            return _waits(asking, self._now_ms())
        is_granted = asking.state in GRANTED
        if not is_granted or asking.id in self._taken:
            state = "used" if is_granted or asking.state == "ended" else asking.state
            return Turned(f"approval_{state}", asking.run)
        if asking.until_ms <= self._now_ms():
            return Turned(EXPIRED, asking.run)
        # of those taken before only such are left as the log does not yet have
        self._taken = {each for each in self._taken if self._is_granted(each)} | {asking.id}
        return asking

    def put_back(self, asking: Asking) -> None:
        """Let one be taken again that could not go on."""
        self._taken.discard(asking.id)

    def _is_granted(self, approval: str) -> bool:
        found = self.approvals.find(approval)
        return found is not None and found.state in GRANTED


def _usd(micro: int | None) -> float | None:
    return None if micro is None else usd_of(micro)


def _waits(asking: Asking, now_ms: int) -> Turned:
    if asking.until_ms <= now_ms:
        return Turned(EXPIRED, asking.run)
    return Turned(APPROVAL_REQUIRED, asking.run, told(asking))


def told(asking: Asking) -> Approval:
    """Give what its caller is told of it."""
    return Approval(asking.id, asking.run, asking.gate, asking.reason, asking.until_ms)


def parked_bytes(parked: Mapping[str, Any]) -> bytes:
    """Write a run that is put off: plain data of the control plane, without a word of its messages."""
    return encode({"format": _FORMAT, **parked})


def read_parked(data: bytes | None) -> dict[str, Any]:
    """Read a run that was put off; a `LedgerError` where it is none."""
    found = None if data is None else read(data)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise LedgerError("blob", "state", "is no parked run")
    return found


def route_of(target: str) -> tuple[str, str]:
    """Read a route, `provider|family`."""
    provider, _, family = target.partition("|")
    return provider, family
