"""Connections kept open, by origin: a request takes one, and gives it back when its answer is read."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import certifi

from ._wire import Connection

MAX_IDLE_S = 50.0
"""Servers and load balancers close what is idle for 60 s and more; the client should be first."""

MAX_IDLE = 256
"""Idle connections kept for one origin."""

_HEADERS = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\r\n\0]*\r\n)*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, and the first lines of a request for it."""

    host: str
    port: int
    is_secure: bool
    authority: str
    path: str = field(repr=False)

    @property
    def origin(self) -> tuple[str, int, bool]:
        """Give what connections are shared by."""
        return (self.host, self.port, self.is_secure)


def read_target(url: str) -> Target:
    """Read a URL; `ValueError` for one that leads nowhere or carries a name and password."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("neither http nor https, or no host, or a password in it")
    host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    port = parts.port or _PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~") + ("?" if parts.query else "")
    return Target(
        host=host,
        port=port,
        is_secure=parts.scheme == "https",
        authority=shown if port == _PORTS[parts.scheme] else f"{shown}:{port}",
        path=path + quote(parts.query, safe="/%!$&'()*+,;=:@~?"),
    )


def read_head(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Target, bytes]:
    """Write a request up to its body's length; `ValueError` for a header that would be read as another."""
    where = read_target(url)
    given = {"host": where.authority, "user-agent": "llm-policy", "accept-encoding": "identity"}
    given.update((name.lower(), value) for name, value in headers)
    given.pop("content-length", None)
    if "transfer-encoding" in given:
        raise ValueError("the body's length is known")
    lines = "".join([f"{name}: {value}\r\n" for name, value in given.items()])
    if lines.count("\n") != len(given) or _HEADERS.fullmatch(lines) is None:
        raise ValueError("a header with a line's end in it")
    return where, f"{method} {where.path} HTTP/1.1\r\n{lines}".encode("latin-1")


class Pool:
    """The connections of one event loop; `tls` says whom to trust instead of the usual."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._open: set[Connection] = set()
        self._gone: asyncio.Event | None = None

    async def take(self, where: Target) -> Connection:
        """Give an idle connection, else a new one; it is the caller's until it is given back."""
        idle = self._idle.get(where.origin)
        now = time.monotonic()
        while idle:
            connection = idle.pop()
            is_fresh = now - connection.idle_since < MAX_IDLE_S
            if is_fresh and connection.is_reusable and connection.is_silent:
                return connection
            connection.abort()
        return await self._connect(where)

    def give_back(self, where: Target, connection: Connection) -> None:
        """Keep a connection for the next request, or close it if its answer was not read whole."""
        idle = self._idle.setdefault(where.origin, [])
        if self._gone is not None or not connection.is_reusable or len(idle) >= MAX_IDLE:
            connection.abort()
            return
        now = time.monotonic()
        connection.idle_since = now
        if idle and now - idle[0].idle_since > MAX_IDLE_S:
            idle.pop(0).abort()
        idle.append(connection)

    async def close(self) -> None:
        """Close every connection, and wait until they are gone."""
        self._gone = asyncio.Event()
        self._idle.clear()
        for connection in self._open:
            connection.abort()
        if self._open:
            await self._gone.wait()

    async def _connect(self, where: Target) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._lose),
            where.host,
            where.port,
            ssl=self._context() if where.is_secure else None,
        )
        if not connection.is_lost:
            self._open.add(connection)
        if self._gone is not None:
            connection.abort()
        return connection

    def _lose(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._gone is not None and not self._open:
            self._gone.set()

    def _context(self) -> ssl.SSLContext:
        """Trust the machine's authorities and those that travel with us: slim images have none."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(certifi.where())
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
