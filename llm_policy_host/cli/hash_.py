"""`llm-policy hash`: the identities of a config's profiles, or of a term."""

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

    from .output import Commands

_SCHEMA_KEYS = ("fields", "params", "tier_order")
_TERM_SUFFIX = ".json"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("hash", help="print the identities of a config's profiles, or of a term")
    what = "a config, YAML or Lua; or a term as JSON, `-` or nothing reads one from standard input"
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help=what)
    parser.add_argument("-p", "--profile", metavar="NAME", help="only this profile of the config")
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", help="whose fields, params and tiers a term may name"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Hash."""
    if arguments.file == "-" or arguments.file.endswith(_TERM_SUFFIX):
        return _hash_term(arguments)
    host = Host.from_config(arguments.file)
    for name in _profile_names(host, arguments.profile):
        term = host.engine.profile_term(name)
        if term is None:
            warn(f"{name} has no identity: it calls functions of this host")
            continue
        _show({"profile": name}, Language(Vm()).identify(term, _schema(host)), as_json=arguments.json)
    return OK


def _hash_term(arguments: argparse.Namespace) -> int:
    schema = {} if arguments.config is None else _schema(Host.from_config(arguments.config))
    return _show({}, Language(Vm()).identify_json(_read(arguments.file), schema), as_json=arguments.json)


def _profile_names(host: Host, wanted: str | None) -> list[str]:
    names = sorted(host.config.core.get("profiles") or {}, key=lambda name: name.encode(errors="replace"))
    if wanted is None:
        return names
    if wanted not in names:
        raise UsageError(f"the config has no profile `{wanted}`")
    return [wanted]


def _show(about: dict[str, str], answer: Identified | Refusal, *, as_json: bool) -> int:
    if isinstance(answer, Refusal):
        if as_json:
            print_json({"ok": False, **about, "refusal": answer})
        else:
            warn(f"refused: {answer.code} at {answer.path}: {answer.detail}")
        return REFUSED
    if as_json:
        print_json({"ok": True, **about, **plain(answer)})
        return OK
    print(" ".join([answer.identity, *about.values()]))
    print(f"  {answer.sort}, fingerprint {answer.fingerprint}")
    print(f"  {answer.encoding}")
    return OK


def _schema(host: Host) -> dict[str, Any]:
    core = host.config.core
    return {key: core[key] for key in _SCHEMA_KEYS if key in core}


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"the term `{name}` cannot be read: {error.strerror}") from None
