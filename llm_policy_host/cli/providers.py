"""`llm-policy providers`: who can be called, and the accounts of those who want a login."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.auth.device import Device, LoginError
from llm_policy_host.auth.oauth import OAuthProvider, OAuthTools
from llm_policy_host.clock import SystemClock
from llm_policy_host.config.load import load_config
from llm_policy_host.errors import ConfigError, UsageError
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.values import Missing
from llm_policy_host.wiring import Host

from .output import FAILED, OK, add_json, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine, Iterable, Mapping

    from llm_policy_host.config.load import Config
    from llm_policy_host.ports import Clock

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    parser = commands.add_parser("providers", help="say who can be called; log accounts in and out")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    listed = below.add_parser("list", help="each provider, and why it is disabled where it is")
    listed.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    add_json(listed)
    listed.set_defaults(do=list_)
    for name, words, do in (
        ("login", "get an account's tokens, with a code typed in at the provider's page", login),
        ("logout", "forget an account's tokens", logout),
    ):
        one = below.add_parser(name, help=words)
        one.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
        one.add_argument("provider", metavar="PROVIDER", help="a provider with `auth: {kind: oauth}`")
        one.add_argument("--account", metavar="NAME", help="which of its accounts (the first)")
        add_json(one)
        one.set_defaults(do=do)


def list_(arguments: argparse.Namespace) -> int:
    """Say who can be called."""
    host = Host.from_config(arguments.config)
    rows = list(_rows(host))
    if arguments.json:
        print_json({"ok": True, "providers": rows})
        return OK
    for line in table([_cells(row) for row in rows]):
        print(line)
    return OK


def _rows(host: Host) -> Iterable[dict[str, Any]]:
    for name, provider in (host.config.core.get("providers") or {}).items():
        auth = host.config.auths.get(name, {"kind": "none"})
        yield {
            "provider": name,
            "api_kind": provider.get("api_kind") or "openai_compatible",
            "auth": auth["kind"],
            "disabled": host.disabled.get(name),
            "accounts": _accounts(host, name, auth),
        }


def _accounts(host: Host, name: str, auth: Mapping[str, Any]) -> list[dict[str, Any]]:
    if auth["kind"] != "oauth":
        return []
    provider = _provider(host.config, name, host.clock)
    return [
        {"account": account.name, "is_logged_in": not isinstance(account.find(), Missing)}
        for account in provider.accounts.values()
    ]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = "ready" if row["disabled"] is None else f"disabled: {row['disabled']}"
    accounts = ", ".join(
        each["account"] + ("" if each["is_logged_in"] else " (not logged in)") for each in row["accounts"]
    )
    return (row["provider"], row["api_kind"], row["auth"], accounts, state)


def login(arguments: argparse.Namespace) -> int:
    """Log an account in."""
    device, account = _device(arguments)
    return _finished(arguments, _login(arguments, device, account))


async def _login(arguments: argparse.Namespace, device: Device, account: str) -> str:
    prompt = await device.begin()
    if arguments.json:
        print_json({"url": prompt.whole_url or prompt.url, "code": prompt.code})
    else:
        warn(f"open {prompt.url} and type in {prompt.code}")
        if prompt.whole_url is not None:
            warn(f"or open {prompt.whole_url}")
    await device.keep(account, await device.finish(prompt))
    return f"the account `{account}` is logged in"


def logout(arguments: argparse.Namespace) -> int:
    """Log an account out: its tokens are forgotten here; the server is not told."""
    device, account = _device(arguments)
    return _finished(arguments, _logout(device, account))


async def _logout(device: Device, account: str) -> str:
    await device.keep(account, None)
    return f"the account `{account}` is logged out"


def _finished(arguments: argparse.Namespace, work: Coroutine[Any, Any, str]) -> int:
    try:
        done = asyncio.run(work)
    except LoginError as error:
        if arguments.json:
            print_json({"ok": False, "error": str(error)})
        else:
            warn(f"llm-policy: {error}")
        return FAILED
    if arguments.json:
        print_json({"ok": True})
    else:
        print(done)
    return OK


def _device(arguments: argparse.Namespace) -> tuple[Device, str]:
    config = load_config(Path(arguments.config))
    if config.document.problems:
        raise ConfigError(config.document.problems)
    auth = config.auths.get(arguments.provider)
    if auth is None:
        raise UsageError(f"no provider `{arguments.provider}` in the config")
    if auth["kind"] != "oauth":
        raise UsageError(f"`{arguments.provider}` has no `auth` of kind `oauth`")
    clock = SystemClock()
    provider = _provider(config, arguments.provider, clock)
    return Device(auth, provider, clock), _account(arguments, provider)


def _provider(config: Config, name: str, clock: Clock) -> OAuthProvider:
    return OAuthProvider(name, config.auths[name], OAuthTools(clock, config.directory, HttpClient))


def _account(arguments: argparse.Namespace, provider: OAuthProvider) -> str:
    names = list(provider.accounts)
    wanted = arguments.account or names[0]
    if wanted not in names:
        raise UsageError(f"no account `{wanted}` of `{arguments.provider}`: there is {', '.join(names)}")
    return str(wanted)
