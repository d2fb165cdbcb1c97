"""What an Idempotency-Key stands for, and its answer as it was sent: in bytes, a stream's piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from llm_policy_host.ledger.amounts import is_unpaid
from llm_policy_host.run.flow_sums import CUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from llm_policy_host.values import Result

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Place = tuple[str, str]

REPLAYED: Final = (b"x-llm-policy-replayed", b"true")

_WAITS: Final = 202
_ENTRY_BYTES: Final = 1024
"""What a claim takes beside its answer's bytes, about."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was sent: its pieces are a stream's."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    pieces: tuple[bytes, ...]

    @property
    def is_waiting(self) -> bool:
        """Whether it says that its request waits for a person."""
        return self.status == _WAITS

    @property
    def size(self) -> int:
        """Count its bytes."""
        heads = sum(len(name) + len(text) for name, text in self.headers)
        return heads + sum(map(len, self.pieces))

    def packed(self, body: str) -> bytes:
        """Write it as content, with what the request is known by."""
        heads = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in self.headers]
        sizes = [len(piece) for piece in self.pieces]
        head = {"body": body, "status": self.status, "headers": heads, "sizes": sizes}
        return b"\n".join((orjson.dumps(head), b"".join(self.pieces)))

    @classmethod
    def unpacked(cls, data: bytes) -> tuple[Self, str]:
        """Read it as it was packed."""
        line, _, rest = data.partition(b"\n")
        head = orjson.loads(line)
        pieces = [
            rest[end - size : end] for size, end in zip(head["sizes"], accumulate(head["sizes"]), strict=True)
        ]
        heads = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in head["headers"]]
        return cls(head["status"], tuple(heads), tuple(pieces)), head["body"]

    async def send(self, send: Send) -> None:
        """Send it once more."""
        head = [*self.headers, REPLAYED]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Claim:
    """The request that a key stands for; what is sent of it is remembered."""

    def __init__(self, place: Place, idem: str, body: str, tries: int) -> None:
        self.place = place
        self.idem = idem
        self.body = body
        self.tries = tries
        self.until_ms = 0.0
        self.answer: Answer | None = None
        self.is_free = False
        self.run: str | None = None
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._pieces: list[bytes] = []

    def anew(self) -> Claim:
        """Claim the same once more."""
        return Claim(self.place, self.idem, self.body, self.tries)

    @property
    def named(self) -> tuple[str, str]:
        """Give the tenant and the digest by which the ledger knows it."""
        return self.place[0], self.idem

    def tee(self, send: Send) -> Send:
        """Remember what is sent."""

        async def both(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._status, self._headers = message["status"], tuple(message["headers"])
            elif message.get("body"):
                self._pieces.append(message["body"])
            await send(message)

        return both

    def end(self, until_ms: float, result: Result) -> None:
        """Keep what was sent, unless the run came to nothing and cost nothing."""
        self.until_ms = until_ms
        self.run = result.run_id
        self.is_free = is_free(result)
        if not self.is_free:
            self.answer = Answer(self._status, self._headers, tuple(self._pieces))
        self._pieces = []

    @property
    def size(self) -> int:
        """Count the bytes that it takes, about."""
        return _ENTRY_BYTES + (0 if self.answer is None else self.answer.size)


def is_free(result: Result) -> bool:
    """Whether a run has no answer, and no vendor charges for what it tried."""
    if result.ok or result.approval is not None:
        return False  # what waits is there
    if CUT in result.trace.raw or any(map(_has_answered, result.trace.decision_path)):
        return False  # a flow failed, and of its nodes some did not
    return all(map(is_unpaid, result.failures))


def _has_answered(step: Mapping[str, Any]) -> bool:
    return step.get("event") == "attempted" and step.get("error_kind") is None
