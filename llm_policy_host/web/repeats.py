"""Answers to requests with an Idempotency-Key, so that a repeat is never a second paid call (spec 5.4).

That no key of a tenant begins two runs is the ledger's rule, and outlives this process. The answers are
kept here, within bounds: as the bytes that were sent, a stream's piece by piece; and in the content plane,
where that keeps texts. A run that came to nothing and cost nothing keeps none: its repeat is a try of its
own, under the key's next digest.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from llm_policy_host.ledger.amounts import is_unpaid

from .errors import RefusedError, invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from llm_policy_host.ledger.log import Log
    from llm_policy_host.ports import Clock, Keep
    from llm_policy_host.values import Origin, Result

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Place = tuple[str, str]

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"x-llm-policy-replayed", b"true")

_REPLY: Final = "reply"
"""The name of an answer among a run's contents."""
_MAX_KEY: Final = 255
_RETRY_MS: Final = 1000
_ENTRY_BYTES: Final = 1024
"""What a claim takes beside its answer's bytes, about."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was sent: its pieces are a stream's."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    pieces: tuple[bytes, ...]

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
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._pieces: list[bytes] = []

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
        self.is_free = is_free(result)
        if not self.is_free:
            self.answer = Answer(self._status, self._headers, tuple(self._pieces))
        self._pieces = []

    @property
    def size(self) -> int:
        """Count the bytes that it takes, about."""
        return _ENTRY_BYTES + (0 if self.answer is None else self.answer.size)


class Repeats:
    """The claims of one process, and the answers that they came to."""

    def __init__(self, clock: Clock, max_bytes: int, kept_ms: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._kept_ms = kept_ms
        self._under_way: dict[Place, Claim] = {}
        self._ended: OrderedDict[Place, Claim] = OrderedDict()
        self._bytes = 0

    def begin(
        self, key: str, body: str, origin: Origin, log: Log, keep: Keep | None = None
    ) -> Claim | Answer:
        """Claim a key for a request, or give the answer it has; `RefusedError` where there is neither."""
        self._sweep()
        tenant = origin.tenant or ""
        # callers without an account are no tenant: the names of their keys keep them apart
        names = (tenant, key) if origin.accounts else (tenant, key, origin.key_id or "")
        place, tries = (tenant, _digest(names)), 0
        known = self._under_way.get(place) or self._ended.get(place)
        if known is not None:
            if known.is_free:
                tries = known.tries + 1
            elif known.body != body:
                raise _mismatch()
            elif known.answer is not None:
                return known.answer
            else:
                raise _in_flight(log.find(tenant, known.idem))
        idem = place[1] if tries == 0 else _digest((*names, tries))
        run = log.find(tenant, idem)
        if run is not None:
            return _answer(run, body, log, keep)
        self._drop(place)
        claim = self._under_way[place] = Claim(place, idem, body, tries)
        return claim

    def end(
        self, claim: Claim, result: Result | None, keep: Keep | None = None, level: str | None = None
    ) -> None:
        """Keep what a claim came to; without a result only the ledger knows what it was."""
        del self._under_way[claim.place]
        if result is None:
            return
        claim.end(self._clock.elapsed_ms() + self._kept_ms, result)
        if claim.answer is not None and keep is not None and result.run_id is not None:
            keep.put(result.run_id, claim.place[0], _REPLY, claim.answer.packed(claim.body), level)
        self._ended[claim.place] = claim
        self._bytes += claim.size
        self._sweep()

    def _sweep(self) -> None:
        """Forget what is too old or too much, the oldest first."""
        now_ms = self._clock.elapsed_ms()
        while self._ended:
            claim = next(iter(self._ended.values()))
            if claim.until_ms > now_ms and self._bytes <= self._max_bytes:
                break
            self._drop(claim.place)

    def _drop(self, place: Place) -> None:
        claim = self._ended.pop(place, None)
        if claim is not None:
            self._bytes -= claim.size


def key_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Read a request's Idempotency-Key; None where there is none."""
    given = headers.get(HEADER)
    if given is None:
        return None
    key = given.decode("latin-1")
    if not (0 < len(key) <= _MAX_KEY and key.isascii() and key.isprintable()):
        raise invalid(f"must be 1 to {_MAX_KEY} printable ASCII characters", HEADER.decode())
    return key


def digest_of(path: str, body: Mapping[str, Any]) -> str:
    """Give what a request is known by: in another order of its keys it is the same."""
    return hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()


def is_free(result: Result) -> bool:
    """Whether a run has no answer, and no vendor charges for what it tried."""
    if result.approval is not None:
        return False  # it is there, and waits
    return not result.ok and all(map(is_unpaid, result.failures))


def taken(run: str, log: Log) -> RefusedError:
    """Refuse a request whose key has begun a run that this process has no answer of (409)."""
    if run in log.chain.lineage.open:
        return _in_flight(run)
    detail = f"the run `{run}` of this key is over, and its answer is no longer kept"
    return RefusedError(409, "idempotency_answer_gone", detail, HEADER.decode(), metadata={"run_id": run})


def _answer(run: str, body: str, log: Log, keep: Keep | None) -> Answer:
    """Give the answer of a run that this process knows nothing of, from the content plane."""
    data = None if keep is None or run in log.chain.lineage.open else keep.get(run, _REPLY)
    if data is None:
        raise taken(run, log)
    answer, known = Answer.unpacked(data)
    if known != body:
        raise _mismatch()
    return answer


def _mismatch() -> RefusedError:
    detail = "this key came with another request before"
    return RefusedError(422, "idempotency_mismatch", detail, HEADER.decode())


def _in_flight(run: str | None) -> RefusedError:
    detail = "the request of this key is under way"
    metadata = {} if run is None else {"run_id": run}
    return RefusedError(
        409, "idempotency_in_flight", detail, HEADER.decode(), retry_after_ms=_RETRY_MS, metadata=metadata
    )


def _digest(names: tuple[str | int, ...]) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
