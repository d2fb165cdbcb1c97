"""The invariants of spec 5.7 as checks over a ledger that is there: one table, a row each.

What the log's own rules already hold is asked of them once more by `verify`; the rows below ask the lines
in a second, plainer way, so that a log whose rules went wrong is seen too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from llm_policy_host.errors import HostError, LedgerError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.event import NO_HASH
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.schema import TYPES
from llm_policy_host.ledger.verify import Verdict, verify

from .deciding import Decider, backwards
from .history import past_runs
from .searching import search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from llm_policy_host.core.engine import LuaEngine
    from llm_policy_host.ledger.event import Event
    from llm_policy_host.ports import EventStore
    from llm_policy_host.values import Secret

    from .history import Past

_STALE_MS: Final = 60_000
"""How long after a key was taken back a run may begin that had been let in before."""

_RULES: Final = {"lineage": "lineage", "duplicate": "lineage", "authority": "authority"} | dict.fromkeys(
    ("chain", "form", "schema", "blob"), "chain"
)
"""Which row a fault of `verify` belongs to, by its code; all others are the accounts'."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation; `line` is the ledger's, None where it is of no one line."""

    detail: str
    line: int | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        return self.detail if self.line is None else f"line {self.line}: {self.detail}"


@dataclass
class Evidence:
    """What the checks look at. `control` are the files of the control plane, `others` those beside it.

    `decide` makes what decides again, by a clock.
    """

    store: EventStore
    control: Sequence[Path] = ()
    others: Sequence[Path] = ()
    canaries: Sequence[str] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    decide: Callable[[Callable[[], int] | None], Decider] | None = None

    def events(self) -> Iterator[tuple[int, Event]]:
        """Give each line that is an event, with its number; what is none is the chain's affair."""
        for number, line in enumerate(self.store.lines(), 1):
            try:
                event = read(line)
            except LedgerError:
                continue
            if event.core.__class__ is event.refs.__class__ is dict:
                yield number, event

    def good(self) -> Iterator[tuple[int, Event]]:
        """Give the events before the first line that breaks the log's own rules."""
        return itertools.islice(enumerate(map(read, self.store.lines()), 1), self.verdict.events)

    @cached_property
    def verdict(self) -> Verdict:
        """Give what the log's own rules say."""
        return verify(self.store.lines(), self.store.blob_get, Folds())

    def pasts(self) -> Iterator[Past]:
        """Give the runs that are over and can be decided again: by a policy that has a term."""
        for past in past_runs(event for _, event in self.good()):
            if past.policy is not None and "ctx" in past.refs and "catalog_id" in past.admitted:
                yield past

    def decider(self, moments: Callable[[], int] | None = None) -> Decider:
        """Make what decides again."""
        if self.decide is not None:
            return self.decide(moments)
        return Decider(self.store.blob_get, moments=moments)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A row: its name, what it claims, and what finds violations of it."""

    name: str
    claim: str
    find: Callable[[Evidence], Iterator[Finding]]


def _by_rule(name: str) -> Callable[[Evidence], Iterator[Finding]]:
    """Make the check of what the log's own rules hold."""

    def find(evidence: Evidence) -> Iterator[Finding]:
        fault = evidence.verdict.fault
        if fault is not None and _RULES.get(fault.code, "conservation") == name:
            yield Finding(f"{fault.code}: {fault.path}: {fault.detail}", fault.line)

    return find


def _terminal(evidence: Evidence) -> Iterator[Finding]:
    ended: dict[str, int] = {}
    for line, event in evidence.events():
        if event.run is None:
            continue
        if event.run in ended:
            yield Finding(f"{event.type} of the run `{event.run}`, which line {ended[event.run]} ended", line)
        elif event.type in TYPES and TYPES[event.type].row.is_terminal:
            ended[event.run] = line


def _outcome(evidence: Evidence) -> Iterator[Finding]:
    under_way: dict[str, dict[int, int]] = {}
    settled: dict[str, set[int]] = {}
    for line, event in evidence.events():
        run, attempt = event.run or "", event.core.get("attempt", 0)
        if event.type == "AttemptProposed":
            under_way.setdefault(run, {})[attempt] = line
        elif event.type == "AttemptOutcome":
            if under_way.get(run, {}).pop(attempt, None) is None:
                again = attempt in settled.get(run, ())
                detail = "has an outcome already" if again else "was never proposed"
                yield Finding(f"the attempt {attempt} of the run `{run}` {detail}", line)
            settled.setdefault(run, set()).add(attempt)
        elif event.type in TYPES and TYPES[event.type].row.is_terminal:
            for number, at in under_way.pop(run, {}).items():
                yield Finding(
                    f"the attempt {number} of the run `{run}` has no outcome (proposed in line {at})", line
                )
            settled.pop(run, None)


def _shortlist(evidence: Evidence) -> Iterator[Finding]:
    decider = evidence.decider()
    for past in evidence.pasts():
        try:
            routes = decider.shortlist(past)
        except HostError as error:
            yield Finding(f"the run `{past.run}` cannot be planned again: {error}", past.seq)
            continue
        for tried in past.tried:
            if tried.route not in routes:
                yield Finding(
                    f"the run `{past.run}` asked {tried.route}, which its policy does not list", tried.seq
                )
    yield from _keyed(evidence)


