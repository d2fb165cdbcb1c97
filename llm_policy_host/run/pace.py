"""How long the next piece of a stream may take (spec 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import StreamChunk, Timeouts


class Pace:
    """The bounds of one attempt's stream, as it goes on."""

    def __init__(self, clock: Clock, timeouts: Timeouts) -> None:
        self._clock = clock
        self._timeouts = timeouts
        self._started_ms = self._last_ms = clock.elapsed_ms()
        self._has_content = False

    def note(self, batch: Sequence[StreamChunk]) -> bool:
        """Note pieces that came; whether they held the first content, which brings other bounds."""
        self._last_ms = self._clock.elapsed_ms()
        is_first = not self._has_content and any(chunk.has_content for chunk in batch)
        self._has_content = self._has_content or is_first
        return is_first

    def go_on(self) -> None:
        """Note that the next piece is waited for: its reader's time since the last is not the provider's."""
        now_ms = self._clock.elapsed_ms()
        self._started_ms += now_ms - self._last_ms
        self._last_ms = now_ms

    def left(self) -> tuple[float | None, str]:
        """Say how long the next piece may still take, and which bound that is."""
        timeouts, now_ms = self._timeouts, self._clock.elapsed_ms()
        bounds = [(timeouts.attempt_ms, self._started_ms, "timeout_ms")]
        if self._has_content:
            bounds.append((timeouts.idle_ms, self._last_ms, "idle_ms"))
        else:
            bounds.append((timeouts.ttft_ms, self._started_ms, "ttft_ms"))
        left = [(bound - (now_ms - since), name) for bound, since, name in bounds if bound is not None]
        return min(left, default=(None, ""))
