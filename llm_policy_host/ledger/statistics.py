"""What a ledger holds, counted: a fold, as everything else that is told of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .account import amounts_of, charged
from .event import NO_HASH

if TYPE_CHECKING:
    from .account import Amounts
    from .event import Event


@dataclass(slots=True)
class Statistics:
    """Events by type, outcomes by kind, requests by tenant, and what was settled."""

    events: int = 0
    head: str = NO_HASH
    bytes: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    types: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0
    _held: dict[str | None, Amounts] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Count an event."""
        self.events += 1
        self.head = event.hash
        self.bytes += len(event.line) + 1
        self.first_ts = event.ts if self.first_ts is None else self.first_ts
        self.last_ts = event.ts
        self.types[event.type] += 1
        if event.type == "RequestReceived":
            self.tenants[event.tenant] += 1
        elif event.type == "AttemptProposed":
            self._held[event.run] = amounts_of(event.core["hold"])
        elif event.type == "AttemptOutcome":
            self.outcomes[event.core.get("kind") or "ok"] += 1
            usd, tokens, calls = charged(event.obs["settled"], self._held.pop(event.run, (0, 0, 0)))
            self.usd_micro += usd
            self.tokens += tokens
            self.calls += calls
