"""A config's ledger, for the commands that write into it or count from it."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.bookkeeping import keep_accounts, open_ledger
from llm_policy_host.config.environment import environment
from llm_policy_host.config.load import load_config
from llm_policy_host.config.names import nearest
from llm_policy_host.errors import ConfigError, UsageError
from llm_policy_host.ledger.folds import Folds

from .ledger import events, opened

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from llm_policy_host.bookkeeping import Ledger
    from llm_policy_host.config.load import Config
    from llm_policy_host.ledger.event import Draft, Event
    from llm_policy_host.ports import Clock

CONFIG = "policy.yaml"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand that writes the option that names whose ledger."""
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", default=CONFIG, help=f"whose `host.ledger` it is ({CONFIG})"
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand that reads the options that name what."""
    add_config(parser)
    parser.add_argument("--file", metavar="FILE", help="or: a ledger's SQLite file, or an export")


def read_config(name: str) -> Config:
    """Read a config without mistakes."""
    config = load_config(Path(name))
    if config.document.problems:
        raise ConfigError(config.document.problems)
    return config


@contextmanager
def writing(config: Config, clock: Clock) -> Iterator[Ledger]:
    """Open a config's ledger to write, with the accounts as the config has them.

    What was written is kept once the block is left without an error, and is not to be told before.
    """
    if not config.settings.ledger:
        raise UsageError(f"`{config.document.file}` has no `host.ledger`")
    ledger = open_ledger(config, clock, environment())
    ledger.enter()
    try:
        keep_accounts(ledger, config.settings.accounts, clock)
        yield ledger
    finally:
        ledger.leave()


def write(ledger: Ledger, draft: Draft) -> Event:
    """Write one event; it is in the store when the ledger is left."""
    return asyncio.run(ledger.log.accept(draft))


def counted(arguments: argparse.Namespace) -> Folds:
    """Count balances and keys from a ledger's events."""
    folds = Folds()
    with closing(opened(arguments)) as store:
        for event in events(store.lines()):
            folds.apply(event)
    return folds


def check_account(folds: Folds, account: str) -> None:
    """Refuse an account that is none."""
    if account not in folds.accounts:
        near = nearest(account, folds.accounts.names())
        hint = f" (did you mean `{near}`?)" if near else ""
        raise UsageError(f"no account `{account}` is open{hint}")
