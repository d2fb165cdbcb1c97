"""`llm-policy rank`: who would serve a contract, without any effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llm_policy_host.wiring import Host

from .bodies import add_body, asked_contract
from .contracts import add_options
from .output import add_json, exit_code, plain, print_json, ranking_lines, refusal_text, warn

if TYPE_CHECKING:
    import argparse

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("rank", help="say who would serve a contract, in order, and who not and why")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    add_body(parser)
    add_options(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Rank."""
    host = Host.from_config(arguments.config)
    if host.market.sources:
        asyncio.run(_look_around(host))
    ranking = host.rank(asked_contract(arguments, host))
    error = ranking.error or (None if ranking.ordered else "no_candidates")
    if arguments.json:
        print_json({"ok": error is None, **plain(ranking), "error": error, "disabled": host.disabled})
        return exit_code(error)
    for line in ranking_lines(ranking):
        print(line)
    for name, reason in host.disabled.items():
        warn(f"{name} is disabled: {reason}")
    if error is not None:
        warn(f"nobody: {refusal_text(ranking) or error}")
    return exit_code(error)


async def _look_around(host: Host) -> None:
    """Ask the market once."""
    async with host:
        pass
