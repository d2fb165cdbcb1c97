"""A request that waits for a person, as it may be kept: with it nobody has to ask again in full."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from llm_policy_host.values import Contract

if TYPE_CHECKING:
    from llm_policy_host.values import Origin

WAITS: Final = "waiting"
"""The name of what is kept of it."""

_LEFT_OUT: Final = frozenset({"origin", "auth_override"})


def contract_bytes(contract: Contract) -> bytes | None:
    """Write a request; None where a key came with it, which is kept nowhere, or where it is no JSON."""
    if contract.auth_override:
        return None
    fields = (field.name for field in dataclasses.fields(contract) if field.name not in _LEFT_OUT)
    try:
        return orjson.dumps({name: getattr(contract, name) for name in fields}, default=_plain)
    except TypeError:
        return None


def read_contract(data: bytes, origin: Origin) -> Contract:
    """Read it as the contract that it was, of whoever asks now."""
    given = {name: value for name, value in orjson.loads(data).items() if value not in (None, [], {})}
    return Contract(**given, origin=origin)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a mapping or a sequence of another class
    return dict(value) if hasattr(value, "keys") else list(value)
