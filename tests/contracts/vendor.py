"""A scripted vendor on loopback: sends exactly the bytes it is told, keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: bytes
    head: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A head, then pieces; then the answer's `end`, or a `cut` in its midst, or nothing more: `hang`."""

    head: bytes
    pieces: Sequence[bytes] = ()
    then: Literal["end", "cut", "hang"] = "end"
    is_chunked: bool = True
    gap_s: float = 0.0


def whole(
    status: int, body: bytes, kind: str = "application/json", headers: Mapping[str, str] | None = None
) -> Reply:
    """An answer of known length."""
    given = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    return Reply(_head(status, given), [body] if body else [], is_chunked=False)


def flow(
    pieces: Sequence[bytes],
    kind: str = "text/event-stream",
    then: Literal["end", "cut", "hang"] = "end",
    gap_s: float = 0.0,
) -> Reply:
    """An answer of status 200 in chunks."""
    head = _head(200, {"content-type": kind, "transfer-encoding": "chunked"})
    return Reply(head, pieces, then, gap_s=gap_s)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        "connection: close",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(slots=True)
class Vendor:
    """Replies in turn, the last one for ever."""

    replies: Sequence[Reply]
    asked: list[Asked] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def origin(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await _read(reader))
            reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
            await _write(writer, reply)
            if reply.then == "hang" and await reader.read() == b"":
                self.left.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split(" ")[1], headers, body, head)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(reply.head)
    for piece in reply.pieces:
        await writer.drain()
        if reply.gap_s:
            await asyncio.sleep(reply.gap_s)
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.is_chunked else piece)
    if reply.then == "end" and reply.is_chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
