"""One connection of HTTP/1.1: a request goes out, an answer's head and body come in.

It lives on the event loop itself, so that cancelling the task that waits here closes the socket
at once, and a clock that counts the loop's passes sees the bytes arrive.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD_BYTES = 256 * 1024
MAX_UNREAD_BYTES = 256 * 1024
"""Beyond this the socket is left alone until the reader has caught up."""


class WireError(OSError):
    """The connection broke, or what came over it was no HTTP."""


class TooLargeError(ValueError):
    """A body beyond the reader's bound."""


class Connection(asyncio.Protocol):
    """A connection and the one exchange that is on it; `lost` is told when it is gone."""

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_over = True
        self.is_lost = False
        self.idle_since = 0.0
        self._lost = lost
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._has_head = False
        self._is_interim = False
        self._wants_whole = False
        self._keeps_alive = True
        self._is_paused = False
        self._trouble: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    # The caller's side ------------------------------------------------------------------------

    def send(self, request: bytes) -> None:
        """Begin an exchange; only on a connection whose last one is over."""
        self.is_over = self._has_head = self._is_interim = self._wants_whole = False
        self._head_size = 0
        self.headers = {}
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers."""
        while not self._has_head:
            await self._more()

    async def piece(self) -> bytes:
        """Give what has come of the body, waiting for some; nothing at its end."""
        while not self._pieces:
            if self.is_over:
                return b""
            await self._more()
        return self._take()

    async def whole(self, bound: int) -> bytes:
        """Wait for the head and give the whole body, no larger than `bound`."""
        self._wants_whole = True
        self._resume()
        while not self.is_over:
            if self._size > bound:
                raise TooLargeError
            await self._more()
        if self._size > bound:
            raise TooLargeError
        return self._take()

    def abort(self) -> None:
        """Drop the connection this moment."""
        self._transport.abort()

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange may follow: the last one is over, and nothing of it is left to read.

        INVARIANT: what was not read of an answer is never there for the next request: a caller who
        leaves in the moment that his answer has come would leave it to a stranger.
        """
        if not self.is_over or self._pieces:
            return False
        return self._keeps_alive and not self.is_lost and not self._transport.is_closing()

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come that the loop has not yet heard of: the server's goodbye, say."""
        return not self._look.poll(0)

    def _take(self) -> bytes:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        self._resume()
        return body

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    async def _more(self) -> None:
        """Wait until more has come, or say what went wrong."""
        if self._trouble is not None:
            raise self._trouble
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # The socket's side ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._look = select.poll()
        self._look.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self.is_over:
            # nobody asked: what follows could be taken for the next answer
            self._transport.abort()
            return
        if not self._has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(WireError(type(error).__name__))
            return
        if not self._has_head and self._head_size > MAX_HEAD_BYTES:
            self._fail(WireError("an endless head"))
            return
        if self._size > MAX_UNREAD_BYTES and not self._wants_whole and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the socket is gone: the end of a body that has no other, else a trouble."""
        self.is_lost = True
        self._keeps_alive = False
        if not self.is_over:
            if error is None and self._is_ended_by_closing():
                self.is_over = True
            elif self._trouble is None:
                self._trouble = WireError("closed")
        self._wake(is_end=True)
        self._lost(self)

    def _is_ended_by_closing(self) -> bool:
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "")
        return self._has_head and not is_chunked and "content-length" not in self.headers

    def _fail(self, trouble: Exception) -> None:
        self._trouble = trouble
        self._transport.abort()
        self._wake(is_end=True)

    def _wake(self, *, is_end: bool = False) -> None:
        """Let the reader go on, unless it waits for the whole and that is not there."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if is_end or self.is_over or not self._wants_whole or self._size > MAX_UNREAD_BYTES:
            waiter.set_result(None)

    # The parser's side ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Take note of an answer that nobody asked for: none of it may reach a reader."""
        if self.is_over:
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; repeated ones are joined."""
        if self.is_over:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Take the status; an interim answer is forgotten."""
        status = self._parser.get_status_code()
        if status < 200:
            self._is_interim = True
            self.headers = {}
        elif not self.is_over:
            self.status = status
            self._has_head = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if not self.is_over:
            self._pieces.append(body)
            self._size += len(body)

    def on_message_complete(self) -> None:
        """Take note of the end, which an interim answer has not reached."""
        if self._is_interim:
            self._is_interim = False
        elif not self.is_over:
            self._keeps_alive = self._parser.should_keep_alive()
            self.is_over = True
