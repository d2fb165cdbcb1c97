"""`llm-policy approvals`: what waits for a person, and what he decides."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import SystemClock
from llm_policy_host.errors import LedgerError, UsageError
from llm_policy_host.ledger.amounts import usd_text
from llm_policy_host.ledger.approvals import WAITING, decided
from llm_policy_host.run.parking import refusal_of
from llm_policy_host.wiring import Host

from .books import add_config, add_source, counted, read_config, write, writing
from .output import OK, add_json, plain, print_json, table
from .run import show

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.ledger.approvals import Asking

    from .output import Commands

_DECISIONS = (
    ("approve", "let the call be made"),
    ("redirect", "let it be made to another route that its policy lists"),
    ("deny", "end the run without it"),
)


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    parser = commands.add_parser(
        "approvals", help="what waits for a person: list it, approve, redirect, deny"
    )
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    listed = below.add_parser("list", help="what waits, the oldest first")
    listed.add_argument("--all", action="store_true", help="and what was decided, as far as it is remembered")
    add_source(listed)
    add_json(listed)
    listed.set_defaults(do=_list)
    resumed = below.add_parser("resume", help="give what was approved its answer, where its request is kept")
    resumed.add_argument("approval", metavar="ID", help="as `list --all` prints it")
    add_config(resumed)
    add_json(resumed)
    resumed.set_defaults(do=_resume)
    for decision, about in _DECISIONS:
        one = below.add_parser(decision, help=about)
        one.add_argument("approval", metavar="ID", help="as `list` prints it")
        if decision == "redirect":
            one.add_argument("target", metavar="ROUTE", help="`PROVIDER|FAMILY`")
        add_config(one)
        add_json(one)
        one.set_defaults(do=_decide, decision=decision)


def _list(arguments: argparse.Namespace) -> int:
    approvals = counted(arguments).approvals
    found = approvals.all() if arguments.all else approvals.waiting()
    if arguments.json:
        print_json({"ok": True, "approvals": [_told(asking) for asking in found]})
        return OK
    for line in table([_cells(asking) for asking in found]):
        print(line)
    return OK


def _resume(arguments: argparse.Namespace) -> int:
    host = Host.from_config(Path(arguments.config))

    async def take_up() -> int:
        async with host:
            return show(await host.take_up(arguments.approval), as_json=arguments.json)

    return asyncio.run(take_up())


def _decide(arguments: argparse.Namespace) -> int:
    target: str | None = getattr(arguments, "target", None)
    config, clock = read_config(arguments.config), SystemClock()
    with writing(config, clock) as ledger:
        asking = _waiting(ledger.folds.approvals.find(arguments.approval), arguments.approval)
        if target is not None:
            _check_target(arguments, ledger.log.store.blob_get(asking.parked or ""), clock.now_ms())
        try:
            for draft in decided(asking, arguments.decision, "operator", target=target):
                write(ledger, draft)
        except LedgerError as error:
            if error.code != "expired":
                raise
            raise UsageError(f"`{asking.id}` waited too long: it is denied") from None
        asking = ledger.folds.approvals.find(asking.id) or asking
    if arguments.json:
        print_json({"ok": True, "approval": _told(asking)})
    else:
        print(f"{asking.id} is {asking.state}")
    return OK


def _check_target(arguments: argparse.Namespace, data: bytes | None, now_ms: int) -> None:
    """Refuse a route that the policy of the run does not list."""
    code = refusal_of(Host.from_config(Path(arguments.config)).engine, data, arguments.target, now_ms)
    if code is not None:
        raise UsageError(f"`{arguments.target}`: {code}: the policy does not list this route for the request")


def _waiting(asking: Asking | None, name: str) -> Asking:
    if asking is None:
        raise UsageError(f"no approval `{name}` is known")
    if asking.state != WAITING:
        raise UsageError(f"`{name}` was decided already: it is {asking.state}")
    return asking


def _told(asking: Asking) -> dict[str, Any]:
    data: dict[str, Any] = plain(asking)
    return {name: value for name, value in data.items() if name not in ("parked", "request")}


def _cells(asking: Asking) -> tuple[str, ...]:
    estimate = "-" if asking.estimate_micro is None else f"{usd_text(asking.estimate_micro)} USD"
    until = datetime.fromtimestamp(asking.until_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    who = asking.key_id or asking.session or asking.tenant
    state = f"until {until}" if asking.state == WAITING else asking.state
    return (asking.id, asking.reason, asking.redirected or asking.target, estimate, who, state)
