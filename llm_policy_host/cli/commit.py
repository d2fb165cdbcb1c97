"""`llm-policy commit`: the identities of a node's policy and catalog, and commitments to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.core.digest import Digest
from llm_policy_host.core.engine import LuaEngine
from llm_policy_host.core.language import Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.onchain.commitments import (
    catalog_identity,
    commit,
    is_revealed_by,
    new_salt,
    part_salt,
    read_salt,
)
from llm_policy_host.onchain.decisions import schema_of
from llm_policy_host.wiring import Host

from .output import FAILED, OK, add_json, plain, print_json, warn

if TYPE_CHECKING:
    import argparse

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("commit", help="commit to a policy and a catalog without telling them")
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument("-p", "--profile", metavar="NAME", help="the profile that decides")
    parser.add_argument(
        "--salt", metavar="HEX", help="the node's secret salt; a new one where it is not given"
    )
    parser.add_argument(
        "--verify",
        nargs=3,
        metavar=("IDENTITY", "SALT", "COMMITMENT"),
        help="check what was revealed against what was published",
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Commit, or check a commitment."""
    if arguments.verify is not None:
        return _verify(*arguments.verify, as_json=arguments.json)
    if arguments.config is None:
        raise UsageError("a CONFIG is wanted, or --verify")
    host = Host.from_config(arguments.config)
    salt = new_salt() if arguments.salt is None else read_salt(arguments.salt)
    identities = {"policy": policy_identity(host, arguments.profile), "catalog": _catalog_identity(host)}
    parts = {part: commit(identity, part_salt(salt, part)) for part, identity in identities.items()}
    if arguments.json:
        print_json({"ok": True, "salt": salt.hex(), **plain(parts)})
        return OK
    for part, made in parts.items():
        print(part)
        print(f"  identity    {made.identity}")
        print(f"  salt        {made.salt}")
        print(f"  commitment  {made.commitment}")
    if arguments.salt is None:
        warn(f"keep the node's salt, which gives both again: --salt {salt.hex()}")
    return OK


def _verify(identity: str, salt: str, commitment: str, *, as_json: bool) -> int:
    is_right = is_revealed_by(commitment, identity, read_salt(salt))
    if as_json:
        print_json({"ok": is_right})
    elif is_right:
        print("this is what was committed to")
    else:
        warn("this is not what was committed to")
    return OK if is_right else FAILED


def policy_identity(host: Host, wanted: str | None) -> str:
    """Give the identity of a profile's effective policy, the envelope in it."""
    name = profile_name(host, wanted)
    term = host.engine.profile_term(name)
    if term is None:
        why = "it calls functions of this host, or waits for the chain of a contract"
        raise UsageError(f"`{name}` has no identity: {why}")
    found = Language(Vm()).identify(term, schema_of(host.config.core))
    if isinstance(found, Refusal):
        raise UsageError(f"{name}: {found.code} at {found.path}")
    return found.identity


def profile_name(host: Host, wanted: str | None) -> str:
    """Name the profile that is wanted, or else the one that a contract without one means."""
    core = host.config.core
    names = sorted(core.get("profiles") or {})
    only = names[0] if len(names) == 1 else "default"
    name: str = wanted or (core.get("defaults") or {}).get("profile") or only
    if name in names:
        return name
    if wanted is not None:
        raise UsageError(f"the config has no profile `{wanted}`")
    raise UsageError(f"which profile? the config has {', '.join(names) or 'none'}: say --profile NAME")


def data_engine(host: Host, what: str) -> LuaEngine:
    """Give the engine of a config that is only data."""
    if not isinstance(host.engine, LuaEngine):
        raise UsageError(f"{what}: the config holds functions of this host, which nobody else could run")
    return host.engine


def _catalog_identity(host: Host) -> str:
    return catalog_identity(Digest(Vm()), host.engine.candidates)
