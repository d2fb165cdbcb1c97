"""`llm-policy demo`: the main job on this machine: a policy decides, a small real model answers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

from .models import local_model
from .output import FAILED, OK, add_json, number, plain, print_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from llm_policy_host.values import Candidate, Result

    from .output import Commands

_CONFIG = Path(__file__).with_name("demo.yaml")
_MAX_TOKENS = 64
_LABEL = 10


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt of the demo, and what it asks of a route."""

    prompt: str
    wish: str
    profile: str = "cheapest"
    requirements: dict[str, Any] = field(default_factory=dict)


_QUESTIONS = (
    _Question(
        "What is the capital of France? Answer in one short sentence.",
        "at most 1 USD per million tokens out",
        "thrifty",
    ),
    _Question(
        "Summarize in one sentence: a router sends every call to one of several models, and asks "
        "the next one when the first does not answer.",
        "at least 1000 tokens of context",
        requirements={"min_context": 1000},
    ),
    _Question(
        "What is the chemical formula of water?", "nobody may keep a log", requirements={"privacy": "no_log"}
    ),
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("demo", help="answer three prompts with a small real model on this machine")
    parser.add_argument(
        "--scripted", action="store_true", help="use scripted answers, fetch and start nothing"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    if arguments.scripted:
        return asyncio.run(_answer_all(_scripted_host(), as_json=arguments.json))
    with local_model() as model, _refusing_address() as broken:
        host = _scripted_host() if model is None else _model_host(model.base_url, broken)
        return asyncio.run(_answer_all(host, as_json=arguments.json))


@contextmanager
def _refusing_address() -> Iterator[str]:
    """Give a base URL that refuses connections: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def _scripted_host() -> Host:
    return _host(kind="scripted", model="scripted:", broken="scripted:")


def _model_host(base_url: str, broken: str) -> Host:
    return _host(kind="openai_compatible", model=base_url, broken=broken)


def _host(*, kind: str, model: str, broken: str) -> Host:
    text = _CONFIG.read_text(encoding="utf-8")
    for name, value in (("@KIND@", kind), ("@MODEL@", model), ("@BROKEN@", broken)):
        text = text.replace(name, value)
    return Host.from_data(parse_yaml(text, _CONFIG.name).data)


async def _answer_all(host: Host, *, as_json: bool) -> int:
    has_failed = False
    async with host:
        for place, question in enumerate(_QUESTIONS, 1):
            result = await host.run(_contract(question))
            has_failed = has_failed or not result.ok
            if as_json:
                print_json({"prompt": question.prompt, **plain(result)})
            else:
                print("\n".join(_story(host, place, question, result)), flush=True)
    return FAILED if has_failed else OK


def _contract(question: _Question) -> Contract:
    return Contract(
        messages=[{"role": "user", "content": question.prompt}],
        profile=question.profile,
        requirements=question.requirements,
        params={"max_tokens": _MAX_TOKENS, "temperature": 0.0},
        seed=1,
    )


def _story(host: Host, place: int, question: _Question, result: Result) -> list[str]:
    """Tell what was asked, who answered, and why it was that one."""
    prices = {
        (entry["provider_id"], entry["model_family"]): entry.get("price_in")
        for entry in host.engine.candidates
    }
    answer = " ".join(result.response.text.split()) if result.response else f"none: {result.error}"
    lines = [
        f"── prompt {place}: {question.prompt}",
        _line("asked", f"{question.wish}; profile {question.profile}"),
        _line("answer", answer),
        _line("served by", _server(result.chosen)),
        _line("why", _why(result, prices)),
    ]
    lines += [_line("ranked", _ranked(entry, prices)) for entry in result.trace.ranked]
    lines += [
        _line("rejected", f"{entry.model_family} @ {entry.provider_id}: {entry.reason}")
        for entry in result.trace.rejected
    ]
    lines += [_line("survived", text) for text in _survived(result)]
    return [*lines, _line("policy", str(result.trace.policy_id)), ""]


def _line(label: str, text: str) -> str:
    return f"   {label:<{_LABEL}}{text}"


def _server(chosen: Mapping[str, Any] | None) -> str:
    if chosen is None:
        return "nobody"
    prices = f"{number(chosen.get('price_in'))} in, {number(chosen.get('price_out'))} out"
    return f"{chosen['model_family']} @ {chosen['provider_id']} ({prices}, USD per million tokens)"


def _why(result: Result, prices: Mapping[tuple[str, str], float | None]) -> str:
    """Name the rank, score and price that decided."""
    chosen = result.chosen
    for place, entry in enumerate(result.trace.ranked, 1):
        if chosen is not None and (entry.provider_id, entry.model_family) == (
            chosen["provider_id"],
            chosen["model_family"],
        ):
            route = f"rank {place} of {len(result.trace.ranked)}, score {number(entry.score)}"
            before = "first choice" if place == 1 else "cheapest that answered"
            return f"{before}: {route}, price {number(prices.get((entry.provider_id, entry.model_family)))}"
    return str(result.error)


def _ranked(entry: Candidate, prices: Mapping[tuple[str, str], float | None]) -> str:
    price = number(prices.get((entry.provider_id, entry.model_family)))
    return f"{entry.model_family} @ {entry.provider_id}: score {number(entry.score)}, price {price}"


def _survived(result: Result) -> Iterator[str]:
    for event in result.trace.decision_path:
        if event.get("event") == "attempted" and event.get("error_kind"):
            yield f"{event['error_kind']} of {event['model_family']} @ {event['provider_id']}"
        elif event.get("event") == "breaker_opened":
            yield f"and the breaker of {event.get('key')} opens"
