"""Whole calls for `llm-policy bench ledger`: routed, metered, chained, at a script that answers at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.bookkeeping import memory_ledger
from llm_policy_host.clock import SystemClock
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from llm_policy_host.bookkeeping import Ledger

AT_ONCE: Final = 50
"""Callers at the same time."""

_ROUTES = [{"provider": f"p{place}", "price_in": 1.0 + place, "price_out": 2.0 + place} for place in range(5)]
_CONFIG: Final[dict[str, Any]] = {
    "providers": {route["provider"]: {"api_kind": "scripted"} for route in _ROUTES},
    "models": {f"m{place}": {"capabilities": {"context": 8000}, "served_by": _ROUTES} for place in range(4)},
    "profiles": {"cheap": {"scorer": ["neg", ["field", "price_in"]]}},
}
_SCRIPTS: Final = {"p0": [{"answer": "yes", "usage": {"input": 10, "output": 5}}]}
_ACCOUNTS: Final[dict[str, Any]] = {"team": {"usd": 1_000_000}, "a": {"parent": "team", "usd": 1_000_000}}


def calls(count: int, *, is_kept: bool = True, is_on_disk: bool = False) -> int:
    """Make so many calls, from many callers at once; give how many were made."""
    with TemporaryDirectory(prefix="llm-policy-bench-") as folder:
        return asyncio.run(_calls(count, Path(folder), is_kept=is_kept, is_on_disk=is_on_disk))


async def _calls(count: int, folder: Path, *, is_kept: bool, is_on_disk: bool) -> int:
    clock = SystemClock()
    kept = {"ledger": {"file": "ledger.db", "account": "a"}, "accounts": _ACCOUNTS} if is_kept else {}
    ledger: Ledger | None = memory_ledger(clock) if is_kept and not is_on_disk else None
    config = {**_CONFIG, "host": {"scripts": _SCRIPTS, **kept}}
    async with Host.from_data(config, directory=folder, clock=clock, ledger=ledger, environment={}) as host:
        share = max(1, count // AT_ONCE)
        await asyncio.gather(*(_caller(host, share) for _ in range(AT_ONCE)))
    return share * AT_ONCE


async def _caller(host: Host, count: int) -> None:
    contract = Contract(messages=[{"role": "user", "content": "hi"}], params={"max_tokens": 10})
    for _ in range(count):
        result = await host.run(contract)
        assert result.ok, result  # noqa: S101 - a failure would be quicker
