"""A tree of budgets as a fold over events: what is held and used, and whether more fits (spec 5.4).

INVARIANT: `held + used + request <= limit` on an account and on each above it, or nothing happens. What is
held when a window turns is charged to the new one. A clock that runs backwards turns no window back.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

RESOURCES: Final = ("usd_micro", "tokens", "calls")

WINDOWS_MS: Final[Mapping[str, int]] = MappingProxyType(
    {"lifetime": 0, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000}
)
"""How long each window is, from midnight UTC on; 0 is one that never turns."""

MAX_DEPTH: Final = 16
KEY_ACCOUNT: Final = "key:"
"""What the names of accounts begin with that belong to a key's caveats, and no other's."""

_UNKNOWN: Final = ("unpriced", "unbounded", "unbounded")
_ASKING: Final = "asking"
"""The place of a paused run's hold, beside those of its attempts."""

Amounts: TypeAlias = "tuple[int, int, int]"


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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing happens: which rule, of which resource and account, and when its window turns."""

    code: str
    account: str
    resource: str | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """An account as it is at a moment; a limit that is absent is none."""

    account: str
    parent: str | None
    window: str
    is_shadow: bool
    limits: Mapping[str, int]
    used: Mapping[str, int]
    held: Mapping[str, int]
    exceeded: int
    """How often a shadow account would have refused."""


class _Account:
    """A node of the tree."""

    __slots__ = (
        "depth",
        "exceeded",
        "held",
        "is_shadow",
        "limits",
        "name",
        "parent",
        "turn",
        "used",
        "window",
    )

    def __init__(self, name: str, parent: _Account | None) -> None:
        self.name = name
        self.parent = parent
        self.depth: int = 1 if parent is None else parent.depth + 1
        self.window = "lifetime"
        self.is_shadow = False
        self.limits: tuple[tuple[int, int], ...] = ()
        self.used = [0, 0, 0]
        self.held = [0, 0, 0]
        self.turn = 0
        self.exceeded = 0

    def set(self, core: Mapping[str, Any], ts: int) -> None:
        """Take limits, a window and a mode; what an adjustment leaves out stays, but for the limits."""
        self.limits = tuple(
            (place, core["limits"][name])
            for place, name in enumerate(RESOURCES)
            if core["limits"].get(name) is not None
        )
        if core.get("is_shadow") is not None:
            self.is_shadow = core["is_shadow"]
        window = core.get("window")
        if window is not None and window != self.window:
            self.move_to(ts)
            self.window = window
            self.turn = self.turn_at(ts)

    def turn_at(self, ts: int) -> int:
        """Count the windows before a moment."""
        width = WINDOWS_MS[self.window]
        return ts // width if width else 0

    def move_to(self, ts: int) -> None:
        """Begin a new window if it is time."""
        turn = self.turn_at(ts)
        if turn > self.turn:
            self.turn = turn
            self.used = [0, 0, 0]

    def used_at(self, ts: int) -> list[int]:
        """Give what is used in the window of a moment."""
        return [0, 0, 0] if self.turn_at(ts) > self.turn else self.used

    def refusal(self, hold: Mapping[str, Any], ts: int, back: Amounts | None = None) -> Refusal | None:
        """Say whether a request does not fit, when `back` is given back for it."""
        used, held = self.used_at(ts), self.held
        for place, limit in self.limits:
            name = RESOURCES[place]
            asked = hold.get(name)
            if asked is None:
                return Refusal(_UNKNOWN[place], self.name, name)
            returned = 0 if back is None else back[place]
            if held[place] - returned + used[place] + asked > limit:
                return Refusal("budget_exceeded", self.name, name, self.until_ms(ts))
        return None

    def until_ms(self, ts: int) -> int | None:
        """Say when the window of a moment turns."""
        width = WINDOWS_MS[self.window]
        return (max(self.turn, ts // width) + 1) * width if width else None


class _Hold:
    """What a run holds of an account and of all above it."""

    __slots__ = ("amounts", "leaf")

    def __init__(self, leaf: _Account, amounts: Amounts) -> None:
        self.leaf = leaf
        self.amounts = amounts


class Accounts:
    """The fold. `check` changes nothing; an event that is applied is believed."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._holds: dict[str, dict[int | str, _Hold]] = {}
        self._checks: Mapping[str, Callable[[Emitted, int], Refusal | None]] = {
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

    def check(self, draft: Emitted, ts: int) -> Refusal | None:
        """Say why an event cannot be at a moment; None where it can."""
        check = self._checks.get(draft.type)
        return None if check is None else check(draft, ts)

    def apply(self, event: Stamped) -> None:
        """Take an event of the log into account."""
        apply = self._applies.get(event.type)
        if apply is not None:
            apply(event)

    def __contains__(self, account: str) -> bool:
        return account in self._accounts

    def path(self, account: str) -> tuple[str, ...]:
        """Give an account's name and those above it, up to the root."""
        return tuple(node.name for node in _upwards(self._accounts[account]))

    def remaining(self, account: str, now_ms: int) -> dict[str, int]:
        """Give what may still be asked for, by resource; what is absent is not limited."""
        left: dict[str, int] = {}
        for node in _upwards(self._accounts[account]):
            used = node.used_at(now_ms)
            for place, limit in () if node.is_shadow else node.limits:
                name, rest = RESOURCES[place], max(0, limit - used[place] - node.held[place])
                left[name] = min(left.get(name, rest), rest)
        return left

    def balances(self, now_ms: int) -> list[Balance]:
        """Give every account, in the order in which they were opened."""
        return [self._balance(node, now_ms) for node in self._accounts.values()]

    def balance(self, account: str, now_ms: int) -> Balance:
        """Give one account as it is at a moment."""
        return self._balance(self._accounts[account], now_ms)

    def _balance(self, node: _Account, now_ms: int) -> Balance:
        return Balance(
            account=node.name,
            parent=None if node.parent is None else node.parent.name,
            window=node.window,
            is_shadow=node.is_shadow,
            limits={RESOURCES[place]: limit for place, limit in node.limits},
            used=dict(zip(RESOURCES, node.used_at(now_ms), strict=True)),
            held=dict(zip(RESOURCES, node.held, strict=True)),
            exceeded=node.exceeded,
        )

    def _check_opened(self, draft: Emitted, _ts: int) -> Refusal | None:
        name, parent = draft.core["account"], draft.core.get("parent")
        is_keys = draft.by == "keyholder"
        if name in self._accounts:
            return Refusal("account_exists", name)
        if name.startswith(KEY_ACCOUNT) != is_keys:
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
        asking = self._holds.get(draft.run or "", {}).get(_ASKING)
        for name in path:
            if node is None or node.name != name:
                return Refusal("not_a_path", name)
            if node.limits and not node.is_shadow:
                back = None if asking is None or not _is_below(asking.leaf, node) else asking.amounts
                refusal = node.refusal(core["hold"], ts, back)
                if refusal is not None:
                    return refusal
            node = node.parent
        return None if node is None else Refusal("not_a_path", node.name)

    def _open(self, event: Stamped) -> None:
        core = event.core
        parent = core.get("parent")
        node = _Account(core["account"], None if parent is None else self._accounts[parent])
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
        usd, tokens, calls = hold.get("usd_micro") or 0, hold.get("tokens") or 0, hold.get("calls") or 0
        leaf = self._accounts[path[0]]
        node: _Account | None = leaf
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
        self._holds.setdefault(run, {})[place] = _Hold(leaf, (usd, tokens, calls))

    def _settle(self, event: Stamped) -> None:
        run = event.run or ""
        hold = self._holds.get(run, {}).pop(event.core["attempt"], None)
        if hold is None:
            return
        settled, held = event.obs.get("settled") or {}, hold.amounts
        usd, tokens, calls = (
            held[place] if settled.get(name) is None else settled[name]
            for place, name in enumerate(RESOURCES)
        )
        self._return(hold)
        node: _Account | None = hold.leaf
        while node is not None:
            node.move_to(event.ts)
            used = node.used
            used[0] += usd
            used[1] += tokens
            used[2] += calls
            node = node.parent

    def _decide(self, event: Stamped) -> None:
        if event.core["decision"] == "deny":
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
        node: _Account | None = hold.leaf
        while node is not None:
            held = node.held
            held[0] -= usd
            held[1] -= tokens
            held[2] -= calls
            node = node.parent


def _upwards(node: _Account | None) -> Iterator[_Account]:
    while node is not None:
        yield node
        node = node.parent


def _is_below(leaf: _Account, node: _Account) -> bool:
    return any(each is node for each in _upwards(leaf))