def _keyed(evidence: Evidence) -> Iterator[Finding]:
    """Find runs that their key's rights, its revocation or its account do not let be."""
    keys: dict[str, Event] = {}
    revoked: dict[str, int] = {}
    for line, event in evidence.good():
        core, key_id = event.core, event.core.get("key_id") or ""
        if event.type == "KeyMinted":
            keys[key_id] = event
        elif event.type == "KeyRevoked":
            revoked[key_id] = event.ts
        elif event.type == "RequestReceived" and key_id in keys:
            right = "embed" if core["kind"] == "embeddings" else "stream" if core["is_stream"] else "call"
            if right not in keys[key_id].core["rights"]:
                yield Finding(f"the key `{key_id}` has no right `{right}`", line)
            if core.get("is_flow") and "flow" not in keys[key_id].core["rights"]:
                yield Finding(f"the key `{key_id}` has no right `flow`", line)
            if key_id in revoked and event.ts > revoked[key_id] + _STALE_MS:
                yield Finding(f"the key `{key_id}` was taken back before", line)
        elif event.type == "AttemptProposed" and event.tenant != "local":
            paying = core["accounts"]
            if paying and paying[-1] != event.tenant:
                yield Finding(f"the tenant `{event.tenant}` is paid for by `{paying[-1]}`", line)


def _redecided(evidence: Evidence) -> Iterator[Finding]:
    yield from _again(evidence, evidence.decider())


def _order(evidence: Evidence) -> Iterator[Finding]:
    yield from _again(evidence, evidence.decider(backwards()))


def _again(evidence: Evidence, decider: Decider) -> Iterator[Finding]:
    for past in evidence.pasts():
        try:
            difference = decider.again(past).difference
        except HostError as error:
            difference = f"cannot be decided again: {error}"
        if difference is not None:
            yield Finding(f"the run `{past.run}`: {difference}", past.seq)


def _canaries(evidence: Evidence) -> Iterator[Finding]:
    marks = {f"the canary `{mark}`": mark for mark in evidence.canaries}
    yield from _searched(evidence, marks, evidence.control)


def _secrets(evidence: Evidence) -> Iterator[Finding]:
    marks = {name: secret.reveal() for name, secret in evidence.secrets.items()}
    yield from _searched(evidence, marks, (*evidence.control, *evidence.others))


def _searched(evidence: Evidence, marks: Mapping[str, str], files: Sequence[Path]) -> Iterator[Finding]:
    """Look for texts in every line, every blob that a line names, and every byte of files."""
    if not marks:
        return
    seen: set[str] = set()
    for line, data in enumerate(evidence.store.lines(), 1):
        yield from (Finding(f"holds {name}", line) for name in search(marks, [data]))
    for line, event in evidence.events():
        for digest in event.refs.values():
            if not isinstance(digest, str) or not digest.startswith("sha256:") or digest in seen:
                continue
            seen.add(digest)
            blob = evidence.store.blob_get(digest) or b""
            yield from (
                Finding(f"names the blob {digest}, which holds {name}", line)
                for name in search(marks, [blob])
            )
    for path in files:
        with path.open("rb") as file:
            yield from (
                Finding(f"{path}: holds {name}")
                for name in search(marks, iter(lambda: file.read(1 << 20), b""))
            )


def _snapshot(evidence: Evidence) -> Iterator[Finding]:
    wanted = {
        event.core["at_seq"]: (line, event.core["at_hash"])
        for line, event in evidence.good()
        if event.type in ("SnapshotTaken", "SnapshotRestored")
    }
    hashes = {0: NO_HASH, **{line: event.hash for line, event in evidence.events() if line in wanted}}
    for seq, (line, digest) in sorted(wanted.items()):
        if hashes.get(seq) != digest:
            yield Finding(f"the snapshot at {seq} does not have the hash of the line {seq}", line)
    decider, seen = evidence.decider(), set()
    for past in evidence.pasts():
        key = (past.admitted["catalog_id"], past.refs["ctx"])
        if key in seen:
            continue
        seen.add(key)
        engine, _ = decider.begin(past)
        detail = _not_identical(engine)
        if detail is not None:
            yield Finding(f"the run `{past.run}`: {detail}", past.seq)


def _not_identical(engine: LuaEngine) -> str | None:
    """Say what is wrong with how an engine's state is dumped and restored."""
    state = engine.dump_state()
    engine.restore_state(state)
    if engine.dump_state() != state:
        return "an engine's restored state is not the dumped one"
    assert isinstance(state, dict)  # noqa: S101 - as the core dumps it
    try:
        engine.restore_state({**state, "v": -1})
    except HostError:
        return None if engine.dump_state() == state else "a refused state was taken in part"
    return "an engine takes a state of another version"


INVARIANTS: Final = (
    Invariant("terminal", "a run has one terminal event, and nothing comes after it", _terminal),
    Invariant("outcome", "a proposal has one outcome, and a run that is over one for each", _outcome),
    Invariant(
        "lineage",
        "each event follows one that may come before it; no key begins two runs",
        _by_rule("lineage"),
    ),
    Invariant("authority", "each event is by someone who may emit it", _by_rule("authority")),
    Invariant("chain", "each line has its type's fields, its hash and its blobs", _by_rule("chain")),
    Invariant(
        "conservation", "on every account held + used never exceeds the limit", _by_rule("conservation")
    ),
    Invariant("shortlist", "each target was in the shortlist, inside envelope and key", _shortlist),
    Invariant("redecide", "each decision is made again to the same digests", _redecided),
    Invariant("canary", "no text that is looked for (`--canary`) is in the control plane", _canaries),
    Invariant("secret", "no secret of the config is in any byte: lines, blobs, files", _secrets),
    Invariant("order", "a clock that runs backwards changes no decision", _order),
    Invariant("snapshot", "a restored state is the dumped one; another version is refused", _snapshot),
)
"""The rows, in the order of spec 5.7."""
