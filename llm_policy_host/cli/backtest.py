"""`llm-policy backtest`: another policy over the runs of a ledger, beside what happened."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.subject import schema_of
from llm_policy_host.errors import UsageError
from llm_policy_host.hindsight.backtest import DEADLINE_MS, backtest
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs
from llm_policy_host.simulation.summary import summarise

from .books import read_config
from .ledger import add_source, events, opened
from .output import FAILED, OK, add_json, plain, print_json, table
from .pictures import add_pictures, draw
from .redecide import blobs_of
from .simulate import figures
from .subjects import WHAT, find, read, under_envelope

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from llm_policy_host.analysis.subject import Subject
    from llm_policy_host.hindsight.backtest import Backtest
    from llm_policy_host.simulation.picture import Side

    from .output import Commands

_AGO = re.compile(r"([0-9]{1,6})([mhd])\Z")
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "backtest", help="decide a ledger's runs by another policy, beside what happened"
    )
    parser.add_argument("policy", metavar="POLICY", help=WHAT)
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="only runs from then on: `2026-01-31`, `2026-01-31T12:00:00Z`, or so long before the last: `7d`"
        " `12h` `30m`",
    )
    add_source(parser)
    add_pictures(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Test."""
    subject = _subject(arguments)
    if subject.sort != "Policy":
        raise UsageError(f"`{subject.name}` is no policy: its sort is {subject.sort}")
    with closing(opened(arguments)) as store:
        pasts = list(past_runs(events(store.lines())))
        from_ms = _since(arguments.since, max((past.ts for past in pasts), default=0))
        made = backtest(Decider(blobs_of(store.blob_get)), pasts, subject.term, from_ms)
    if not made.instead:
        return _nothing(made, as_json=arguments.json)
    sides: list[Side] = [
        (name, played, summarise(played, DEADLINE_MS))
        for name, played in (("what happened", made.happened), (subject.name, made.instead))
    ]
    draw(arguments, _title(made, subject.name), figures(sides), sides, DEADLINE_MS)
    if arguments.json:
        print_json(_data(made, sides))
    else:
        for line in _report(made, sides, subject.name):
            print(line)
    return OK


def _subject(arguments: argparse.Namespace) -> Subject:
    """Read the policy; a bare term as the ledger's config would take it from a caller."""
    named = find(arguments.policy)
    if named.host is not None or arguments.file is not None:
        return read(named)
    core = read_config(arguments.config).core
    return under_envelope(read(named, schema_of(core)), core)


def _nothing(made: Backtest, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "error": "nothing to compare", "runs": 0, "left_out": made.left_out})
    else:
        print("nothing to compare")
        for line in _left_out(made):
            print(line)
    return FAILED


def _title(made: Backtest, name: str) -> str:
    return f"{name} over {len(made.instead)} runs, {made.changed} of them decided otherwise"


def _report(made: Backtest, sides: list[Side], name: str) -> Iterator[str]:
    yield _title(made, name)
    yield ""
    yield from table([*figures(sides), ["cost of all", *map(_whole, sides)]])
    yield from _left_out(made)


def _left_out(made: Backtest) -> Iterator[str]:
    for why, count in sorted(made.left_out.items()):
        yield f"left out {count}: {why}"


def _usd(side: Side) -> float | None:
    """Sum up what is known; None where no answer has a price."""
    costs = [run.cost_usd for run in side[1] if run.cost_usd is not None]
    return sum(costs) if costs or not side[2].unpriced else None


def _whole(side: Side) -> str:
    usd, unpriced = _usd(side), side[2].unpriced
    known = "-" if usd is None else f"{usd:.6f} USD"
    return f"{known} and {unpriced} unpriced" if unpriced else known


def _data(made: Backtest, sides: list[Side]) -> dict[str, Any]:
    names = ("happened", "instead")
    told = {
        key: {"policy": side[0], "usd": _usd(side), **plain(side[2])}
        for key, side in zip(names, sides, strict=True)
    }
    return {
        "ok": True,
        "runs": len(made.instead),
        "changed": made.changed,
        "left_out": made.left_out,
        **told,
    }


def _since(when: str | None, last_ms: int) -> float:
    """Give the moment that a text means; `last_ms` is that of the ledger's last run."""
    if when is None:
        return 0
    ago = _AGO.match(when)
    if ago is not None:
        return last_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(when)
    except ValueError:
        raise UsageError(f"--since: `{when}` is no date, and none of `30m`, `12h`, `7d`") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
