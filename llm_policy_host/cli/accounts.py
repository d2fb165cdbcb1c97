"""`llm-policy accounts`: opens budgets, changes their limits, says what is left of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import SystemClock
from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.account import RESOURCES, WINDOWS_MS
from llm_policy_host.ledger.amounts import usd_text
from llm_policy_host.ledger.event import Draft

from .books import add_config, add_source, check_account, counted, read_config, write, writing
from .caveat_options import count, usd
from .output import OK, add_json, plain, print_json, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.config.load import Config
    from llm_policy_host.ledger.account import Balance
    from llm_policy_host.ledger.accounts import Accounts

    from .output import Commands

_LIMITS: tuple[tuple[str, str, str, Callable[[str], int]], ...] = (
    ("--usd", "usd_micro", "AMOUNT", usd),
    ("--tokens", "tokens", "N", count),
    ("--calls", "calls", "N", count),
)


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    parser = commands.add_parser("accounts", help="open budgets, change their limits, say what is left")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    opened = below.add_parser("open", help="open an account")
    opened.add_argument("--parent", metavar="NAME", help="the account above it, whose limits hold too")
    adjusted = below.add_parser("adjust", help="change limits; what is not named stays")
    for one, do in ((opened, _open), (adjusted, _adjust)):
        one.add_argument("account", metavar="NAME", help="its name")
        _add_limits(one)
        add_config(one)
        add_json(one)
        one.set_defaults(do=do)
    shown = below.add_parser("show", help="what is used, held and left, as a tree")
    shown.add_argument("account", nargs="?", metavar="NAME", help="only this one and those below it")
    add_source(shown)
    add_json(shown)
    shown.set_defaults(do=_show)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for flag, name, metavar, read in _LIMITS:
        parser.add_argument(
            flag,
            dest=name,
            metavar=metavar,
            type=_or_none(read),
            default=argparse.SUPPRESS,
            help=f"the most {flag.removeprefix('--').replace('usd', 'USD')}; `none` lifts the limit",
        )
    windows = " ".join(f"`{window}`" for window in WINDOWS_MS)
    parser.add_argument("--window", choices=tuple(WINDOWS_MS), metavar="WINDOW", help=f"of what: {windows}")
    parser.add_argument(
        "--shadow",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether it only counts what it would have refused",
    )


def _or_none(read: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text == "none" else read(text)


def _limits(arguments: argparse.Namespace, known: dict[str, int]) -> dict[str, int]:
    given = {**known, **{name: getattr(arguments, name) for name in RESOURCES if hasattr(arguments, name)}}
    return {name: limit for name, limit in given.items() if limit is not None}


def _open(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    with writing(config, SystemClock()) as ledger:
        tenant = arguments.account
        if arguments.parent is not None:
            check_account(ledger.folds, arguments.parent)
            tenant = ledger.folds.accounts.path(arguments.parent)[-1]
        core = {
            "account": arguments.account,
            "parent": arguments.parent,
            "limits": _limits(arguments, {}),
            "window": arguments.window or "lifetime",
            "is_shadow": bool(arguments.shadow),
        }
        write(ledger, Draft("AccountOpened", "operator", tenant, core=core))
    return _print(arguments, ledger.folds.accounts, [arguments.account])


def _adjust(arguments: argparse.Namespace) -> int:
    config, clock = _config(arguments), SystemClock()
    with writing(config, clock) as ledger:
        check_account(ledger.folds, arguments.account)
        accounts = ledger.folds.accounts
        known = accounts.balance(arguments.account, clock.now_ms())
        core = {"account": arguments.account, "limits": _limits(arguments, dict(known.limits))}
        chosen = {"window": arguments.window, "is_shadow": arguments.shadow}
        core |= {name: value for name, value in chosen.items() if value is not None}
        write(ledger, Draft("AccountAdjusted", "operator", accounts.path(arguments.account)[-1], core=core))
    return _print(arguments, ledger.folds.accounts, [arguments.account])


def _config(arguments: argparse.Namespace) -> Config:
    """Read the config; an account that it has is changed there, where the next start would take it from."""
    config = read_config(arguments.config)
    if arguments.account in config.settings.accounts:
        raise UsageError(f"`{arguments.account}` is an account of `{arguments.config}`: change it there")
    return config


def _show(arguments: argparse.Namespace) -> int:
    folds = counted(arguments)
    if arguments.account is not None:
        check_account(folds, arguments.account)
    wanted = [
        name
        for name in folds.accounts.names()
        if arguments.account is None or arguments.account in folds.accounts.path(name)
    ]
    return _print(arguments, folds.accounts, wanted)


def _print(arguments: argparse.Namespace, accounts: Accounts, names: list[str]) -> int:
    now_ms = SystemClock().now_ms()
    # a tree's order: each below its parent
    names = sorted(names, key=lambda name: accounts.path(name)[::-1])
    if arguments.json:
        rows = [
            {**plain(accounts.balance(name, now_ms)), "remaining": accounts.remaining(name, now_ms)}
            for name in names
        ]
        print_json({"ok": True, "accounts": rows})
        return OK
    least = min((len(accounts.path(name)) for name in names), default=0)
    cells = [
        _cells(accounts.balance(name, now_ms), "  " * (len(accounts.path(name)) - least)) for name in names
    ]
    for line in table(cells):
        print(line)
    return OK


def _cells(balance: Balance, indent: str) -> tuple[str, ...]:
    mode = f"shadow, {balance.exceeded} would be refused" if balance.is_shadow else ""
    return (indent + balance.account, balance.window, *(_cell(balance, name) for name in RESOURCES), mode)


def _cell(balance: Balance, resource: str) -> str:
    """Write what is used and held of a limit: `usd 1.25 (+0.5 held) of 10`."""
    limit: Any = balance.limits.get(resource)
    held = balance.held[resource]
    text = f"{resource.removesuffix('_micro')} {_amount(balance.used[resource], resource)}"
    text += f" (+{_amount(held, resource)} held)" if held else ""
    return text if limit is None else f"{text} of {_amount(limit, resource)}"


def _amount(amount: int, resource: str) -> str:
    if resource != "usd_micro":
        return str(amount)
    return usd_text(amount)
