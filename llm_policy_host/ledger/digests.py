"""The two digests of a run: what was decided, and what came of it (spec 5.3).

Ids, times, latencies, tokens, costs and text never enter: equal decisions have equal digests.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from .encoding import digest, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llm_policy_host.values import Plain

ADDRESSES: Final = frozenset({"base_url", "auth", "auth_env", "aws_region", "notes", "seller_endpoint"})
"""What says where a call goes and who pays, or is free text: no decision reads it, and no blob holds it."""

_STEERING: Final = frozenset({"profile", "policy_ir", "chain", "seed"})
_RECORDS: Final = frozenset({"requirements", "extra_candidates", "response_format"})
_REQUIREMENTS: Final = (
    *("max_latency_ms", "min_context", "min_tok_s", "model_family"),
    *("needs", "pin", "privacy", "tier"),
)
_WORD = re.compile(r"[\w.:/@+-]{1,64}\Z")


def plain_shape(shape: Mapping[str, Plain]) -> dict[str, Plain]:
    """Give what of a contract's shape a decision rests on; text that is no word is there by its digest alone.

    The policy, the seed and whatever names a policy are written down apart.
    """
    made: dict[str, Plain] = {}
    for name, value in shape.items():
        if name in _STEERING or value is None:
            continue
        made[name] = _part(name, value) if name in _RECORDS else value if name == "scope" else _scalar(value)
    return made


def _part(name: str, value: Any) -> Plain:  # noqa: ANN401 - as the contract has it
    if name == "requirements":
        return {key: value[key] for key in _REQUIREMENTS if key in value}
    if name == "extra_candidates":
        return without_addresses(value)
    return {key: _scalar(item) for key, item in value.items() if key == "type"}


def without_addresses(value: Any) -> Plain:  # noqa: ANN401 - plain data
    """Give plain data without what names an address or an account, however deep."""
    if isinstance(value, list | tuple):
        return [without_addresses(item) for item in value]
    if hasattr(value, "items"):
        return {key: without_addresses(item) for key, item in value.items() if key not in ADDRESSES}
    return value


def _scalar(value: Any) -> Plain:  # noqa: ANN401 - a parameter
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and _WORD.match(value) is not None:
        return value
    return f"sha256:{sha256(to_bytes(value if isinstance(value, str) else repr(value))).hexdigest()}"


def params_digest(params: Mapping[str, Plain]) -> str:
    """Identify an attempt's parameters."""
    scalars = {name: _scalar(value) for name, value in params.items() if value is not None}
    return digest(scalars)


def decision_digest(  # noqa: PLR0913 - the parts that spec 5.3 names
    policy: str | None, catalog: str, ctx: str, seed: Plain, shape: str, used: Sequence[Mapping[str, Plain]]
) -> str:
    """Identify a decision: what it rested on, and the part of the shortlist that was used."""
    whole = {"catalog": catalog, "ctx": ctx, "policy": policy, "seed": seed, "shape": shape, "used": used}
    return digest(whole)


def trace_digest(decision: str, path: Iterable[Mapping[str, Any]], error: str | None) -> str:
    """Identify a decision with the path of its outcomes: who was asked, how that ended, and how it all did."""
    asked = [
        [step["provider_id"], step["model_family"], step.get("error_kind") or "ok"]
        for step in path
        if step["event"] == "attempted"
    ]
    whole = {"decision": decision, "end": error or "ok", "path": asked}
    return digest(whole)


def skips(path: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name who was passed by after each attempt, as `ATTEMPT|provider`: it follows from no input of the plan."""
    made, attempt = [], 0
    for step in path:
        if step["event"] == "attempted":
            attempt += 1
        elif step["event"] == "skipped" and attempt:
            made.append(f"{attempt}|{step['provider_id']}")
    return made
