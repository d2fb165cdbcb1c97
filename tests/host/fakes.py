"""A tiny engine in place of the core: walks a list of candidates, with a wait where told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.run.driver import Driver, Surroundings
from llm_policy_host.values import NOTHING, Credential, Failure, Secret, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Inputs, Plain


@dataclass(slots=True)
class FakeEngine:
    """Goes on to the next candidate after a failure, `stream_interrupted` excepted."""

    candidates: list[dict[str, Any]]
    params: dict[str, Any] | None = None
    wait_ms: int = 0
    contracts: list[Plain] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    disabled: list[dict[str, bool]] = field(default_factory=list)

    def start(self, contract: Plain, inputs: Inputs) -> Step:
        self.contracts.append((contract, inputs))
        return self._call(0)

    def succeed(self, handle: object, now_ms: int) -> Step:
        del now_ms
        assert isinstance(handle, int)
        chosen = self.candidates[handle]
        return Step("done", handle, result={"ok": True, "chosen": chosen, "trace": {"policy_id": "sha256:0"}})

    def fail(
        self, handle: object, now_ms: int, failure: Failure, disabled: Mapping[str, bool] = NOTHING
    ) -> Step:
        self.failures.append(failure)
        self.disabled.append(dict(disabled))
        assert isinstance(handle, int)
        if failure.kind == "stream_interrupted" or handle + 1 == len(self.candidates):
            return Step("done", handle, result={"ok": False, "error": failure.kind})
        if self.wait_ms:
            return Step("wait", handle + 1, until_ms=now_ms + self.wait_ms)
        return self._call(handle + 1)

    def wake(self, handle: object, now_ms: int) -> Step:
        del now_ms
        assert isinstance(handle, int)
        return self._call(handle)

    def abandon(self, handle: object, now_ms: int, kind: str) -> Step:
        del now_ms
        return Step("done", handle, result={"ok": False, "error": kind})

    def dump(self, handle: object) -> bytes:
        del handle
        return b""

    def revive(self, text: bytes, now_ms: int, target: tuple[str, str] | None = None) -> Step | str:
        del text, now_ms, target
        return "event_not_allowed"

    def policy_id(self, handle: object) -> str | None:
        del handle
        return "sha256:0"

    def rank(self, contract: Plain, inputs: Inputs) -> Plain:
        self.contracts.append((contract, inputs))
        return {"ordered": [], "error": "no_candidates", "rejected": []}

    def explain(self, contract: Plain, inputs: Inputs) -> Plain:
        return self.rank(contract, inputs)

    def status(self, now_ms: int) -> Plain:
        return {"now_ms": now_ms}

    def _call(self, place: int) -> Step:
        return Step("call", place, self.candidates[place], self.params)


class FakeAuth:
    def at_once(self, provider_id: str) -> Credential | None:
        return None if provider_id == "locked" else Credential(Secret("s3cret"))

    async def credential(self, provider_id: str) -> Credential | Failure:
        if provider_id == "locked":
            return Failure("auth_error", detail="no secret")
        return Credential(Secret("s3cret"))

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Nothing is kept here."""


def candidate(provider_id: str, base_url: str | None = None, api_kind: str = "scripted") -> dict[str, Any]:
    return {
        "provider_id": provider_id,
        "model_family": "family",
        "served_model_id": "served",
        "served_by": provider_id,
        "base_url": base_url,
        "api_kind": api_kind,
    }


def driver(engine: FakeEngine, providers: Mapping[str, Provider], clock: Clock, **around: Any) -> Driver:
    return Driver(engine, providers, FakeAuth(), clock, Surroundings(new_seed=lambda: 7, **around))
