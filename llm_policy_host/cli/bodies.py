"""A chat body from a file, as the gateway would take it: to ask who would serve it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.cases.bodies import contract_of_body
from llm_policy_host.errors import UsageError

from .contracts import contract, reason

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.values import Contract
    from llm_policy_host.wiring import Host


def add_body(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the option that puts a whole body in the place of a contract's options."""
    parser.add_argument(
        "--body", metavar="FILE", help="a body of `/v1/chat/completions` as JSON, in place of these options"
    )


def asked_contract(arguments: argparse.Namespace, host: Host) -> Contract:
    """Build the contract that the body describes, or else the options."""
    if arguments.body is None:
        return contract(arguments)
    return contract_of_body(host, _read(Path(arguments.body)), profile=arguments.profile)


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"the body `{path}` cannot be read: {reason(error)}") from None
    except ValueError as error:
        raise UsageError(f"the body `{path}` is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise UsageError(f"the body `{path}` is no record")
    return body
