"""`llm-policy bench`: measures this machine. One row a benchmark."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .output import add_json

if TYPE_CHECKING:
    from .output import Commands


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark: its module has `add_arguments(parser)` and `do(arguments) -> exit code`."""

    name: str
    module: str
    about: str


BENCHES = (
    Bench("decide", "llm_policy_host.cli.bench_decide", "CPU time of a decision and of a whole cycle"),
    Bench("ledger", "llm_policy_host.cli.bench_ledger", "events written and checked, beside a floor"),
    Bench("gateway", "llm_policy_host.cli.bench_gateway", "cost of the gateway, beside floors and peers"),
)


def add(commands: Commands) -> None:
    """Add the subcommand, and below it one for each benchmark."""
    parser = commands.add_parser("bench", help="measure this machine")
    benches = parser.add_subparsers(metavar="BENCH", required=True)
    for bench in BENCHES:
        row = benches.add_parser(bench.name, help=bench.about)
        add_json(row)
        module = importlib.import_module(bench.module)
        module.add_arguments(row)
        row.set_defaults(do=module.do)
