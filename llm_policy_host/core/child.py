"""Operator Lua from the outside: a child process, and the engine that lives in it.

A config that is only data leaves the child for good. One that holds functions stays there,
with its engine: no foreign function ever runs in this process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Self

from llm_policy_host.errors import SandboxError
from llm_policy_host.spelling import decode, encode
from llm_policy_host.values import NOTHING, Step

from .engine import Mistake
from .language import Refusal
from .sandbox import DEFAULT_ALLOWANCE, Allowance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.ports import Engine
    from llm_policy_host.values import Failure, Inputs, Plain

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from llm_policy_host.core.worker import main
main()
"""


class Child:
    """A config evaluated in a process of its own; `value` shows it as plain data."""

    def __init__(
        self, source: bytes, host_keys: Sequence[str] = (), allowance: Allowance = DEFAULT_ALLOWANCE
    ) -> None:
        self._wall_s = allowance.wall_s
        self._lock = threading.Lock()
        command = [
            sys.executable,
            "-c",
            _PROGRAM,
            json.dumps(sys.path),
            json.dumps(dataclasses.astuple(allowance)),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        )
        self._close = weakref.finalize(self, _end, self._process)
        try:
            answer = self._exchange({"source": decode(source), "host_keys": list(host_keys)})
        except SandboxError:
            self._close()
            raise
        self.value: Plain = answer["value"]
        self.is_local: bool = answer["is_local"]
        if not self.is_local:
            self._close()

    def ask(self, action: str, *values: Plain, drop: Sequence[int] = ()) -> Plain:
        """Let the child do something; `SandboxError` when it cannot or takes too long."""
        return self._exchange({"do": action, "with": values, "drop": drop})["value"]

    def close(self) -> None:
        """End the process."""
        self._close()

    def _exchange(self, message: Plain) -> Any:  # noqa: ANN401 - JSON
        with self._lock:
            answer = self._exchange_alone(message)
        if "refused" in answer:
            raise SandboxError(answer["refused"])
        return answer

    def _exchange_alone(self, message: Plain) -> Any:  # noqa: ANN401 - JSON
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or self._process.poll() is not None:
            raise SandboxError("the config's process has ended")
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            return json.loads(self._read_line(stdout.fileno()))
        except (OSError, ValueError):
            self._close()
            raise SandboxError(
                f"the config's process ended with {self._process.wait()} and no answer"
            ) from None

    def _read_line(self, pipe: int) -> bytes:
        until, pieces = time.monotonic() + self._wall_s, [b""]
        while not pieces[-1].endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._close()
                raise SandboxError(f"the config ran longer than {self._wall_s:g} s")
            pieces.append(os.read(pipe, 1 << 16))
            if not pieces[-1]:
                break
        return b"".join(pieces)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill: it has nothing to save."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def evaluate_in_child(source: bytes, allowance: Allowance = DEFAULT_ALLOWANCE) -> Plain:
    """Evaluate a chunk that returns plain data, in a process that dies with it."""
    child = Child(source, allowance=allowance)
    if child.is_local:
        child.close()
        raise SandboxError("the config must return plain data: it holds a function")
    return child.value


