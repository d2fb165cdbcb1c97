"""The tree of accounts once more: every balance is counted anew from all events, as spec 5.4 says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RESOURCES = ("usd_micro", "tokens", "calls")
WIDTH = {"lifetime": None, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000}


@dataclass
class Account:
    parent: str | None
    limits: dict[str, Any]
    window: str
    is_shadow: bool
    turn: int = 0
    charges: list[dict[str, int]] = field(default_factory=list)
    holds: dict[tuple[str, Any], dict[str, int]] = field(default_factory=dict)
    exceeded: int = 0

    def look(self, ts: int) -> None:
        """Forget what an earlier window was charged, once a later one is seen."""
        turn = turn_of(self.window, ts)
        if turn > self.turn:
            self.turn, self.charges = turn, []

    def total(self, resource: str) -> int:
        return sum(each[resource] for each in [*self.charges, *self.holds.values()])


def turn_of(window: str, ts: int) -> int:
    width = WIDTH[window]
    return 0 if width is None else ts // width


def count(events: list[Any]) -> dict[str, Account]:
    """Count every account, from the first event on."""
    accounts: dict[str, Account] = {}
    for event in events:
        _step(accounts, event)
    return accounts


def _step(accounts: dict[str, Account], event: Any) -> None:  # noqa: C901, PLR0912 - a branch a type
    core = event.core
    if event.type == "AccountOpened":
        turn = turn_of(core["window"], event.ts)
        accounts[core["account"]] = Account(
            core["parent"], core["limits"], core["window"], core["is_shadow"], turn
        )
    elif event.type == "AccountAdjusted":
        account = accounts[core["account"]]
        account.limits = core["limits"]
        if core.get("is_shadow") is not None:
            account.is_shadow = core["is_shadow"]
        if core.get("window") not in (None, account.window):
            account.look(event.ts)
            account.window, account.turn = core["window"], turn_of(core["window"], event.ts)
    elif event.type in ("ApprovalRequested", "AttemptProposed"):
        for account in accounts.values():
            account.holds.pop((event.run, "asked"), None)
        place = "asked" if event.type == "ApprovalRequested" else core["attempt"]
        for name in core.get("accounts") or []:
            account = accounts[name]
            account.look(event.ts)
            account.holds[event.run, place] = {each: core["hold"].get(each) or 0 for each in RESOURCES}
            if account.is_shadow and _is_over(account, core["hold"]):
                account.exceeded += 1
    elif event.type == "AttemptOutcome":
        for account in accounts.values():
            hold = account.holds.pop((event.run, core["attempt"]), None)
            if hold is not None:
                settled = {
                    name: amount for name, amount in event.obs["settled"].items() if amount is not None
                }
                account.look(event.ts)
                account.charges.append({**hold, **settled})
    elif event.type == "ApprovalDecided" and core["decision"] == "deny":
        for account in accounts.values():
            account.holds.pop((event.run, "asked"), None)
    elif event.type in ("RunCompleted", "RunFailed", "RunCancelled"):
        for account in accounts.values():
            account.holds = {place: hold for place, hold in account.holds.items() if place[0] != event.run}


def _is_over(account: Account, hold: dict[str, Any]) -> bool:
    return any(
        limit is not None and (hold.get(resource) is None or account.total(resource) > limit)
        for resource, limit in account.limits.items()
    )


def refusal(  # noqa: C901, PLR0911 - a branch a rule
    events: list[Any], event: Any
) -> tuple[str, str, str | None] | None:
    """Say why an event may not come after these: code, account, resource."""
    accounts, core = count(events), event.core
    if event.type == "AccountOpened":
        name, parent = core["account"], core["parent"]
        if name in accounts:
            return "account_exists", name, None
        if name.startswith("key:") != (event.by == "keyholder"):
            return "reserved_name", name, None
        if parent is not None and parent not in accounts:
            return "unknown_account", parent, None
        return ("too_deep", name, None) if parent and len(above(accounts, parent)) >= 16 else None
    if event.type == "AccountAdjusted":
        return None if core["account"] in accounts else ("unknown_account", core["account"], None)
    path = core.get("accounts")
    if event.type not in ("ApprovalRequested", "AttemptProposed") or not path:
        return None
    if path[0] not in accounts:
        return "unknown_account", path[0], None
    if path != above(accounts, path[0]):
        return "not_a_path", "", None
    then = count([*events, event])
    for name in path:
        for resource in RESOURCES:
            limit = None if then[name].is_shadow else then[name].limits.get(resource)
            if limit is not None and core["hold"].get(resource) is None:
                return "unpriced" if resource == "usd_micro" else "unbounded", name, resource
            if limit is not None and then[name].total(resource) > limit:
                return "budget_exceeded", name, resource
    return None


def above(accounts: dict[str, Account], name: str | None) -> list[str]:
    path = []
    while name is not None:
        path.append(name)
        name = accounts[name].parent
    return path
