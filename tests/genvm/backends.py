"""The module's backends as its YAML gives them, in the form each generation hands to Lua."""

from __future__ import annotations

from typing import Any

from .values import Opaque

NULL = Opaque("null")

TEMPLATES = {
    "eq_comparative": {
        "system": "You compare two answers.",
        "user": "#{leader_answer} and #{validator_answer} by #{principle}",
    },
    "eq_non_comparative_validator": {
        "system": "You judge an answer.",
        "user": "#{task} #{criteria} #{input} #{output}",
    },
    "eq_non_comparative_leader": {"system": "You do a task.", "user": "#{task} #{criteria} #{input}"},
}


def model(
    meta: dict[str, Any] | None = None, *, json: bool = True, image: bool = False, **more: Any
) -> dict[str, Any]:
    """Describe a model; everything that is not said is as the YAML's defaults have it."""
    row = {
        "enabled": True,
        "supports_json": json,
        "supports_image": image,
        "use_max_completion_tokens": False,
    }
    return {**row, "meta": meta, **more}


def greybox(text: int | None = None, image: int | None = None, **more: Any) -> dict[str, Any]:
    """Describe a model with its places in the greybox chains."""
    chains = {key: value for key, value in (("text", text), ("image", image)) if value is not None}
    return model({"greybox": chains}, image=more.pop("is_image", image is not None), **more)


def backend(
    models: dict[str, Any], priority: int | None = None, *, timeout: float | None = None
) -> dict[str, Any]:
    """Describe a backend by its models."""
    out: dict[str, Any] = {"models": models, "meta": None if priority is None else {"priority": priority}}
    return out if timeout is None else {**out, "timeout": timeout}


def in_generation(backends: dict[str, Any], generation: str) -> dict[str, Any]:
    """Give absent metas the form of the generation: a null userdata before v0.6, nothing since."""

    def with_meta(row: dict[str, Any]) -> dict[str, Any]:
        if row.get("meta") is not None:
            return row
        rest = {key: value for key, value in row.items() if key != "meta"}
        return {**rest, "meta": NULL} if generation == "0.2" else rest

    return {
        name: with_meta({**each, "models": {key: with_meta(row) for key, row in each["models"].items()}})
        for name, each in backends.items()
    }


def with_nulls(value: Any) -> Any:
    """Give plain data whose nulls are what v0.2 hands to Lua for them."""
    if isinstance(value, dict):
        return {key: with_nulls(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_nulls(each) for each in value]
    return NULL if value is None else value
