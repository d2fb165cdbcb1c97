"""`llm-policy models prices`: vendors' prices as they are used, and how an update differs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import HostError
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.providers.prices import Snapshot, flat_prices, update_url

from .output import OK, add_json, print_json, table

if TYPE_CHECKING:
    import argparse

    from .output import Commands

_WAIT_S = 60


def add(commands: Commands) -> None:
    """Add the subcommand and the one below it."""
    parser = commands.add_parser("models", help="say what is known of models beyond a config")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    prices = below.add_parser("prices", help="vendors' prices, and how an update differs")
    prices.add_argument(
        "model", nargs="?", metavar="MODEL", help="only prices of models with this in their name"
    )
    prices.add_argument("--file", metavar="FILE", help="prices in place of the packaged ones")
    prices.add_argument("--diff", metavar="FILE", help="print how these prices differ")
    prices.add_argument(
        "--update", metavar="FILE", help="fetch the newest prices into FILE, and print how they differ"
    )
    prices.add_argument(
        "--url", metavar="URL", help="where --update fetches them (genai-prices' own address)"
    )
    add_json(prices)
    prices.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Print prices, or a difference."""
    snapshot = Snapshot(None if arguments.file is None else Path(arguments.file))
    known = flat_prices(snapshot)
    if arguments.update is not None:
        _fetch(arguments.url or update_url(), Path(arguments.update))
    other = arguments.update or arguments.diff
    if other is None:
        return _show(snapshot, known, arguments)
    newer = Snapshot(Path(other))
    rows = list(_differences(known, flat_prices(newer), arguments.model))
    if arguments.json:
        changes = [{"price": name, "from": old, "to": new} for name, old, new in rows]
        print_json({"ok": True, "from": snapshot.id, "to": newer.id, "changes": changes})
        return OK
    for line in table([(name, old or "-", "→", new or "-") for name, old, new in rows]):
        print(line)
    print(f"{len(rows)} changes from {snapshot.id} to {newer.id}")
    return OK


def _show(snapshot: Snapshot, known: dict[str, str], arguments: argparse.Namespace) -> int:
    found = {name: price for name, price in known.items() if _is_wanted(name, arguments.model)}
    if arguments.json:
        print_json({"ok": True, "snapshot": snapshot.id, "prices": found})
        return OK
    for line in table(found.items()):
        print(line)
    print(f"{len(found)} prices of {snapshot.id}, in USD for 1M tokens where a name ends in mtok")
    return OK


def _differences(
    old: dict[str, str], new: dict[str, str], wanted: str | None
) -> list[tuple[str, str | None, str | None]]:
    names = sorted({*old, *new})
    return [
        (name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name) and _is_wanted(name, wanted)
    ]


def _is_wanted(name: str, wanted: str | None) -> bool:
    return wanted is None or wanted in name.rpartition(" ")[0]


def _fetch(url: str, file: Path) -> None:
    """Fetch prices whole into a file, which is written only with prices that can be read."""
    body = asyncio.run(_get(url))
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_bytes(body)
        Snapshot(new).load()
        new.replace(file)
    except OSError as error:
        raise HostError(f"`{file}` cannot be written: {(error.strerror or '').lower()}") from None
    finally:
        new.unlink(missing_ok=True)


async def _get(url: str) -> bytes:
    client = HttpClient()
    try:
        async with asyncio.timeout(_WAIT_S):
            answer = await client.fetch("GET", url, {"accept": "application/json"})
    except (OSError, TimeoutError) as error:
        raise HostError(f"the prices cannot be fetched: {type(error).__name__}") from None
    finally:
        await client.close()
    if answer.status != 200:
        raise HostError(f"the prices cannot be fetched: status {answer.status}")
    return answer.body
