"""`llm-policy hash`: the identities of a config's profiles, or of a term."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.analysis.subject import schema_of
from llm_policy_host.core.language import Identified, Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.wiring import Host

from .output import OK, REFUSED, add_json, plain, print_json, warn
from .subjects import A_TERM, is_term, profile_names, read_term

if TYPE_CHECKING:
    import argparse

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("hash", help="print the identities of a config's profiles, or of a term")
    what = f"a config, YAML or Lua; or {A_TERM}, as does nothing"
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help=what)
    parser.add_argument("-p", "--profile", metavar="NAME", help="only this profile of the config")
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", help="whose fields, params and tiers a term may name"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Hash."""
    if is_term(arguments.file):
        return _hash_term(arguments)
    host = Host.from_config(arguments.file)
    for name in _profile_names(host, arguments.profile):
        term = host.engine.profile_term(name)
        if term is None:
            warn(f"{name} has no identity: it calls functions of this host")
            continue
        schema = schema_of(host.config.core)
        _show({"profile": name}, Language(Vm()).identify(term, schema), as_json=arguments.json)
    return OK


def _hash_term(arguments: argparse.Namespace) -> int:
    schema = {} if arguments.config is None else schema_of(Host.from_config(arguments.config).config.core)
    term, language = read_term(arguments.file), Language(Vm())
    is_text = isinstance(term, bytes)
    answer = language.identify_json(term, schema) if is_text else language.identify(term, schema)
    return _show({}, answer, as_json=arguments.json)


def _profile_names(host: Host, wanted: str | None) -> list[str]:
    names = profile_names(host)
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
