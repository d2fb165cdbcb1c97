"""`llm-policy hash`: the identity of a policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.language import Identified, Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.wiring import Host

from .output import OK, REFUSED, add_json, plain, print_json, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from .output import Commands

_SCHEMA_KEYS = ("fields", "params", "tier_order")


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("hash", help="print the identity of a term, or of a config's profiles")
    parser.add_argument(
        "term", nargs="?", metavar="FILE", help="a term as JSON; `-` or nothing reads standard input"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="whose fields, params and tiers the term may name"
    )
    parser.add_argument("-p", "--profile", metavar="NAME", help="a profile of the config, in place of a term")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Hash."""
    answer = _of_term(arguments) if arguments.profile is None else _of_profile(arguments)
    if isinstance(answer, Identified):
        return _show(plain(answer), as_json=arguments.json)
    if arguments.json:
        print_json({"ok": False, "refusal": answer})
    else:
        warn(f"refused: {answer.code} at {answer.path}: {answer.detail}")
    return REFUSED


def _of_profile(arguments: argparse.Namespace) -> Identified | Refusal:
    host = _host(arguments)
    term = host.engine.profile_term(arguments.profile)
    if term is None:
        raise UsageError(f"the config has no profile `{arguments.profile}` that is a term")
    return Language(Vm()).identify(term, _schema(host))


def _of_term(arguments: argparse.Namespace) -> Identified | Refusal:
    schema = {} if arguments.config is None else _schema(_host(arguments))
    return Language(Vm()).identify_json(_read(arguments.term), schema)


def _host(arguments: argparse.Namespace) -> Host:
    if arguments.config is None:
        raise UsageError("a profile needs its config: add --config FILE")
    return Host.from_config(arguments.config)


def _schema(host: Host) -> dict[str, Any]:
    core = host.config.core
    return {key: core[key] for key in _SCHEMA_KEYS if key in core}


def _show(data: Mapping[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": True, **data})
        return OK
    print(data["identity"])
    warn(f"{data['sort']}, fingerprint {data['fingerprint']}")
    return OK


def _read(name: str | None) -> bytes:
    if name in (None, "-"):
        return sys.stdin.buffer.read()
    try:
        return Path(str(name)).read_bytes()
    except OSError as error:
        raise UsageError(f"the term `{name}` cannot be read: {error.strerror}") from None
