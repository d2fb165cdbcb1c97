"""Server-sent events by the WHATWG rules, from bytes in any pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm_policy_host.quick import quick

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""An event beyond this is dropped and counted: no provider sends one, an attacker may."""


@quick
@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event."""

    data: str
    name: str = "message"


def _whole_events(data: bytes) -> list[Event] | None:
    """Read events as nearly all come: one line of data each, perhaps named; nothing for any other."""
    if b"\r" in data:
        return None
    events = []
    for block in data[:-2].split(b"\n\n"):
        line, name = block, b""
        if block.startswith(b"event: "):
            head, _, line = block.partition(b"\n")
            name = head[7:]
        if not line.startswith(b"data: ") or b"\n" in line:
            return None
        text = line[6:].decode(errors="replace")
        events.append(Event(text, name.decode(errors="replace") or "message") if name else Event(text))
    return events


class SseParser:
    """Turns bytes into events. What cannot be used is skipped and counted in `bad_lines`."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self._pieces: list[bytes] = []
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._event_bytes = 0
        self._name = b""
        self._skip_newline = False
        self._is_first_line = True

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; give the events that they complete."""
        if self._is_between and data.endswith(b"\n\n") and len(data) <= MAX_EVENT_BYTES:
            whole = _whole_events(data)
            if whole is not None:
                self._is_first_line = False
                return whole
        return self._feed(data)

    @property
    def _is_between(self) -> bool:
        """Whether nothing of an event or a line is held."""
        return not (self._line_bytes or self._event_bytes or self._data or self._name or self._skip_newline)

    def _feed(self, data: bytes) -> list[Event]:
        if self._skip_newline and data[:1] == b"\n":
            data = data[1:]
        if data:
            # a CR that ends the bytes may be the first half of a CRLF
            self._skip_newline = data[-1:] == b"\r"
        *lines, rest = _LINE_END.split(data)
        events = []
        for line in lines:
            event = self._line(self._take(line))
            if event is not None:
                events.append(event)
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        self._line_bytes += len(piece)
        if piece and self._line_bytes <= MAX_EVENT_BYTES:
            self._pieces.append(piece)

    def _take(self, end: bytes) -> bytes | None:
        """Give the whole line; None for one that grew beyond the bound."""
        self._keep(end)
        line = b"".join(self._pieces) if self._line_bytes <= MAX_EVENT_BYTES else None
        self._pieces.clear()
        self._line_bytes = 0
        return line

    def _line(self, line: bytes | None) -> Event | None:
        if line is None:
            self.bad_lines += 1
            return None
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if not line.startswith(b":"):
            self._field(*self._split(line))
        return None

    @staticmethod
    def _split(line: bytes) -> tuple[bytes, bytes]:
        name, _, value = line.partition(b":")
        return name, value.removeprefix(b" ")

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._event_bytes += len(value)
            if self._event_bytes <= MAX_EVENT_BYTES:
                self._data.append(value)
        elif name == b"event":
            self._name = value
        elif name not in (b"id", b"retry"):
            self.bad_lines += 1

    def _dispatch(self) -> Event | None:
        data, name, size = self._data, self._name, self._event_bytes
        self._data, self._name, self._event_bytes = [], b"", 0
        if size > MAX_EVENT_BYTES:
            self.bad_lines += 1
            return None
        if not data:
            return None
        return Event(b"\n".join(data).decode(errors="replace"), name.decode(errors="replace") or "message")
