"""What an attempt is charged, in whole numbers: µUSD, tokens, calls (spec 5.4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.values import Failure, Response

from .kinds import MOST

if TYPE_CHECKING:
    from llm_policy_host.values import Cost, Usage

MICRO: Final = 1_000_000

UNPAID: Final = frozenset(
    {
        *("rate_limit", "auth_error", "payment_required", "bad_request", "context_overflow"),
        *("model_unavailable", "server_error"),
    }
)
"""Failures that vendors charge nothing for. After any other, and where an answer tells no usage or has no
price, all that was held is charged: what is not known is not taken to be nothing."""


def is_unpaid(failure: Failure) -> bool:
    """Whether no vendor charges for a failure: by its kind, or because nothing was sent to him."""
    return failure.is_unsent or failure.kind in UNPAID


def micro_usd(amount: float) -> int:
    """Give an amount in µUSD, never too few; what a double's last digits add is no cost."""
    return min(rounded_up(amount * MICRO), MOST)


def usd_of(micro: int) -> float:
    """Give µUSD as USD."""
    return micro / MICRO


def usd_text(micro: int) -> str:
    """Write µUSD as USD, exactly."""
    return f"{micro // MICRO}.{micro % MICRO:06d}".rstrip("0").rstrip(".")


def rounded_up(amount: float) -> int:
    """Round up to a whole number, but for the noise of doubles."""
    return math.ceil(round(amount, 3))


def settled(outcome: Response | Failure | None, cost: Cost | None, *, is_sent: bool) -> dict[str, Any]:
    """Give what an attempt is charged; an amount that is absent is all that was held."""
    if not is_sent:
        return {"calls": 0, "tokens": 0, "usd_micro": 0}
    if isinstance(outcome, Response):
        charge: dict[str, Any] = {"calls": 1}
        if outcome.usage is not None:
            charge["tokens"] = count(outcome.usage.total_tokens)
        if cost is not None and cost.usd is not None:
            charge["usd_micro"] = micro_usd(cost.usd)
        return charge
    if isinstance(outcome, Failure) and is_unpaid(outcome):
        return {"calls": 1, "tokens": 0, "usd_micro": 0}
    return {"calls": 1}


def token_classes(usage: Usage) -> dict[str, int]:
    """Give the classes of tokens that are not empty, as an outcome tells them."""
    classes = {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_read_tokens,
        "cache_write": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    return {name: count(amount) for name, amount in classes.items() if amount}


def count(amount: float) -> int:
    """Give an amount as one that an event may hold, whatever a provider reported."""
    whole = int(amount)
    return whole if 0 <= whole <= MOST else min(max(0, whole), MOST)
