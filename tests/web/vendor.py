"""A scripted vendor in a thread of its own: what it replies depends on what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.contracts.vendor import Asked, Reply, _read, _write, flow, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass
class Vendor:
    """`left` holds the paths of hanging replies whose caller went away; `rude` is a port without TLS."""

    reply: Callable[[Asked], Reply]
    asked: list[Asked] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    origin: str = ""
    rude: int = 0
    keeps: bool = True
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._turn(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _turn(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Reply once; whether the connection goes on."""
        asked = await _read(reader)
        if self.keeps:
            self.asked.append(asked)
        reply = self.reply(asked)
        try:
            await _write(writer, reply)
        except ConnectionError:
            self.left.append(asked.path)
            raise
        if reply.then == "hang":
            try:
                gone = await reader.read() == b""
            except ConnectionError:
                gone = True
            if gone:
                self.left.append(asked.path)
        return reply.then == "end" and b"connection: close" not in reply.head

    async def run(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=2**26, backlog=1024)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rude = await asyncio.start_server(_refuse_tls, "127.0.0.1", 0)
        self.rude = rude.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        rude.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def asks(self, below: str = "") -> list[Asked]:
        return [asked for asked in self.asked if asked.path.startswith(below)]


async def _refuse_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@contextmanager
def selling(reply: Callable[[Asked], Reply] | Reply, *, keeps: bool = True) -> Iterator[Vendor]:
    """Serve until the block ends; `keeps` says whether requests are remembered."""
    vendor = Vendor(reply if callable(reply) else lambda _asked: reply, keeps=keeps)
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(vendor.run(ready, stop)), name="vendor")
    thread.start()
    try:
        assert ready.wait(10)
        yield vendor
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def until(holds: Callable[[], Any], seconds: float = 5.0) -> bool:
    """Wait for something to hold."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())


def chat_body(text: str, usage: tuple[int, int] = (11, 3), **message: Any) -> dict[str, Any]:
    """An answer as an OpenAI-compatible vendor words it."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": "stop",
    }
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {
        "id": "v-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [choice],
        "usage": counts,
    }


def chat_pieces(texts: Sequence[str]) -> list[bytes]:
    """The same, in pieces."""
    head = {"id": "v-1", "object": "chat.completion.chunk", "created": 1, "model": "served"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    counts = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    usage = b"data: " + json.dumps({**head, "choices": [], "usage": counts}).encode() + b"\n\n"
    texted = [chunk({"content": text}) for text in texts]
    return [
        chunk({"role": "assistant", "content": ""}),
        *texted,
        chunk({}, "stop"),
        usage,
        b"data: [DONE]\n\n",
    ]


def answer(text: str = "hello") -> Reply:
    """Reply with a whole chat answer; the connection is kept."""
    return kept(whole(200, json.dumps(chat_body(text)).encode()))


def stream(texts: Sequence[str], gap_s: float = 0.0) -> Reply:
    """Reply with a streamed chat answer; the connection is kept."""
    return kept(flow(chat_pieces(texts), gap_s=gap_s))


def kept(reply: Reply) -> Reply:
    """The same reply over a connection that stays."""
    return Reply(
        reply.head.replace(b"connection: close\r\n", b""),
        reply.pieces,
        reply.then,
        reply.is_chunked,
        reply.gap_s,
    )


def said(asked: Asked) -> str:
    """Give the last message of a chat body."""
    return str(asked.data["messages"][-1]["content"])


def echo(asked: Asked) -> Reply:
    """Answer with what was said, streamed if so asked."""
    text = f"you said {said(asked)}"
    return stream([text[:9], text[9:]]) if asked.data.get("stream") else answer(text)
