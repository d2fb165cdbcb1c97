"""Runs as a ledger tells them, read event by event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.contexts import resolve
from llm_policy_host.ledger.encoding import read
from llm_policy_host.ledger.event import blob_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llm_policy_host.ledger.event import Event
    from llm_policy_host.values import Plain

ANSWERED: Final = "answer"
CUT: Final = frozenset({"cancelled", "in_doubt"})
"""Outcomes of attempts that the core was told nothing of but the run's end."""

_ENDS: Final = frozenset({"RunCompleted", "RunFailed", "RunCancelled"})


@dataclass(slots=True)
class Tried:
    """An attempt; `kind` is the failure's, None after an answer; `is_over` says that there is an outcome."""

    provider_id: str
    model_family: str
    params: str | None
    seq: int
    kind: str | None = None
    ms: int = 0
    tokens: Mapping[str, int] = field(default_factory=dict)
    usd_micro: int | None = None
    is_over: bool = False

    @property
    def route(self) -> str:
        """Name its route."""
        return f"{self.provider_id}|{self.model_family}"


@dataclass(slots=True)
class Past:
    """A run that is over: what it was decided from, what was tried, and how it ended."""

    run: str
    seq: int
    ts: int
    admitted: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, Any] = field(default_factory=dict)
    tried: list[Tried] = field(default_factory=list)
    waits: dict[int, int] = field(default_factory=dict)
    """How long it waited after each attempt, in milliseconds."""
    redirected: dict[int, str] = field(default_factory=dict)
    """Whom a person sent each attempt to, `provider|family`, in place of the one that was next."""
    end: str = ""
    ended: Mapping[str, Any] = field(default_factory=dict)
    ms: int = 0

    @property
    def error(self) -> str | None:
        """Give the word for why it failed; None after an answer."""
        error: str | None = self.ended.get("error")
        return error

    @property
    def policy(self) -> str | None:
        """Name the blob of its policy; None of a flow, and of a policy with functions of its own."""
        name: str | None = self.refs.get("policy")
        return name

    def skipped(self) -> dict[int, set[str]]:
        """Give who was passed by after each attempt."""
        made: dict[int, set[str]] = {}
        for entry in self.ended.get("skips") or ():
            attempt, _, provider = entry.partition("|")
            made.setdefault(int(attempt), set()).add(provider)
        return made


def past_runs(events: Iterable[Event]) -> Iterator[Past]:
    """Give the runs that were admitted and are over, in the order of their ends."""
    under_way: dict[str, Past] = {}
    for event in events:
        if event.run is None:
            continue
        if event.type == "RequestReceived":
            under_way[event.run] = Past(event.run, event.seq, event.ts)
            continue
        past = under_way.get(event.run)
        if past is None:
            continue
        if event.type == "RequestRejected":
            del under_way[event.run]
        elif event.type in _ENDS:
            past.end, past.ended, past.ms = event.type, event.core, event.obs.get("ms") or 0
            yield under_way.pop(event.run)
        else:
            _take(past, event)


def _take(past: Past, event: Event) -> None:
    core, obs = event.core, event.obs
    if event.type == "PolicyAdmitted":
        past.admitted, past.refs = core, event.refs
    elif event.type == "AttemptProposed":
        past.tried.append(
            Tried(core["provider_id"], core["model_family"], core.get("params_digest"), event.seq)
        )
    elif event.type == "AttemptOutcome":
        tried = past.tried[-1]
        tried.kind, tried.ms, tried.is_over = core.get("kind"), obs.get("ms") or 0, True
        tried.tokens, tried.usd_micro = obs.get("tokens") or {}, obs.get("usd_micro")
    elif event.type == "ApprovalDecided" and core.get("target") is not None:
        past.redirected[len(past.tried) + 1] = core["target"]
    elif event.type == "WaitScheduled":
        past.waits[len(past.tried)] = core["until_offset_ms"]


class Shelf:
    """The blobs of a ledger, read: each once, and only if it is what its name says."""

    def __init__(self, get: Callable[[str], bytes | None]) -> None:
        self._get = get
        self._read: dict[str, Plain] = {}
        self._contexts: dict[str, tuple[str, dict[str, Plain]]] = {}

    def plain(self, name: str) -> Any:  # noqa: ANN401 - plain data
        """Read a blob."""
        if name not in self._read:
            self._forget_some()
            self._read[name] = read(self._bytes(name))
        return self._read[name]

    def context(self, name: str) -> tuple[str, dict[str, Plain]]:
        """Read a ctx: its identity and its parts."""
        if name not in self._contexts:
            self._forget_some()
            self._contexts[name] = resolve(name, self._bytes)
        return self._contexts[name]

    def _bytes(self, name: str) -> bytes:
        data = self._get(name)
        if data is None:
            raise LedgerError("blob", name, "is not in the ledger")
        if blob_digest(data) != name:
            raise LedgerError("digest", name, "is not what it is named by")
        return data

    def _forget_some(self) -> None:
        for known in (self._read, self._contexts):
            if len(known) >= _MAX_KNOWN:
                known.clear()


_MAX_KNOWN = 256
