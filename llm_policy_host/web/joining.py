"""An answer's head and body leave as one write.

ASGI has them as two messages, and the server would look at every header with two patterns and make
two writes. What is done here is the usual; the rest, and what is refused, is the server's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

_CONTROLS = bytes([*range(32), 127])
_FRAMING = frozenset((b"connection", b"transfer-encoding"))


class JoiningCycle(RequestResponseCycle):
    """One answer. The head of a whole one is held until its body comes."""

    _head = b""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override] # a wider word for it
        """Take a part of the answer; whatever is unusual is done by uvicorn's own."""
        if self._head:
            head, self._head = self._head, b""
            self.expected_content_length += len(head)
            message["body"] = head + message["body"]
        elif self._is_piece(message):
            body = message["body"]
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            return
        elif self._is_plain(message):
            held = _head_of(message["status"], [*self.default_headers, *message["headers"]])
            if held is not None:
                self._head, self.expected_content_length = held
                self.response_started = True
                self.waiting_for_100_continue = False
                self.chunked_encoding = False
                return
        await super().send(message)  # type: ignore[arg-type] # as above

    def _is_piece(self, message: MutableMapping[str, Any]) -> bool:
        """Whether it is one more of a stream's pieces, which nothing keeps from leaving now."""
        if not self.chunked_encoding or not message.get("more_body") or not message["body"]:
            return False
        is_held_back = self.disconnected or self.response_complete or self.flow.write_paused
        return not is_held_back and self.scope["method"] != "HEAD"

    def _is_plain(self, message: MutableMapping[str, Any]) -> bool:
        if self.response_started or not self.keep_alive:
            return False
        return message["type"] == "http.response.start" and self.scope["method"] != "HEAD"


def _head_of(status: int, headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, int] | None:
    """Write a head and its promised length; none for a body of unknown length, or for odd headers."""
    known = dict(headers)
    length = known.get(b"content-length")
    if length is None or not _FRAMING.isdisjoint(known):
        return None
    text = b"".join([b"%b: %b\r\n" % header for header in headers])
    if len(text.translate(None, _CONTROLS)) != len(text) - 2 * len(headers):
        return None
    return b"%b%b\r\n" % (STATUS_LINE[status], text), int(length)


class JoiningProtocol(HttpToolsProtocol):
    """Uvicorn's own HTTP, but for such answers."""

    def on_headers_complete(self) -> None:
        """Begin an answer; it is of uvicorn's making, and runs from the loop's next turn on."""
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = JoiningCycle
