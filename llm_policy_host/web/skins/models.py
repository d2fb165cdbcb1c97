"""The list of models in the words of both APIs: every family, and every profile as `profile:NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.web.narrowing import bounds_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_policy_host.web.host import GatewayHost
    from llm_policy_host.web.skin import Caller

_NEVER = "1970-01-01T00:00:00Z"


def list_models(host: GatewayHost, caller: Caller | None) -> dict[str, Any]:
    """Give the body of `GET /v1/models`."""
    data = list(_entries(host, caller))
    return {
        "object": "list",
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def find_model(host: GatewayHost, caller: Caller | None, name: str) -> dict[str, Any] | None:
    """Give one entry of the list; None where it has no such name."""
    return next((entry for entry in _entries(host, caller) if entry["id"] == name), None)


def _entries(host: GatewayHost, caller: Caller | None) -> Iterator[dict[str, Any]]:
    profiles: Mapping[str, Any] = host.catalog.get("profiles") or {}
    for name in sorted(profiles):
        if caller is None or caller.profiles is None or name in caller.profiles:
            yield _entry(f"profile:{name}", {})
    models: Mapping[str, Any] = host.catalog.get("models") or {}
    bounds = bounds_of(caller)
    allowed = None if bounds is None else bounds.models
    for name in sorted(models):
        if allowed is None or name in allowed:
            yield _entry(name, models[name].get("capabilities") or {})


def _entry(name: str, capabilities: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": _NEVER,
        "owned_by": "llm-policy",
        "display_name": name,
    }
    if "context" in capabilities:
        entry["context_length"] = capabilities["context"]
    return entry
