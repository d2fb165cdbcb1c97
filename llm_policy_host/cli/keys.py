"""`llm-policy keys`: makes keys, narrows them without any secret, takes them back."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import SystemClock
from llm_policy_host.config.environment import environment
from llm_policy_host.config.key_root import read_key_root
from llm_policy_host.config.secrets import LocalSecrets
from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.keyring import rights_of
from llm_policy_host.ledger.keys import PREFIX, Grant, make_key_id, mint, narrow, peek, root_digest, verify

from .books import add_config, add_source, check_account, counted, read_config, write, writing
from .caveat_options import add_caveats, caveats_of
from .output import OK, REFUSED, add_json, print_json, table, warn

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.ledger.keyring import MintedKey

    from .output import Commands

_RIGHTS = ("call", "embed", "flow", "stream")
_READ = "the key; `-` or nothing reads it from standard input"


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    clock = SystemClock()
    parser = commands.add_parser("keys", help="make keys for callers, narrow them, take them back")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    minted = below.add_parser("mint", help="make a key, and note in the ledger that there is one")
    add_config(minted)
    minted.add_argument("--account", metavar="NAME", help="who pays for its calls")
    add_caveats(minted, clock)
    narrowed = below.add_parser("narrow", help="make a lesser key of a key; needs nothing but the key")
    narrowed.add_argument("key", nargs="?", default="-", metavar="KEY", help=_READ)
    add_caveats(narrowed, clock)
    shown = below.add_parser("show", help="say what a key grants")
    shown.add_argument("key", nargs="?", default="-", metavar="KEY", help=_READ)
    shown.add_argument("-c", "--config", metavar="CONFIG", help="whose key it should be: check that it is")
    shown.set_defaults(file=None)
    revoked = below.add_parser("revoke", help="take a key back, and all that were made of it")
    revoked.add_argument("key", metavar="ID", help="its id, as `list` and `show` print it, or the key")
    add_config(revoked)
    listed = below.add_parser("list", help="the keys that were made")
    add_source(listed)
    pairs = ((minted, _mint), (narrowed, _narrow), (shown, _show), (revoked, _revoke), (listed, _list))
    for one, do in pairs:
        add_json(one)
        one.set_defaults(do=do)


def _mint(arguments: argparse.Namespace) -> int:
    config, clock = read_config(arguments.config), SystemClock()
    root = read_key_root(config.settings, LocalSecrets(config.directory, environment()))
    rights = sorted(set(arguments.rights or _RIGHTS))
    caveats = [caveat for caveat in caveats_of(arguments) if caveat[0] != "rights"]
    key_id = make_key_id()
    key = mint(root, key_id, rights, caveats)
    core: dict[str, Any] = {"key_id": key_id, "rights": rights, "root_digest": root_digest(root)}
    tenant = "local"
    with writing(config, clock) as ledger:
        if arguments.account is not None:
            check_account(ledger.folds, arguments.account)
            core["account"] = arguments.account
            tenant = ledger.folds.accounts.path(arguments.account)[-1]
        write(ledger, Draft("KeyMinted", "operator", tenant, core=core))
    if not arguments.json:
        warn(f"key {key_id}: it is shown this once")
    return _print_key(key, as_json=arguments.json)


def _narrow(arguments: argparse.Namespace) -> int:
    caveats = caveats_of(arguments)
    if not caveats:
        raise UsageError("nothing to narrow it by: name at least one caveat")
    return _print_key(narrow(_read(arguments.key), caveats), as_json=arguments.json)


def _print_key(key: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": True, "key_id": key.removeprefix(PREFIX).partition(".")[0], "key": key})
    else:
        print(key)
    return OK


def _read(given: str) -> str:
    return sys.stdin.readline().strip() if given == "-" else given


def _show(arguments: argparse.Namespace) -> int:
    key = _read(arguments.key)
    grant, minted = (peek(key), None) if arguments.config is None else _examine(arguments, key)
    if isinstance(grant, str):
        if arguments.json:
            print_json({"ok": False, "error": grant})
        else:
            warn(f"llm-policy: the key is refused: {grant}")
        return REFUSED
    told = _told(grant, minted)
    if arguments.json:
        print_json({"ok": True, **told})
        return OK
    for line in table([(name, _words(value)) for name, value in told.items() if value is not None]):
        print(line)
    if minted is None:
        warn("this is what it says; whether it is genuine, `--config` checks")
    return OK


def _examine(arguments: argparse.Namespace, key: str) -> tuple[Grant | str, MintedKey | None]:
    """Check a key as its host would; a text is why it is refused."""
    config = read_config(arguments.config)
    root = read_key_root(config.settings, LocalSecrets(config.directory, environment()))
    ring = counted(arguments).ring
    grant = verify(key, (root,), SystemClock().now_ms(), ring.revoked, config.settings.audience)
    minted = None if isinstance(grant, str) else ring.find(grant.key_id)
    return (grant if isinstance(grant, str) or minted else "unknown_key"), minted


def _told(grant: Grant, minted: MintedKey | None) -> dict[str, Any]:
    """Give what a key grants, as plain data."""
    left = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in grant.caveats.items()
    }
    return {
        "key_id": grant.key_id,
        "account": minted and minted.account,
        "is_checked": minted is not None,
        **left,
        "rights": sorted(rights_of(grant, minted) if minted else grant.rights),
        "budgets": [budget.account for budget in grant.budgets] or None,
    }


def _words(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _revoke(arguments: argparse.Namespace) -> int:
    key_id = arguments.key.removeprefix(PREFIX).partition(".")[0]
    config = read_config(arguments.config)
    with writing(config, SystemClock()) as ledger:
        minted = ledger.folds.ring.find(key_id)
        if minted is None:
            raise UsageError(f"no key `{key_id}` was minted here")
        if minted.revoked_ms is None:
            write(ledger, Draft("KeyRevoked", "operator", "local", core={"key_id": key_id}))
    if arguments.json:
        print_json({"ok": True, "key_id": key_id})
    else:
        print(f"{key_id} is revoked, and every key made of it")
    return OK


def _list(arguments: argparse.Namespace) -> int:
    keys = counted(arguments).ring.minted()
    if arguments.json:
        rows = [
            {
                "key_id": key.key_id,
                "account": key.account,
                "rights": sorted(key.rights),
                "root_digest": key.root_digest,
                "minted_ms": key.minted_ms,
                "revoked_ms": key.revoked_ms,
            }
            for key in keys
        ]
        print_json({"ok": True, "keys": rows})
        return OK
    lines = [
        (
            key.key_id,
            key.account or "-",
            _time(key.minted_ms),
            "good" if key.revoked_ms is None else f"revoked {_time(key.revoked_ms)}",
            " ".join(sorted(key.rights)),
        )
        for key in keys
    ]
    for line in table(lines):
        print(line)
    return OK


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
