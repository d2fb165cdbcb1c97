"""What was used over a period, as a fold over the ledger: by account, key, model or provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from .account import RESOURCES, amounts_of, charged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .account import Amounts

BY: Final = ("account", "key", "model", "provider")
"""What usage can be told by."""

_ENDS: Final = frozenset({"RunCompleted", "RunFailed", "RunCancelled", "RequestRejected"})


@dataclass(slots=True)
class Used:
    """Attempts, how many of them had no answer, and what they were charged."""

    attempts: int = 0
    failed: int = 0
    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0

    def add(self, kind: str | None, amounts: Amounts) -> None:
        """Add an attempt."""
        self.attempts += 1
        self.failed += kind is not None
        for name, amount in zip(RESOURCES, amounts, strict=True):
            setattr(self, name, getattr(self, name) + amount)


class Usage:
    """Sums what attempts were charged whose outcome is of a period, each under what it is told by.

    `below` leaves only what an account and those below it paid. By account an attempt counts for each account
    of its path, as it does for their limits; so the sums of a tree's accounts are not to be added up.
    """

    def __init__(self, by: str, from_ms: int = 0, to_ms: int | None = None, below: str | None = None) -> None:
        self.rows: dict[str, Used] = {}
        self.total = Used()
        self._by = by
        self._from_ms = from_ms
        self._to_ms = to_ms
        self._below = below
        self._keys: dict[str, str] = {}
        self._proposed: dict[str, dict[str, Any]] = {}

    def take(self, lines: Iterable[bytes]) -> None:
        """Take lines of the ledger, in their order."""
        for line in lines:
            event = orjson.loads(line)
            kind, run = event["type"], event["run"]
            if kind == "AttemptOutcome":
                self._charge(event, self._proposed.pop(run))
            elif kind == "AttemptProposed":
                self._proposed[run] = event["core"]
            elif kind == "RequestReceived" and event["core"].get("key_id") is not None:
                self._keys[run] = event["core"]["key_id"]
            elif kind in _ENDS:
                self._keys.pop(run, None)

    def _charge(self, event: dict[str, Any], proposed: dict[str, Any]) -> None:
        path: list[str] = proposed["accounts"]
        if event["ts"] < self._from_ms or (self._to_ms is not None and event["ts"] >= self._to_ms):
            return
        if self._below is not None:
            if self._below not in path:
                return
            path = path[: path.index(self._below) + 1]
        amounts = charged(event["obs"]["settled"], amounts_of(proposed["hold"]))
        kind = event["core"].get("kind")
        self.total.add(kind, amounts)
        for name in self._names(event["run"], proposed, path):
            self.rows.setdefault(name, Used()).add(kind, amounts)

    def _names(self, run: str, proposed: dict[str, Any], path: list[str]) -> list[str]:
        if self._by == "account":
            return path
        if self._by == "key":
            return [self._keys.get(run, "")]
        return [proposed["model_family" if self._by == "model" else "provider_id"]]
