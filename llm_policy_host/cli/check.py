"""`llm-policy check`: what `serve` would say of a config: every mistake at once, then what is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llm_policy_host.analysis.warnings import Oddity, oddities
from llm_policy_host.config.sources import filled
from llm_policy_host.core.language import Refusal
from llm_policy_host.marketplace import placeless, unfed
from llm_policy_host.values import Missing
from llm_policy_host.wiring import Host

from . import check_ledger
from .output import FAILED, OK, add_json, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .output import Commands

_PLACES: Final = {
    "provider": ("providers",),
    "key": ("host", "keys"),
    "source": ("host", "sources"),
    "secret": ("host",),
    "content": ("host", "content"),
}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", help="check a config as `serve` does, and call nobody")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings too")
    parser.add_argument("--no-secrets", action="store_true", help="do not look whether secrets are set")
    check_ledger.add_options(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Check; mistakes are reported by the command line's entry."""
    host = Host.from_config(arguments.config)
    if arguments.ledger:
        return check_ledger.check(arguments, host)
    profiles = dict(_identities(host))
    warnings = list(warnings_of(host, with_secrets=not arguments.no_secrets))
    is_good = not (warnings and arguments.strict)
    if arguments.json:
        told = [{"what": each.kind, "name": each.name, **each.problem.as_data()} for each in warnings]
        print_json({"ok": is_good, **_counts(host), "identities": profiles, "warnings": told})
        return OK if is_good else FAILED
    counts = ", ".join(f"{count} {name}" for name, count in _counts(host).items())
    print(f"{arguments.config}: {counts}")
    for line in table(
        [(name, identity or "no identity: functions of this host") for name, identity in profiles.items()]
    ):
        print(line)
    for warning in warnings:
        warn(f"warning: {warning.problem}")
    return OK if is_good else FAILED


def _counts(host: Host) -> dict[str, int]:
    core = host.config.core
    counts = {name: len(core.get(name) or {}) for name in ("providers", "models", "profiles")}
    return {**counts, "sources": len(host.config.settings.sources)}


def _identities(host: Host) -> Iterator[tuple[str, str | None]]:
    for name in sorted(
        host.config.core.get("profiles") or {}, key=lambda name: name.encode(errors="replace")
    ):
        term = host.engine.profile_term(name)
        answer = None if term is None else host.language.identify(term, host.schema)
        yield name, None if answer is None or isinstance(answer, Refusal) else answer.identity


def warnings_of(host: Host, *, with_secrets: bool) -> Iterator[Oddity]:
    """Give what is odd about a config that has no mistakes."""
    secretive = {
        name for name, auth in host.config.auths.items() if auth["kind"] != "none" and not with_secrets
    }
    for name, reason in host.disabled.items():
        if name not in secretive:
            yield _oddity(host, "provider", name, f"disabled: {reason}")
    for name in unfed(host.config):
        yield _oddity(host, "provider", name, "no source feeds its marketplace")
    for name in placeless(host.config):
        detail = "its offers name no place to call: give it a `base_url`, or its source `endpoints`"
        yield _oddity(host, "provider", name, detail)
    if with_secrets:
        yield from _missing_secrets(host)
    yield from oddities(host.config, host.engine, host.language)


def _missing_secrets(host: Host) -> Iterator[Oddity]:
    settings = host.config.settings
    asked = {("key", name): key for name, key in settings.keys.items() if "sha256" not in key}
    for name, source in settings.sources.items():
        if "auth_env" in filled(name, source):
            asked["source", name] = {"env": source["auth_env"]}
    if settings.keys_root:
        asked["secret", "keys_root"] = settings.keys_root
    if "key" in settings.content:
        asked["content", "key"] = settings.content["key"]
    for (what, name), auth in asked.items():
        found = host.secrets.find(auth)
        if isinstance(found, Missing):
            yield _oddity(host, what, name, found.reason)


def _oddity(host: Host, what: str, name: str, detail: str) -> Oddity:
    return Oddity(what, name, host.config.document.problem((*_PLACES[what], name), detail))
