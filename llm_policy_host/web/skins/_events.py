"""One server-sent event with a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.web.body import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping


def event(data: Mapping[str, Any]) -> bytes:
    """Give an event named as its `type` says."""
    name: str = data["type"]
    return b"event: " + name.encode() + b"\ndata: " + write_json(data) + b"\n\n"
