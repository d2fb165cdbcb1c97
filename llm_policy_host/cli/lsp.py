"""`llm-policy lsp`: the language server, for an editor that starts it and speaks over its streams."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from llm_policy_host.errors import UsageError

from .check import warnings_of
from .output import OK, add_json

if TYPE_CHECKING:
    import argparse

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("lsp", help="tell editors of configs and policies, as they are typed")
    add_json(parser)
    parser.set_defaults(do=do)


def do(_arguments: argparse.Namespace) -> NoReturn:
    """Serve one editor until it is done."""
    if find_spec("pygls") is None:
        raise UsageError("`lsp` needs the package `pygls`: pip install 'llm-policy[lsp]'")
    from llm_policy_host.lsp.server import make_server  # noqa: PLC0415 - needs that package

    # what is logged there quotes documents; and only the protocol may stand on standard output
    logging.disable(logging.CRITICAL)
    server = make_server(
        version("llm-policy"), lambda host: (each.problem for each in warnings_of(host, with_secrets=False))
    )
    with redirect_stdout(sys.stderr):
        server.start_io(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    # a check may still be under way, of a file that nobody ends: the editor has gone
    os._exit(OK)
