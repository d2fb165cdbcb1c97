"""`llm-policy schema`: the JSON Schema of a config, for editors and other readers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llm_policy_host.config.schema.config import config_schema

from .output import OK, add_json

if TYPE_CHECKING:
    import argparse

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("schema", help="print the JSON Schema of a config, for editors")
    add_json(parser)
    parser.set_defaults(do=do)


def do(_arguments: argparse.Namespace) -> int:
    """Print it; it is JSON anyway."""
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
    return OK
