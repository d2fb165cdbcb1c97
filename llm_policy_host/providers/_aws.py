"""What Amazon's services want of a caller: signatures, and streams in frames of their own.

The package `botocore` does both; it is imported when a call first needs it.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class NoCredentialsError(Exception):
    """There are no credentials for Amazon on this machine; its text says what was tried."""


class BrokenFrameError(Exception):
    """The bytes are no event stream."""


class Signer:
    """Signs with the credentials that botocore finds: environment, profile, role of the machine.

    Finding and renewing them may ask the network, in a thread of its own.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._session: Any = None
        self._found: Any = None
        self._lock = asyncio.Lock()

    @property
    def region(self) -> str | None:
        """Give the region of botocore's own settings; None before `prepare`, or where there is none."""
        return None if self._session is None else self._session.get_config_variable("region")

    async def prepare(self) -> None:
        """Have credentials that hold for a call; `NoCredentialsError` where there are none."""
        if self._found is not None and not self._is_old():
            return
        async with self._lock:
            if self._found is None or self._is_old():
                await asyncio.to_thread(self._find)

    def headers(self, url: str, region: str, body: bytes, given: Mapping[str, str]) -> dict[str, str]:
        """Give the headers of a signed POST, those given among them."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - an optional package
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest("POST", url, headers=dict(given), data=body)
        SigV4Auth(self._found.get_frozen_credentials(), self._service, region).add_auth(request)
        return {str(name).lower(): str(value) for name, value in request.headers.items()}

    def _is_old(self) -> bool:
        needs = getattr(self._found, "refresh_needed", None)
        return needs is not None and bool(needs())

    def _find(self) -> None:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - an optional package
        from botocore.session import Session  # noqa: PLC0415

        try:
            if self._session is None:
                self._session = Session()
            found = self._session.get_credentials()
            if found is not None:
                found.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentialsError(f"the AWS credentials cannot be had ({type(error).__name__})") from None
        if found is None:
            raise NoCredentialsError("no AWS credentials: neither a bearer nor any that botocore finds")
        self._found = found


class Frames:
    """Takes an event stream apart."""

    def __init__(self) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError  # noqa: PLC0415 - an optional package

        self._buffer = EventStreamBuffer()
        self._troubles = (ParserError, struct.error, KeyError, ValueError)

    def feed(self, piece: bytes) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Give the headers and payload of each frame that the next bytes complete."""
        self._buffer.add_data(piece)
        try:
            for frame in self._buffer:
                yield frame.headers, frame.payload
        except self._troubles:
            raise BrokenFrameError from None
