"""`llm-policy ledger`: what the ledger holds, and whether it is whole; all but `archive` only read."""

from __future__ import annotations

import re
import sys
from collections import deque
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llm_policy_host.clock import SystemClock
from llm_policy_host.config.environment import environment
from llm_policy_host.config.load import load_config
from llm_policy_host.errors import ConfigError, LedgerError, UsageError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.ledger.statistics import Statistics
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.durable import DurableStore
from llm_policy_host.store.files import write_lines
from llm_policy_host.store.opening import open_file, open_store
from llm_policy_host.store.retention import DAY_MS, retire

from .contracts import reason
from .output import FAILED, OK, add_json, print_json, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from llm_policy_host.ledger.event import Event
    from llm_policy_host.store.durable import Mode
    from llm_policy_host.store.export import ExportFile

    from .output import Commands

_CONFIG = "policy.yaml"
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    below = commands.add_parser("ledger", help="read the ledger: every call accounted").add_subparsers(
        metavar="COMMAND", required=True
    )
    tail = _add(below, "tail", _tail, "print the last events")
    tail.add_argument("-n", type=int, default=10, metavar="COUNT", help="how many (10)")
    tail.add_argument("--type", metavar="TYPE", help="only events of this type")
    show = _add(below, "show", _show, "print the events of a run")
    show.add_argument("run", metavar="RUN", help="its id, or the beginning of it")
    check = _add(below, "verify", _verify, "check every line, and name the first bad one")
    check.add_argument("--head", metavar="HASH", help="the hash that the last line must have")
    export = _add(below, "export", _export, "write the lines as they are, one a line")
    export.add_argument("-o", "--output", metavar="OUT", help="where to (standard output)")
    export.add_argument("--after", type=int, default=0, metavar="SEQ", help="only what is behind this event")
    _add(below, "stats", _stats, "count what it holds")
    archive = below.add_parser("archive", help="move what is old out of the database, into a file of lines")
    _add_config(archive)
    add_json(archive)
    archive.set_defaults(do=_archive, file=None)
    archive.add_argument(
        "--days", type=int, required=True, metavar="DAYS", help="what is older than so many days goes"
    )


def _add(
    below: Commands, name: str, do: Callable[[argparse.Namespace], int], about: str
) -> argparse.ArgumentParser:
    parser = below.add_parser(name, help=about)
    add_source(parser)
    add_json(parser)
    parser.set_defaults(do=do)
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the options that name a ledger."""
    _add_config(parser)
    parser.add_argument("--file", metavar="FILE", help="or: a ledger's SQLite file, or an export")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", default=_CONFIG, help=f"whose `host.ledger` is read ({_CONFIG})"
    )


def opened(arguments: argparse.Namespace, mode: Mode = "read") -> DurableStore | ExportFile:
    """Open the ledger that the options name, to read unless another mode is asked for."""
    if arguments.file is not None:
        return open_file(Path(arguments.file), mode)
    config = load_config(Path(arguments.config))
    if config.document.problems:
        raise ConfigError(config.document.problems)
    if not config.settings.ledger:
        raise UsageError(f"`{arguments.config}` has no `host.ledger`; `--file` names one")
    return open_store(config.settings.ledger, config.directory, environment(), mode)


def events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Read lines, each on its own; where one cannot be read, say which and how to learn more."""
    for count, line in enumerate(lines, 1):
        try:
            event = read(line)
        except LedgerError as error:
            raise LedgerError(
                error.code, f"line {count}", f"{error.detail} (see `llm-policy ledger verify`)"
            ) from None
        yield event


def _tail(arguments: argparse.Namespace) -> int:
    with closing(opened(arguments)) as store:
        wanted = (
            each for each in events(store.lines()) if arguments.type is None or each.type == arguments.type
        )
        _print(deque(wanted, maxlen=max(0, arguments.n)), as_json=arguments.json)
    return OK


def _show(arguments: argparse.Namespace) -> int:
    with closing(opened(arguments)) as store:
        found = [each for each in events(store.lines()) if each.run and each.run.startswith(arguments.run)]
    runs = sorted({each.run for each in found if each.run})
    if len(runs) != 1:
        detail = f"{len(runs)} runs begin with" if runs else "no run is or begins with"
        raise UsageError(f"{detail} `{arguments.run}`")
    _print(found, as_json=arguments.json)
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    with closing(opened(arguments)) as store:
        verdict = verify(store.lines(), store.blob_get, Folds(), arguments.head)
    if arguments.json:
        print_json({"ok": verdict.fault is None, **_plain(verdict)})
    elif verdict.fault is not None:
        print(verdict.fault)
    else:
        print(f"{_many(verdict.events, 'event')} good, {_many(verdict.open_runs, 'run')} open")
        names = "its name says" if verdict.blobs == 1 else "their names say"
        print(f"{_many(verdict.blobs, 'blob')} what {names}" if store.blob_get else "its blobs are not here")
        print(f"head {verdict.head}")
    return OK if verdict.fault is None else FAILED


