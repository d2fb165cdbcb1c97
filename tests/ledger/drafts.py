"""Good drafts of every type, and runs made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.ledger.event import Draft

if TYPE_CHECKING:
    from collections.abc import Iterator

HEX = "0123456789abcdef" * 4
BLOB = "sha256:" + HEX
KEYED = "hmac-sha256:" + HEX
HOLD = {"usd_micro": 100, "tokens": 2000, "calls": 1}
SETTLED = {"usd_micro": 12, "tokens": 30, "calls": 1}

CORES: dict[str, dict[str, Any]] = {
    "HostStarted": {"version": "0.1.0", "runtime": "luajit21", "durability": "batch", "epoch": 1},
    "CatalogPublished": {},
    "PolicyPublished": {"policy_id": BLOB},
    "NameBound": {"name": "cheap", "kind": "profile", "policy_id": BLOB},
    "AccountOpened": {"account": "team", "limits": {"usd_micro": 5}, "window": "day", "is_shadow": False},
    "AccountAdjusted": {"account": "team", "limits": {}},
    "KeyMinted": {"key_id": "k1", "rights": ["call", "stream"], "root_digest": HEX},
    "KeyRevoked": {"key_id": "k1"},
    "SessionOpened": {"session": "s1", "mode": "work"},
    "SessionClosed": {"session": "s1", "why": "ended"},
    "ModeChanged": {"session": "s1", "mode": "steward"},
    "RequestReceived": {"api": "chat", "kind": "chat", "is_stream": False},
    "RequestRejected": {"code": "no_candidates"},
    "PolicyAdmitted": {"policy_id": BLOB, "seed": 42},
    "ApprovalRequested": {"approval": "a1", "gate": "dear", "attempt": 1, "target": "small-1"},
    "ApprovalDecided": {"approval": "a1", "decision": "approve"},
    "AttemptProposed": {
        "attempt": 1,
        "provider_id": "acme",
        "model_family": "small-1",
        "hold": HOLD,
        "accounts": ["team"],
    },
    "AttemptOutcome": {"attempt": 1, "kind": None},
    "WaitScheduled": {"until_offset_ms": 500},
    "RunCompleted": {"attempts": 1},
    "RunFailed": {"attempts": 1, "error": "timeout"},
    "RunCancelled": {"attempts": 1},
    "SnapshotTaken": {"at_seq": 0, "at_hash": HEX},
    "SnapshotRestored": {"at_seq": 0, "at_hash": HEX},
    "BackgroundFault": {"part": "feed", "code": "timeout"},
}
"""The least core that each type takes, or nearly."""

OBS: dict[str, dict[str, Any]] = {"AttemptOutcome": {"status": 200, "ms": 12, "settled": SETTLED}}
REFS: dict[str, dict[str, Any]] = {"CatalogPublished": {"catalog": BLOB}, "PolicyPublished": {"policy": BLOB}}
BY = {
    "ApprovalDecided": "operator",
    "SessionOpened": "gateway",
    "ModeChanged": "gateway",
    "RequestReceived": "gateway",
    "PolicyAdmitted": "driver",
    "ApprovalRequested": "driver",
    "AttemptProposed": "driver",
    "WaitScheduled": "driver",
}


def run_id(number: int) -> str:
    """Give the id of a run by its number."""
    return "run-" + "".join("abcdefghij"[int(digit)] for digit in f"{number:026d}")


def draft(kind: str, run: int | None = None, **changes: Any) -> Draft:
    """Make a good draft of a type; `core`, `obs` and `refs` are added to what it has, the rest replaced."""
    parts: dict[str, Any] = {
        part: {**base.get(kind, {}), **changes.pop(part, {})}
        for part, base in (("core", CORES), ("obs", OBS), ("refs", REFS))
    }
    base = Draft(kind, BY.get(kind, "host"), "team", None if run is None else run_id(run))
    return base._replace(**parts, **changes)


def tried(run: int, attempt: int, kind: str | None = None) -> Iterator[Draft]:
    """Make an attempt and its outcome."""
    yield draft("AttemptProposed", run, core={"attempt": attempt})
    yield draft("AttemptOutcome", run, core={"attempt": attempt, "kind": kind})


def whole_run(run: int, failures: int = 0, **start: Any) -> Iterator[Draft]:
    """Make a run that succeeds after some failures, each with a wait."""
    yield draft("RequestReceived", run, **start)
    yield draft("PolicyAdmitted", run)
    for attempt in range(1, failures + 1):
        yield from tried(run, attempt, "timeout")
        yield draft("WaitScheduled", run)
    yield from tried(run, failures + 1)
    yield draft("RunCompleted", run, core={"attempts": failures + 1})


def opening() -> Iterator[Draft]:
    """Make the events of a host's start."""
    for kind in ("HostStarted", "AccountOpened", "KeyMinted", "SessionOpened", "NameBound"):
        yield draft(kind)
