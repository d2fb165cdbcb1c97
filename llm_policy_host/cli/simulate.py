"""`llm-policy simulate`: a policy's failure plan against providers that are written down, beside another."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.subject import schema_of
from llm_policy_host.config.scripts import read_scripts
from llm_policy_host.errors import ConfigError, UsageError
from llm_policy_host.simulation.behaviour import World
from llm_policy_host.simulation.play import DEADLINE, WAIT, Setting, play
from llm_policy_host.simulation.reading import conduct_of_scripts, read_conduct
from llm_policy_host.simulation.summary import summarise, telling
from llm_policy_host.wiring import Host

from .commit import profile_name
from .contracts import add_options, contract, reason
from .output import OK, add_json, exit_code, number, plain, print_json, table
from .pictures import add_pictures, draw
from .subjects import Named, is_term, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_policy_host.simulation.behaviour import Conduct
    from llm_policy_host.simulation.picture import Side
    from llm_policy_host.simulation.play import Played
    from llm_policy_host.simulation.summary import Quantiles, Summary
    from llm_policy_host.values import Contract

    from .output import Commands

_BAR = 40
_TOLD = (0.5, 1)
_REFUSED = frozenset({"policy_refused", "no_candidates"})


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "simulate", help="play a policy's failure plan against providers that are written down"
    )
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument(
        "--against",
        metavar="OTHER",
        help="a second policy: a profile of CONFIG, a profile `OTHER_CONFIG#NAME`, or a term as `.json`",
    )
    parser.add_argument(
        "--script", metavar="FILE", help="how providers behave (YAML); else what `host.scripts` says"
    )
    parser.add_argument("--runs", type=_positive, default=1000, metavar="N", help="how many runs (1000)")
    add_options(parser)
    add_pictures(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Simulate."""
    host = Host.from_config(arguments.config)
    asked = contract(arguments)
    if asked.policy_ir is None:
        asked = dataclasses.replace(asked, profile=profile_name(host, asked.profile))
    played = [(_name(arguments, asked), host, asked)]
    if arguments.against is not None:
        played.append(_other(arguments.against, host, asked))
    deadline_ms = asked.deadline_ms or host.config.settings.deadline_ms
    sides = [_side(name, each, what, arguments, deadline_ms) for name, each, what in played]
    draw(arguments, _title(sides, arguments), figures(sides), sides, deadline_ms)
    if arguments.json:
        print_json(_data(sides, arguments, deadline_ms))
    else:
        for line in _report(sides, arguments, deadline_ms):
            print(line)
    errors = {run.error for _, runs, _ in sides for run in runs}
    return exit_code(errors.pop()) if len(errors) == 1 and errors <= _REFUSED else OK


def _side(name: str, host: Host, asked: Contract, arguments: argparse.Namespace, deadline_ms: float) -> Side:
    setting = Setting(
        dataclasses.replace(asked, seed=None),
        arguments.runs,
        deadline_ms,
        (host.config.core.get("defaults") or {}).get("timeout_ms", 30_000),
        host.config.settings.credits,
    )
    played = play(host.engine, World(_conduct(host, arguments.script), arguments.seed or 0), setting)
    return name, played, summarise(played, deadline_ms)


def _conduct(host: Host, script: str | None) -> Conduct:
    if script is not None:
        return read_conduct(_read(Path(script)), script, host.engine.candidates)
    config = host.config
    scripts = read_scripts(config.document, config.settings.scripts, config.directory)
    if config.document.problems:
        raise ConfigError(config.document.problems)
    return conduct_of_scripts(scripts, host.engine.candidates)


def _name(arguments: argparse.Namespace, asked: Contract) -> str:
    return str(arguments.policy if asked.policy_ir is not None else asked.profile)


def _other(given: str, host: Host, asked: Contract) -> tuple[str, Host, Contract]:
    """Find the second policy: of the same catalog, unless another config is named."""
    if is_term(given):
        term = read(Named(given), schema_of(host.config.core)).term
        return given, host, dataclasses.replace(asked, profile=None, policy_ir=term)
    path, has_profile, profile = given.rpartition("#")
    other = Host.from_config(path) if has_profile and path else host
    known = profile_name(other, profile)
    return given, other, dataclasses.replace(asked, profile=known, policy_ir=None)


# What is said -------------------------------------------------------------------------------------


