"""`llm-policy test`: the cases beside a policy, and how much of the policy they have seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.cases.case_file import find_files
from llm_policy_host.cases.suite import play_files
from llm_policy_host.errors import UsageError

from .output import FAILED, OK, add_json, number, plain, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from llm_policy_host.cases.case_file import CaseFile
    from llm_policy_host.cases.coverage import Coverage, Point
    from llm_policy_host.cases.expectations import Mismatch, Played
    from llm_policy_host.cases.playing import Outcome
    from llm_policy_host.cases.suite import Suite

    from .output import Commands

_WORDS = {"true": "never true", "false": "never false", "failure": "never met", "chosen": "never chosen"}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("test", help="try the cases beside a policy")
    parser.add_argument(
        "path",
        nargs="?",
        default=".",
        metavar="PATH",
        help="a file of cases, a config with one beside it, or a folder (default: this one)",
    )
    parser.add_argument(
        "--min-coverage", type=float, metavar="PERCENT", help="fail where less of a policy was seen"
    )
    parser.add_argument("--missing", action="store_true", help="list what no case has seen")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Test."""
    least = arguments.min_coverage
    if least is not None and not 0 <= least <= 100:
        raise UsageError("--min-coverage must be from 0 to 100")
    suite = play_files(find_files(Path(arguments.path)))
    short = [one for one in suite.coverage if least is not None and one.percent < least]
    unseen = suite.untested if least else []
    is_ok = suite.is_ok and not short and not unseen
    if arguments.json:
        print_json(_data(suite, is_ok=is_ok))
        return OK if is_ok else FAILED
    for file, outcome in suite.outcomes:
        for line in _outcome_lines(file, outcome):
            print(line)
    for line in _coverage_lines(suite.coverage, short, shows_all=arguments.missing):
        print(line)
    for path, name in suite.untested:
        warn(f"{path}: no case is about the profile `{name}`")
    for file in suite.empty:
        warn(f"{file.path}:1:1: there are no cases")
    failed = sum(not outcome.is_ok for _, outcome in suite.outcomes)
    warn(f"{len(suite.outcomes)} cases, {failed} failed{_too_little(short, least)}")
    return OK if is_ok else FAILED


def _too_little(short: Sequence[Coverage], least: float | None) -> str:
    names = ", ".join(f"`{one.name}`" for one in short)
    return f"; less than {number(least)} % is seen of {names}" if short else ""


# For people ---------------------------------------------------------------------------------------


def _outcome_lines(file: CaseFile, outcome: Outcome) -> Iterator[str]:
    if outcome.is_ok:
        yield f"ok      {outcome.case.name}"
        return
    yield f"FAILED  {outcome.case.name}"
    for mismatch in outcome.mismatches:
        line, column = file.place(outcome.case, *mismatch.at)
        what = ".".join(map(str, mismatch.at[1:])) or "case"
        wanted, got = _shown(mismatch.wanted), _shown(mismatch.got)
        yield f"  {file.path}:{line}:{column}: {what}: wanted {wanted}, got {got}"
    if outcome.played is not None:
        yield from (f"    {line}" for line in _trace_lines(outcome.played))


def _shown(value: Any) -> str:  # noqa: ANN401 - plain data
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return number(value) if isinstance(value, float) else str(value)


def _trace_lines(played: Played) -> list[str]:
    scores = [entry["score"] for entry in played.plan["ordered"]]
    rows: list[Sequence[object]] = [
        (f"{place}.", name, f"score {number(score)}")
        for place, (name, score) in enumerate(zip(played.order, scores, strict=True), 1)
    ]
    rows += [("-", name, reason) for name, reason in played.rejected.items()]
    return [*table(rows), *map(_step_line, played.result.trace.decision_path), _ending(played)]


def _step_line(step: Any) -> str:  # noqa: ANN401 - an entry of the core's trace
    rest = ", ".join(f"{key} {_shown(value)}" for key, value in sorted(step.items()) if key != "event")
    return f"{step['event']}: {rest}"


def _ending(played: Played) -> str:
    how = f"answered by {played.chosen}" if played.result.ok else f"ended with {played.result.error}"
    refusal = played.result.refusal
    why = f": {refusal.get('code')} at {refusal.get('path')}: {refusal.get('detail')}" if refusal else ""
    return f"{how}{why} after {number(played.took_ms)} ms"


def _coverage_lines(
    coverage: Sequence[Coverage], short: Sequence[Coverage], *, shows_all: bool
) -> Iterator[str]:
    rows = [(one.name, f"{one.seen}/{len(one.points)} seen", f"{one.percent:.0f} %") for one in coverage]
    for one, line in zip(coverage, table(rows), strict=True):
        yield line
        if shows_all or one in short:
            yield from (f"  {_point_line(point)}" for point in one.missing)


def _point_line(point: Point) -> str:
    return f"{_WORDS[point.what]}: {point.words} ({point.path})"


# For machines -------------------------------------------------------------------------------------


def _data(suite: Suite, *, is_ok: bool) -> dict[str, Any]:
    return {
        "ok": is_ok,
        "cases": [_outcome_data(file, outcome) for file, outcome in suite.outcomes],
        "coverage": [_coverage_data(one) for one in suite.coverage],
        "empty": [str(file.path) for file in suite.empty],
        "untested": [{"config": str(path), "profile": name} for path, name in suite.untested],
    }


def _outcome_data(file: CaseFile, outcome: Outcome) -> dict[str, Any]:
    line, column = file.place(outcome.case)
    data: dict[str, Any] = {
        "file": str(file.path),
        "line": line,
        "column": column,
        "name": outcome.case.name,
        "ok": outcome.is_ok,
        "mismatches": [_mismatch_data(file, outcome, mismatch) for mismatch in outcome.mismatches],
    }
    if not outcome.is_ok and outcome.played is not None:
        played = outcome.played
        data["trace"] = {
            "ordered": played.plan["ordered"],
            "rejected": played.plan["rejected"],
            "decision_path": plain(played.result.trace.decision_path),
            "chosen": played.chosen,
            "error": played.result.error,
            "took_ms": played.took_ms,
        }
    return data


def _mismatch_data(file: CaseFile, outcome: Outcome, mismatch: Mismatch) -> dict[str, Any]:
    line, column = file.place(outcome.case, *mismatch.at)
    path = ".".join(map(str, mismatch.at))
    return {"line": line, "column": column, "path": path, "wanted": mismatch.wanted, "got": mismatch.got}


def _coverage_data(one: Coverage) -> dict[str, Any]:
    return {
        "name": one.name,
        "policy_id": one.policy_id,
        "cases": one.cases,
        "points": len(one.points),
        "seen": one.seen,
        "percent": one.percent,
        "missing": [plain(point) for point in one.missing],
    }
