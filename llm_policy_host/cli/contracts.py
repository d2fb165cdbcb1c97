"""Contracts from the command line's options and from JSON lines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from llm_policy_host.config.policy_files import read_policy_file
from llm_policy_host.errors import UsageError
from llm_policy_host.values import Contract, Dialect, Kind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

_RECORD: Final = ("a record", lambda value: isinstance(value, dict))
_RECORDS: Final = (
    "a list of records",
    lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value),
)
_TEXT: Final = ("a text", lambda value: isinstance(value, str))
_WHOLE: Final = ("a whole number below 2^53", lambda value: type(value) is int and abs(value) < 2**53)
_ANYTHING: Final = ("anything", lambda _: True)

_KEYS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "messages": _RECORDS,
    "prompt": _TEXT,
    "profile": _TEXT,
    "policy_ir": _ANYTHING,
    "flow_ir": _ANYTHING,
    "requirements": _RECORD,
    "tools": _RECORDS,
    "images": ("true or false", lambda value: isinstance(value, bool)),
    "response_format": _RECORD,
    "params": _RECORD,
    "passthrough": _RECORD,
    "dialect": ("a dialect", lambda value: value in get_args(Dialect)),
    "kind": ("a kind of call", lambda value: value in get_args(Kind)),
    "embed": ("a list", lambda value: isinstance(value, list)),
    "scope": _TEXT,
    "seed": _WHOLE,
    "chain": _RECORDS,
    "timeout_ms": _WHOLE,
    "deadline_ms": _WHOLE,
}
"""What a line may say of a contract: not who asks, nor with whose key."""
_OPTIONAL: Final = frozenset(field.name for field in dataclasses.fields(Contract) if field.default is None)


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
    _check(data)
    if "prompt" in data and "messages" not in data:
        data["messages"] = [{"role": "user", "content": data.pop("prompt")}]
    return dataclasses.replace(base, **data)


def _check(data: Mapping[str, Any]) -> None:
    """Refuse a line's first key that no contract has, or that holds what it cannot."""
    for name, value in sorted(data.items()):
        if name not in _KEYS:
            raise UsageError(f"unknown key `{name}`")
        what, is_such = _KEYS[name]
        if not is_such(value) and not (value is None and name in _OPTIONAL):
            raise UsageError(f"`{name}`: is not {what}")


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
