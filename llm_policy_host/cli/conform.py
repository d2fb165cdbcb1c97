"""`llm-policy conform`: replays the conformance cases on runtimes or a command, and searches for more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.config.names import nearest
from llm_policy_host.conform import fuzz
from llm_policy_host.conform.case_file import written
from llm_policy_host.conform.cases import case_files, chosen, line
from llm_policy_host.conform.command import Command
from llm_policy_host.conform.judging import Outcome, judge
from llm_policy_host.conform.runtimes import RUNTIMES
from llm_policy_host.core.grammar import grammar_of
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError

from .output import FAILED, OK, add_json, plain, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from llm_policy_host.conform.fuzz import Find
    from llm_policy_host.conform.runtime import Player

    from .output import Commands

_SHOWN = 5
_COLUMNS = 160


def add(commands: Commands) -> None:
    """Add the subcommand, and those below it."""
    parser = commands.add_parser(
        "conform", help="prove that a runtime or another implementation decides alike"
    )
    below = parser.add_subparsers(metavar="WHAT", required=True)
    _add_emit(below.add_parser("emit", help="print the cases, one a line"))
    _add_run(below.add_parser("run", help="replay the cases and name those that differ"))
    _add_fuzz(below.add_parser("fuzz", help="search for cases on which runtimes differ"))
    _add_runtimes(below.add_parser("runtimes", help="list the runtimes and what keeps one from running"))


def _add_emit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="write them here")
    parser.add_argument("--asks", action="store_true", help="only what `run` writes to a command")
    _add_choice(parser)
    parser.set_defaults(do=do_emit)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="NAME", help="a runtime; all that are here, if none"
    )
    parser.add_argument("--command", action="append", default=[], metavar="CMD", help="or a command of yours")
    _add_choice(parser)
    parser.set_defaults(do=do_run)


def _add_fuzz(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runtimes", metavar="A,B,…", help="between these; all that are here, if none")
    parser.add_argument("--command", action="append", default=[], metavar="CMD", help="and this command")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="what the cases follow from (1)")
    parser.add_argument("--cases", type=int, default=600, metavar="N", help="how many to draw (600)")
    parser.add_argument("--out", default="finds", metavar="DIR", help="where finds are written (finds)")
    add_json(parser)
    parser.set_defaults(do=do_fuzz)


def _add_runtimes(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.set_defaults(do=do_runtimes)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--group", action="append", default=[], metavar="GROUP", help="only cases of this group"
    )
    parser.add_argument("--kind", action="append", default=[], metavar="KIND", help="only this kind of cases")
    add_json(parser)


def do_emit(arguments: argparse.Namespace) -> int:
    """Print cases as lines of JSON."""
    cases = chosen(case_files(), arguments.group, arguments.kind)
    if arguments.asks:
        text = "".join(f"{line(case)}\n" for case in cases.values())
    else:
        named = ({**case, "name": name} for name, case in cases.items())
        text = "".join(f"{json.dumps(case)}\n" for case in named)
    if arguments.out:
        _write(Path(arguments.out), text)
        print(f"{len(cases)} cases in {arguments.out}")
    else:
        print(text, end="")
    return OK


def do_run(arguments: argparse.Namespace) -> int:
    """Replay cases on players, and name those that differ."""
    cases = chosen(case_files(), arguments.group, arguments.kind)
    named = _players(arguments.runtime, arguments.command)
    outcomes: list[Outcome] = []
    for player in named or RUNTIMES:
        outcomes.append(judge(player, cases))
        if not arguments.json:
            print("\n".join(_report(outcomes[-1])), flush=True)
    counted = [each for each in outcomes if named or not (each.absent or each.refused)]
    is_ok = bool(counted) and all(each.conforms for each in counted)
    if arguments.json:
        print_json({"ok": is_ok, "cases": len(cases), "players": plain(outcomes)})
    return OK if is_ok else FAILED


def _report(outcome: Outcome) -> Iterator[str]:
    if outcome.absent:
        yield f"{outcome.name}: absent: {outcome.absent}"
    elif outcome.refused:
        yield f"{outcome.name}: refused by the gate: {outcome.refused}"
    elif outcome.failed:
        yield f"{outcome.name}: failed: {outcome.failed.removeprefix(f'{outcome.name}: ')}"
    else:
        agreeing = outcome.asked - len(outcome.differing)
        yield f"{outcome.name}: {agreeing} of {outcome.asked} cases as expected"
    for place, each in enumerate(outcome.differing):
        yield f"  {each.name}: {each.about}"
        if place < _SHOWN:
            yield f"    expected {_short(json.dumps(each.expected))}"
            yield f"    seen     {_short(json.dumps(each.seen))}"


def _short(text: str) -> str:
    return text if len(text) <= _COLUMNS else f"{text[:_COLUMNS]}…"


def do_fuzz(arguments: argparse.Namespace) -> int:
    """Draw cases, ask all players, cut down what differs and write it."""
    names = [name for name in (arguments.runtimes or "").split(",") if name]
    players = _present(names, arguments.command)
    cases = fuzz.drawn(grammar_of(Vm()), arguments.seed, arguments.cases)
    finds = _distinct([fuzz.smallest(each, players) for each in fuzz.differing(players, cases)[:_SHOWN]])
    for find in finds:
        _write(Path(arguments.out, f"{find.case['name']}.json"), written(find.case))
    between = [player.name for player in players]
    if arguments.json:
        whole = {"ok": not finds, "seed": arguments.seed, "cases": len(cases), "players": between}
        print_json({**whole, "finds": plain(finds)})
    else:
        print(f"{len(cases)} cases of seed {arguments.seed} between {', '.join(between)}: {_count(finds)}")
        for each in finds:
            print("\n".join(_find_lines(each, arguments.out)))
    return FAILED if finds else OK


def _distinct(finds: Sequence[Find]) -> list[Find]:
    """Keep one of those that were cut down to the same."""
    return list({find.case["name"]: find for find in finds}.values())


def _count(finds: Sequence[Find]) -> str:
    if not finds:
        return "none differs"
    return f"{len(finds)} find{'s' if len(finds) > 1 else ''}"


def _find_lines(find: Find, folder: str) -> Iterator[str]:
    yield f"{Path(folder, find.case['name'])}.json"
    yield from (f"  {row}" for row in table((name, _short(text)) for name, text in find.answers.items()))


def do_runtimes(arguments: argparse.Namespace) -> int:
    """List the runtimes."""
    rows = [(each.name, each.what, each.available()) for each in RUNTIMES]
    if arguments.json:
        print_json([{"name": name, "what": what, "absent": absent} for name, what, absent in rows])
    else:
        lines = table(
            (name, what, f"absent: {absent}" if absent else "present") for name, what, absent in rows
        )
        print("\n".join(lines))
    return OK


def _players(runtimes: Sequence[str], commands: Sequence[str]) -> list[Player]:
    known = {runtime.name: runtime for runtime in RUNTIMES}
    for name in runtimes:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean `{near}`?" if near else "`llm-policy conform runtimes` lists all"
            raise UsageError(f"there is no runtime `{name}`, {hint}")
    return [*(known[name] for name in runtimes), *map(Command, commands)]


def _present(runtimes: Sequence[str], commands: Sequence[str]) -> list[Player]:
    """Find who is to be compared; who is named must be here."""
    named = _players(runtimes, commands)
    for player in named:
        if absent := player.available():
            raise UsageError(f"{player.name}: {absent}")
    if not runtimes:
        named = [*(each for each in RUNTIMES if not each.available()), *named]
    if len(named) < 2:
        raise UsageError("a difference needs two: name another runtime or a command")
    for player in named:
        if player.is_slow:
            warn(f"{player.name} is slow: it gets every {fuzz.SHARE_OF_THE_SLOW}th case")
    return named


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {(error.strerror or '').lower()}") from None
