"""The core's engine behind the `Engine` port: scalars and text cross, handles stay with Lua."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from llm_policy_host.errors import CoreError, MarshalError, UsageError
from llm_policy_host.spelling import decode
from llm_policy_host.values import NOTHING, Step

from .gathered import Gathered
from .language import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.ports import Engine
    from llm_policy_host.values import Failure, Inputs, Plain

    from .vm import Vm

_NEW = b"local face, config, metrics = ... return face.new(config, metrics)"

_OPEN = b"""
local engine = ...
local face = require("llm_policy.engine.boundary").open(engine)
return face.start, face.succeed, face.fail, face.wake, face.abandon, face.rank, face.status,
  face.admit, face.knows, face.explain, face.grounds, face.grounds_text, face.used, face.dump,
  face.revive, face.candidates()
"""

_PROFILE_TERM = b"""
local engine, name, is_bare = ...
local policy = require("llm_policy.engine.policies").of_profile(engine, name)
if not policy or policy.is_local then return nil end
local term = policy.term
if is_bare then
  local config = engine.config
  local options = { retry_policies = config.retry_policies }
  term = require("llm_policy.language.sugar").lower(config.profiles[name], options)
  term = require("llm_policy.language.normal_form").normalize(term)
end
return require("llm_policy.language.encoding").value(term)
"""

_TRUTHS = b"""
local engine, contract, inputs = ...
local counted = require("llm_policy.engine.truths").counted(engine, contract, inputs)
return require("llm_policy.language.encoding").value(counted)
"""

_DUMP = b"""
local engine = ...
return require("llm_policy.language.encoding").value(engine:dump_state())
"""

_RESTORE = b"local engine, state = ... return engine:restore_state(state)"

_MAX_ADMITTED = 1024
_LEAST = 4
"""Values that a step crosses as; a refusal is fewer."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error of a config, as the core reports it; `at` is its path as keys."""

    path: str
    at: tuple[str | int, ...]
    detail: str
    nearest: str | None = None


