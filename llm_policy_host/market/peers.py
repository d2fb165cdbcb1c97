"""The peers' own health: the core knows routes, and a market's route has many peers.

As the core does it (spec 2.4): a breaker opens after a number of provider faults in a row, a success
closes it, and after its time one probe decides.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llm_policy_host.values import Attempt

NO_EVIDENCE: Final = frozenset(
    {
        "bad_request",
        "content_filter",
        "context_overflow",
        "empty_completion",
        "stream_interrupted",
        "cancelled",
    }
)
"""What speaks against no peer: faults of the request, of nobody, of a caller who left or has bytes."""

_MAX_PEERS = 4096

Key = tuple[str, str, str]
"""Discovery id, family, peer."""


@dataclass(slots=True)
class _Breaker:
    faults: int = 0
    until_ms: int = 0


class PeerHealth:
    """Breakers by peer; a healthy peer has none."""

    def __init__(self, threshold: int = 3, failure_ms: int = 300_000, rate_limit_ms: int = 30_000) -> None:
        self._threshold = threshold
        self._failure_ms = failure_ms
        self._rate_limit_ms = rate_limit_ms
        self._breakers: OrderedDict[Key, _Breaker] = OrderedDict()

    def note(self, key: Key, attempt: Attempt, now_ms: int) -> bool:
        """Take what an attempt showed of a peer; whether its breaker opened or closed by it."""
        if attempt.kind is None:
            found = self._breakers.pop(key, None)
            return found is not None and found.until_ms > 0
        if attempt.kind in NO_EVIDENCE or attempt.is_callers_fault:
            return False
        breaker = self._breakers.setdefault(key, _Breaker())
        self._breakers.move_to_end(key)
        if len(self._breakers) > _MAX_PEERS:
            self._breakers.popitem(last=False)
        breaker.faults += 1
        if breaker.faults < self._threshold:
            return False
        open_ms = self._rate_limit_ms if attempt.kind == "rate_limit" else self._failure_ms
        breaker.until_ms = max(breaker.until_ms, now_ms + open_ms)
        return True

    def until_ms(self, key: Key, now_ms: int) -> int | None:
        """Give when a peer that is set aside comes back; None for one that is not."""
        breaker = self._breakers.get(key)
        return breaker.until_ms if breaker is not None and breaker.until_ms > now_ms else None
