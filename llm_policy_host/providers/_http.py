"""HTTP for the adapters: the only module that knows who does it.

Redirects are not followed, the environment's proxies not read, no cookies kept: each could carry
a key to a place the operator did not name. Timeouts are the driver's: it cancels, and a cancelled
request closes its connection. Nothing is sent twice. Decision 0013 says why this is no library.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, Self

from llm_policy_host.values import HttpAnswer

from ._failure import TransportError, of_exception
from ._pool import Pool, read_head, read_target
from ._wire import TooLargeError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    import httpx

    from ._wire import Connection

MAX_BODY_BYTES = 32 * 1024 * 1024
"""An answer beyond this is refused (spec 3.6 bounds requests alike)."""

_TROUBLES = (OSError, ValueError)


class Streamed(Protocol):
    """An answer over HTTP whose body arrives in pieces; header names are in lower case."""

    @property
    def status(self) -> int:
        """Give the status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Give the headers."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""

    async def read(self) -> bytes:
        """Give the rest of the body."""


class Http(Protocol):
    """What an adapter needs of HTTP. A broken wire is a `TransportError`."""

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Streamed]:
        """Send a JSON body and give the answer as a stream."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a JSON body and give the whole answer."""


class HttpStream:
    """An answer whose body arrives in pieces."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    def pieces(self) -> Self:
        """Give the body as it comes: each piece is all that is there."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._connection.piece()
        except _TROUBLES as error:
            raise of_exception(error) from None
        if not piece:
            raise StopAsyncIteration
        return piece

    async def read(self) -> bytes:
        """Give the rest of the body, up to its bound."""
        try:
            return await self._connection.whole(MAX_BODY_BYTES)
        except TooLargeError:
            raise TransportError("bad_response", f"an answer larger than {MAX_BODY_BYTES} bytes") from None
        except _TROUBLES as error:
            raise of_exception(error) from None


class _Exchange:
    """A request and its answer; leaving it before the body's end closes the connection."""

    __slots__ = ("_body", "_client", "_connection", "_headers", "_method", "_target", "_url")

    def __init__(
        self, client: HttpClient, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        self._client, self._method, self._url, self._headers, self._body = client, method, url, headers, body

    async def __aenter__(self) -> HttpStream:
        pool, is_unsent = self._client.pool, True
        try:
            self._target, head = self._client.head(self._method, self._url, tuple(self._headers.items()))
            if self._body is not None or self._method != "GET":
                body = self._body or b""
                asked = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
            else:
                asked = head + b"\r\n"
            self._connection = await pool.take(self._target)
            is_unsent = False
            try:
                self._connection.send(asked)
                await self._connection.head()
            except BaseException:
                pool.give_back(self._target, self._connection)
                raise
        except _TROUBLES as error:
            raise of_exception(error, is_unsent=is_unsent) from None
        return HttpStream(self._connection)

    async def __aexit__(self, *_: object) -> None:
        self._client.pool.give_back(self._target, self._connection)


class HttpClient:
    """HTTP over one event loop's pool; `tls` says whom to trust instead of the usual."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pool = Pool(tls)
        self._tls = tls
        self._fetching: httpx.AsyncClient | None = None
        self.head = lru_cache(maxsize=256)(read_head)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> _Exchange:
        """Send a JSON body and give the answer as a stream; a broken wire is a `TransportError`."""
        return _Exchange(self, "POST", url, {"content-type": "application/json", **headers}, body)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a JSON body and give the whole answer."""
        async with self.post(url, headers, body) as stream:
            return HttpAnswer(stream.status, stream.headers, await stream.read())

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        """Give a whole answer, off the hot path, by httpx; a broken wire is an `OSError` without its text."""
        import httpx  # noqa: PLC0415 - 110 ms that a gateway without feeds need not wait for

        if self._fetching is None:
            self._fetching = httpx.AsyncClient(
                verify=self._tls or True,
                timeout=None,  # noqa: S113 - the bounds of those who ask cancel
                follow_redirects=False,
                trust_env=False,
            )
        try:
            read_target(url)  # refuses what would carry a password
            request = self._fetching.build_request(method, url, headers=dict(headers), content=body)
            async with aclosing(await self._fetching.send(request, stream=True)) as answer:
                data = bytearray()
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(data) > MAX_BODY_BYTES:
                        raise OSError(f"an answer larger than {MAX_BODY_BYTES} bytes")
                return HttpAnswer(answer.status_code, answer.headers, bytes(data))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise OSError(f"the connection failed ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()
        if self._fetching is not None:
            await self._fetching.aclose()
            self._fetching = None
