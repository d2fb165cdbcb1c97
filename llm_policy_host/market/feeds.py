"""Where a source's data comes from: an address, a file, or a command's output; bounded, and never twice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from llm_policy_host.run.deadline import ExpiredError, within
from llm_policy_host.values import Missing, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.ports import Clock, Fetcher
    from llm_policy_host.values import HttpAnswer, Plain

MAX_BYTES: Final = 16 * 1024 * 1024
"""A feed beyond this is refused whole."""

_MAX_RETRY_AFTER_S = 3600


@dataclass(frozen=True, slots=True)
class Fetched:
    """A feed's data; nothing is new of it where it is what it was."""

    data: Plain = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """A feed that could not be had. `reason` is of a closed list: it labels metrics."""

    reason: str
    retry_after_ms: int | None = None


REASONS: Final = (
    "network",
    "timeout",
    "status",
    "not_found",
    "too_large",
    "not_json",
    "shape",
    "credential",
    "file",
    "command",
)
"""Why a feed is lost."""

SAME: Final = Fetched(is_new=False)


class Feed(Protocol):
    """One place that is asked again and again."""

    async def read(self, fetcher: Fetcher, path: str = "") -> Fetched | Lost:
        """Give the data at a path below the place."""


class HttpFeed:
    """An address, asked with what it told of its last answer, so that it can say: nothing new."""

    def __init__(
        self, url: str, clock: Clock, timeout_ms: int, token: Callable[[], Secret | Missing] | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._token = token
        self._marks: dict[str, dict[str, str]] = {}

    async def read(self, fetcher: Fetcher, path: str = "") -> Fetched | Lost:
        """Ask once."""
        headers = {"accept": "application/json", **self._marks.get(path, {})}
        token = self._token() if self._token is not None else None
        if isinstance(token, Missing):
            return Lost("credential")
        if token is not None:
            headers["authorization"] = f"Bearer {token.reveal()}"
        try:
            asking = fetcher.fetch("GET", self._url + path, headers)
            answer = await within(self._clock, self._timeout_ms, asking)
        except ExpiredError:
            return Lost("timeout")
        except OSError:
            return Lost("network")
        return self._read(answer, path)

    def _read(self, answer: HttpAnswer, path: str) -> Fetched | Lost:
        if answer.status == 304 and path in self._marks:
            return SAME
        if answer.status != 200:
            reason = "not_found" if answer.status in (404, 410) else "status"
            return Lost(reason, _retry_after_ms(answer.headers))
        found = parse(answer.body)
        if isinstance(found, Fetched):
            self._marks[path] = _marks(answer.headers)
        return found


class FileFeed:
    """A file that something else writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    async def read(self, fetcher: Fetcher, path: str = "") -> Fetched | Lost:
        """Read the file, unless it is as it was."""
        del fetcher, path
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if mark == self._seen:
                return SAME
            with self._path.open("rb") as file:
                found = parse(file.read(MAX_BYTES + 1))
        except OSError:
            return Lost("file")
        if isinstance(found, Fetched):
            self._seen = mark
        return found


class CommandFeed:
    """A program that prints the data: arguments as a list, no shell, and an end if it takes too long."""

    def __init__(
        self, command: Sequence[str], clock: Clock, timeout_ms: int, environment: Mapping[str, str]
    ) -> None:
        self._command = tuple(command)
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._environment = environment

    async def read(self, fetcher: Fetcher, path: str = "") -> Fetched | Lost:
        """Run the program once."""
        del fetcher, path
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=dict(self._environment),
            )
        except OSError:
            return Lost("command")
        try:
            return await within(self._clock, self._timeout_ms, _output(process))
        except ExpiredError:
            return Lost("timeout")
        finally:
            await _end(process)


async def _output(process: asyncio.subprocess.Process) -> Fetched | Lost:
    pipe, printed = process.stdout, bytearray()
    while pipe is not None and len(printed) <= MAX_BYTES:
        piece = await pipe.read(1 << 16)
        if not piece:
            break
        printed += piece
    if len(printed) > MAX_BYTES:
        return Lost("too_large")
    return Lost("command") if await process.wait() != 0 else parse(bytes(printed))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, whatever happened."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # `wait` alone never ends while the pipe is full and nobody reads it


def parse(body: bytes) -> Fetched | Lost:
    """Read JSON, strictly: a NaN or a number without end is a mistake of the feed."""
    if len(body) > MAX_BYTES:
        return Lost("too_large")
    try:
        return Fetched(orjson.loads(body))
    except orjson.JSONDecodeError:
        return Lost("not_json")


def _marks(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the headers of the next question that let the server say: nothing new."""
    names = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    return {asked: headers[told] for told, asked in names.items() if _is_short(headers.get(told))}


def _is_short(value: Any) -> bool:  # noqa: ANN401 - a header, or none
    return isinstance(value, str) and 0 < len(value) <= 1024


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    text = headers.get("retry-after", "").strip()
    is_seconds = text.isascii() and text.isdigit() and len(text) <= 6
    return min(int(text), _MAX_RETRY_AFTER_S) * 1000 if is_seconds else None
