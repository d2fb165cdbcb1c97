"""Why a plan is as it is, as those who ask get it: one object for the gateway and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Contract, Plain

_OF_THE_REQUEST = "the request's own bounds"


def explanation(contract: Contract, told: Plain) -> dict[str, Any]:
    """Give what the core told of a contract's plan; what it refused is the asker's to say."""
    return {
        "profile": contract.profile,
        "policy": told["policy"],
        "pinned": dict(contract.requirements.get("pin") or {}),
        "ordered": [_place(entry) for entry in told["ordered"]],
        "rejected": [_rejection(entry) for entry in told["rejected"]],
    }


def _place(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "provider": entry["provider_id"],
        "model_family": entry["model_family"],
        "served_by": entry.get("served_by"),
        "score": entry.get("score"),
        "tier": entry.get("tier"),
        "contributions": entry["contributions"],
    }


def _rejection(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Name the clause in words; one of the request's own, such as a pin, stands in no policy."""
    return {
        "provider": entry["provider"],
        "model_family": entry["model"],
        "reason": entry["reason"],
        "clause": entry.get("clause") or _OF_THE_REQUEST,
    }
