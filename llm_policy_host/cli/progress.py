"""A progress bar on standard error, where a person sees it."""

from __future__ import annotations

import sys

_WIDTH = 30


class Progress:
    """Counts work done; draws only on a terminal, and leaves one line when it is closed."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._done = 0
        self._is_drawn = sys.stderr.isatty()
        self._draw()

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        self._draw()

    def close(self) -> None:
        """End the line."""
        if self._is_drawn:
            sys.stderr.write("\n")
        else:
            sys.stderr.write(f"{self._done}/{self._total} {self._what}\n")

    def _draw(self) -> None:
        if not self._is_drawn:
            return
        filled = _WIDTH * self._done // max(1, self._total)
        bar = "#" * filled + "." * (_WIDTH - filled)
        sys.stderr.write(f"\r[{bar}] {self._done}/{self._total} {self._what}")
        sys.stderr.flush()
