"""`llm-policy check --ledger`: the invariants of spec 5.7 over the ledger that a config names."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llm_policy_host.auth.oauth import OAuthTools
from llm_policy_host.auth.resolver import AuthResolver
from llm_policy_host.bookkeeping import content_path
from llm_policy_host.config.environment import environment
from llm_policy_host.config.secrets import LocalSecrets
from llm_policy_host.config.sources import filled
from llm_policy_host.errors import UsageError
from llm_policy_host.hindsight.invariants import INVARIANTS, Evidence
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.store.opening import open_store
from llm_policy_host.values import Missing, Secret

from .output import FAILED, OK, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.hindsight.invariants import Finding
    from llm_policy_host.wiring import Host

LEAST: Final = 8
"""Letters that a text has at least for which bytes are searched: shorter ones are everywhere."""

_SHOWN: Final = 5
"""Findings of a row that are printed; `--json` has all."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `check` takes for the ledger."""
    parser.add_argument(
        "--ledger", action="store_true", help="check the ledger instead: each invariant of spec 5.7"
    )
    parser.add_argument(
        "--canary",
        metavar="TEXT",
        action="append",
        default=[],
        help="with --ledger: a text that must be nowhere",
    )
    parser.add_argument(
        "--also",
        metavar="PATH",
        action="append",
        default=[],
        help="with --ledger: more files or folders to search: recordings, logs, exports",
    )


def check(arguments: argparse.Namespace, host: Host) -> int:
    """Check each invariant, and print a row for each."""
    for text in arguments.canary:
        if len(text) < LEAST:
            raise UsageError(f"--canary: `{text}` is too short: {LEAST} letters at least")
    settings, directory = host.config.settings, host.config.directory
    if not settings.ledger:
        raise UsageError(f"`{arguments.config}` has no `host.ledger`")
    ledger = [directory / settings.ledger["file"]] if "file" in settings.ledger else []
    archive = settings.ledger.get("archive")
    beside = [directory / archive] if archive else [path.with_name(f"{path.name}.archive") for path in ledger]
    control = [*_files(ledger), *_files(beside), *_files(map(Path, arguments.also), must_exist=True)]
    known = dict(_secrets(host))
    secrets = {name: each for name, each in known.items() if isinstance(each, Secret)}
    unknown = {name: each.reason for name, each in known.items() if isinstance(each, Missing)}
    with closing(open_store(settings.ledger, directory, environment(), "read")) as store:
        evidence = Evidence(
            store, control, list(_files([content_path(host.config)])), arguments.canary, secrets
        )
        found = {row.name: list(row.find(evidence)) for row in INVARIANTS}
        events = evidence.verdict.events
    is_good = not any(found.values())
    if arguments.json:
        rows = [
            {"name": row.name, "claim": row.claim, "ok": not found[row.name], "findings": found[row.name]}
            for row in INVARIANTS
        ]
        told = {"secrets": sorted(secrets), "not_looked_for": unknown}
        print_json({"ok": is_good, "events": events, **told, "invariants": rows})
    else:
        print(*_told(found), sep="\n")
        for name, reason in unknown.items():
            warn(f"warning: {name}: not looked for: {reason}")
        print(
            f"{events} good events, {len(control)} files,"
            f" {len(secrets)} secrets, {len(arguments.canary)} texts"
        )
    return OK if is_good else FAILED


def _told(found: Mapping[str, Sequence[Finding]]) -> Iterator[str]:
    lines = table([("ok" if not found[row.name] else "VIOLATED", row.name, row.claim) for row in INVARIANTS])
    for row, line in zip(INVARIANTS, lines, strict=True):
        yield line
        findings = found[row.name]
        yield from (f"  {each}" for each in findings[:_SHOWN])
        if len(findings) > _SHOWN:
            yield f"  and {len(findings) - _SHOWN} more"


def _files(paths: Any, *, must_exist: bool = False) -> Iterator[Path]:  # noqa: ANN401 - paths, of any kind
    """Give files, those below folders, and what SQLite writes beside a database."""
    for path in paths:
        if path.is_dir():
            yield from (each for each in sorted(path.rglob("*")) if each.is_file())
        elif path.exists():
            yield path
            yield from (each for each in (path.with_name(f"{path.name}-wal"),) if each.exists())
        elif must_exist:
            raise UsageError(f"--also: there is no `{path}`")


def _secrets(host: Host) -> Iterator[tuple[str, Secret | Missing]]:
    """Give every secret that the config names, by its place, or why it cannot be looked for."""
    for place, found in _found(host):
        if isinstance(found, Secret) and len(found.reveal()) < LEAST:
            yield place, Missing(f"it has less than {LEAST} letters")
        else:
            yield place, found


def _found(host: Host) -> Iterator[tuple[str, Secret | Missing]]:
    config, settings = host.config, host.config.settings
    secrets, around = LocalSecrets(config.directory, environment()), environment()
    resolver = AuthResolver(config.auths, secrets, OAuthTools(host.clock, config.directory, HttpClient))
    for name, provider in resolver.oauth.items():
        for account in provider.accounts.values():
            tokens, place = account.find(), f"providers.{name}.auth ({account.name})"
            if isinstance(tokens, Missing):
                yield place, tokens
                continue
            yield f"{place}, access token", tokens.access
            if tokens.refresh is not None:
                yield f"{place}, refresh token", tokens.refresh
    named = {
        f"providers.{name}.auth": auth for name, auth in config.auths.items() if auth["kind"] == "bearer"
    }
    named |= {f"host.keys.{name}": key for name, key in settings.keys.items() if "sha256" not in key}
    named |= {"host.keys_root": settings.keys_root} if settings.keys_root else {}
    named |= {"host.content.key": settings.content["key"]} if settings.content.get("key") else {}
    for name, source in settings.sources.items():
        if "auth_env" in filled(name, source):
            named[f"host.sources.{name}.auth_env"] = {"env": filled(name, source)["auth_env"]}
    for place, where in named.items():
        yield place, secrets.find(where)
    url = around.get(settings.ledger.get("url_env", ""), "")
    if url and urlsplit(url).password:
        yield "host.ledger.url_env (password)", Secret(urlsplit(url).password or "")
