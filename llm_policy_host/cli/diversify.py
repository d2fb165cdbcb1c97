"""`llm-policy diversify`: many different policies of one intent, and how differently they decide."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.corpus import corpus
from llm_policy_host.core.language import Language, Refusal
from llm_policy_host.core.vm import Vm
from llm_policy_host.diversity.picture import draw_svg
from llm_policy_host.diversity.report import Routes, report
from llm_policy_host.diversity.table import Work, decide_all
from llm_policy_host.diversity.variants import DEFAULT_KINDS, KINDS, Tolerances, variants
from llm_policy_host.errors import CoreError, UsageError
from llm_policy_host.wiring import Host

from .commit import data_engine, profile_name
from .contracts import reason
from .output import OK, add_json, plain, print_json, table
from .subjects import Named, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llm_policy_host.diversity.report import Loss, Report
    from llm_policy_host.values import Plain

    from .output import Commands

_SHOWN = 8


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("diversify", help="make different policies of one intent, and compare them")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument("-p", "--profile", metavar="NAME", help="the profile that is the intent")
    parser.add_argument("-n", "--n", type=_whole, default=100, metavar="N", help="how many policies (100)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what all of it is drawn by (0)")
    parser.add_argument(
        "--vary",
        action="append",
        choices=list(KINDS),
        metavar="KIND",
        help=f"what may vary: {', '.join(KINDS)}",
    )
    parser.add_argument(
        "--cost",
        type=_percent,
        default=0.25,
        metavar="PERCENT",
        help="how much dearer a chain's first may be (25)",
    )
    parser.add_argument(
        "--weights",
        type=_percent,
        default=0.25,
        metavar="PERCENT",
        help="how far weights and leanings go (25)",
    )
    parser.add_argument(
        "--temperature", type=_amount, default=0.1, metavar="X", help="the most it may jitter by (0.1)"
    )
    parser.add_argument(
        "--mix", type=_mix, default=(1000, 300), metavar="IN:OUT", help="the tokens a price is of (1000:300)"
    )
    parser.add_argument(
        "--contracts", type=_whole, default=1000, metavar="M", help="contracts drawn from the catalog (1000)"
    )
    parser.add_argument(
        "--lost", type=_whole, default=3, metavar="K", help="how many providers are lost at most (3)"
    )
    parser.add_argument(
        "--jobs", type=_whole, default=os.cpu_count() or 1, metavar="J", help="processes (one a processor)"
    )
    parser.add_argument("--out", metavar="DIR", help="write policies, report and plot here")
    parser.add_argument("--svg", metavar="FILE", help="write the plot here")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Make policies, and compare them."""
    host = Host.from_config(arguments.config)
    engine = data_engine(host, arguments.config)
    name = profile_name(host, arguments.profile)
    intent = read(Named(f"{arguments.config}#{name}", host, name), has_envelope=False)
    tolerances = Tolerances(
        arguments.vary or DEFAULT_KINDS,
        arguments.cost,
        arguments.weights,
        arguments.temperature,
        arguments.mix,
    )
    terms = [
        *variants(
            intent.term, engine.candidates, tolerances, arguments.n, arguments.seed, _identify(intent.schema)
        )
    ]
    work = Work(host.config.core, [*terms, intent.term], arguments.seed)
    decided = decide_all(work, corpus(engine.candidates, arguments.seed, arguments.contracts), arguments.jobs)
    found = report(decided, _routes(engine.candidates, tolerances), arguments.lost)
    if arguments.out is not None:
        _write_all(Path(arguments.out), terms, decided.identities, found)
    if arguments.svg is not None:
        _write(Path(arguments.svg), draw_svg(found))
    if arguments.json:
        made = [
            {"identity": each, "policy": term} for each, term in zip(decided.identities, terms, strict=False)
        ]
        print_json({"ok": True, "intent": decided.identities[-1], "report": _told(found), "policies": made})
    else:
        for line in _lines(name, found, arguments):
            print(line)
    return OK


