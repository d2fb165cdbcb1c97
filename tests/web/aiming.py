"""A host's face for aims alone: the real core's engine over a config, and requests that ask it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.values import Inputs
from llm_policy_host.web.aim import Aims
from llm_policy_host.web.skin import Asked, Caller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass
class Core:
    """What `Aims` needs of a gateway's host."""

    catalog: Mapping[str, Any]
    engine: LuaEngine

    @classmethod
    def of(cls, config: Mapping[str, Any], vm: Vm | None = None) -> Core:
        engine = create_engine(vm or Vm(), config)
        assert isinstance(engine, LuaEngine), engine
        return cls(config, engine)


@dataclass
class Path:
    path: str = "/chat/completions"


def asked(model: str = "", profile: str | None = None, caller: Caller | None = None) -> Asked:
    return Asked("r", 0, model, profile, caller)


def aim(
    core: Core, body: Mapping[str, Any] | None = None, path: str = "/chat/completions", **more: Any
) -> dict[str, Any]:
    """Aim a body; its model is `model`."""
    flows = more.pop("flows", {})
    return Aims(core, flows).aim(dict(body or {}), asked(**more), Path(path))  # type: ignore[arg-type]


def ranked(core: Core, pieces: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name who would serve the contract of some pieces, in order, as (family, provider)."""
    answer = core.engine.rank(dict(pieces), Inputs(0, 1))
    assert answer.get("error") is None, answer
    return [(entry["model_family"], entry["provider_id"]) for entry in answer["ordered"]]


def providers(entries: Sequence[tuple[str, str]]) -> list[str]:
    return [provider for _, provider in entries]
