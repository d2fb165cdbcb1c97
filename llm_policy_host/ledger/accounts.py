"""A tree of budgets as a fold over events: what is held and used, and whether more fits (spec 5.4).

INVARIANT: `held + used + request <= limit` on an account and on each above it, or nothing happens. What is
held when a window turns is charged to the new one. A clock that runs backwards turns no window back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from .account import RESOURCES, Account, Balance, Refusal, amounts_of, charged, is_below, upwards
from .sessions import SESSION_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .account import Amounts

MAX_DEPTH: Final = 16
KEY_ACCOUNT: Final = "key:"
"""What the names of accounts begin with that belong to a key's caveats, and no other's."""

_ASKING: Final = "asking"
"""The place of a paused run's hold, beside those of its attempts."""


class Emitted(Protocol):
    """What the fold reads of an event, and of a draft that is not yet one."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def by(self) -> str:
        """Who emits it."""

    @property
    def run(self) -> str | None:
        """The run it belongs to."""

    @property
    def parent(self) -> str | None:
        """The flow that its run is a part of."""

    @property
    def core(self) -> dict[str, Any]:
        """Its deterministic part."""

    @property
    def obs(self) -> dict[str, Any]:
        """Its observational part."""


class Stamped(Emitted, Protocol):
    """An event of the log: it has a time."""

    @property
    def ts(self) -> int:
        """When it was accepted."""


class _Hold:
    """What a run holds of an account and of all above it."""

    __slots__ = ("amounts", "leaf")

    def __init__(self, leaf: Account, amounts: Amounts) -> None:
        self.leaf = leaf
        self.amounts = amounts


class Accounts:
    """The fold. `check` changes nothing; an event that is applied is believed."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._holds: dict[str, dict[int | str, _Hold]] = {}
        self.checks: Mapping[str, Callable[[Emitted, int], Refusal | None]] = {
            "AccountOpened": self._check_opened,
            "AccountAdjusted": self._check_named,
            "KeyMinted": self._check_named,
            "ApprovalRequested": self._check_hold,
            "AttemptProposed": self._check_hold,
        }
        self._applies: Mapping[str, Callable[[Stamped], None]] = {
            "AccountOpened": self._open,
            "AccountAdjusted": self._adjust,
            "ApprovalRequested": self._hold,
            "ApprovalDecided": self._decide,
            "AttemptProposed": self._hold,
            "AttemptOutcome": self._settle,
            "RunCompleted": self._end,
            "RunFailed": self._end,
            "RunCancelled": self._end,
        }
        self.hears: Final = frozenset(self._applies)
        """Events that change it."""

    def check(self, draft: Emitted, ts: int) -> Refusal | None:
        """Say why an event cannot be at a moment; None where it can."""
        check = self.checks.get(draft.type)
        return None if check is None else check(draft, ts)

    def apply(self, event: Stamped) -> None:
        """Take an event of the log into account."""
        apply = self._applies.get(event.type)
        if apply is not None:
            apply(event)

    def __contains__(self, account: str) -> bool:
        return account in self._accounts

    def names(self) -> tuple[str, ...]:
        """Give all of them, in the order in which they were opened."""
        return tuple(self._accounts)

    def path(self, account: str) -> tuple[str, ...]:
        """Give an account's name and those above it, up to the root."""
        return tuple(node.name for node in upwards(self._accounts[account]))

    def remaining(self, account: str, now_ms: int) -> dict[str, int]:
        """Give what may still be asked for, by resource; what is absent is not limited."""
        left: dict[str, int] = {}
        for node in upwards(self._accounts[account]):
            used = node.used_at(now_ms)
            for place, limit in () if node.is_shadow else node.limits:
                name, rest = RESOURCES[place], max(0, limit - used[place] - node.held[place])
                left[name] = min(left.get(name, rest), rest)
        return left

    def balances(self, now_ms: int) -> list[Balance]:
        """Give every account, in the order in which they were opened."""
        return [node.balance(now_ms) for node in self._accounts.values()]

    def balance(self, account: str, now_ms: int) -> Balance:
        """Give one account as it is at a moment."""
        return self._accounts[account].balance(now_ms)

    def _check_opened(self, draft: Emitted, _ts: int) -> Refusal | None:
        name, parent = draft.core["account"], draft.core.get("parent")
        is_keys = draft.by == "keyholder"
        if name in self._accounts:
            return Refusal("account_exists", name)
        is_sessions = name.startswith(SESSION_ACCOUNT) and draft.by not in ("gateway", "operator")
        if name.startswith(KEY_ACCOUNT) != is_keys or is_sessions:
            return Refusal("reserved_name", name)
        if parent is None:
            return None
        if parent not in self._accounts:
            return Refusal("unknown_account", parent)
        return Refusal("too_deep", name) if self._accounts[parent].depth >= MAX_DEPTH else None

    def _check_named(self, draft: Emitted, _ts: int) -> Refusal | None:
        name = draft.core.get("account")
        return None if name is None or name in self._accounts else Refusal("unknown_account", name)

    def _check_hold(self, draft: Emitted, ts: int) -> Refusal | None:
        core = draft.core
        path = core.get("accounts")
        if not path:
            return None
        node = self._accounts.get(path[0])
        if node is None:
            return Refusal("unknown_account", path[0])
        hold = core.get("hold")
        if hold is None:
            return Refusal("hold_missing", path[0])
        asking = self._holds.get(draft.run or "", {}).get(_ASKING)
        for name in path:
            if node is None or node.name != name:
                return Refusal("not_a_path", name)
            if node.limits and not node.is_shadow:
                back = None if asking is None or not is_below(asking.leaf, node) else asking.amounts
                refusal = node.refusal(hold, ts, back)
                if refusal is not None:
                    return refusal
            node = node.parent
        return None if node is None else Refusal("not_a_path", node.name)

    def _open(self, event: Stamped) -> None:
        core = event.core
        parent = core.get("parent")
        node = Account(core["account"], None if parent is None else self._accounts[parent])
        node.set(core, event.ts)
        self._accounts[node.name] = node

    def _adjust(self, event: Stamped) -> None:
        self._accounts[event.core["account"]].set(event.core, event.ts)

    def _hold(self, event: Stamped) -> None:
        core, run = event.core, event.run or ""
        self._give_back(run, _ASKING)
        path = core.get("accounts")
        if not path:
            return
        hold = core["hold"]
        amounts = usd, tokens, calls = amounts_of(hold)
        leaf = self._accounts[path[0]]
        node: Account | None = leaf
        while node is not None:
            node.move_to(event.ts)
            if node.is_shadow and node.refusal(hold, event.ts) is not None:
                node.exceeded += 1
            held = node.held
            held[0] += usd
            held[1] += tokens
            held[2] += calls
            node = node.parent
        place = _ASKING if event.type == "ApprovalRequested" else core["attempt"]
        self._holds.setdefault(run, {})[place] = _Hold(leaf, amounts)

    def _settle(self, event: Stamped) -> None:
        run = event.run or ""
        hold = self._holds.get(run, {}).pop(event.core["attempt"], None)
        if hold is None:
            return
        usd, tokens, calls = charged(event.obs["settled"], hold.amounts)
        self._return(hold)
        node: Account | None = hold.leaf
        while node is not None:
            node.move_to(event.ts)
            used = node.used
            used[0] += usd
            used[1] += tokens
            used[2] += calls
            node = node.parent

    def _decide(self, event: Stamped) -> None:
        if event.core["decision"] in ("deny", "expire"):
            self._give_back(event.run or "", _ASKING)

    def _end(self, event: Stamped) -> None:
        for hold in self._holds.pop(event.run or "", {}).values():
            self._return(hold)

    def _give_back(self, run: str, place: int | str) -> None:
        hold = self._holds.get(run, {}).pop(place, None)
        if hold is not None:
            self._return(hold)

    def _return(self, hold: _Hold) -> None:
        usd, tokens, calls = hold.amounts
        node: Account | None = hold.leaf
        while node is not None:
            held = node.held
            held[0] -= usd
            held[1] -= tokens
            held[2] -= calls
            node = node.parent
