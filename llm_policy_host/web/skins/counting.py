"""`/v1/messages/count_tokens`: an estimate, made here.

Who answers is chosen per request, and every model cuts text in its own way: nobody's exact count
would be right. The estimate is made of bytes, needs no network, gives the same for the same body,
and errs on the high side: a budget that it says is kept is kept. A digit is a token, two
capitals or other signs are one, three small letters or spaces are one, three bytes beyond ASCII
are two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.web.body import write_json

from .messages_body import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Contract

ESTIMATED: Final[Mapping[str, str]] = {"x-llm-policy-token-count": "estimated"}
"""The header by which an answer says what its number is."""

_ASCII: Final = bytes(range(128))
_SINGLE: Final = b"0123456789"
_THIRDS: Final = b"abcdefghijklmnopqrstuvwxyz \t\r\n"

_PER_MESSAGE: Final = 6
_PER_TOOL: Final = 16
_FOR_TOOLS: Final = 350
_PER_IMAGE: Final = 1600
_PER_FILE_BYTE: Final = 1 / 20
_LEAST_FOR_FILE: Final = 3000


def count_tokens(body: dict[str, Any]) -> dict[str, int]:
    """Estimate the input of a body of the Messages API; `RefusedError` names what is wrong with it."""
    return {"input_tokens": math.ceil(estimate(read(body)))}


def estimate(contract: Contract) -> float:
    """Estimate the tokens of a contract's messages, tools and format of the answer."""
    total = sum(_message(message) for message in contract.messages)
    if contract.tools:
        total += _FOR_TOOLS + sum(_PER_TOOL + _text(write_json(tool)) for tool in contract.tools)
    if contract.response_format is not None:
        total += _text(write_json(contract.response_format))
    return total


def _message(message: Mapping[str, Any]) -> float:
    total: float = _PER_MESSAGE
    for name, value in message.items():
        if name == "content" and isinstance(value, list):
            total += sum(_part(part) for part in value)
        elif isinstance(value, str):
            total += _text(value.encode())
        elif value is not None:
            total += _text(write_json(value))
    return total


def _part(part: Mapping[str, Any]) -> float:
    if part.get("type") == "text":
        return _text(part["text"].encode())
    if part.get("type") == "image_url":
        return _PER_IMAGE
    data = write_json(part)
    return max(_LEAST_FOR_FILE, len(data) * _PER_FILE_BYTE) if part.get("type") == "file" else _text(data)


def _text(data: bytes) -> float:
    beyond = len(data.translate(None, _ASCII))
    rest = len(data.translate(None, _SINGLE))
    signs = len(data.translate(None, _SINGLE + _THIRDS)) - beyond
    return (len(data) - rest) + signs / 2 + (rest - signs - beyond) / 3 + beyond * 2 / 3
