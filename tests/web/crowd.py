"""A crowd of callers over bare connections that are kept: who asks, and what each was told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Give what was answered, whole or streamed."""
        if not self.body.startswith(b"data:"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        deltas = [event["choices"][0]["delta"] for event in self.events if event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        assert lines[-1] == "[DONE]", "a silent end"
        return [json.loads(line) for line in lines[:-1]]


class Caller:
    """One caller with one connection at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: str, *, stream: bool = False) -> Told:
        """Ask, and take the whole answer."""
        reader, writer = await self._send(text, stream=stream)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = b"".join([piece async for piece in _pieces(reader, head)])
        if "connection: close" in head:
            self.leave()
        del writer
        return Told(int(head.split(" ")[1]), body)

    async def abandon(self, text: str, after_s: float, *, stream: bool = False) -> None:
        """Ask, and go away without the answer."""
        await self._send(text, stream=stream)
        await asyncio.sleep(after_s)
        self.leave()

    def leave(self) -> None:
        if self._wire is not None:
            self._wire[1].transport.abort()
            self._wire = None

    async def _send(self, text: str, *, stream: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._wire is None:
            self._wire = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        body = json.dumps({"messages": [{"role": "user", "content": text}], "stream": stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        self._wire[1].write(head.encode() + body)
        return self._wire


async def _pieces(reader: asyncio.StreamReader, head: str) -> AsyncIterator[bytes]:
    if "transfer-encoding: chunked" not in head:
        yield await reader.readexactly(int(head.split("content-length: ")[1].split("\r", maxsplit=1)[0]))
        return
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


def crowd(port: int, jobs: Iterable[Any], work: Callable[[Caller, Any], Any], callers: int = 64) -> None:
    """Let many callers do jobs, each one after the other."""
    asyncio.run(_crowd(port, iter(jobs), work, callers))


async def _crowd(port: int, jobs: Any, work: Callable[[Caller, Any], Any], callers: int) -> None:
    async def one() -> None:
        caller = Caller(port)
        try:
            for job in jobs:
                await work(caller, job)
        finally:
            caller.leave()

    await asyncio.gather(*(one() for _ in range(callers)))
