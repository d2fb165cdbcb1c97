"""`llm-policy bench gateway`: the gateway's cost per request, in turn with floors and peers."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import HostError

from .gateway_rig import CELLS, TOKENS, Cell, Gateway, Rig, direct
from .gateway_rows import BARE, floors, ours, peers
from .output import OK, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

BENCH = Path("../shared/bench")
FIRST_PORT = 18500

_C1, _C16, _C64, _SLOW, _BURST, _PACED1, _PACED16 = CELLS

ABOUT = """\
Medians of alternating rounds. One process on a core of its own, mock and generator on another; loopback.
  CPU µs          CPU time of all its threads and processes, for each whole JSON answer; mock at 0 ms
  x bare          the same at 16 callers, as a multiple of uvicorn with a raw asyncio client passing bytes on
  +50 ms c=64     what 64 callers wait beyond what they wait for the mock itself, median; mock at 50 ms
  CPU µs/token    16 streams of 20 chunks 5 ms apart: (CPU for each stream - CPU µs at c=16) / 20
  in a burst      the same where the mock writes all 20 at once
  +TTFT           time to the first chunk beyond the mock's own, median; 1 and 16 paced streams
  ready s         from the start of the process to its first answer; rss/pss after it, idle"""

Measured = dict[tuple[str, str], list[dict[str, Any]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's own options."""
    parser.add_argument("--bench", type=Path, default=BENCH, help=f"mock, generator and floors ({BENCH})")
    parser.add_argument("--peer-home", type=Path, help="where peers are installed: venvs/NAME, npm/NAME")
    parser.add_argument("--rounds", type=int, default=5, help="rounds whose median is given (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load takes (2)")
    parser.add_argument("--only", help="names of rows, with commas between")


def do(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    bench = arguments.bench.resolve()
    if not sys.platform.startswith("linux"):
        raise HostError("the benchmark reads /proc and pins to cores: it needs Linux")
    if not (bench / "mock.c").is_file():
        raise HostError(f"no mock provider at {bench}: name the benchmark's directory with --bench")
    with tempfile.TemporaryDirectory(prefix="llm-policy-bench-") as work, Rig(bench, Path(work)) as rig:
        if rig.load_core == rig.gateway_core:
            warn("one core only: mock, generator and gateway share it, and no time means much")
        rows = [ours(rig.work), *floors(bench)]
        rows += peers(bench, arguments.peer_home.resolve(), rig.work) if arguments.peer_home else []
        wanted = arguments.only.split(",") if arguments.only else [row.name for row in rows]
        gateways = [
            Gateway(rig, row, FIRST_PORT + 10 * number)
            for number, row in enumerate(rows)
            if row.name in wanted
        ]
        report = _report(gateways, _measure(rig, gateways, arguments))
    if arguments.json:
        print_json(report)
        return OK
    print(ABOUT, "", *table(_lines(report)), sep="\n")
    return OK


def _measure(rig: Rig, gateways: list[Gateway], arguments: argparse.Namespace) -> Measured:
    measured: Measured = {}
    try:
        for gateway in list(gateways):
            _start(gateway, gateways)
        for gateway in gateways:
            gateway.measure(Cell("json", "fast", 8), arguments.seconds)
        for number in range(arguments.rounds):
            warn(f"round {number + 1} of {arguments.rounds}")
            for cell in CELLS:
                base = direct(rig, cell, arguments.seconds)
                measured.setdefault(("direct", cell.name), []).append(base)
                for gateway in gateways:
                    result = gateway.measure(cell, arguments.seconds)
                    if result is not None:
                        measured.setdefault((gateway.row.name, cell.name), []).append(_beside(result, base))
    finally:
        for gateway in gateways:
            gateway.stop()
    return measured


def _start(gateway: Gateway, gateways: list[Gateway]) -> None:
    """Start one; one that does not come up is left out and said to be."""
    try:
        gateway.start()
    except (HostError, OSError) as error:
        warn(f"left out: {error}")
        gateway.stop()
        gateways.remove(gateway)


def _beside(result: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    bad = result["errors"] + result["non2xx"] + (result["nodata"] if result["ttft_p50"] else 0)
    return {
        "cpu_us": result["cpu_us"],
        "rps": result["rps"],
        "p50_us": result["p50"],
        "p99_us": result["p99"],
        "added_p50_us": result["p50"] - base["p50"],
        "added_ttft_us": result["ttft_p50"] - base["ttft_p50"],
        "bad": bad,
    }


def _report(gateways: Sequence[Gateway], measured: Measured) -> list[dict[str, Any]]:
    """Give the medians: a record for each row, with one for each cell in it."""
    rows = []
    for gateway in gateways:
        cells = {
            cell.name: _medians(measured[gateway.row.name, cell.name])
            for cell in CELLS
            if (gateway.row.name, cell.name) in measured
        }
        row: dict[str, Any] = {"name": gateway.row.name, "ready_s": gateway.ready_s, **gateway.memory}
        rows.append({**row, **_tokens(cells), "cells": cells})
    bare = next((row["cells"][_C16.name]["cpu_us"] for row in rows if row["name"] == BARE), None)
    for row in rows:
        row["x_bare"] = row["cells"][_C16.name]["cpu_us"] / bare if bare else None
    return rows


def _medians(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    medians = {name: statistics.median(each[name] for each in results) for name in results[0]}
    return {**medians, "bad": sum(each["bad"] for each in results)}


def _tokens(cells: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    whole = cells[_C16.name]["cpu_us"]
    return {
        name: (cells[cell.name]["cpu_us"] - whole) / TOKENS
        for name, cell in (("token_us", _PACED16), ("token_burst_us", _BURST))
        if cell.name in cells
    }


def _lines(report: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    head = ["", "CPU µs c=1", "c=16", "c=64", "x bare", "rps c=16", "c=64", "p50/p99 ms c=16", "+50 ms c=64"]
    head += ["CPU µs/token", "in a burst", "+TTFT ms c=1", "c=16", "ready s", "rss/pss MB", "bad"]
    return [head, *(_line(row) for row in report)]


def _line(row: Mapping[str, Any]) -> list[str]:
    cells = row["cells"]

    def value(cell: Cell, name: str, scale: float = 1.0, places: int = 0) -> str:
        return f"{cells[cell.name][name] / scale:,.{places}f}" if cell.name in cells else "-"

    tokens = [f"{row[name]:.1f}" if name in row else "-" for name in ("token_us", "token_burst_us")]
    return [
        row["name"],
        *(value(cell, "cpu_us") for cell in (_C1, _C16, _C64)),
        f"{row['x_bare']:.1f}" if row["x_bare"] else "-",
        *(value(cell, "rps") for cell in (_C16, _C64)),
        f"{value(_C16, 'p50_us', 1e3, 2)}/{value(_C16, 'p99_us', 1e3, 2)}",
        value(_SLOW, "added_p50_us", 1e3, 2),
        *tokens,
        *(value(cell, "added_ttft_us", 1e3, 2) for cell in (_PACED1, _PACED16)),
        f"{row['ready_s']:.2f}",
        f"{row['rss']:.0f}/{row['pss']:.0f}",
        f"{sum(cell['bad'] for cell in cells.values()):.0f}",
    ]
