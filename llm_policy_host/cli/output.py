"""What the command line prints: plain data for machines, lines for people."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from llm_policy_host.ledger.desk import APPROVAL_REQUIRED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from llm_policy_host.values import Candidate, Failure, Ranking, Result

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - nameless
"""Where a subcommand adds its parser."""

OK, FAILED, USAGE, WAITING, REFUSED = range(5)
"""Exit codes (spec 3.7)."""

_REFUSALS = frozenset(
    {"policy_refused", "no_candidates", "budget_exceeded", "approval_denied", "approval_expired"}
)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the option that every one has."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(data: Any) -> None:  # noqa: ANN401 - any plain data
    """Print one line of JSON."""
    print(json.dumps(plain(data), ensure_ascii=False).encode(errors="replace").decode(), flush=True)


def plain(value: Any) -> Any:  # noqa: ANN401 - any value of ours
    """Give a value as plain data; what is not meant to be printed stays out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (field for field in dataclasses.fields(value) if field.repr)
        return {field.name: plain(getattr(value, field.name)) for field in shown}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def exit_code(error: str | None) -> int:
    """Give the exit code for how a run or a ranking ended."""
    if error is None:
        return OK
    if error == APPROVAL_REQUIRED:
        return WAITING
    return REFUSED if error in _REFUSALS else FAILED


def table(rows: Iterable[Sequence[object]]) -> list[str]:
    """Set rows in columns."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))] if texts else []
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]


def number(value: float | None) -> str:
    """Write a number as short as it reads well."""
    return "-" if value is None else f"{value:.6g}"


def failure_line(failure: Failure) -> str:
    """Describe a failure that was met on the way."""
    status = f" (status {failure.http_status})" if failure.http_status else ""
    return f"{failure.kind}{status}{': ' + failure.detail if failure.detail else ''}"


def ranking_lines(ranking: Ranking) -> list[str]:
    """Describe a ranking: who in which order, and who not and why."""
    rows = [
        (
            f"{place}.",
            f"{entry.model_family} @ {_server(entry)}",
            f"score {number(entry.score)}",
            entry.tier,
        )
        for place, entry in enumerate(ranking.ordered, 1)
    ]
    refused = [
        ("-", f"{entry.model_family} @ {entry.provider_id}", entry.reason, "") for entry in ranking.rejected
    ]
    return table([*rows, *refused])


def _server(entry: Candidate) -> str:
    """Name who serves: the provider, and the peer where it is a market's."""
    is_direct = entry.served_by in (None, entry.provider_id)
    return entry.provider_id if is_direct else f"{entry.provider_id}/{entry.served_by}"


def refusal_text(result: Result | Ranking) -> str:
    """Say why nothing was decided."""
    if result.refusal:
        refusal = result.refusal
        if "account" in refusal:
            of = f" ({refusal['resource']})" if refusal.get("resource") else ""
            return f"{refusal.get('code')}: `{refusal['account']}`{of}"
        return f"{result.error}: {refusal.get('code')} at {refusal.get('path')}: {refusal.get('detail', '')}"
    return result.error or ""


def warn(text: str) -> None:
    """Tell a person something that is no output."""
    print(text, file=sys.stderr, flush=True)
