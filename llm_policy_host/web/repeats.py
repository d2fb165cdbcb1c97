"""Answers to requests with an Idempotency-Key, so that a repeat is never a second paid call (spec 5.4).

That no key of a tenant begins two runs is the ledger's rule, and outlives this process. The answers are
kept here, within bounds: as the bytes that were sent, a stream's piece by piece; and in the content plane,
where that keeps texts. A run that came to nothing and cost nothing keeps none: its repeat is a try of its
own, under the key's next digest. A run that was put off has the answer that it waits, until it has gone on.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.ledger.schema import ASKING, DECIDED

from .claims import Answer, Claim
from .errors import RefusedError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ledger.log import Log
    from llm_policy_host.ports import Clock, Keep
    from llm_policy_host.values import Origin, Result

    from .claims import Place

HEADER: Final = b"idempotency-key"

_REPLY: Final = "reply"
"""The name of an answer among a run's contents."""
_MAX_KEY: Final = 255
_RETRY_MS: Final = 1000
_MOST_PUT_OFF: Final = 4096


class Repeats:
    """The claims of one process, and the answers that they came to."""

    def __init__(self, clock: Clock, max_bytes: int, kept_ms: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._kept_ms = kept_ms
        self._under_way: dict[Place, Claim] = {}
        self._ended: OrderedDict[Place, Claim] = OrderedDict()
        self._bytes = 0
        self._put_off: OrderedDict[str, Claim] = OrderedDict()
        """By run: what its key stands for."""
        self._going_on: set[str] = set()

    def begin(
        self, key: str, body: str, origin: Origin, log: Log, keep: Keep | None = None
    ) -> Claim | Answer:
        """Claim a key for a request, or give the answer it has; `RefusedError` where there is neither."""
        self._sweep()
        names, tries = _names(key, origin), 0
        tenant, place = names[0], _place(names)
        known = self._under_way.get(place) or self._ended.get(place)
        if known is not None:
            tries = known.tries + known.is_free
            if known.is_free:
                pass
            elif known.body != body:
                raise _mismatch()
            elif known.answer is None:
                raise _in_flight(log.find(tenant, known.idem))
            elif known.run is None or not self._is_past(known.run, known.answer, log):
                return known.answer
        idem = place[1] if tries == 0 else _digest((*names, tries))
        run = log.find(tenant, idem)
        if run is not None:
            return self._answer(run, body, log, keep)
        self._drop(place)
        claim = self._under_way[place] = Claim(place, idem, body, tries)
        return claim

    def end(
        self, claim: Claim, result: Result | None, keep: Keep | None = None, level: str | None = None
    ) -> None:
        """Keep what a claim came to; without a result only the ledger knows what it was."""
        del self._under_way[claim.place]
        if result is not None:
            self._keep(claim, result, keep, level)

    # Runs that were put off ---------------------------------------------------------------------

    def answer_of(
        self, run: str, key: str, body: str | None, origin: Origin, log: Log, keep: Keep | None
    ) -> Answer | None:
        """Give what a run came to that was put off, to who names its key too; None until then.

        `body` is that of who asks again, None where he gives none.
        """
        place = _place(_names(key, origin))
        known = self._ended.get(place)
        idem = place[1] if known is None else known.idem
        if log.find(place[0], idem) != run:
            return None
        if run in self._going_on:
            raise _in_flight(run)
        if known is not None and known.answer is not None and not known.answer.is_waiting:
            answer, as_then = known.answer, known.body
        else:
            data = None if keep is None or run in log.chain.lineage.open else keep.get(run, _REPLY)
            if data is None:
                return None
            answer, as_then = Answer.unpacked(data)
        return answer if body in (None, as_then) and not answer.is_waiting else None

    def go_on(
        self, run: str, key: str | None, body: str | None, origin: Origin, log: Log, keep: Keep | None
    ) -> Claim | None:
        """Claim the key of a run that was put off, for what it comes to; None where no key of it is known.

        `key` and `body` are those of who asks again, None where he gives none.
        """
        claim = self._claim_of(run, key, body, origin, log, keep)
        if claim is None or run in self._going_on:
            return None
        claim.run = run
        self._going_on.add(run)
        return claim

    def gone_on(
        self, claim: Claim, result: Result | None, approval: str, keep: Keep | None, level: str | None
    ) -> None:
        """Keep what a run came to, or that it waits again; where it did not go on, nothing has changed."""
        self._going_on.discard(claim.run or "")
        if result is None or (result.approval is not None and result.approval.id == approval):
            return
        if result.approval is None and (result.error or "").startswith("approval_"):
            return
        self._drop(claim.place)
        self._keep(claim, result, keep, level)

    def _claim_of(
        self, run: str, key: str | None, body: str | None, origin: Origin, log: Log, keep: Keep | None
    ) -> Claim | None:
        known = self._put_off.get(run)
        if known is not None:
            return known.anew()
        if key is not None and body is not None:
            place = _place(_names(key, origin))
            if log.find(*place) == run:
                return Claim(place, place[1], body, 0)
        data = None if keep is None else keep.get(run, _REPLY)
        # what its key was, only its digest in the ledger says: the answer is found by its run
        return None if data is None else Claim((origin.tenant or "", ""), "", Answer.unpacked(data)[1], 0)

    # What is kept ---------------------------------------------------------------------------------

    def _keep(self, claim: Claim, result: Result, keep: Keep | None, level: str | None) -> None:
        claim.end(self._clock.elapsed_ms() + self._kept_ms, result)
        if claim.answer is not None and keep is not None and result.run_id is not None:
            keep.put(result.run_id, claim.place[0], _REPLY, claim.answer.packed(claim.body), level)
        if not claim.idem:
            return
        self._ended[claim.place] = claim
        self._bytes += claim.size
        if result.run_id is not None:
            self._put_off.pop(result.run_id, None)
            if result.approval is not None:
                self._put_off[result.run_id] = claim.anew()
        if len(self._put_off) > _MOST_PUT_OFF:
            self._put_off.popitem(last=False)
        self._sweep()

    def _answer(self, run: str, body: str, log: Log, keep: Keep | None) -> Answer:
        """Give the answer of a run that this process does not have, from the content plane."""
        began = log.chain.lineage.open.get(run)
        is_under_way = began is not None and began.place not in (ASKING, DECIDED)
        data = None if keep is None or is_under_way else keep.get(run, _REPLY)
        if data is None:
            raise taken(run, log)
        answer, known = Answer.unpacked(data)
        if known != body:
            raise _mismatch()
        if self._is_past(run, answer, log):
            raise taken(run, log)
        return answer

    def _is_past(self, run: str, answer: Answer, log: Log) -> bool:
        """Whether a run is told to wait that is over."""
        is_open = run in self._going_on or run in log.chain.lineage.open
        return answer.is_waiting and not is_open

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


def _place(names: tuple[str, ...]) -> Place:
    return names[0], _digest(names)


def taken(run: str, log: Log) -> RefusedError:
    """Refuse a request whose key has begun a run that this process has no answer of (409)."""
    if run in log.chain.lineage.open:
        return _in_flight(run)
    detail = f"the run `{run}` of this key is over, and its answer is no longer kept"
    return RefusedError(409, "idempotency_answer_gone", detail, HEADER.decode(), metadata={"run_id": run})


def _names(key: str, origin: Origin) -> tuple[str, ...]:
    """Give what a key is known by: its tenant first."""
    tenant = origin.tenant or ""
    # callers without an account are no tenant: the names of their keys keep them apart
    return (tenant, key) if origin.accounts else (tenant, key, origin.key_id or "")


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
