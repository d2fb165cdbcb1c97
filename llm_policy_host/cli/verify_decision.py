"""`llm-policy verify-decision`: derives a logged decision again, or writes one down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import SystemClock
from llm_policy_host.core.vm import available_runtimes, default_runtime
from llm_policy_host.errors import UsageError
from llm_policy_host.onchain.decisions import record, schema_of, verify
from llm_policy_host.run.shape import shape
from llm_policy_host.values import Inputs
from llm_policy_host.wiring import Host

from .commit import data_engine
from .contracts import add_options, contract
from .output import FAILED, OK, add_json, plain, print_json

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.onchain.decisions import Difference

    from .output import Commands

_ALL = "all"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("verify-decision", help="derive a logged decision again, in any runtime")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="a record; `-` reads one")
    parser.add_argument("--runtime", choices=(*available_runtimes(), _ALL), help="where to derive it")
    parser.add_argument("--record", metavar="CONFIG", help="decide now, and print the record instead")
    parser.add_argument("--now-ms", type=int, metavar="MS", help="with --record: the time of the decision")
    add_options(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Verify, or record."""
    if arguments.record is not None:
        return _record(arguments)
    logged = _read(arguments.file)
    found = {name: verify(logged, name) for name in _runtimes(arguments.runtime)}
    is_right = not any(found.values())
    if arguments.json:
        print_json({"ok": is_right, "runtimes": plain(found)})
    else:
        for name, difference in found.items():
            print(f"{name}: {_text(difference)}")
    return OK if is_right else FAILED


def _record(arguments: argparse.Namespace) -> int:
    host = Host.from_config(arguments.record)
    engine = data_engine(host, arguments.record)
    now_ms = SystemClock().now_ms() if arguments.now_ms is None else arguments.now_ms
    others: dict[str, Any] = {}
    if host.disabled:
        others["disabled"] = dict.fromkeys(host.disabled, True)
    if host.config.settings.credits:
        others["credits"] = host.config.settings.credits
    asked = contract(arguments)
    inputs = Inputs(now_ms, asked.seed, others=others)
    made = record(engine, schema_of(host.config.core), shape(asked), inputs)
    print(json.dumps(plain(made), indent=None if arguments.json else 1))
    return OK


def _runtimes(wanted: str | None) -> tuple[str, ...]:
    if wanted == _ALL:
        return available_runtimes()
    return (wanted or default_runtime(),)


def _text(difference: Difference | None) -> str:
    return "equal" if difference is None else f"differs at {difference}"


def _read(name: str) -> Any:  # noqa: ANN401 - JSON
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return json.loads(text, object_pairs_hook=_record_of, parse_constant=_refuse)
    except OSError as error:
        raise UsageError(f"the record `{name}` cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the record `{name}` is no JSON: {error}") from None


def _record_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one record")
    return made


def _refuse(name: str) -> None:
    raise ValueError(f"`{name}` is no number")
