"""`llm-policy bench decide`: CPU time of a decision, beside a hand-written floor in the same run."""

from __future__ import annotations

import ast
import gc
import importlib
import itertools
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Inputs

from .output import OK, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from llm_policy_host.values import Plain

SIZES = (10, 100, 1000)
RUNTIMES = ("luajit21", "lua54")
BATCH_S = 0.04
FLOOR = Path("../shared/bench/bench_decision.py")

FILTER: Plain = [
    "and",
    ["not", ["is", "disabled"]],
    ["not", ["is", "breaker_open"]],
    ["cmp", "price_out", "le", 9],
    ["has_cap", "supports_tools"],
    ["cmp", "context", "ge", 8000],
]
SCORER: Plain = [
    "add",
    ["scale", 0.7, ["neg", ["normalize", ["field", "price_in"]]]],
    ["scale", 0.3, ["normalize", ["field", "context"]]],
]
POLICY: Plain = ["policy", FILTER, SCORER, ["argmax"], ["id"], ["always", {"action": "next_candidate"}]]

ABOUT = """\
CPU time per operation, median of rounds that take turns. Each includes the crossing from Python and back:
  first candidate, raw     contract table made, engine called, index of the first candidate back
  first candidate, host    the same through the host's marshaller and step value
  cycle, raw               start, then a success; the trace's summary as text
  cycle, host              the same with the result as Python data
  cycle, full lists        the same with every ranked and rejected candidate
  new policy, first        a term never seen: admission, normal form, hash, compile, decide
  floor, best only         hand-written Lua for this very policy through lupa (4 of the 5 clauses)"""


@dataclass(slots=True)
class Row:
    """One operation at one size, and what it took."""

    name: str
    runtime: str
    size: int
    act: Callable[[], object]
    micros: list[float] = field(default_factory=list)

    def batch(self, count: int) -> None:
        """Time some repetitions."""
        gc.collect(0)
        begin = time.process_time()
        for _ in range(count):
            self.act()
        self.micros.append((time.process_time() - begin) / count * 1e6)

    def count(self) -> int:
        """Find how many repetitions fill a batch, after warming up."""
        for _ in range(100):
            self.act()
        begin = time.process_time()
        for _ in range(20):
            self.act()
        return max(5, int(BATCH_S / max((time.process_time() - begin) / 20, 1e-7)))


def candidates(size: int) -> list[dict[str, Any]]:
    """Make the same market as the floor's."""
    return [
        {
            "provider": f"prov{i % max(5, size // 20):03d}",
            "family": f"model-{i:04d}",
            "price_in": round(0.05 + ((i * 37) % 400) / 100, 3),
            "price_out": round(0.1 + ((i * 91) % 1200) / 100, 3),
            "context": 8000 + 1000 * (i % 120),
            "tools": i % 4 != 0,
            "disabled": False,
            "breaker_open": False,
            "tier": "partner",
        }
        for i in range(size)
    ]


def config(size: int) -> Plain:
    """Write that market as a config."""
    market = candidates(size)
    return {
        "providers": {each["provider"]: {"base_url": "http://127.0.0.1:9"} for each in market},
        "models": {
            each["family"]: {
                "capabilities": {"context": each["context"], "supports_tools": each["tools"]},
                "served_by": [
                    {key: each[key] for key in ("provider", "price_in", "price_out")},
                ],
            }
            for each in market
        },
        "profiles": {"default": {"policy_ir": POLICY}},
    }


def make_engine(vm: Vm, size: int) -> LuaEngine:
    """Make an engine over the market."""
    engine = create_engine(vm, config(size))
    if not isinstance(engine, LuaEngine):
        raise UsageError(f"the benchmark's config is refused: {engine[0].path}: {engine[0].detail}")
    return engine


def engine_rows(runtime: str, size: int) -> list[Row]:
    """Give our operations on one runtime at one size; new policies have a runtime of their own."""
    vm = Vm(runtime)
    engine, other = make_engine(vm, size), make_engine(Vm(runtime), size)
    contract, inputs = {"profile": "default"}, Inputs(now_ms=1000, seed=42)
    full, fresh = Inputs(now_ms=1000, seed=42, is_full_trace=True), itertools.count(1)
    start, succeed, table_from = *engine.raw, vm.table_from

    def raw_first() -> Any:  # noqa: ANN401 - what Lua answers
        return start(table_from({"profile": "default"}), 1000, 42, None, False)

    def new_policy() -> object:
        clause = ["and", ["cmp", "tok_s", "ge", -next(fresh)], FILTER]
        return other.start({"policy_ir": ["policy", clause, *POLICY[2:]]}, inputs)

    def cycle(given: Inputs) -> object:
        return engine.succeed(engine.start(contract, given).handle, 1500)

    operations: dict[str, Callable[[], object]] = {
        "first candidate, raw": raw_first,
        "first candidate, host": lambda: engine.start(contract, inputs),
        "cycle, raw": lambda: succeed(raw_first()[3], 1500),
        "cycle, host": lambda: cycle(inputs),
        "cycle, full lists": lambda: cycle(full),
        "new policy, first": new_policy,
    }
    return [Row(name, runtime, size, act) for name, act in operations.items()]


def floor_source(path: Path) -> str | None:
    """Find the floor's Lua in its Python file, without running that."""
    if not path.is_file():
        return None
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "function P.rank" in node.value:
            return node.value
    return None


def floor_row(source: str, runtime: str, size: int) -> Row:
    """Give the hand-written floor: filter and score, best only, one call through lupa."""
    lua = importlib.import_module(f"lupa.{runtime}").LuaRuntime(unpack_returned_tuples=True)
    floor, market = lua.execute(source), candidates(size)
    columns = floor.setup(size, lambda i: lua.table_from(market[int(i)]))
    rank = floor.rank
    return Row("floor, best only", runtime, size, lambda: rank(columns, False))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's own options."""
    parser.add_argument("--rounds", type=int, default=7, help="rounds whose median is given (7)")
    parser.add_argument("--floor", type=Path, default=FLOOR, help=f"the file with the floor ({FLOOR})")


def measure(rounds: int, floor: Path) -> list[Row]:
    """Measure every operation in turn, round by round."""
    source = floor_source(floor)
    if source is None:
        warn(f"no floor at {floor}: its rows and the ratios to it are left out")
    rows = []
    for runtime in (name for name in RUNTIMES if name in available_runtimes()):
        for size in SIZES:
            rows += engine_rows(runtime, size)
            rows += [floor_row(source, runtime, size)] if source else []
    counts = [row.count() for row in rows]
    for _ in range(rounds):
        for row, count in zip(rows, counts, strict=True):
            row.batch(count)
    return rows


def do(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    rows = measure(arguments.rounds, arguments.floor)
    medians = {(row.name, row.runtime, row.size): statistics.median(row.micros) for row in rows}
    if arguments.json:
        print_json([{"operation": n, "runtime": r, "size": s, "us": us} for (n, r, s), us in medians.items()])
        return OK
    print(ABOUT)
    for runtime in dict.fromkeys(row.runtime for row in rows):
        lines: list[list[str]] = [[f"µs on {runtime}", *(f"{size} candidates" for size in SIZES)]]
        for name in dict.fromkeys(row.name for row in rows):
            cells = []
            for size in SIZES:
                base = medians.get(("floor, best only", runtime, size))
                us = medians[name, runtime, size]
                cells.append(f"{us:.1f}" + (f" ({us / base:.1f}x)" if base else ""))
            lines.append([name, *cells])
        print("", *table(lines), sep="\n")
    return OK
