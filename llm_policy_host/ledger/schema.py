"""The one table of event types: who may emit each, what it holds, and where it stands (spec 5.2)."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from llm_policy_host.errors import LedgerError
from llm_policy_host.values import CostBasis, FailureKind
from llm_policy_host.values import Kind as ApiKind

from .kinds import (
    BLOB,
    CODE,
    COUNT,
    DIGEST,
    FLAG,
    KEYED,
    NAME,
    Field,
    Kind,
    as_fields,
    expression,
    fields_test,
    names,
    one_of,
    optional,
    record,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AUTHORITIES = ("host", "gateway", "driver", "operator", "keyholder")
"""Who an event can be by."""

KEYS = (
    *("by", "cause", "core", "hash", "idem", "obs", "parent", "prev"),
    *("refs", "run", "seq", "tenant", "ts", "type", "v"),
)
"""The keys of every line, in their order."""

PARTS = ("core", "obs", "refs")

START, ASKING, DECIDED = "received", "asking", "decided"
ADMITTED, CALLING, ANSWERED, WAITING = "admitted", "calling", "answered", "waiting"
ENDED = "ended"
"""Where a run is after its last event."""

_GOING = (ADMITTED, DECIDED, ANSWERED, WAITING)


@dataclass(frozen=True, slots=True)
class Row:
    """An event type.

    `follows` are the places of a run in which it may come, None for events outside of runs; it leads to
    `leads_to`. `subject` is what an event outside of runs is about, and the core's field that names it:
    it `opens` one never seen, `closes` an open one, or needs an open one.
    """

    by: tuple[str, ...]
    core: Mapping[str, Kind | Field] = field(default_factory=dict)
    obs: Mapping[str, Kind | Field] = field(default_factory=dict)
    refs: Mapping[str, Kind | Field] = field(default_factory=dict)
    follows: tuple[str, ...] | None = None
    leads_to: str | None = None
    subject: tuple[str, str] | None = None
    deed: str = "needs"

    @property
    def is_in_run(self) -> bool:
        """Whether its events belong to a run."""
        return self.follows is not None

    @property
    def is_start(self) -> bool:
        """Whether it begins a run."""
        return self.follows == ()

    @property
    def is_terminal(self) -> bool:
        """Whether it ends a run."""
        return self.leads_to == ENDED


_LIMITS = record(usd_micro=optional(COUNT), tokens=optional(COUNT), calls=optional(COUNT))
_AMOUNTS = record(usd_micro=optional(COUNT), tokens=optional(COUNT), calls=COUNT)
_TOKENS = record(
    input=optional(COUNT),
    output=optional(COUNT),
    cached=optional(COUNT),
    cache_write=optional(COUNT),
    reasoning=optional(COUNT),
)
_WINDOW = one_of("lifetime", "day", "hour", "minute")
_MODE = one_of("work", "steward")
_TRIES = whole(1, 100_000)

OUTCOMES = (*get_args(FailureKind), "cancelled", "in_doubt")
"""How an attempt ends that did not answer."""

RIGHTS = ("call", "stream", "flow", "embed", "session", "delegate", "approve", "read_ledger", "admin")
"""What a key may (spec 5.4)."""

_DIGESTS: Mapping[str, Kind | Field] = {
    "decision_digest": optional(DIGEST),
    "trace_digest": optional(DIGEST),
    "attempts": COUNT,
    "skips": optional(names(1000)),
}
_END: Mapping[str, Any] = {
    "obs": {"ms": optional(COUNT), "usd_micro": optional(COUNT), "tokens": optional(COUNT)},
    "refs": {"answer": optional(KEYED)},
    "leads_to": ENDED,
}

ROWS: Mapping[str, Row] = {
    "HostStarted": Row(
        by=("host",),
        core={
            "version": NAME,
            "runtime": optional(NAME),
            "durability": one_of("off", "batch", "strict"),
            "epoch": optional(COUNT),
        },
    ),
    "CatalogPublished": Row(by=("host", "operator"), refs={"catalog": BLOB}),
    "PolicyPublished": Row(
        by=("host", "operator", "driver"), core={"policy_id": NAME}, refs={"policy": BLOB}
    ),
    "NameBound": Row(
        by=("host", "operator"),
        core={"name": NAME, "kind": one_of("profile", "flow"), "policy_id": NAME},
    ),
    "AccountOpened": Row(
        by=("host", "gateway", "operator", "keyholder"),
        core={
            "account": NAME,
            "parent": optional(NAME),
            "limits": _LIMITS,
            "window": _WINDOW,
            "is_shadow": FLAG,
        },
        subject=("account", "account"),
        deed="opens",
    ),
    "AccountAdjusted": Row(
        by=("host", "operator"),
        core={
            "account": NAME,
            "limits": _LIMITS,
            "window": optional(_WINDOW),
            "is_shadow": optional(FLAG),
        },
        subject=("account", "account"),
    ),
    "KeyMinted": Row(
        by=("host", "operator", "keyholder"),
        core={
            "key_id": NAME,
            "account": optional(NAME),
            "rights": names(len(RIGHTS)),
            "root_digest": DIGEST,
        },
        subject=("key", "key_id"),
        deed="opens",
    ),
    "KeyRevoked": Row(
        by=("host", "operator", "keyholder"),
        core={"key_id": NAME},
        subject=("key", "key_id"),
        deed="closes",
    ),
    "SessionOpened": Row(
        by=("gateway", "operator"),
        core={
            "session": NAME,
            "account": optional(NAME),
            "key_id": optional(NAME),
            "mode": _MODE,
            "max_turns": optional(COUNT),
            "max_usd_micro": optional(COUNT),
        },
        subject=("session", "session"),
        deed="opens",
    ),
    "SessionClosed": Row(
        by=("host", "gateway", "operator"),
        core={"session": NAME, "why": CODE},
        subject=("session", "session"),
        deed="closes",
    ),
    "ModeChanged": Row(
        by=("gateway", "operator", "keyholder"),
        core={"session": NAME, "mode": _MODE},
        subject=("session", "session"),
    ),
    "RequestReceived": Row(
        by=("gateway", "driver"),
        core={
            "api": NAME,
            "kind": one_of(*get_args(ApiKind)),
            "profile": optional(NAME),
            "is_stream": FLAG,
            "is_flow": optional(FLAG),
            "node": optional(NAME),
            "shape": optional(DIGEST),
            "account": optional(NAME),
            "key_id": optional(NAME),
            "session": optional(NAME),
            "has_content": optional(FLAG),
        },
        refs={"request": optional(KEYED)},
        follows=(),
        leads_to=START,
    ),
    "RequestRejected": Row(
        by=("gateway", "driver", "host"),
        core={"code": CODE, "account": optional(NAME), "resource": optional(CODE)},
        follows=(START,),
        leads_to=ENDED,
    ),
    "PolicyAdmitted": Row(
        by=("driver",),
        core={
            "policy_id": optional(NAME),
            "catalog_id": optional(NAME),
            "ctx": optional(DIGEST),
            "seed": optional(whole(-(2**53) + 1)),
            "deadline_ms": optional(COUNT),
        },
        obs={"now_ms": optional(COUNT)},
        refs={key: optional(BLOB) for key in ("policy", "catalog", "flow", "ctx", "shape")},
        follows=(START,),
        leads_to=ADMITTED,
    ),
    "ApprovalRequested": Row(
        by=("driver",),
        core={
            "approval": NAME,
            "gate": NAME,
            "attempt": _TRIES,
            "target": NAME,
            "reason": optional(NAME),
            "estimate_micro": optional(COUNT),
            "hold": optional(_AMOUNTS),
            "accounts": optional(names(16)),
            "key_id": optional(NAME),
            "grant": optional(DIGEST),
            "session": optional(NAME),
        },
        obs={"until_ms": optional(COUNT)},
        refs={"state": optional(BLOB), "request": optional(KEYED)},
        follows=_GOING,
        leads_to=ASKING,
    ),
    "ApprovalDecided": Row(
        by=("operator", "keyholder", "host"),
        core={
            "approval": NAME,
            "decision": one_of("approve", "redirect", "deny", "expire"),
            "target": optional(NAME),
            "key_id": optional(NAME),
            "session": optional(NAME),
        },
        follows=(ASKING,),
        leads_to=DECIDED,
    ),
    "AttemptProposed": Row(
        by=("driver",),
        core={
            "attempt": _TRIES,
            "provider_id": NAME,
            "model_family": NAME,
            "served_by": optional(NAME),
            "rank": optional(COUNT),
            "params_digest": optional(DIGEST),
            "hold": _AMOUNTS,
            "accounts": names(16),
            "credential_label": optional(NAME),
        },
        refs={"request": optional(KEYED)},
        follows=_GOING,
        leads_to=CALLING,
    ),
    "AttemptOutcome": Row(
        by=("driver", "host"),
        core={"attempt": _TRIES, "kind": optional(one_of(*OUTCOMES))},
        obs={
            "status": optional(whole(100, 599)),
            "ms": optional(COUNT),
            "ttft_ms": optional(COUNT),
            "tokens": optional(_TOKENS),
            "usd_micro": optional(COUNT),
            "basis": optional(one_of(*get_args(CostBasis))),
            "settled": _AMOUNTS,
        },
        refs={"answer": optional(KEYED), "error": optional(KEYED)},
        follows=(CALLING,),
        leads_to=ANSWERED,
    ),
    "WaitScheduled": Row(
        by=("driver",), core={"until_offset_ms": COUNT}, follows=(ANSWERED,), leads_to=WAITING
    ),
    "RunCompleted": Row(by=("driver", "host"), core=_DIGESTS, follows=(ADMITTED, ANSWERED), **_END),
    "RunFailed": Row(
        by=("driver", "host"), core={**_DIGESTS, "error": CODE}, follows=(*_GOING, ASKING), **_END
    ),
    "RunCancelled": Row(
        by=("driver", "host"), core={**_DIGESTS, "error": optional(CODE)}, follows=(*_GOING, ASKING), **_END
    ),
    "SnapshotTaken": Row(
        by=("host", "operator"),
        core={"at_seq": COUNT, "at_hash": DIGEST, "segment": optional(NAME)},
        refs={"state": optional(BLOB)},
    ),
    "SnapshotRestored": Row(
        by=("host", "operator"),
        core={"at_seq": COUNT, "at_hash": DIGEST, "segment": optional(NAME)},
    ),
    "BackgroundFault": Row(
        by=("host", "gateway"), core={"part": CODE, "code": CODE, "count": optional(COUNT)}
    ),
}
"""Every event type; the log, the verifier, the recovery and the documentation read it here."""


@dataclass(frozen=True, slots=True)
class Type:
    """A row as the log uses it: its test compiled, its fields in full."""

    name: str
    row: Row
    by: frozenset[str]
    fields: Mapping[str, Mapping[str, Field]]
    is_good: Callable[[Any, Any, Any], bool]
    blobs: tuple[tuple[str, str], ...]


def _compile(name: str, row: Row) -> Type:
    fields = {part: as_fields(getattr(row, part)) for part in PARTS}
    blobs = tuple((part, key) for part in PARTS for key, each in fields[part].items() if each.kind.is_blob)
    return Type(name, row, frozenset(row.by), fields, fields_test(*fields.values()), blobs)


TYPES: Mapping[str, Type] = {name: _compile(name, row) for name, row in ROWS.items()}


def type_of(name: str) -> Type:
    """Give an event type by its name, or refuse with the nearest."""
    found = TYPES.get(name)
    if found is None:
        raise LedgerError("schema", "type", f"no event type `{name}`{_near(name, TYPES)}")
    return found


def refusal(of: Type, core: Any, obs: Any, refs: Any) -> LedgerError:  # noqa: ANN401 - not known to be plain
    """Say what is wrong with the parts of an event that its type's test refused."""
    for part, given in zip(PARTS, (core, obs, refs), strict=True):
        found = _fault(given, of.fields[part], part)
        if found is not None:
            return LedgerError("schema", found[0], f"{found[1]} ({of.name})")
    raise AssertionError(f"{of.name}: the test refused what no field explains")


def _fault(given: Any, fields: Mapping[str, Field], path: str) -> tuple[str, str] | None:  # noqa: ANN401
    """Find the first field that is not as its kind wants it: its path, and what is wrong."""
    if given.__class__ is not dict:
        return path, "must be a record"
    for key in given:
        if key not in fields:
            return f"{path}.{key}", f"unknown field{_near(key, fields)}"
    for key, each in fields.items():
        value, at = given.get(key), f"{path}.{key}"
        if value is None and not each.is_optional:
            return at, "is missing"
        if value is None:
            continue
        if each.kind.parts and (found := _fault(value, each.kind.parts, at)) is not None:
            return found
        if not expression(each.kind)(value):
            return at, f"must be {each.kind.words}"
    return None


def _near(name: Any, known: Mapping[str, Any]) -> str:  # noqa: ANN401 - a key of anything
    found = difflib.get_close_matches(name, known, 1) if isinstance(name, str) else []
    return f" (did you mean `{found[0]}`?)" if found else ""
