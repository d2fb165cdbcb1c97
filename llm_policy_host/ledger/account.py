"""One account: its limits in their window, what is held and used of it, and whether more fits (spec 5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RESOURCES: Final = ("usd_micro", "tokens", "calls")

WINDOWS_MS: Final[Mapping[str, int]] = MappingProxyType(
    {"lifetime": 0, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000}
)
"""How long each window is, from midnight UTC on; 0 is one that never turns."""

_UNKNOWN: Final = ("unpriced", "unbounded", "unbounded")

Amounts: TypeAlias = "tuple[int, int, int]"
Known = TypeVar("Known", int, "int | None")


def amounts_of(hold: Mapping[str, Any]) -> Amounts:
    """Give what is held of each resource: of one that nobody can bound, nothing."""
    return (hold.get("usd_micro") or 0, hold.get("tokens") or 0, hold.get("calls") or 0)


def charged(settled: Mapping[str, Any], held: tuple[Known, Known, Known]) -> tuple[Known, Known, Known]:
    """Give what an attempt is charged by resource; an amount that is absent or null is all that was held."""
    usd, tokens, calls = settled.get("usd_micro"), settled.get("tokens"), settled.get("calls")
    return (
        held[0] if usd is None else usd,
        held[1] if tokens is None else tokens,
        held[2] if calls is None else calls,
    )


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


class Account:
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

    def __init__(self, name: str, parent: Account | None) -> None:
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

    def balance(self, now_ms: int) -> Balance:
        """Give it as it is at a moment."""
        return Balance(
            account=self.name,
            parent=None if self.parent is None else self.parent.name,
            window=self.window,
            is_shadow=self.is_shadow,
            limits={RESOURCES[place]: limit for place, limit in self.limits},
            used=dict(zip(RESOURCES, self.used_at(now_ms), strict=True)),
            held=dict(zip(RESOURCES, self.held, strict=True)),
            exceeded=self.exceeded,
        )


def upwards(node: Account | None) -> Iterator[Account]:
    """Give an account and those above it."""
    while node is not None:
        yield node
        node = node.parent


def is_below(leaf: Account, node: Account) -> bool:
    """Whether an account is another one, or somewhere below it."""
    return any(each is node for each in upwards(leaf))