def _identify(schema: Mapping[str, Any]) -> Callable[[Plain], str]:
    language = Language(Vm())

    def identify(term: Plain) -> str:
        found = language.identify(term, schema)
        if isinstance(found, Refusal):
            raise CoreError(f"a variant is not admitted: {found.code} at {found.path}")
        return found.identity

    return identify


def _routes(candidates: Sequence[Mapping[str, Any]], tolerances: Tolerances) -> Routes:
    return Routes(
        [f"{each['model_family']} @ {each['provider_id']}" for each in candidates],
        [each["provider_id"] for each in candidates],
        [tolerances.price(each) for each in candidates],
    )


def _lines(name: str, of: Report, arguments: argparse.Namespace) -> Iterator[str]:
    yield f"{of.validators} policies of `{name}`, seed {arguments.seed}"
    yield f"{of.contracts} contracts; on {of.decided} of them somebody is called"
    yield ""
    yield from table(_agreement(of))
    yield ""
    yield "first choices"
    for route, share in list(of.firsts.items())[:_SHOWN]:
        yield f"  {share:6.1%}  {route} (the intent: {of.intent_firsts.get(route, 0):.1%})"
    if len(of.firsts) > _SHOWN:
        yield f"  and {len(of.firsts) - _SHOWN} more"
    for title, losses, intents in (
        ("losses that stop most", of.stops, of.intent_stops),
        ("losses that take most first choices", of.moves, of.intent_moves),
    ):
        yield ""
        yield f"{title}, of {of.validators} validators"
        for one, intent in zip(losses, intents, strict=False):
            yield f"  {_loss(one, of.validators)}"
            yield f"    all on the intent: {_loss(intent, of.validators)}"


def _agreement(of: Report) -> Iterator[tuple[str, str]]:
    yield "policies of different identity", str(of.validators)
    yield "ways to choose first, over these contracts", str(of.orders)
    yield "two choose the same route first", f"{of.same_first:.1%}"
    yield "two choose the same provider first", f"{of.same_provider:.1%}"
    told = f"{of.entropy_bits:.2f} bits, as {of.effective_routes:.2f} equally likely routes"
    yield "entropy of first choices", told
    if of.costs is not None:
        costs = of.costs
        spread = f"p50 {costs.p50:+.1%}, p90 {costs.p90:+.1%}, most {costs.most:+.1%}"
        spread += f"; the intent {costs.intent:+.1%}"
        yield "cost against the cheapest policy", spread


def _loss(of: Loss, validators: int) -> str:
    stopped, moved = of.stopped * validators, of.moved * validators
    return (
        f"{', '.join(of.providers)}: {stopped:.1f} stopped, {moved:.1f} lose their first choice; "
        f"more than a third stopped on {of.halted:.1%} of contracts"
    )


def _told(found: Report) -> dict[str, Any]:
    told: dict[str, Any] = plain(found)
    return told


# Files and numbers --------------------------------------------------------------------------------


def _write_all(folder: Path, terms: Sequence[Plain], identities: Sequence[str], found: Report) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"`{folder}` cannot be made: {reason(error)}") from None
    index = []
    for place, (term, identity) in enumerate(zip(terms, identities, strict=False), 1):
        name = f"{place:04d}.json"
        _write(folder / name, json.dumps(term) + "\n")
        index.append(json.dumps({"file": name, "identity": identity}))
    _write(folder / "index.jsonl", "\n".join(index) + "\n")
    _write(folder / "report.json", json.dumps(_told(found), indent=1) + "\n")
    _write(folder / "diversity.svg", draw_svg(found))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {reason(error)}") from None


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number above 0")
    return int(text)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"`{text}` is no number from 0 on")
    return value


def _percent(text: str) -> float:
    return _amount(text) / 100


def _mix(text: str) -> tuple[int, int]:
    read, _, written = text.partition(":")
    if not (read.isdecimal() and written.isdecimal() and int(read) + int(written)):
        raise argparse.ArgumentTypeError(f"`{text}` is not IN:OUT, two whole numbers")
    return int(read), int(written)
