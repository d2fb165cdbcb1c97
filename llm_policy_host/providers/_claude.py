"""What a generation of Claude takes of the parameters, in the words of its Messages API.

It is read off the model's name: sampling parameters end with 4.6, thinking by a budget with 4.5,
schemas begin with 4.1. A name that is no Claude's is another vendor's server of the dialect: it is
given sampling and a budget, and no schema.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ._plain import record
from ._request import json_schema, tool_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Call

MAX_TOKENS = 4096
"""What an answer may take where the caller bounds nothing: this dialect wants a bound."""

_SAMPLING = ("temperature", "top_p", "top_k")

# The share of an answer's bound that thinking may take, as OpenRouter has it.
_SHARES: Final[Mapping[str, float]] = {
    "minimal": 0.1,
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.95,
    "max": 0.95,
}
_MIN_BUDGET = 1024

_GENERATION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)


def _generation(model: str) -> tuple[int, int] | None:
    """Read (4, 5) off `claude-sonnet-4-5-20250929`; None for no Claude."""
    if "claude" not in model:
        return None
    match = _GENERATION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else _NEWEST


def spoken(call: Call, own: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """Give the fields that parameters and the answer's form become, and the names that are lost."""
    generation = _generation(call.served_model_id)
    lost: list[str] = []
    fields = _thinking(call, own, generation)
    if fields is None:
        fields = {}
        lost.append("reasoning_effort")
    given = {name: value for name in _SAMPLING if (value := call.params.get(name)) is not None}
    is_free = generation is None or generation <= (4, 6)
    thinks = _is_manual(record((own or {}).get("thinking")) or fields.get("thinking", {}))
    for name, value in given.items():
        is_second = name == "top_p" and "temperature" in fields and (generation or (0, 0)) >= (4, 1)
        if not is_free or thinks or is_second or (name == "temperature" and value > 1):
            lost.append(name)
        else:
            fields[name] = value
    if own is None and call.response_format is not None:
        _form(call, generation, fields, lost)
    return fields, lost


def _is_manual(thinking: Mapping[str, Any]) -> bool:
    """Whether thinking has a budget: then the vendor allows no sampling parameters."""
    return thinking.get("type") == "enabled"


def _form(call: Call, generation: tuple[int, int] | None, fields: dict[str, Any], lost: list[str]) -> None:
    """Ask for an answer that fits a schema. JSON without a schema has no words here."""
    schema = json_schema(call)
    if schema is not None and generation is not None and generation >= (4, 1):
        config = fields.setdefault("output_config", {})
        config["format"] = {"type": "json_schema", "schema": dict(schema)}
    elif record(call.response_format).get("type") != "text":
        lost.append("response_format")


def _thinking(
    call: Call, own: Mapping[str, Any] | None, generation: tuple[int, int] | None
) -> dict[str, Any] | None:
    """Say how much to think; None where the wish cannot be said."""
    effort = call.params.get("reasoning_effort")
    if effort is None:
        return {}
    if own is not None and "effort" in record(own.get("output_config")):
        return {"output_config": {"effort": effort}}  # the caller's own word, maybe changed by a policy
    if own is not None and "thinking" in own:
        return {}  # what he said of it is finer
    if effort not in _SHARES and effort != "none":
        return None
    if generation is not None and generation >= (4, 6):
        return _adaptive(call, str(effort))
    return _budgeted(call, own, str(effort), generation)


def _adaptive(call: Call, effort: str) -> dict[str, Any]:
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    config = {"output_config": {"effort": "low" if effort == "minimal" else effort}}
    return config if _is_forced(call) else {"thinking": {"type": "adaptive"}, **config}


def _budgeted(
    call: Call, own: Mapping[str, Any] | None, effort: str, generation: tuple[int, int] | None
) -> dict[str, Any] | None:
    """Give a budget below the answer's bound.

    The vendor refuses one with a forced tool, and after tool results whose call lacks its signed
    thought, as every call in another dialect does.
    """
    if effort == "none":
        return {}
    bound = bound_of(call, own)
    budget = max(_MIN_BUDGET, int(bound * _SHARES[effort]))
    is_unsigned = own is None and bool(call.messages) and call.messages[-1].get("role") == "tool"
    is_old = generation is not None and generation < (3, 7)
    if budget >= bound or is_old or is_unsigned or _is_forced(call):
        return None
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _is_forced(call: Call) -> bool:
    choice = tool_choice(call)
    return choice is not None and choice.mode in ("required", "one")


def bound_of(call: Call, own: Mapping[str, Any] | None) -> int:
    """Say how long an answer may be."""
    wanted = call.params.get("max_tokens")
    return (own or {}).get("max_tokens", MAX_TOKENS) if wanted is None else wanted  # type: ignore[no-any-return]