class LuaEngine:
    """An engine in one runtime. Its health is its own; a handle is a Lua table, never copied."""

    def __init__(self, vm: Vm, engine: object) -> None:
        self._vm = vm
        self._gathered = Gathered(vm)
        *functions, candidates = vm.call(vm.load(_OPEN), engine)
        self._start, self._succeed, self._fail, self._wake, self._abandon, self._rank, self._status = (
            functions[:7]
        )
        self._admit, self._knows, self._explain = functions[7:10]
        self._grounds, self._grounds_text, self._used, self._dump, self._revive = functions[10:]
        self._admitted: dict[bytes, bytes] = {}
        self._engine = engine
        self.candidates: Sequence[Mapping[str, Any]] = read_text(candidates)

    @property
    def raw(self) -> tuple[Any, Any]:
        """Give the boundary's `start` and `succeed` as they are: for measurements only."""
        return self._start, self._succeed

    @property
    def inner(self) -> tuple[Vm, object]:
        """Give the runtime and the engine's own table: for other modules of the core."""
        return self._vm, self._engine

    def start(self, contract: Plain, inputs: Inputs) -> Step:
        """Plan, and take the first step."""
        vm = self._vm
        others = self._gathered.table(inputs.others)
        answer = vm.call(
            self._start,
            vm.to_lua(contract),
            inputs.now_ms,
            inputs.seed,
            others,
            inputs.is_full_trace,
            inputs.is_callers_policy,
        )
        return self._step(answer)

    def succeed(self, handle: object, now_ms: int) -> Step:
        """Take the next step after an answer."""
        return self._step(self._vm.call(self._succeed, handle, now_ms))

    def fail(
        self, handle: object, now_ms: int, failure: Failure, disabled: Mapping[str, bool] = NOTHING
    ) -> Step:
        """Take the next step after a failure; its text stays outside."""
        vm, told = self._vm, (failure.kind.encode(), failure.http_status, failure.retry_after_ms)
        extras = vm.to_lua(disabled) if disabled else None
        return self._step(vm.call(self._fail, handle, now_ms, *told, extras, failure.is_callers_fault))

    def wake(self, handle: object, now_ms: int) -> Step:
        """Take the next step after a wait."""
        return self._step(self._vm.call(self._wake, handle, now_ms))

    def abandon(self, handle: object, now_ms: int, kind: str) -> Step:
        """End a run from outside; nobody is to blame."""
        return self._step(self._vm.call(self._abandon, handle, now_ms, kind.encode()))

    def policy_id(self, handle: Any) -> str | None:  # noqa: ANN401 - lupa has no types
        """Give the identity of the policy that a run obeys; None for a local one."""
        name = handle[b"policy_id"]
        return None if name is None else decode(name)

    def grounds(self, handle: object) -> tuple[str | None, int]:
        """Give a planned run's policy, None for a local one, and a number that stays while the state does."""
        name, version = self._vm.call(self._grounds, handle)
        return None if name is None else decode(name), int(version)

    def grounds_text(self, handle: object) -> tuple[bytes, bytes | None]:
        """Give the encoded state that a run was planned in, and its policy's encoded term."""
        answer = self._vm.call(self._grounds_text, handle)
        return answer if isinstance(answer, tuple) else (answer, None)

    def used(self, handle: object) -> Plain:
        """Give the part of the shortlist that a run used, also where its trace lists everyone."""
        return read_text(self._vm.call(self._used, handle))

    def dump(self, handle: object) -> bytes:
        """Give a handle as text."""
        text: bytes = self._vm.call(self._dump, handle)
        return text

    def revive(self, text: bytes, now_ms: int, target: tuple[str, str] | None = None) -> Step | str:
        """Give the call of a dumped run again, or why there is none."""
        route = tuple(name.encode(errors="surrogateescape") for name in target or ())
        answer = self._vm.call(self._revive, text, now_ms, *route)
        if len(answer) < _LEAST:
            refusal: dict[str, str] = read_text(answer[1])
            return refusal["code"]
        return self._step(answer)

    def rank(self, contract: Plain, inputs: Inputs) -> Plain:
        """Plan without any effect: `{ordered, error, rejected, refusal}`."""
        vm = self._vm
        return read_text(vm.call(self._rank, vm.to_lua(contract), self._given(inputs)))

    def admit(self, term: Plain) -> str | Refusal:
        """Admit a caller's policy; its identity then stands for it as a contract's `policy_ir`.

        A term that was admitted before is found by its text and never carried to Lua again.
        """
        try:
            key = hashlib.sha256(json.dumps(term).encode()).digest()
        except (TypeError, ValueError, RecursionError):
            return Refusal("not_a_term", "$", "this is no plain data")
        known: Any = self._admitted.pop(key, None)
        if known is None or not self._vm.call(self._knows, known):
            try:
                known, refusal = self._vm.call(self._admit, self._vm.to_lua(term))
            except MarshalError as error:
                return Refusal("too_deep", "$", str(error).partition(": ")[2])
            if known is None:
                return Refusal(**read_text(refusal))
        self._admitted[key] = known
        if len(self._admitted) > _MAX_ADMITTED:
            self._admitted.pop(next(iter(self._admitted)), None)
        return decode(known)

    def explain(self, contract: Plain, inputs: Inputs) -> Plain:
        """Say why a plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`; no effect."""
        vm = self._vm
        return read_text(vm.call(self._explain, vm.to_lua(contract), self._given(inputs)))

    def status(self, now_ms: int) -> Plain:
        """Give the health of every provider."""
        return read_text(self._vm.call(self._status, now_ms))

    def profile_term(self, name: str, *, is_bare: bool = False) -> Plain:
        """Give the effective term of a profile in normal form; None where there is no such term.

        The bare one is without the operator's envelope, for those who make another policy of it.
        """
        term = self._vm.call(self._vm.load(_PROFILE_TERM), self._engine, name.encode(), is_bare)
        return None if term is None else read_text(term)

    def truths(self, contract: Plain, inputs: Inputs) -> Plain:
        """Count for whom each predicate of a policy holds: `{nodes, policy_id}`, or `{error, refusal}`."""
        vm = self._vm
        return read_text(vm.call(vm.load(_TRUTHS), self._engine, vm.to_lua(contract), self._given(inputs)))

    def dump_state(self) -> Plain:
        """Give the health, prices and credits that the engine has learned, as plain data."""
        return read_text(self._vm.call(self._vm.load(_DUMP), self._engine))

    def restore_state(self, state: Plain) -> None:
        """Take a dumped state in place of the engine's own."""
        answer = self._vm.call(self._vm.load(_RESTORE), self._engine, self._vm.to_lua(state))
        if isinstance(answer, tuple):
            raise UsageError(f"the core refused a state: {decode(answer[1])}")

    def _given(self, inputs: Inputs) -> Any:  # noqa: ANN401 - lupa has no types
        scalars = {"now_ms": inputs.now_ms, "seed": inputs.seed}
        return self._gathered.with_scalars(inputs.others, scalars)

    def _step(self, answer: Any) -> Step:  # noqa: ANN401 - lupa has no types
        if len(answer) < _LEAST:
            raise UsageError(f"the core refused an event: {read_text(answer[1])}")
        status, first, text, handle, *rest = answer
        if status == b"call":
            foreign, bounds = rest
            candidate = self.candidates[int(first) - 1] if foreign is None else _served(read_text(foreign))
            params = read_text(text) if text is not None else None
            if bounds is None:
                return Step("call", handle, candidate, params)
            return Step("call", handle, candidate, params, callers_bounds=read_text(bounds))
        if status == b"wait":
            return Step("wait", handle, until_ms=first)
        if status == b"done":
            return Step("done", handle, result=read_text(text))
        raise CoreError(f"the core answered with no known step: `{status!r}`")


def read_text(text: bytes) -> Plain:
    """Read what the core encoded (spec 1.4): JSON, but for bytes that JSON would have escaped."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(decode(text), strict=False)


def _served(candidate: dict[str, Any]) -> dict[str, Any]:
    """Say who serves a candidate from outside the catalog: the offer's peer, or the provider itself."""
    offer = candidate.get("offer")
    peer = offer.get("peer_id") if isinstance(offer, dict) else None
    return {**candidate, "served_by": peer if isinstance(peer, str) else candidate["provider_id"]}


def create_engine(vm: Vm, config: Plain, metrics: Plain = None) -> LuaEngine | Sequence[Mistake]:
    """Make an engine from a config, or say every mistake in it."""
    return create_engine_from(vm, vm.to_lua(config), vm.to_lua(metrics or {}))


def create_engine_from(vm: Vm, config: object, metrics: object = None) -> LuaEngine | Sequence[Mistake]:
    """Make an engine from a config that is a table of the runtime."""
    answer = vm.call(vm.load(_NEW), vm.face, config, metrics)
    if not isinstance(answer, tuple):
        return LuaEngine(vm, answer)
    return [_mistake(entry) for entry in vm.from_lua(answer[1])]


def _mistake(entry: Plain) -> Mistake:
    return Mistake(
        path=str(entry.get("path", "$")),
        at=tuple(entry.get("at") or ()),
        detail=str(entry.get("detail", "")),
        nearest=entry.get("nearest"),
    )


def _conforms(engine: LuaEngine) -> Engine:
    """Let the type checker prove the port."""
    return engine
