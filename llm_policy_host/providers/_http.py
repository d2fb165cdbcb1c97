"""HTTP for the adapters: the only module that knows which client does it.

Redirects are not followed and the environment's proxies not read: both could carry a key to
a place the operator did not name. Timeouts are the driver's: it cancels.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from llm_policy_host.values import HttpAnswer

from ._failure import TransportError, of_exception

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_BODY_BYTES = 32 * 1024 * 1024
"""An answer beyond this is refused (spec 3.6 bounds requests alike)."""

_NODELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


class HttpStream:
    """An answer whose body arrives in pieces."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""
        try:
            async for piece in self._response.aiter_bytes():
                yield piece
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise of_exception(error) from None

    async def read(self) -> bytes:
        """Give the rest of the body, up to its bound."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise TransportError("bad_response", f"an answer larger than {MAX_BODY_BYTES} bytes")
        return bytes(body)


class HttpClient:
    """A pool of connections for one event loop."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
                socket_options=_NODELAY,
                trust_env=False,
            ),
            timeout=None,  # noqa: S113 - the driver's timeouts cancel
            follow_redirects=False,
            trust_env=False,
        )

    @asynccontextmanager
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[HttpStream]:
        """Send a JSON body and give the answer as a stream; a broken wire is a `TransportError`."""
        given = {"content-type": "application/json", "accept-encoding": "identity", **headers}
        try:
            request = self._client.build_request("POST", url, headers=given, content=body)
            response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise of_exception(error) from None
        try:
            yield HttpStream(response)
        finally:
            await response.aclose()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a JSON body and give the whole answer."""
        async with self.post(url, headers, body) as stream:
            return HttpAnswer(stream.status, stream.headers, await stream.read())

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        """Give a whole answer, off the hot path; a broken wire is an `OSError` without its text."""
        try:
            response = await self._client.request(method, url, headers=dict(headers), content=body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise OSError(type(error).__name__) from None
        return HttpAnswer(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()
