"""Contracts from the command line's options and from JSON lines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.policy_files import read_policy_file
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Contract

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_CONTRACT_KEYS = frozenset(field.name for field in dataclasses.fields(Contract)) - {"extra_candidates"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the options that describe a contract."""
    parser.add_argument("-p", "--profile", metavar="NAME", help="the profile that decides")
    parser.add_argument(
        "--policy", metavar="FILE", help="a policy, a term as JSON or in Lua, in place of a profile"
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a sampling parameter"
    )
    parser.add_argument(
        "--need", action="append", default=[], metavar="NAME", help="tools, vision, json_mode or seed"
    )
    parser.add_argument("--min-context", type=int, metavar="TOKENS", help="the least context window")
    parser.add_argument("--model", metavar="FAMILY", help="only this model family")
    parser.add_argument("--seed", type=int, metavar="N", help="what draws and jitter follow from")
    parser.add_argument("--deadline-ms", type=int, metavar="MS", help="how long the run may take")


def contract(arguments: argparse.Namespace, prompt: str | None = None) -> Contract:
    """Build the contract that the options describe."""
    requirements: dict[str, Any] = {}
    if arguments.need:
        requirements["needs"] = arguments.need
    if arguments.min_context is not None:
        requirements["min_context"] = arguments.min_context
    if arguments.model is not None:
        requirements["model_family"] = arguments.model
    return Contract(
        messages=[] if prompt is None else [{"role": "user", "content": prompt}],
        profile=arguments.profile,
        policy_ir=None if arguments.policy is None else read_policy_file(Path(arguments.policy)),
        requirements=requirements,
        params=read_params(arguments.param),
        seed=arguments.seed,
        deadline_ms=arguments.deadline_ms,
    )


def contract_of_line(line: str, base: Contract) -> Contract:
    """Read one JSON line: a prompt as text, or a record of a contract's fields over `base`."""
    try:
        data = json.loads(line)
    except ValueError as error:
        raise UsageError(f"no JSON: {error}") from None
    if isinstance(data, str):
        data = {"prompt": data}
    if not isinstance(data, dict):
        raise UsageError("neither a text nor a record")
    data.pop("id", None)
    unknown = sorted(set(data) - _CONTRACT_KEYS)
    if unknown:
        raise UsageError(f"unknown key `{unknown[0]}`")
    if "prompt" in data and "messages" not in data:
        data["messages"] = [{"role": "user", "content": data.pop("prompt")}]
    known = {name: getattr(base, name) for name in _CONTRACT_KEYS}
    return Contract(**{**known, **data})


def reason(error: OSError) -> str:
    """Say why a file cannot be used, in plain words."""
    return (error.strerror or "unknown reason").lower()


def read_params(texts: Sequence[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` options."""
    return dict(map(_param, texts))


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"`{text}` is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