def _report(sides: Sequence[Side], arguments: argparse.Namespace, deadline_ms: float) -> Iterator[str]:
    yield f"{arguments.runs} runs, seed {arguments.seed or 0}, deadline {deadline_ms:g} ms"
    yield ""
    yield from table(figures(sides))
    for name, played, _ in sides:
        for share, run in telling(played, _TOLD):
            what = "the slowest run" if share == 1 else "the middle run"
            yield ""
            yield from _timeline(f"{name}: {what}" if len(played) > 1 else name, run)


def figures(sides: Sequence[Side]) -> list[list[str]]:
    """Give the figures of policies in columns beside each other."""
    names = [name for name, _, _ in sides]
    summaries = [summary for _, _, summary in sides]
    rows = [["", *names]]
    rows += [[what, *(_figure(summary, what) for summary in summaries)] for what in _FIGURES]
    for title, part in (("answered by", "routes"), ("failed with", "errors"), ("met", "failures")):
        keys = dict.fromkeys(key for summary in summaries for key in getattr(summary, part))
        rows += [
            [f"{title} {key}", *(f"{getattr(summary, part).get(key, 0):.1%}" for summary in summaries)]
            for key in keys
        ]
    return rows


def _figure(of: Summary, what: str) -> str:
    return str(_FIGURES[what](of))


_FIGURES: Any = {
    "answered": lambda of: f"{of.success:.1%}",
    "latency p50": lambda of: _ms(of.latency_ms, "p50"),
    "latency p99": lambda of: _ms(of.latency_ms, "p99"),
    "cost, mean": lambda of: _usd(of.cost_usd, "mean"),
    "cost p99": lambda of: _usd(of.cost_usd, "p99"),
    "deadline used p50": lambda of: f"{of.deadline.p50:.1%}",
    "deadline used p99": lambda of: f"{of.deadline.p99:.1%}",
    "time between calls": lambda of: f"{of.waiting:.1%}",
    "calls a run": lambda of: f"{of.attempts:.2f}",
}


def _ms(of: Quantiles | None, name: str) -> str:
    return "-" if of is None else f"{getattr(of, name):.0f} ms"


def _usd(of: Quantiles | None, name: str) -> str:
    return "-" if of is None else f"{number(getattr(of, name) * 1000)} USD/1000"


def _timeline(title: str, run: Played) -> Iterator[str]:
    ended = f"answered by {run.route}" if run.ok else f"failed: {run.error}"
    cost = "" if run.cost_usd is None else f", {number(run.cost_usd)} USD"
    yield f"{title} (number {run.number}, {run.took_ms:.0f} ms): {ended}{cost}"
    rows = []
    for span in run.spans:
        told = {WAIT: "waits", DEADLINE: "cut by the deadline"}.get(span.end, span.end)
        times = (f"{span.begins_ms:.0f}", f"+{span.ends_ms - span.begins_ms:.0f} ms")
        rows.append(
            (f"  {times[0]}", times[1], _bar(run, span.begins_ms, span.ends_ms, span.end), span.route, told)
        )
    yield from table(rows)


def _bar(run: Played, begins_ms: float, ends_ms: float, end: str) -> str:
    scale = _BAR / run.took_ms if run.took_ms else 0
    left = min(_BAR - 1, int(begins_ms * scale))
    width = max(1, min(_BAR - left, round((ends_ms - begins_ms) * scale)))
    mark = {"answer": "=", WAIT: ".", DEADLINE: "!"}.get(end, "x")
    return f"|{' ' * left}{mark * width}{' ' * (_BAR - left - width)}|"


def _data(sides: Sequence[Side], arguments: argparse.Namespace, deadline_ms: float) -> dict[str, Any]:
    policies = [
        {"policy": name, **plain(summary), "timelines": [_run(run) for _, run in telling(played, _TOLD)]}
        for name, played, summary in sides
    ]
    about = {"runs": arguments.runs, "seed": arguments.seed or 0, "deadline_ms": deadline_ms}
    return {"ok": True, **about, "policies": policies}


def _run(run: Played) -> dict[str, Any]:
    names = ("number", "began_ms", "took_ms", "error", "provider_id", "route", "cost_usd", "spans")
    return {name: plain(getattr(run, name)) for name in names}


def _title(sides: Sequence[Side], arguments: argparse.Namespace) -> str:
    return (
        f"{' against '.join(name for name, _, _ in sides)}: {arguments.runs} runs, seed {arguments.seed or 0}"
    )


# Files and numbers --------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {reason(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"`{path}` cannot be read: it is not UTF-8") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number above 0")
    return int(text)
