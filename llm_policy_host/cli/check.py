"""`llm-policy check`: what `serve` would say of a config: every mistake at once, then what is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.config.sources import filled
from llm_policy_host.core.language import Refusal
from llm_policy_host.marketplace import placeless, unfed
from llm_policy_host.values import Missing
from llm_policy_host.wiring import Host

from .output import FAILED, OK, add_json, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("check", help="check a config as `serve` does, and call nobody")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings too")
    parser.add_argument("--no-secrets", action="store_true", help="do not look whether secrets are set")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Check; mistakes are reported by the command line's entry."""
    host = Host.from_config(arguments.config)
    profiles = dict(_identities(host))
    warnings = list(_warnings(host, with_secrets=not arguments.no_secrets))
    is_good = not (warnings and arguments.strict)
    if arguments.json:
        print_json({"ok": is_good, **_counts(host), "identities": profiles, "warnings": warnings})
        return OK if is_good else FAILED
    counts = ", ".join(f"{count} {name}" for name, count in _counts(host).items())
    print(f"{arguments.config}: {counts}")
    for line in table(
        [(name, identity or "no identity: functions of this host") for name, identity in profiles.items()]
    ):
        print(line)
    for warning in warnings:
        warn(f"warning: {warning['what']} `{warning['name']}`: {warning['detail']}")
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


def _warnings(host: Host, *, with_secrets: bool) -> Iterator[dict[str, Any]]:
    secretive = {
        name for name, auth in host.config.auths.items() if auth["kind"] != "none" and not with_secrets
    }
    for name, reason in host.disabled.items():
        if name not in secretive:
            yield {"what": "provider", "name": name, "detail": f"disabled: {reason}"}
    for name in unfed(host.config):
        yield {"what": "provider", "name": name, "detail": "no source feeds its marketplace"}
    for name in placeless(host.config):
        detail = "its offers name no place to call: give it a `base_url`, or its source `endpoints`"
        yield {"what": "provider", "name": name, "detail": detail}
    if with_secrets:
        yield from _missing_secrets(host)


def _missing_secrets(host: Host) -> Iterator[dict[str, Any]]:
    settings = host.config.settings
    asked = {("key", name): key for name, key in settings.keys.items() if "sha256" not in key}
    for name, source in settings.sources.items():
        if "auth_env" in filled(name, source):
            asked["source", name] = {"env": source["auth_env"]}
    for (what, name), auth in asked.items():
        found = host.secrets.find(auth)
        if isinstance(found, Missing):
            yield {"what": what, "name": name, "detail": found.reason}
