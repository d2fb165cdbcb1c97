"""`llm-policy redecide`: a past decision made again from what the ledger holds, in any Lua runtime."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from llm_policy_host.core.vm import available_runtimes, default_runtime
from llm_policy_host.errors import UsageError
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs

from .ledger import add_source, events, opened
from .output import FAILED, OK, add_json, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from llm_policy_host.hindsight.history import Past

    from .output import Commands

_ALL = "all"


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("redecide", help="make a past decision again, and compare")
    parser.add_argument("run", metavar="RUN", help="its id, or the beginning of it")
    parser.add_argument("--runtime", choices=(*available_runtimes(), _ALL), help="where to decide it")
    add_source(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Decide again."""
    with closing(opened(arguments)) as store:
        past = _find(arguments.run, list(past_runs(events(store.lines()))))
        get = blobs_of(store.blob_get)
        again = {name: Decider(get, name).again(past) for name in _runtimes(arguments.runtime)}
    is_same = all(each.difference is None for each in again.values())
    if arguments.json:
        runtimes = {
            name: {
                "decision_digest": each.decision,
                "trace_digest": each.trace,
                "difference": each.difference,
            }
            for name, each in again.items()
        }
        was = {name: past.ended.get(name) for name in ("decision_digest", "trace_digest")}
        print_json({"ok": is_same, "run": past.run, **was, "runtimes": runtimes})
    else:
        for line in _lines(past):
            print(line)
        for name, each in again.items():
            print(f"{name}: {'the same' if each.difference is None else each.difference}")
    return OK if is_same else FAILED


def blobs_of(get: Callable[[str], bytes | None] | None) -> Callable[[str], bytes | None]:
    """Give what reads a ledger's blobs; an export has none."""
    if get is None:
        raise UsageError("an export holds no catalogs, policies and contexts: name the ledger itself")
    return get


def _find(named: str, pasts: list[Past]) -> Past:
    found = [past for past in pasts if past.run.startswith(named)]
    if len(found) != 1:
        detail = f"{len(found)} runs that are over begin with" if found else "no run that is over begins with"
        raise UsageError(f"{detail} `{named}`")
    past = found[0]
    if past.policy is None or "ctx" not in past.refs:
        is_flow = past.policy is None and "ctx" not in past.refs
        what = "is a flow's: its nodes are runs of their own" if is_flow else "has functions of its own"
        raise UsageError(f"`{past.run}`: its policy {what}")
    return past


def _lines(past: Past) -> list[str]:
    tried = [f"  {each.route}: {each.kind or 'answered'}" for each in past.tried]
    return [f"{past.run}: {past.end}{f' ({past.error})' if past.error else ''}", *tried]


def _runtimes(wanted: str | None) -> tuple[str, ...]:
    return available_runtimes() if wanted == _ALL else (wanted or default_runtime(),)