class _Handle:
    """A run's state in the child, by its number there."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


class ChildEngine:
    """An engine whose policies may call operator Lua; it lives in the child."""

    def __init__(self, child: Child, candidates: Sequence[Mapping[str, Any]]) -> None:
        self._child = child
        self._dropped: list[int] = []
        self.candidates = candidates

    @classmethod
    def create(cls, child: Child) -> Self | Sequence[Mistake]:
        """Make an engine of the child's config, or say every mistake in it."""
        answer = child.ask("create")
        if "candidates" in answer:
            return cls(child, answer["candidates"])
        return [Mistake(**{**mistake, "at": tuple(mistake["at"])}) for mistake in answer["mistakes"]]

    def start(self, contract: Plain, inputs: Inputs) -> Step:
        """Plan, and take the first step."""
        return self._step("start", _plain(contract), _inputs(inputs))

    def succeed(self, handle: object, now_ms: int) -> Step:
        """Take the next step after an answer."""
        return self._step("succeed", _number(handle), now_ms)

    def fail(
        self, handle: object, now_ms: int, failure: Failure, disabled: Mapping[str, bool] = NOTHING
    ) -> Step:
        """Take the next step after a failure; its text stays here."""
        told = dataclasses.asdict(dataclasses.replace(failure, detail=""))
        return self._step("fail", _number(handle), now_ms, told, dict(disabled))

    def wake(self, handle: object, now_ms: int) -> Step:
        """Take the next step after a wait."""
        return self._step("wake", _number(handle), now_ms)

    def abandon(self, handle: object, now_ms: int, kind: str) -> Step:
        """End a run from outside; nobody is to blame."""
        return self._step("abandon", _number(handle), now_ms, kind)

    def policy_id(self, handle: object) -> str | None:
        """Give the identity of the policy that a run obeys; None for a local one."""
        name: str | None = self._child.ask("policy_id", _number(handle))
        return name

    def grounds(self, handle: object) -> tuple[str | None, int]:
        """Give a planned run's policy, None for a local one, and a number that stays while the state does."""
        name, version = self._child.ask("grounds", _number(handle))
        return name, version

    def grounds_text(self, handle: object) -> tuple[bytes, bytes | None]:
        """Give the encoded state that a run was planned in, and its policy's encoded term."""
        state, term = self._child.ask("grounds_text", _number(handle))
        return encode(state), None if term is None else encode(term)

    def used(self, handle: object) -> Plain:
        """Give the part of the shortlist that a run used, also where its trace lists everyone."""
        return self._child.ask("used", _number(handle))

    def dump(self, handle: object) -> bytes:
        """Give a handle as text."""
        return encode(self._child.ask("dump", _number(handle)))

    def revive(self, text: bytes, now_ms: int, target: tuple[str, str] | None = None) -> Step | str:
        """Give the call of a dumped run again, or why there is none."""
        answer = self._child.ask("revive", decode(text), now_ms, target)
        return answer if isinstance(answer, str) else self._taken(answer)

    def rank(self, contract: Plain, inputs: Inputs) -> Plain:
        """Plan without any effect: `{ordered, error, rejected, refusal}`."""
        return self._child.ask("rank", _plain(contract), _inputs(inputs))

    def admit(self, term: Plain) -> str | Refusal:
        """Admit a caller's policy; its identity then stands for it as a contract's `policy_ir`."""
        try:
            answer = self._child.ask("admit", term)
        except (TypeError, ValueError, RecursionError):
            return Refusal("not_a_term", "$", "this is no plain data")
        return answer if isinstance(answer, str) else Refusal(**answer)

    def explain(self, contract: Plain, inputs: Inputs) -> Plain:
        """Say why a plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`; no effect."""
        return self._child.ask("explain", _plain(contract), _inputs(inputs))

    def status(self, now_ms: int) -> Plain:
        """Give the health of every provider."""
        return self._child.ask("status", now_ms)

    def dump_state(self) -> Plain:
        """Give the health, prices and credits that the engine has learned, as plain data."""
        return self._child.ask("dump_state")

    def restore_state(self, state: Plain) -> None:
        """Take a dumped state in place of the engine's own."""
        self._child.ask("restore_state", state)

    def profile_term(self, name: str, *, is_bare: bool = False) -> Plain:
        """Give the effective term of a profile, or the bare one; None where there is none."""
        return self._child.ask("profile_term", name, is_bare)

    def _step(self, action: str, *values: Plain) -> Step:
        dropped, self._dropped = self._dropped, []
        return self._taken(self._child.ask(action, *values, drop=dropped))

    def _taken(self, answer: dict[str, Any]) -> Step:
        handle = _Handle(answer.pop("handle"))
        weakref.finalize(handle, self._dropped.append, handle.number)
        return Step(**answer, handle=handle)


def _number(handle: object) -> int:
    if not isinstance(handle, _Handle):
        raise SandboxError("this handle is of another engine")
    return handle.number


def _plain(value: Plain) -> Plain:
    """Give read-only records as ordinary ones, for JSON."""
    return json.loads(json.dumps(value, default=dict))


def _inputs(inputs: Inputs) -> Plain:
    return {
        **{field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)},
        "others": dict(inputs.others),
    }


def _conforms(engine: ChildEngine) -> Engine:
    """Let the type checker prove the port."""
    return engine
