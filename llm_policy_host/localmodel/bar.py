"""A progress bar for a person, plain lines for a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

# hears how many bytes are there, and of how many
Progress = Callable[[int, int], None]

WIDTH = 30
# a log gets a line per step, so that a slow fetch does not fill it
STEP_PERCENT = 10
MB = 1_000_000


class Bar:
    """Shows how much of a known number of bytes is there; call it with `(done, total)`."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total` bytes, if that is news."""
        percent = min(100, done * 100 // total) if total else 100
        if self._is_terminal:
            self._draw(percent, done, total)
        elif percent // STEP_PERCENT > self._shown // STEP_PERCENT:
            self._say(f"{self._label} {percent}%\n")
        else:
            return
        self._shown = percent

    def _draw(self, percent: int, done: int, total: int) -> None:
        filled = WIDTH * percent // 100
        cells = "#" * filled + "." * (WIDTH - filled)
        end = "\n" if percent == 100 and self._shown != 100 else ""
        if percent != 100 or end:
            self._say(f"\r{self._label} [{cells}] {percent:3d}% {done / MB:.1f}/{total / MB:.1f} MB{end}")

    def _say(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
