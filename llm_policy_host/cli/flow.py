"""`llm-policy flow`: runs a config's flow, lists what there is, and goes on with one that was cut off."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from llm_policy_host.config.names import nearest
from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.pasts import past_runs
from llm_policy_host.run.resumption import open_flows
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

from . import reels
from .books import add_config, read_config
from .contracts import read_params
from .ledger import events, opened
from .output import OK, add_json, print_json, table, warn
from .run import show

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.ledger.pasts import PastRun
    from llm_policy_host.values import Result

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand and those below it."""
    below = commands.add_parser("flow", help="several calls as one: run, go on, list").add_subparsers(
        metavar="COMMAND", required=True
    )
    run = below.add_parser("run", help="run a flow of a config's `host.gateway.flows`")
    run.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    run.add_argument("name", metavar="NAME", help="the flow's name there")
    run.add_argument("prompt", nargs="?", metavar="INPUT", help="`-` or nothing reads standard input")
    run.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a sampling parameter of all nodes",
    )
    run.add_argument("--seed", type=int, metavar="N", help="what draws and jitter follow from")
    run.add_argument("--deadline-ms", type=int, metavar="MS", help="how long the flow may take")
    reels.add_options(run)
    run.add_argument("--now-ms", type=int, metavar="MS", help="begin then, and wait for nothing")
    add_json(run)
    run.set_defaults(do=_run)
    resume = below.add_parser("resume", help="go on with a flow whose process went away")
    resume.add_argument("run", metavar="RUN", help="its id, or the beginning of it")
    add_config(resume)
    add_json(resume)
    resume.set_defaults(do=_resume)
    listing = below.add_parser("list", help="list a config's flows, and those that were cut off")
    add_config(listing)
    add_json(listing)
    listing.set_defaults(do=_list, file=None)


def _run(arguments: argparse.Namespace) -> int:
    host = reels.virtual_host(arguments)
    try:
        flow = host.flows.get(arguments.name)
        if flow is None:
            near = nearest(arguments.name, host.flows)
            hint = f" (did you mean `{near}`?)" if near else ""
            raise UsageError(f"no flow `{arguments.name}` in `host.gateway.flows`{hint}")
        text = arguments.prompt
        asked = Contract(
            prompt=sys.stdin.read() if text in (None, "-") else text,
            flow_ir=flow.term,
            params=read_params(arguments.param),
            seed=arguments.seed,
            deadline_ms=arguments.deadline_ms,
        )
        code = asyncio.run(_asked(host, asked, as_json=arguments.json))
    finally:
        host.reel.close()
    host.reel.check()
    return code


async def _asked(host: Host, asked: Contract, *, as_json: bool) -> int:
    async with host:
        return _show(await host.run(asked), as_json=as_json)


def _resume(arguments: argparse.Namespace) -> int:
    return asyncio.run(_resumed(arguments))


async def _resumed(arguments: argparse.Namespace) -> int:
    async with Host.from_config(arguments.config) as host:
        if not host.bookkeeping.is_kept:
            raise UsageError(f"`{arguments.config}` has no `host.ledger`: there is nothing to go on from")
        _ = host.books
        ledger = host.bookkeeping.ledger
        assert ledger is not None  # noqa: S101 - just opened
        runs = past_runs(events(ledger.log.store.lines()))
        found = [run.run for run in runs.values() if run.is_flow and run.run.startswith(arguments.run)]
        if len(found) != 1:
            how = f"{len(found)} flows begin with" if found else "no flow is or begins with"
            raise UsageError(f"{how} `{arguments.run}`")
        return _show(await host.resume(found[0]), as_json=arguments.json)


def _show(result: Result, *, as_json: bool) -> int:
    """Print a flow's result, and its run, which is what its parts are found by."""
    if result.run_id is not None and not as_json:
        warn(f"run {result.run_id}")
    return show(result, as_json=as_json)


def _list(arguments: argparse.Namespace) -> int:
    host = Host.from_config(arguments.config)
    flows = [
        {"name": name, "nodes": sum(node.kind == "llm" for node in flow.nodes), "identity": flow.identity}
        for name, flow in sorted(host.flows.items())
    ]
    names = {flow["identity"]: flow["name"] for flow in flows}
    cut = [
        {
            "run": run.run,
            "flow": names.get((run.admitted or {}).get("policy_id")),
            "answered": sum(part.is_answered for part in run.parts),
            "begun": len({part.node for part in run.parts}),
        }
        for run in (_cut_off(arguments) if host.bookkeeping.is_kept else [])
    ]
    if arguments.json:
        print_json({"ok": True, "flows": flows, "open": cut})
        return OK
    rows = [(each["name"], f"{each['nodes']} nodes", each["identity"]) for each in flows]
    print(*table(rows), sep="\n")
    for each in cut:
        about = f"{each['answered']} of {each['begun']} nodes begun have answered"
        print(f"open: {each['run']}  {each['flow'] or 'a flow of a caller'}  {about}")
    return OK


def _cut_off(arguments: argparse.Namespace) -> list[PastRun]:
    """Give the flows in the ledger that have not ended."""
    config = read_config(arguments.config)
    file = config.settings.ledger.get("file")
    if file is not None and not (config.directory / file).exists():
        return []  # nothing was run yet
    with closing(opened(arguments)) as store:
        return open_flows(past_runs(events(store.lines())))
