"""A host over scripted providers in virtual time whose ledger lies in memory, and what its runs wrote there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from llm_policy_host.bookkeeping import Ledger, counted_ids
from llm_policy_host.clock import VirtualClock
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Contract
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from llm_policy_host.ledger.event import Event
    from llm_policy_host.values import Result

PROMPT = "CANARY-prompt-9f31"
HELLO = Contract(messages=[{"role": "user", "content": PROMPT}], params={"max_tokens": 10})

_SHORT = {
    "RequestReceived": "received",
    "RequestRejected": "rejected",
    "PolicyAdmitted": "admitted",
    "AttemptProposed": "proposed",
    "AttemptOutcome": "outcome",
    "WaitScheduled": "wait",
    "RunCompleted": "completed",
    "RunFailed": "failed",
    "RunCancelled": "cancelled",
}


def config(scripts: dict[str, Any], **host: Any) -> dict[str, Any]:
    """Give a config of one model at as many providers as there are scripts, the first the cheapest."""
    routes = [
        {"provider": name, "price_in": place + 1.0, "price_out": place + 2.0}
        for place, name in enumerate(scripts)
    ]
    return {
        "providers": {
            name: {"base_url": "http://nowhere.invalid", "api_kind": "scripted"} for name in scripts
        },
        "models": {"m": {"served_by": routes, "capabilities": {"context": 1000, "supports_tools": True}}},
        "retry_policies": {
            "patient": {
                "timeout": {"action": "retry_same", "attempts": 1, "backoff_ms": 100},
                "rate_limit": {"action": "next_candidate"},
                "auth_error": {"action": "abort"},
                "unknown": {"action": "next_candidate"},
            }
        },
        "profiles": {
            "default": {
                "filter": ["requirements"],
                "scorer": ["neg", ["field", "price_in"]],
                "retry_policy": "patient",
            }
        },
        "host": {"scripts": scripts, **host},
    }


class _Clock(VirtualClock):
    """Virtual time that stands still while a thread commits."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.is_busy: Callable[[], bool] = lambda: False

    def _pump(self, loop: asyncio.AbstractEventLoop, quiet_passes: int) -> None:
        if self.is_busy():
            loop.call_soon(self._pump, loop, 0)
        else:
            super()._pump(loop, quiet_passes)


class Setting:
    """A host, its clock and its ledger."""

    def __init__(
        self,
        scripts: dict[str, Any],
        *,
        store: MemoryStore | None = None,
        durability: str = "batch",
        clock: VirtualClock | None = None,
        **host: Any,
    ) -> None:
        self.clock = clock or _Clock(1_000_000)
        self.store = store or MemoryStore()
        log, recovery = open_log(self.store, self.clock, Folds)
        if isinstance(self.clock, _Clock):
            self.clock.is_busy = lambda: log._committing is not None
        self.ledger = Ledger(log, recovery, durability=durability, new_id=counted_ids(log.seq))
        self.host = Host.from_data(
            config(scripts, **host), clock=self.clock, ledger=self.ledger, environment={"ROOT": 40 * "r"}
        )

    async def ask(self, contract: Contract = HELLO, *, is_stream: bool = False) -> Result:
        """Take a contract to its result, either way."""
        if not is_stream:
            return await self.host.run(contract)
        async with aclosing(self.host.stream(contract)) as chunks:
            async for chunk in chunks:
                last = chunk
        assert last.result is not None
        return last.result

    def events(self) -> list[Event]:
        """Give everything that is in the ledger."""
        return [read(line) for line in self.store.lines()]

    def told(self) -> list[str]:
        """Give each run's events in short, a run in one text."""
        runs: dict[str, list[str]] = {}
        for event in self.events():
            if event.run is not None:
                runs.setdefault(event.run, []).append(_short(event))
        return [" ".join(parts) for parts in runs.values()]

    def check(self) -> None:
        """Let the judge of lines say that all is good and no run is left open."""
        verdict = verify(self.store.lines(), self.store.blob_get, Folds())
        assert verdict.fault is None, verdict.fault
        assert verdict.open_runs == 0

    async def __aenter__(self) -> Self:
        await self.host.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.close()


def _short(event: Event) -> str:
    name, core = _SHORT[event.type], event.core
    if name == "proposed":
        return f"{name}:{core['provider_id']}"
    if name == "outcome":
        return f"{name}:{core.get('kind') or 'ok'}/{event.obs['settled']['calls']}"
    return (
        f"{name}:{core['error' if 'error' in core else 'code']}" if {"error", "code"} & core.keys() else name
    )


class CancelledAt:
    """Runs something in this task, and cancels the task at the n-th place where it waits for anything."""

    def __init__(self, work: Coroutine[Any, Any, None], place: int) -> None:
        self._work = work
        self._place = place
        self.has_come = False

    def __await__(self) -> Generator[Any, Any, None]:
        waiting = self._work.__await__()
        step, given, count = waiting.send, None, 0
        while True:
            try:
                awaited = step(given)
            except StopIteration:
                return
            count += 1
            if count == self._place:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                self.has_come = True
            try:
                step, given = waiting.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 - passed on as it is
                step, given = waiting.throw, error


async def cancelled_at(place: int, work: Coroutine[Any, Any, None]) -> bool:
    """Run something, and cancel it where it waits for the n-th time; whether it came so far."""
    cut = CancelledAt(work, place)

    async def running() -> None:
        await cut

    await asyncio.wait([asyncio.ensure_future(running())])
    return cut.has_come
