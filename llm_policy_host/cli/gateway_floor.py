"""The least a gateway over our own HTTP can cost: bytes in, bytes out, no decision. For `bench gateway`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm_policy_host.providers._http import HttpClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

_JSON = [(b"content-type", b"application/json")]
_SSE = [(b"content-type", b"text/event-stream")]
_HEADERS = {"authorization": "Bearer none"}


class Floor:
    """Passes a body on to `UPSTREAM`, and the answer back."""

    def __init__(self, upstream: str) -> None:
        self._url = f"{upstream}/chat/completions"
        self._http = HttpClient()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve as ASGI wants it."""
        if scope["type"] == "lifespan":
            return
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        if b'"stream":true' not in body:
            answer = await self._http.send(self._url, _HEADERS, body)
            length = (b"content-length", b"%d" % len(answer.body))
            await send({"type": "http.response.start", "status": answer.status, "headers": [*_JSON, length]})
            await send({"type": "http.response.body", "body": answer.body})
            return
        async with self._http.post(self._url, _HEADERS, body) as stream:
            await send({"type": "http.response.start", "status": stream.status, "headers": _SSE})
            async for piece in stream.pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def create() -> Floor:
    """Make one from the environment."""
    return Floor(os.environ["UPSTREAM"])
