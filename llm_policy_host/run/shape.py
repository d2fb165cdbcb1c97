"""What the core sees of a contract: its shape, never its messages (spec 3.1)."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Contract, Plain

_TOOLS_TOO = ("functions", "web_search_options", "mcp_servers", "tools")
"""Fields by which a body that is passed on as it is brings tools, beside those that were read of it."""

_SAID = ("profile", "policy_ir", "scope", "seed", "timeout_ms", "chain")
_said = attrgetter(*_SAID)

_IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})


def shape(contract: Contract) -> dict[str, Plain]:
    """Give a contract as the core admits it: of tools and images only that there are some."""
    data: dict[str, Plain] = dict(contract.params)
    data |= {name: value for name, value in zip(_SAID, _said(contract), strict=True) if value is not None}
    if contract.requirements:
        data["requirements"] = contract.requirements
    if contract.extra_candidates:
        data["extra_candidates"] = contract.extra_candidates
    if brings_tools(contract):
        data["tools"] = True
    if contract.images or _has_image(contract.messages):
        data["images"] = True
    if contract.response_format is not None:
        data["response_format"] = {"type": contract.response_format.get("type")}
    return data


def brings_tools(contract: Contract) -> bool:
    """Whether a model that is asked could act, whatever the caller calls his tools."""
    if contract.tools:
        return True
    rest = contract.passthrough
    return bool(rest) and any(rest.get(name) not in (None, []) for name in _TOOLS_TOO)


def _has_image(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        isinstance(part, dict) and part.get("type") in _IMAGE_PARTS
        for message in messages
        if isinstance(content := message.get("content"), list)
        for part in content
    )
