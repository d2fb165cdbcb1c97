"""The parts of a host that are made of its config, or every mistake in them (`ConfigError`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .core.child import ChildEngine
from .core.engine import LuaEngine, create_engine
from .core.language import Refusal
from .core.vm import Vm
from .errors import ConfigError, HostError
from .gating import make_judge
from .providers.prices import Prices, Snapshot
from .providers.registry import ADAPTERS, lacking
from .providers.scripted import check_scripts
from .run.flow_forms import read_flow
from .run.lanes import LaneBounds
from .values import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .auth.resolver import AuthResolver
    from .config.load import Config
    from .core.engine import Mistake
    from .core.gates import Judge
    from .core.language import IdentifiedFlow, Language
    from .ports import Clock

# of a provider's lane whose config names only the other bound
_MAX_IN_FLIGHT, _MAX_QUEUE = 64, 64
# the core says "no provider key `api_knd`" of a key, "no provider `opnai`" of a value
_OF_A_KEY = re.compile(r" key(?: `.*`)?\Z", re.DOTALL)


def make_engine(config: Config) -> LuaEngine | ChildEngine:
    """Make the engine, or raise every mistake that host and core found in the config."""
    document = config.document
    answer = _try_engine(config) if config.is_readable else ()
    if not isinstance(answer, LuaEngine | ChildEngine):
        known = {path for problem in document.problems for path in _and_above(problem.path)}
        for mistake in answer:
            if mistake.path not in known:
                is_key = _OF_A_KEY.search(mistake.detail) is not None
                document.report(mistake.at, mistake.detail, near=mistake.nearest, key=is_key)
    if document.problems:
        raise ConfigError(
            sorted(document.problems, key=lambda problem: (problem.file, problem.line, problem.column))
        )
    if not isinstance(answer, LuaEngine | ChildEngine):
        document.report((), "a config needs `providers` and `models`")
        raise ConfigError(document.problems)
    return answer


def _try_engine(config: Config) -> LuaEngine | ChildEngine | Sequence[Mistake]:
    """Make the engine here, or in the child where a config with functions lives."""
    child = config.document.child
    if child is not None:
        return ChildEngine.create(child)
    return create_engine(Vm(config.settings.runtime), config.core)


def _and_above(path: str) -> Iterator[str]:
    """Give the path of a mistake that the host knows, and those above it, of which the core need not tell."""
    yield path
    yield from (path[:place] for place, character in enumerate(path) if place > 1 and character in ".[")


def check_played(config: Config, scripts: Mapping[str, Any]) -> None:
    """Refuse scripts that no provider can play."""
    try:
        check_scripts(scripts)
    except HostError as error:
        config.document.report(("host", "scripts"), str(error))
        raise ConfigError(config.document.problems) from None


def make_flows(
    config: Config, engine: LuaEngine | ChildEngine, language: Language, schema: Mapping[str, Any]
) -> dict[str, IdentifiedFlow]:
    """Read the config's flows, or raise every mistake in them."""
    document = config.document
    flows: dict[str, IdentifiedFlow] = {}
    for name, form in (config.settings.gateway.get("flows") or {}).items():
        answer = read_flow(form, engine, language, schema)
        if isinstance(answer, Refusal):
            detail = f"{answer.code} at {answer.path}: {answer.detail}"
            document.report(("host", "gateway", "flows", name), detail)
        else:
            flows[name] = answer
    if document.problems:
        raise ConfigError(document.problems)
    return flows


def make_gates(config: Config, schema: Mapping[str, Any]) -> Judge | None:
    """Compile the operator's gates, or raise every mistake in them."""
    judge = make_judge(config, schema)
    if config.document.problems:
        raise ConfigError(config.document.problems)
    return judge


def make_prices(config: Config, clock: Clock) -> Prices:
    """Read the vendors' prices that the config names, or the packaged ones."""
    providers = config.core.get("providers") or {}
    base_urls = {name: provider.get("base_url") or "" for name, provider in providers.items()}
    file = config.settings.prices
    try:
        prices = Prices(base_urls, clock, Snapshot(None if file is None else config.directory / file))
        if file is not None:
            prices.load()
    except HostError as error:
        config.document.report(("host", "prices"), str(error))
        raise ConfigError(config.document.problems) from None
    return prices


def find_disabled(config: Config, auth: AuthResolver) -> dict[str, str]:
    """Say which providers cannot be called by this host, and why."""
    disabled = {}
    for name, provider in (config.core.get("providers") or {}).items():
        kind = provider.get("api_kind") or "openai_compatible"
        found = auth.find(name)
        if kind not in ADAPTERS:
            disabled[name] = f"no adapter speaks `{kind}`"
        elif (package := lacking(kind)) is not None:
            disabled[name] = f"`{kind}` needs the package `{package}`, which is not installed"
        elif isinstance(found, Missing):
            disabled[name] = found.reason
    return disabled


def lane_bounds(config: Config) -> dict[str, LaneBounds]:
    """Give the bounds of the lanes that the config names."""
    return {
        name: LaneBounds(lane.get("max_in_flight", _MAX_IN_FLIGHT), lane.get("max_queue", _MAX_QUEUE))
        for name, lane in config.settings.lanes.items()
    }
