"""What a generation of Gemini takes of the wish to think; read off the model's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Call

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_NEWEST = (99, 0)

# As the vendor's own endpoint for OpenAI's clients maps them.
_BUDGETS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
_LEVELS: Final[Mapping[str, str]] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}


def generation_of(model: str) -> tuple[int, int]:
    """Read (2, 5) off `gemini-2.5-pro`; (0, 0) for no Gemini."""
    if "gemini" not in model:
        return (0, 0)
    match = _GENERATION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else _NEWEST


def thinking(call: Call) -> dict[str, Any] | None:
    """Say how much to think: by a level since Gemini 3, by a budget in 2.5; None where it cannot be said."""
    effort, generation = call.params.get("reasoning_effort"), generation_of(call.served_model_id)
    if not isinstance(effort, str):
        return None
    if generation >= (3, 0):
        level = _LEVELS.get(effort)
        if level == "MINIMAL" and "flash" not in call.served_model_id:
            level = "LOW"
        return {"thinkingLevel": level, "includeThoughts": True} if level else None
    budget = _BUDGETS.get(effort)
    if generation < (2, 5) or budget is None or (budget == 0 and "pro" in call.served_model_id):
        return None
    return {"thinkingBudget": budget, **({"includeThoughts": True} if budget else {})}
