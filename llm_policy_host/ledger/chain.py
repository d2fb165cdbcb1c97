"""The rules of the log as a pure machine: a draft becomes the next event, or a line is found to be one.

It holds what the log's lines say so far: the head's hash, the open runs, and what a further fold keeps.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from llm_policy_host.errors import LedgerError

from .event import NO_HASH, VERSION, canonical, chained, line_hash, new_draft, new_event
from .lineage import Lineage
from .schema import KEYS, TYPES, refusal, type_of

if TYPE_CHECKING:
    from .event import Draft, Event
    from .schema import Type

_FIELDS = itemgetter(*KEYS)


class Fold(Protocol):
    """A further rule over the log: what the accounts keep."""

    def check(self, draft: Draft, ts: int) -> None:
        """Raise a `LedgerError` where a draft may not come at this time; change nothing."""

    def apply(self, event: Event) -> None:
        """Take an event that is in the log; raise a `LedgerError` where it should not be."""


class Chain:
    """A log's state. `fold` is asked before an event is taken, and told after."""

    def __init__(self, fold: Fold | None = None, *, remembers_all: bool = False) -> None:
        self.seq = 0
        self.hash = NO_HASH
        self.fold = fold
        self.lineage = Lineage(None) if remembers_all else Lineage()

    def accept(self, draft: Draft, ts: int) -> Event:
        """Make a draft the next event, or raise a `LedgerError` and change nothing."""
        of = _type(draft)
        fold = self.fold
        if fold is not None:
            fold.check(draft, ts)
        seq = self.seq + 1
        cause = self.lineage.admit(of, seq, draft)
        event = chained(draft, seq, ts, cause, self.hash)
        self.seq, self.hash = seq, event.hash
        if fold is not None:
            fold.apply(event)
        return event

    def follow(self, line: bytes) -> Event:
        """Take a line as the next event, or raise a `LedgerError` that says what is wrong with it."""
        by, cause, core, digest, idem, obs, parent, prev, refs, run, seq, tenant, ts, kind, _ = _fields(line)
        if prev != self.hash:
            raise LedgerError("chain", "prev", "is not the hash of the line before")
        if digest != line_hash(prev, line):
            raise LedgerError("chain", "hash", "is not the line's")
        if seq != self.seq + 1:
            raise LedgerError("chain", "seq", f"must be {self.seq + 1}")
        draft = new_draft((kind, by, tenant, run, parent, cause, idem, core, obs, refs))
        if self.lineage.admit(_type(draft), seq, draft) != cause:
            raise LedgerError("lineage", "cause", "is missing")
        event = new_event(
            (seq, run, kind, tenant, idem, line, by, parent, cause, core, obs, refs, ts, prev, digest)
        )
        if self.fold is not None:
            self.fold.apply(event)
        self.seq, self.hash = seq, digest
        return event


def _type(draft: Draft) -> Type:
    """Give a draft's type, if its fields and its emitter are as that wants them."""
    kind, by, _, _, _, _, _, core, obs, refs = draft
    of = TYPES.get(kind) or type_of(kind)
    if not of.is_good(core, obs, refs):
        raise refusal(of, core, obs, refs)
    if by not in of.by:
        may = " ".join(f"`{each}`" for each in of.row.by)
        raise LedgerError("authority", "by", f"`{by}` may not emit {of.name}; who may: {may}")
    return of


def read(line: bytes) -> Event:
    """Read a line on its own: whether it has an event's form, whatever it says."""
    by, cause, core, digest, idem, obs, parent, prev, refs, run, seq, tenant, ts, kind, _ = _fields(line)
    return new_event(
        (seq, run, kind, tenant, idem, line, by, parent, cause, core, obs, refs, ts, prev, digest)
    )


def _fields(line: bytes) -> tuple[Any, ...]:
    """Give what a line of an event's form holds, in the order of its keys."""
    try:
        data = orjson.loads(line)
        fields: tuple[Any, ...] = _FIELDS(data)
    except (ValueError, KeyError, TypeError):
        raise LedgerError("form", "line", "is no event: a record of JSON with 15 keys") from None
    by, cause, _, digest, idem, _, parent, prev, _, run, seq, tenant, ts, kind, v = fields
    is_good = (
        by.__class__ is tenant.__class__ is kind.__class__ is prev.__class__ is digest.__class__ is str
        and (run is None or run.__class__ is str)
        and (parent is None or parent.__class__ is str)
        and (idem is None or idem.__class__ is str)
        and (cause is None or cause.__class__ is int)
        and seq.__class__ is ts.__class__ is v.__class__ is int
    )
    if not is_good or v != VERSION or ts < 0:
        raise LedgerError("form", "line", f"is no event of version {VERSION}")
    if canonical(data) != line or len(data) != len(KEYS):
        raise LedgerError("form", "line", "is not in its canonical form")
    return fields


def is_whole(line: bytes) -> bool:
    """Whether a line holds the right hash for the line before that it names: it was not torn."""
    try:
        event = read(line)
    except LedgerError:
        return False
    return event.hash == line_hash(event.prev, line)
