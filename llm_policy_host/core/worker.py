"""The process in which operator Lua lives: JSON lines in, JSON lines out, nothing else.

It is started by `child`, gets no environment, may write no file, has bounds on memory and
processor time, and is killed by its parent when an answer takes too long.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from llm_policy_host.errors import HostError
from llm_policy_host.spelling import decode, encode
from llm_policy_host.values import Failure, Inputs

from .engine import LuaEngine, create_engine_from
from .sandbox import Allowance, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.values import Plain, Step

FUNCTION = {"$": "function"}
"""Stands for a Lua function where a config is shown as plain data."""


class _Worker:
    """One config in one sandbox, and the engine made of it."""

    def __init__(self, sandbox: Sandbox, source: bytes, host_keys: list[str]) -> None:
        self._sandbox = sandbox
        self._config = sandbox.evaluate(source)
        self.is_local = False
        self.value = sandbox.from_lua(self._config, self._show)
        self._host_keys = host_keys
        self._handles: dict[int, object] = {}
        self._engine: LuaEngine | None = None

    def _show(self, kind: str) -> Plain:
        """Show what is not plain; only functions may stand in a config."""
        if kind != "function":
            return None
        self.is_local = True
        return FUNCTION

    def answer(self, asked: dict[str, Any]) -> Plain:
        """Do what is asked."""
        for name in asked.get("drop", ()):
            self._handles.pop(name, None)
        action: Callable[..., Plain] = getattr(self, f"do_{asked['do']}")
        return action(*asked["with"])

    def do_create(self) -> Plain:
        answer = create_engine_from(self._sandbox, self._sandbox.without(self._config, self._host_keys))
        if isinstance(answer, LuaEngine):
            self._engine = answer
            return {"candidates": answer.candidates}
        return {"mistakes": [dataclasses.asdict(mistake) for mistake in answer]}

    def do_start(self, contract: Plain, inputs: Plain) -> Plain:
        return self._step(self._made.start(contract, Inputs(**inputs)))

    def do_succeed(self, handle: int, now_ms: int) -> Plain:
        return self._step(self._made.succeed(self._handles[handle], now_ms))

    def do_fail(self, handle: int, now_ms: int, failure: Plain, disabled: Plain) -> Plain:
        return self._step(self._made.fail(self._handles[handle], now_ms, Failure(**failure), disabled))

    def do_wake(self, handle: int, now_ms: int) -> Plain:
        return self._step(self._made.wake(self._handles[handle], now_ms))

    def do_abandon(self, handle: int, now_ms: int, kind: str) -> Plain:
        return self._step(self._made.abandon(self._handles[handle], now_ms, kind))

    def do_policy_id(self, handle: int) -> Plain:
        return self._made.policy_id(self._handles[handle])

    def do_grounds(self, handle: int) -> Plain:
        return self._made.grounds(self._handles[handle])

    def do_grounds_text(self, handle: int) -> Plain:
        state, term = self._made.grounds_text(self._handles[handle])
        return decode(state), None if term is None else decode(term)

    def do_used(self, handle: int) -> Plain:
        return self._made.used(self._handles[handle])

    def do_dump(self, handle: int) -> Plain:
        return decode(self._made.dump(self._handles[handle]))

    def do_revive(self, text: str, now_ms: int, target: Plain) -> Plain:
        answer = self._made.revive(encode(text), now_ms, None if target is None else tuple(target))
        return answer if isinstance(answer, str) else self._step(answer)

    def do_rank(self, contract: Plain, inputs: Plain) -> Plain:
        return self._made.rank(contract, Inputs(**inputs))

    def do_admit(self, term: Plain) -> Plain:
        answer = self._made.admit(term)
        return answer if isinstance(answer, str) else dataclasses.asdict(answer)

    def do_explain(self, contract: Plain, inputs: Plain) -> Plain:
        return self._made.explain(contract, Inputs(**inputs))

    def do_status(self, now_ms: int) -> Plain:
        return self._made.status(now_ms)

    def do_dump_state(self) -> Plain:
        return self._made.dump_state()

    def do_restore_state(self, state: Plain) -> Plain:
        return self._made.restore_state(state)

    def do_profile_term(self, name: str, is_bare: bool) -> Plain:  # noqa: FBT001 - as it comes in JSON
        return self._made.profile_term(name, is_bare=is_bare)

    @property
    def _made(self) -> LuaEngine:
        if self._engine is None:
            raise HostError("no engine was made yet")
        return self._engine

    def _step(self, step: Step) -> Plain:
        name = max(self._handles, default=0) + 1
        self._handles[name] = step.handle
        parts = {field.name: getattr(step, field.name) for field in dataclasses.fields(step)}
        return {**parts, "candidate": dict(step.candidate), "result": dict(step.result), "handle": name}


def main() -> None:
    """Serve the parent until it goes."""
    allowance = Allowance(*json.loads(sys.argv[2]))
    first = json.loads(sys.stdin.readline())
    _limit(allowance)
    try:
        worker = _Worker(Sandbox(allowance), encode(first["source"]), first["host_keys"])
    except HostError as error:
        _say({"refused": str(error)})
        return
    _say({"value": worker.value, "is_local": worker.is_local})
    if not worker.is_local:
        return
    _lift_processor_bound()
    for line in sys.stdin:
        try:
            _say({"value": worker.answer(json.loads(line))})
        except HostError as error:
            _say({"refused": str(error)})


def _say(data: Plain) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def _limit(allowance: Allowance) -> None:
    """Bound this process, where the system can."""
    try:
        import resource  # noqa: PLC0415 - absent on systems without POSIX limits
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (allowance.processor_s, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python and its libraries already have their memory; this bounds what comes on top
    wanted = 1024 * 1024 * 1024 + allowance.memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def _lift_processor_bound() -> None:
    """From here on each call has its own bound: the parent's patience."""
    try:
        import resource  # noqa: PLC0415 - absent on systems without POSIX limits
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
