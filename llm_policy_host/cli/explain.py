"""`llm-policy explain`: policies in plain words, verb by verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.subject import schema_of
from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Inputs
from llm_policy_host.wiring import Host

from .output import OK, add_json, plain, print_json
from .subjects import A_TERM, Named, identity, is_term, profile_names, read

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("explain", help="tell a policy in plain words")
    parser.add_argument("config", nargs="?", metavar="FILE", help=f"a config, YAML or Lua; or {A_TERM}")
    parser.add_argument("-p", "--profile", metavar="NAME", help="only this profile of the config")
    parser.add_argument(
        "--term",
        metavar="FILE",
        help="a policy term of the config's names",
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Tell."""
    if arguments.config is not None and arguments.term is None and is_term(arguments.config):
        arguments.config, arguments.term = None, arguments.config
    host = None if arguments.config is None else Host.from_config(arguments.config)
    for told in _told(host, arguments):
        if arguments.json:
            print_json({"ok": True, **told})
        else:
            print("\n".join(_lines(told)))
    return OK


def _told(host: Host | None, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if arguments.term is not None:
        yield _of_term(Named(arguments.term), {} if host is None else schema_of(host.config.core))
    elif host is None:
        raise UsageError("a CONFIG is wanted, or --term FILE")
    else:
        for name in _wanted(host, arguments.profile):
            yield _of_profile(host, name)


def _wanted(host: Host, profile: str | None) -> list[str]:
    names = profile_names(host)
    if profile is not None and profile not in names:
        raise UsageError(f"the config has no profile `{profile}`")
    return names if profile is None else [profile]


def _of_term(named: Named, schema: Mapping[str, Any]) -> dict[str, Any]:
    subject = read(named, schema)
    language = Language(Vm())
    if subject.sort != "Policy":
        lines = language.describe(subject.term).splitlines()
        chapters = [{"verb": subject.sort, "title": f"a {subject.sort}", "lines": lines}]
    else:
        chapters = plain(language.outline(subject.term))
    return {"name": subject.name, "identity": identity(subject), "made_of": [], "chapters": chapters}


def _of_profile(host: Host, name: str) -> dict[str, Any]:
    """Tell a profile; one that calls functions has words, but no identity."""
    made_of = [*_made_of(host.config.core, name)]
    if host.engine.profile_term(name) is not None:
        told = _of_term(Named(name, host, name), schema_of(host.config.core))
        return {**told, "name": name, "made_of": made_of}
    words = host.engine.explain({"profile": name}, Inputs(0, 0)).get("policy", {}).get("words", "")
    chapters = [{"verb": "policy", "title": "with functions of its host", "lines": words.splitlines()}]
    return {"name": name, "identity": None, "made_of": made_of, "chapters": chapters}


def _made_of(core: Mapping[str, Any], name: str) -> Iterator[str]:
    """Name what a profile takes from elsewhere in its config."""
    profile, parents, retry_policy = core["profiles"][name], [], None
    while profile is not None:
        retry_policy = retry_policy or profile.get("retry_policy")
        parent = profile.get("extends")
        parents += [parent] if parent else []
        profile = core["profiles"][parent] if parent else None
    if parents:
        yield f"extends {', '.join(parents)}"
    if isinstance(retry_policy, str):
        yield f"retry policy {retry_policy}"
    if "policy_envelope" in core:
        yield "under the envelope of the config"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['name']}  {told['identity'] or 'no identity: it calls functions of its host'}"
    if told["made_of"]:
        yield f"  {'; '.join(told['made_of'])}"
    for chapter in told["chapters"]:
        yield f"  {chapter['title']}:"
        yield from (f"    {line}" for line in chapter["lines"])
