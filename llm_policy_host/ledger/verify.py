"""Judges a ledger's lines from the first: what is wrong is told of the first line that is bad (spec 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_policy_host.errors import LedgerError

from .chain import Chain
from .event import blob_digest
from .schema import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .chain import Fold
    from .event import Event


@dataclass(frozen=True, slots=True)
class Fault:
    """The first bad line, from 1; which rule it breaks, where in it, and why."""

    line: int
    code: str
    path: str
    detail: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"line {self.line}: {self.code}: {self.path}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: good events up to the fault, the head's hash, and runs that are still open."""

    events: int
    head: str
    open_runs: int
    blobs: int
    fault: Fault | None = None


def verify(
    lines: Iterable[bytes],
    blob_get: Callable[[str], bytes | None] | None = None,
    fold: Fold | None = None,
    head: str | None = None,
) -> Verdict:
    """Check form, chain, schema, authority, lineage and what `fold` keeps, and each blob that is named.

    Without `blob_get` blobs are not looked at. `head` is the hash that the last line must have: without
    it, nobody can see that lines are missing at the end.
    """
    chain = Chain(fold, remembers_all=True)
    blobs = _Blobs(blob_get)
    fault = None
    try:
        _follow(chain, lines, blobs)
    except LedgerError as error:
        fault = Fault(chain.seq + 1, error.code, error.path, error.detail)
    if fault is None and head not in (None, chain.hash):
        detail = f"the last line should have the hash {head}: lines are missing"
        fault = Fault(chain.seq + 1, "chain", "head", detail)
    return Verdict(chain.seq, chain.hash, len(chain.lineage.open), len(blobs.seen), fault)


def _follow(chain: Chain, lines: Iterable[bytes], blobs: _Blobs) -> None:
    follow = chain.follow
    if blobs.get is None:
        for line in lines:
            follow(line)
        return
    named = {name: of.blobs for name, of in TYPES.items() if of.blobs}
    for line in lines:
        seq, head = chain.seq, chain.hash
        event = follow(line)
        if event.type in named:
            try:
                blobs.check(event, named[event.type])
            except LedgerError:
                # the line is the first bad one: it does not count among the good
                chain.seq, chain.hash = seq, head
                raise


class _Blobs:
    """The blobs that were found to be what their names say."""

    def __init__(self, get: Callable[[str], bytes | None] | None) -> None:
        self.get = get
        self.seen: set[str] = set()

    def check(self, event: Event, at: Iterable[tuple[str, str]]) -> None:
        """Look at what an event names and no earlier one did."""
        for part, key in at:
            digest = getattr(event, part).get(key)
            if digest is None or digest in self.seen or self.get is None:
                continue
            data = self.get(digest)
            if data is None:
                raise LedgerError("blob", f"{part}.{key}", f"there is no blob {digest}")
            if blob_digest(data) != digest:
                raise LedgerError("blob", f"{part}.{key}", f"the blob {digest} was changed")
            self.seen.add(digest)
