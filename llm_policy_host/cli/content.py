"""`llm-policy content`: what is kept of what was said, one run's, and an end to a tenant's (spec 5.6)."""

from __future__ import annotations

import base64
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llm_policy_host.bookkeeping import content_path, open_contents
from llm_policy_host.clock import SystemClock
from llm_policy_host.config.environment import environment
from llm_policy_host.config.key_root import read_content_key
from llm_policy_host.config.names import nearest
from llm_policy_host.config.secrets import LocalSecrets
from llm_policy_host.content.keep import ContentKeep
from llm_policy_host.errors import UsageError

from .books import CONFIG, read_config
from .output import OK, add_json, print_json, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from llm_policy_host.config.load import Config
    from llm_policy_host.store.contents import ContentFile, Held

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    parser = commands.add_parser("content", help="what is kept of prompts and answers, and its end")
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(below, "status", _status, "count what is kept, by tenant and level")
    show = _add(below, "show", _show, "print what was said in a run")
    show.add_argument("run", metavar="RUN", help="its id, or the beginning of it")
    show.add_argument("--name", metavar="NAME", help="only this content: `request`, `answer.1`, `error.1`, …")
    purge = _add(below, "purge", _purge, "destroy a tenant's key, and with it all that it sealed")
    purge.add_argument(
        "--tenant", metavar="TENANT", required=True, help="whose; an account's root, or `local`"
    )


def _add(
    below: Commands, name: str, do: Callable[[argparse.Namespace], int], about: str
) -> argparse.ArgumentParser:
    parser = below.add_parser(name, help=about)
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", default=CONFIG, help=f"whose `host.content` it is ({CONFIG})"
    )
    add_json(parser)
    parser.set_defaults(do=do)
    return parser


def _opened(config: Config, root: bytes | None = None) -> ContentFile:
    path = content_path(config)
    if not path.exists():
        raise UsageError(f"{path}: nothing was kept yet")
    return open_contents(config, root)


def _status(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    level = config.settings.content.get("level", "none")
    held: list[Held] = []
    if content_path(config).exists():
        with closing(_opened(config)) as store:
            held = list(store.held())
    if arguments.json:
        print_json({"ok": True, "level": level, "file": str(content_path(config)), "held": held})
        return OK
    print(f"level {level}")
    rows = [
        (
            each.tenant,
            each.level,
            f"{each.contents} contents",
            f"{each.size} bytes",
            f"since {_time(each.oldest_ms)}",
        )
        for each in held
    ]
    print(*table(rows), sep="\n")
    return OK


def _show(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    root = read_content_key(config.settings, LocalSecrets(config.directory, environment()))
    with closing(_opened(config, root)) as store:
        runs = store.runs(arguments.run)
        if len(runs) != 1:
            detail = (
                f"{len(runs)} runs begin with" if runs else "nothing is kept of a run that is or begins with"
            )
            raise UsageError(f"{detail} `{arguments.run}`")
        keep = ContentKeep(store, root, "plain", SystemClock())
        rows = [row for row in store.of_run(runs[0]) if arguments.name in (None, row[1])]
        said = [(row, keep.get(row[0], row[1])) for row in rows]
    if not said:
        raise UsageError(f"`{runs[0]}` has no content `{arguments.name}`")
    if arguments.json:
        told = [
            {"name": row[1], "tenant": row[2], "level": row[3], "at_ms": row[4], **_told(data)}
            for row, data in said
        ]
        print_json({"ok": True, "run": runs[0], "contents": told})
        return OK
    for row, data in said:
        text = (
            "its seal does not open: its tenant was purged, or it was changed"
            if data is None
            else _text(data)
        )
        print(f"{row[1]} ({row[3]}, {_time(row[4])})\n{text}")
    return OK


def _purge(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    with closing(_opened(config)) as store:
        tenants = store.tenants()
        if arguments.tenant not in tenants:
            near = nearest(arguments.tenant, tenants)
            hint = f" (did you mean `{near}`?)" if near else ""
            raise UsageError(f"nothing is kept of a tenant `{arguments.tenant}`{hint}")
        had_key, contents = store.purge(arguments.tenant)
    if arguments.json:
        print_json({"ok": True, "tenant": arguments.tenant, "key": had_key, "contents": contents})
    else:
        print(
            f"{arguments.tenant}: {'its key is destroyed, ' if had_key else ''}{contents} contents are gone"
        )
    return OK


def _told(data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"text": None}
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _text(data: bytes) -> str:
    """Write content for a terminal: what would steer it is escaped."""
    text = data.decode(errors="replace")
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