def _many(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def _plain(verdict: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    return {name: getattr(verdict, name) for name in ("events", "head", "open_runs", "blobs", "fault")}


def _export(arguments: argparse.Namespace) -> int:
    if arguments.after < 0:
        raise UsageError(f"--after: `{arguments.after}` is not 0 or more")
    if arguments.output is None:
        with closing(opened(arguments)) as store:
            _write(store.lines(arguments.after), sys.stdout.buffer.write)
        return OK
    with closing(opened(arguments)) as store:
        count = _write_to(Path(arguments.output).resolve(), store, arguments.after)
    if arguments.json:
        print_json({"ok": True, "events": count, "file": arguments.output})
    else:
        print(f"{arguments.output}: {count} events")
    return OK


def _write_to(path: Path, store: DurableStore | ExportFile, after_seq: int) -> int:
    """Write the lines to a file, which must be none of those that they come from."""
    lines = store.lines(after_seq)
    try:
        if path.exists() and any(each.exists() and each.samefile(path) for each in store.files()):
            raise UsageError(f"-o: `{path}` is a file of the ledger itself")
        if path.exists() and not path.is_file():
            with path.open("wb") as pipe:
                return _write(lines, pipe.write)
        return write_lines(path, lines)
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {reason(error)}") from None


def _write(lines: Iterable[bytes], write: Callable[[bytes], object]) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the last one is the answer
        write(line + b"\n")
    return count


def _archive(arguments: argparse.Namespace) -> int:
    if arguments.days < 0:
        raise UsageError(f"--days: `{arguments.days}` is not 0 or more")
    with closing(opened(arguments, "exclusive")) as store:
        assert isinstance(store, DurableStore)  # noqa: S101 - a config names no export
        clock = SystemClock()
        log, _ = open_log(store, clock, Folds)
        moved = retire(log, store, clock.now_ms() - arguments.days * DAY_MS)
    count = 0 if moved is None else moved.last_seq - moved.first_seq + 1
    if arguments.json:
        print_json({"ok": True, "events": count, "file": None if moved is None else moved.file})
    else:
        print("nothing is that old" if moved is None else f"{moved.file}: {count} events")
    return OK


def _stats(arguments: argparse.Namespace) -> int:
    counted = Statistics()
    with closing(opened(arguments)) as store:
        for event in events(store.lines()):
            counted.take(event)
    if arguments.json:
        print_json({"ok": True, **_counts(counted)})
        return OK
    rows: list[tuple[object, ...]] = []
    for name, value in _counts(counted).items():
        if isinstance(value, dict):
            rows += [(f"{name} {key}", count) for key, count in value.items()]
        else:
            rows.append((name, "-" if value is None else value))
    print(*table(rows), sep="\n")
    return OK


def _counts(counted: Statistics) -> dict[str, Any]:
    return {
        "events": counted.events,
        "bytes": counted.bytes,
        "head": counted.head,
        "from": _time(counted.first_ts),
        "to": _time(counted.last_ts),
        "usd_micro": counted.usd_micro,
        "tokens": counted.tokens,
        "calls": counted.calls,
        "types": dict(sorted(counted.types.items())),
        "outcomes": dict(sorted(counted.outcomes.items())),
        "tenants": dict(sorted(counted.tenants.items())),
    }


def _time(ts: int | None) -> str | None:
    if ts is None:
        return None
    return datetime.fromtimestamp(ts // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ts % 1000:03d}Z"


def _print(found: Iterable[Event], *, as_json: bool) -> None:
    if as_json:
        for event in found:
            sys.stdout.buffer.write(event.line + b"\n")
        sys.stdout.buffer.flush()
        return
    rows = [(event.seq, _time(event.ts), event.type, event.run or "-", _words(event)) for event in found]
    for line in table(rows):
        print(line)


def _words(event: Event) -> str:
    """Write what an event tells as `key=value`, leaving out what is absent."""
    told = {**event.core, **event.obs, **event.refs}
    return " ".join(f"{key}={_word(value)}" for key, value in told.items() if value is not None)


def _word(value: Any) -> str:  # noqa: ANN401 - a field's value
    if isinstance(value, str):
        return _DIGEST.sub(r"\1…", value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
