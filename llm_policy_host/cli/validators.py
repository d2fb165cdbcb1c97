"""`llm-policy validators`: how far nodes with policies of their own agree, simulated."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError
from llm_policy_host.onchain.plot import draw_svg
from llm_policy_host.onchain.spread import spread
from llm_policy_host.onchain.validators import BUCKET, Policy, Setting, scenarios, simulate, validators
from llm_policy_host.wiring import Host

from .commit import data_engine, profile_name
from .output import OK, add_json, plain, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_policy_host.onchain.spread import Spread
    from llm_policy_host.onchain.validators import Answering

    from .output import Commands

_SUFFIXES = (".yaml", ".yml", ".json", ".lua")
_ALL = "all"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("validators", help="simulate validators: how far their answers agree")
    add_arguments(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a simulation is told."""
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="a config, or a folder of configs")
    parser.add_argument("-n", "--n", type=_positive, default=5, metavar="N", help="validators (default 5)")
    parser.add_argument(
        "-t", "--transactions", type=_positive, default=100, metavar="T", help="transactions (default 100)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides nodes, seeds and leaders")
    parser.add_argument("-p", "--profile", metavar="NAME", help="the profile that decides, in every config")
    parser.add_argument(
        "--missing", type=_percent, default=0, metavar="PERCENT", help="how often a node lacks a provider"
    )
    for option, about in (("--loss", "does not answer"), ("--rate-limit", "refuses a session's first call")):
        parser.add_argument(
            option, action="append", default=[], metavar="PROVIDER", help=f"what if it {about}; or `all`"
        )
    parser.add_argument(
        "--temperature", type=_finite, default=0.7, metavar="X", help="of every request (0.7)"
    )
    parser.add_argument("--svg", metavar="FILE", help="write the plot here")


def do(arguments: argparse.Namespace, answer_of: Answering | None = None) -> int:
    """Simulate."""
    if arguments.n < 2:
        raise UsageError("one validator agrees with nobody: --n is at least 2")
    policies = [_policy(path, arguments.profile) for path in _files(arguments.configs)]
    nodes = validators(policies, arguments.n, arguments.seed, arguments.missing / 100)
    known = sorted(set().union(*(policy.providers for policy in policies)))
    plans = scenarios(_providers(arguments.loss, known), _providers(arguments.rate_limit, known))
    setting = Setting(arguments.transactions, arguments.seed, request={"temperature": arguments.temperature})
    played = {plan.name: simulate(nodes, plan, setting, answer_of) for plan in plans}
    baseline = played[plans[0].name]
    spreads = [spread(name, rounds, baseline) for name, rounds in played.items()]
    if arguments.svg is not None:
        _write(Path(arguments.svg), draw_svg(spreads))
    if arguments.json:
        about = {node.address: node.policy.name for node in nodes}
        print_json({"ok": True, "validators": about, "scenarios": plain(spreads)})
        return OK
    for line in _report(spreads, arguments):
        print(line)
    return OK


def _report(spreads: Sequence[Spread], arguments: argparse.Namespace) -> Iterable[str]:
    yield f"{arguments.n} validators, {arguments.transactions} transactions, seed {arguments.seed}"
    yield (
        "two answers are equal where model and temperature, in steps of "
        f"{BUCKET:g}, are: a lower bound on agreement"
    )
    head = ("", "agree", "same model", "majority", "answers", "moved", "fell through", "silent", "attempts")
    yield ""
    yield from table([head, *map(_row, spreads)])
    for name, about in (("first_choices", "first choices"), ("served", "served")):
        yield ""
        yield about
        for spread_ in spreads:
            yield f"  {spread_.scenario}: {_shares(getattr(spread_, name))}"


def _row(of: Spread) -> tuple[str, ...]:
    shares = (f"{share:.1%}" for share in (of.agree, of.same_model, of.majority))
    counts = (str(count) for count in (of.moved, of.fell_through, of.silent))
    return (of.scenario, *shares, f"{of.answers:.2f}", *counts, f"{of.attempts:.2f}")


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{route} {share:.1%}" for route, share in shares.items())


def _policy(path: Path, profile: str | None) -> Policy:
    host = Host.from_config(path)
    return Policy(path.name, data_engine(host, str(path)), profile_name(host, profile))


def _files(given: Sequence[str]) -> list[Path]:
    """List the configs: those named, and those in the folders that are named, in the order of their names."""
    files: list[Path] = []
    for path in map(Path, given):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [each for each in inside if each.suffix in _SUFFIXES] if path.is_dir() else inside
    if not files:
        raise UsageError(f"no config in {', '.join(given)}")
    return files


def _providers(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    unknown = sorted(set(wanted) - {*known, _ALL})
    if unknown:
        raise UsageError(f"no config has a provider `{unknown[0]}`")
    return list(known if _ALL in wanted else dict.fromkeys(wanted))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"the plot `{path}` cannot be written: {error.strerror}") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number above 0")
    return int(text)


def _percent(text: str) -> int:
    if not text.isdecimal() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 0 to 100")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"`{text}` is no finite number")
    return value
