"""What was said in a run, as the bytes that the content plane may keep: never a key of anybody's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from llm_policy_host.values import Contract, Response

REQUEST: Final = "request"
"""The name of what was asked."""

_ASKED: Final = (
    *("messages", "prompt", "embed", "tools", "response_format", "params", "passthrough", "dialect"),
    *("policy_ir", "flow_ir"),
)
_LEFT_OUT: Final = frozenset({"dialect", "usage", "cost_usd"})
"""Of an answer: what is in the ledger already, or says nothing."""


def answer_name(attempt: int) -> str:
    """Name what an attempt answered."""
    return f"answer.{attempt}"


def error_name(attempt: int) -> str:
    """Name what a provider said of an attempt that failed."""
    return f"error.{attempt}"


def request_bytes(contract: Contract) -> bytes:
    """Write what a caller asked, without the keys that he brought."""
    return _written(
        {name: value for name in _ASKED if (value := getattr(contract, name)) not in (None, (), {})}
    )


def response_bytes(response: Response) -> bytes:
    """Write an answer as its provider gave it."""
    fields = {field.name: getattr(response, field.name) for field in dataclasses.fields(response)}
    return _written({name: value for name, value in fields.items() if value and name not in _LEFT_OUT})


def _written(data: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(data, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # a lone surrogate, a number beyond 64 bits
        return json.dumps(data, default=_plain, sort_keys=True).encode()


def _plain(value: Any) -> Any:  # noqa: ANN401 - what a program put into a contract
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return str(type(value).__name__)
