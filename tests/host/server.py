"""A scripted HTTP server on loopback: sends the bytes it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Reply:
    """Pieces of bytes, with a pause before each; then the connection closes, or `hang`s open."""

    pieces: Sequence[bytes]
    gap_s: float = 0.0
    hang: bool = False


def http(status: int, body: bytes, headers: str = "", kind: str = "application/json") -> Reply:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return Reply([head.encode() + body])


def answer(text: str = "hello", **more: Any) -> Reply:
    return http(200, json.dumps(completion(text, **more)).encode())


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "model": "served",
        "choices": [{"index": 0, "message": {"content": text, **message}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def failing(status: int, error: Any, headers: str = "") -> Reply:
    return http(status, json.dumps({"error": error}).encode(), headers)


def delta(text: str | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    part = {"content": text, **more} if text is not None or more else {}
    data = {"model": "served", "choices": [{"index": 0, "delta": part, "finish_reason": finish_reason}]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def events(*pieces: bytes, done: bool = True, gap_s: float = 0.0, hang: bool = False) -> Reply:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    tail = [b"data: [DONE]\n\n"] if done else []
    return Reply([head, *pieces, *tail], gap_s, hang)


@dataclass(slots=True)
class Server:
    """Replies in turn, the last one for ever."""

    replies: list[Reply]
    asked: list[Asked] = field(default_factory=list)
    closed_by_peer: int = 0
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await self._read(reader))
            self.was_asked.set()
            reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
            for piece in reply.pieces:
                await asyncio.sleep(reply.gap_s)
                writer.write(piece)
                await writer.drain()
            if reply.hang and await reader.read() == b"":
                self.closed_by_peer += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed_by_peer += 1
        finally:
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Asked(head[0].split(" ")[1], headers, json.loads(body or b"{}"))
