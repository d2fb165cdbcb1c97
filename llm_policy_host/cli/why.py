"""`llm-policy why`: who would serve and why: what each part of the score gave, which clause refused whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.winning import Way, World, ways_to_win
from llm_policy_host.config.names import nearest
from llm_policy_host.errors import UsageError
from llm_policy_host.run.explanation import explanation
from llm_policy_host.run.shape import shape
from llm_policy_host.values import Inputs
from llm_policy_host.wiring import Host

from .bodies import add_body, asked_contract
from .commit import data_engine
from .contracts import add_options
from .output import OK, REFUSED, add_json, exit_code, number, plain, print_json, table, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract

    from .output import Commands

_NOTHING = "0"
"""The scorer of policies that order otherwise, in words."""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("why", help="say why a contract is served as it is")
    parser.add_argument("config", metavar="CONFIG", help="a config, YAML or Lua")
    parser.add_argument(
        "--win", metavar="ROUTE", help="also say what would have to change for `MODEL @ PROVIDER` to be first"
    )
    add_body(parser)
    add_options(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Explain."""
    host = Host.from_config(arguments.config)
    if host.market.sources:
        asyncio.run(_look_around(host))
    contract = asked_contract(arguments, host)
    told = host.explain(contract)
    if told.get("error"):
        return _refused(told, as_json=arguments.json)
    shown = explanation(contract, told)
    ways = None if arguments.win is None else _ways(host, contract, told, arguments.win)
    if arguments.json:
        won = {} if ways is None else {"win": {"route": arguments.win, "changes": plain(ways)}}
        print_json({**shown, **won})
        return OK if shown["ordered"] else REFUSED
    for line in (*_lines(shown), *_ways_lines(arguments.win, ways)):
        print(line)
    for name, reason in host.disabled.items():
        warn(f"{name} is disabled: {reason}")
    if not shown["ordered"]:
        warn("nobody: no_candidates")
    return OK if shown["ordered"] else REFUSED


async def _look_around(host: Host) -> None:
    """Ask the market once."""
    async with host:
        pass


def _refused(told: Mapping[str, Any], *, as_json: bool) -> int:
    refusal = told.get("refusal") or {}
    if as_json:
        print_json({"ok": False, "error": told["error"], "refusal": refusal or None})
    else:
        detail = f": {refusal['code']} at {refusal['path']}: {refusal['detail']}" if refusal else ""
        warn(f"nobody: {told['error']}{detail}")
    return exit_code(told["error"])


def route_text(entry: Mapping[str, Any]) -> str:
    """Name a route as a person does; a peer's beside its marketplace."""
    provider, peer = entry["provider"], entry.get("served_by")
    return f"{entry['model_family']} @ {provider}" + (f" ({peer})" if peer not in (None, provider) else "")


def _lines(shown: Mapping[str, Any]) -> list[str]:
    ordered = [
        (f"{place}.", route_text(entry), f"score {number(entry['score'])}", entry["tier"])
        for place, entry in enumerate(shown["ordered"], 1)
    ]
    rejected = [("-", route_text(entry), entry["reason"], entry["clause"]) for entry in shown["rejected"]]
    heads = table([*ordered, *rejected])
    lines = []
    for head, entry in zip(heads, shown["ordered"], strict=False):
        given = (part for part in entry["contributions"] if part["term"] != _NOTHING)
        parts = table((number(part["score"]), part["term"]) for part in given)
        lines += [head, *(f"      {part}" for part in parts)]
    policy = shown["policy"].get("id") or "of functions: it has no identity"
    return [*lines, *heads[len(ordered) :], f"policy {policy}"]


# What would have to change ------------------------------------------------------------------------


def _ways(host: Host, contract: Contract, told: Mapping[str, Any], wanted: str) -> list[Way]:
    engine = data_engine(host, "--win")
    target = _target(told, wanted)
    inputs = Inputs(host.clock.now_ms(), contract.seed, others=dict(host.gathered()))
    term = (told["policy"] or {}).get("term")
    asked = shape(contract)
    if isinstance(asked.get("policy_ir"), str):  # the name that this engine alone knows it by
        asked["policy_ir"] = term
    return ways_to_win(World(host.config.core, asked, inputs, engine.dump_state(), term), target)


def _target(told: Mapping[str, Any], wanted: str) -> tuple[str, str]:
    routes = {
        **{
            f"{e['model_family']} @ {e['provider_id']}": (e["provider_id"], e["model_family"])
            for e in told["ordered"]
        },
        **{f"{e['model']} @ {e['provider']}": (e["provider"], e["model"]) for e in told["rejected"]},
    }
    model, _, provider = wanted.partition("@")
    name = f"{model.strip()} @ {provider.strip()}"
    if name not in routes:
        near = nearest(name, routes)
        raise UsageError(f"no route `{wanted}`" + (f", did you mean `{near}`?" if near else ""))
    return routes[name]


def _ways_lines(wanted: str | None, ways: Sequence[Way] | None) -> list[str]:
    if ways is None:
        return []
    if not ways:
        return [f"no change of a single field makes `{wanted}` the first"]
    rows = [(way.where, way.name, f"{_shown(way.was)} -> {_shown(way.to)}") for way in ways]
    return [f"`{wanted}` would be first with any one of:", *(f"  {line}" for line in table(rows))]


def _shown(value: Any) -> str:  # noqa: ANN401 - plain data
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, int | float) else str(value)
