"""What is handed in to the log, what comes out of it, and the one way either is written (spec 5.2).

Both are named tuples: of Python's immutable values they are made the quickest, and every call makes four.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

VERSION = 1
NO_HASH: Final = "0" * 64
"""What stands for the line before the first."""

NONE: Final[dict[str, Any]] = {}
"""A part without fields; nobody writes into it."""

_HASH_AT = b',"idem":'
_HASH_LENGTH = len(b',"hash":""') + 64


class Draft(NamedTuple):
    """An event as its emitter hands it in: all but what the log alone knows.

    `cause` is the event that it follows; None lets the log say it, where the run tells.
    """

    type: str
    by: str
    tenant: str
    run: str | None = None
    parent: str | None = None
    cause: int | None = None
    idem: str | None = None
    core: dict[str, Any] = NONE
    obs: dict[str, Any] = NONE
    refs: dict[str, Any] = NONE


class Event(NamedTuple):
    """An event of the log. Its first six fields are what a store keeps (`ports.LedgerRow`)."""

    seq: int
    run: str | None
    type: str
    tenant: str
    idem: str | None
    line: bytes
    by: str
    parent: str | None
    cause: int | None
    core: dict[str, Any]
    obs: dict[str, Any]
    refs: dict[str, Any]
    ts: int
    prev: str
    hash: str


_NEW = tuple.__new__


def new_draft(fields: tuple[Any, ...]) -> Draft:
    """Make a draft of its fields in their order, the quick way."""
    return _NEW(Draft, fields)


def new_event(fields: tuple[Any, ...]) -> Event:
    """Make an event of its fields in their order, the quick way."""
    return _NEW(Event, fields)


def chained(draft: Draft, seq: int, ts: int, cause: int | None, prev: str) -> Event:
    """Give a draft its place behind the line with the hash `prev`; it must be known to be good."""
    kind, by, tenant, run, parent, _, idem, core, obs, refs = draft
    body = canonical(
        {
            "by": by,
            "cause": cause,
            "core": core,
            "idem": idem,
            "obs": obs,
            "parent": parent,
            "prev": prev,
            "refs": refs,
            "run": run,
            "seq": seq,
            "tenant": tenant,
            "ts": ts,
            "type": kind,
            "v": VERSION,
        }
    )
    digest = sha256(prev.encode() + body).hexdigest()
    at = body.index(_HASH_AT)
    line = b'%b,"hash":"%b"%b' % (body[:at], digest.encode(), body[at:])
    return new_event(
        (seq, run, kind, tenant, idem, line, by, parent, cause, core, obs, refs, ts, prev, digest)
    )


canonical: Final = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)
"""Writes plain data without fractions as the one line it can be: sorted keys, compact UTF-8."""


def line_hash(prev: str, line: bytes) -> str:
    """Compute the hash that a line in its canonical form should hold behind one with the hash `prev`."""
    end = line.find(_HASH_AT)
    return sha256(prev.encode() + line[: end - _HASH_LENGTH] + line[end:]).hexdigest()


def blob_digest(data: bytes) -> str:
    """Name a blob by what it holds."""
    return "sha256:" + sha256(data).hexdigest()
