"""`GET /v1/usage`: what a key's accounts have left, and what was used over a period (spec 5.4)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.account import RESOURCES, WINDOWS_MS
from llm_policy_host.ledger.usage import BY, Usage

from .errors import RefusedError, invalid
from .sugar import hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock

    from .skin import Caller
    from .till import Till

_PERIOD: Final = ("from_ms", "to_ms")
_MOST: Final = 2**53


async def usage(
    till: Till | None, caller: Caller | None, asked: Mapping[str, str], clock: Clock
) -> dict[str, Any]:
    """Answer for a caller: of his own accounts, or, with the right, by what he names."""
    if till is None:
        raise RefusedError(404, "no_ledger", "this gateway keeps no ledger")
    known = ("by", *_PERIOD)
    for name in asked:
        if name not in known:
            raise invalid(f"unknown parameter `{name[:256]}`{hint(name[:256], known)}", name[:256])
    if not asked:
        return _own(till, caller, clock.now_ms())
    below = _may_read(caller)
    by = asked.get("by", "account")
    if by not in BY:
        raise invalid(f"must be one of {', '.join(BY)}{hint(by, BY)}", "by")
    period = {name: _moment(name, asked[name]) for name in _PERIOD if name in asked}
    found = Usage(by, below=below, **period)
    await asyncio.to_thread(lambda: found.take(till.log.store.lines()))
    data = [{by: name or None, **asdict(found.rows[name])} for name in sorted(found.rows)]
    return {"object": "usage", "by": by, **period, "data": data, "total": asdict(found.total)}


def _may_read(caller: Caller | None) -> str | None:
    """Refuse who may not read the ledger (403); give the account that he is held to, None for all."""
    granted = None if caller is None else caller.granted
    if granted is None:
        # a gateway without keys is for this machine only
        is_allowed = caller is None or not caller.name or "admin" in caller.may
        needed, account = "admin", None
    else:
        is_allowed, needed, account = "read_ledger" in granted.rights, "read_ledger", granted.account
    if not is_allowed:
        raise RefusedError(403, "not_allowed", f"this needs the right `{needed}`, which this key lacks", "by")
    return account


def _moment(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_MOST))):
        raise invalid("must be a whole number of milliseconds since 1970", name)
    return int(text)


def _own(till: Till, caller: Caller | None, now_ms: int) -> dict[str, Any]:
    """Tell a caller of the accounts that he is charged to, the leaf first."""
    purse, accounts = till.purse(caller), till.folds.accounts
    opening = {core["account"]: core for core in purse.openings}
    told = []
    for name in purse.accounts:
        core = opening.get(name)
        if core is None:
            balance = accounts.balance(name, now_ms)
            limits, used, held = balance.limits, balance.used, balance.held
            parent, window, is_shadow = balance.parent, balance.window, balance.is_shadow
        else:
            limits, used, held = core["limits"], dict.fromkeys(RESOURCES, 0), dict.fromkeys(RESOURCES, 0)
            parent, window, is_shadow = core["parent"], core["window"], core["is_shadow"]
        told.append(
            {
                "account": name,
                "parent": parent,
                "window": window,
                "resets_at_ms": _resets_at_ms(window, now_ms),
                "is_shadow": is_shadow,
                "limits": dict(limits),
                "used": dict(used),
                "held": dict(held),
            }
        )
    return {
        "object": "usage",
        "key": (caller.name or None) if caller is not None else None,
        "accounts": told,
        "remaining": _remaining(told),
    }


def _remaining(told: list[dict[str, Any]]) -> dict[str, int]:
    """Give the least that any account leaves, by resource; what is absent is not limited."""
    left: dict[str, int] = {}
    for account in told:
        for name, limit in () if account["is_shadow"] else account["limits"].items():
            rest = max(0, limit - account["used"][name] - account["held"][name])
            left[name] = min(left.get(name, rest), rest)
    return left


def _resets_at_ms(window: str, now_ms: int) -> int | None:
    width = WINDOWS_MS[window]
    return (now_ms // width + 1) * width if width else None
