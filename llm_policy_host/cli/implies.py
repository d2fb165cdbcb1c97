"""`llm-policy implies`: whether whatever one policy admits another admits too, or who is the exception."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from llm_policy_host.analysis.aspects import Domain
from llm_policy_host.analysis.implication import Answer, implies
from llm_policy_host.analysis.routes import routes_of
from llm_policy_host.analysis.solver import Solver
from llm_policy_host.analysis.subject import Subject, envelope_of, schema_of
from llm_policy_host.config.names import nearest
from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.wiring import Host

from .output import FAILED, OK, add_json, number, plain, print_json, warn
from .subjects import WHAT, Named, find, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.analysis.witness import Witness

    from .output import Commands

_PRIVACY = ("tee_required", "no_log")


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("implies", help="prove that a policy stays inside another, or an envelope")
    parser.add_argument("first", metavar="A", help=WHAT)
    parser.add_argument("second", nargs="?", metavar="B", help="the policy, or the Pred, to stay inside of")
    parser.add_argument("--envelope", metavar="CONFIG", help="in place of B: the envelope of this config")
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", help="whose fields and tiers a bare term may name"
    )
    parser.add_argument(
        "--catalog", metavar="CONFIG", help="only the routes of this config, not any candidate that can be"
    )
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        type=_range,
        metavar="FIELD=LOW..HIGH",
        help="the numbers of a field, where a candidate has it",
    )
    parser.add_argument(
        "--present", action="append", default=[], metavar="FIELD", help="a field that every candidate has"
    )
    add_requirements(parser)
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long to look (30)"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def add_requirements(parser: argparse.ArgumentParser) -> None:
    """Add what every request requires at least."""
    parser.add_argument(
        "--need", action="append", default=[], metavar="NAME", help="what every request needs"
    )
    parser.add_argument("--min-context", type=float, metavar="TOKENS", help="and its least context window")
    parser.add_argument("--model", metavar="FAMILY", help="and its model family")
    parser.add_argument("--tier", metavar="TIER", help="and its tier")
    parser.add_argument(
        "--privacy", choices=_PRIVACY, metavar="WORD", help=f"and its privacy: {' or '.join(_PRIVACY)}"
    )


def do(arguments: argparse.Namespace) -> int:
    """Decide."""
    first, second = _subjects(arguments)
    answer = implies(first, second, _domain(arguments, first, second), Solver(int(arguments.timeout * 1000)))
    if arguments.json:
        print_json({"ok": answer.holds is True, **plain(answer), "first": first.name, "second": second.name})
    else:
        for line in _report(answer, first.name, second.name):
            print(line)
    if answer.is_empty:
        warn(f"`{first.name}` admits nobody there")
    return OK if answer.holds else FAILED


def _subjects(arguments: argparse.Namespace) -> tuple[Subject, Subject]:
    if (arguments.second is None) == (arguments.envelope is None):
        raise UsageError("either a second policy B is wanted, or --envelope CONFIG")
    first = find(arguments.first)
    config = None if arguments.config is None else schema_of(Host.from_config(arguments.config).config.core)
    if arguments.envelope is not None:
        core = Host.from_config(arguments.envelope).config.core
        if "policy_envelope" not in core:
            raise UsageError(f"`{arguments.envelope}` has no `policy_envelope`")
        schema = schema_of(core)
        envelope = Subject(f"the envelope of {arguments.envelope}", "Pred", envelope_of(core), schema)
        return read(first, config or schema, has_envelope=False), envelope
    second = find(arguments.second)
    return _read(first, second, config), _read(second, first, config)


def _read(named: Named, other: Named, config: Mapping[str, Any] | None) -> Subject:
    """Read a policy; a bare term names what the config, or else the other policy's config, declares."""
    return read(named, config or other.schema)


def _domain(arguments: argparse.Namespace, *subjects: Subject) -> Domain:
    language = Language(Vm())
    known = {name for subject in subjects for name in language.vocabulary(subject.schema).fields}
    for name in (*(name for name, _ in arguments.range), *arguments.present):
        if name not in known:
            near = nearest(name, known)
            raise UsageError(f"no field `{name}`" + (f" (did you mean `{near}`?)" if near else ""))
    routes = None
    if arguments.catalog is not None:
        host = Host.from_config(arguments.catalog)
        routes = routes_of(host.config.core, host.engine.candidates)
    return Domain(dict(arguments.range), frozenset(arguments.present), _required(arguments), routes)


def _required(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {
        "needs": arguments.need or None,
        "min_context": arguments.min_context,
        "model_family": arguments.model,
        "tier": arguments.tier,
        "privacy": arguments.privacy,
    }
    return {name: value for name, value in given.items() if value is not None}


def _report(answer: Answer, first: str, second: str) -> Iterator[str]:
    if answer.holds is None:
        yield "undecided: the time ran out"
    elif answer.counterexample is None:
        yield f"yes: whatever {first} admits, {second} admits"
    else:
        yield f"no: {first} admits what {second} refuses"
        yield from _exception(answer.counterexample)
        if answer.refused is not None:
            yield f"  refused    {answer.refused.reason}: {answer.refused.clause}"


def _exception(shown: Witness) -> Iterator[str]:
    candidate = dict(shown.candidate)
    route = f"{candidate.pop('model_family')} @ {candidate.pop('provider_id')}"
    told = [f"{name} {_told(value)}" for name, value in candidate.items()]
    yield f"  candidate  {', '.join([route, *told, *(f'{name} unknown' for name in shown.unknown)])}"
    if shown.requirements:
        wanted = (f"{name} {_told(value)}" for name, value in shown.requirements.items())
        yield f"  requires   {', '.join(wanted)}"
    state = [*(["breaker open"] if shown.breaker_open else []), *(["disabled"] if shown.disabled else [])]
    state += [] if shown.credits is None else [f"credits {number(shown.credits)}"]
    if state:
        yield f"  state      {', '.join(state)}"


def _told(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, dict):
        return " ".join(f"{name}={_told(each)}" for name, each in value.items())
    if isinstance(value, list):
        return " and ".join(map(_told, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.partition("=")
    low, _, high = numbers.partition("..")
    try:
        bounds = (float(low) if low else -math.inf, float(high) if high else math.inf)
    except ValueError:
        bounds = (math.nan, math.nan)
    if not (name and bounds[0] <= bounds[1]):
        raise argparse.ArgumentTypeError(f"`{text}` is not FIELD=LOW..HIGH")
    return name, bounds
