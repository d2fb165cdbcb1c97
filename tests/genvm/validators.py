"""The validators' simulation over the strict fakes: the script itself answers, in every session.

    python -m tests.genvm.validators FOLDER -n 20 -t 50 --loss all [--generation 0.2]

takes what `llm-policy validators` takes and prints the same report. Each node has a VM with the script
in it, made of the config's catalog; that costs a session of the fakes per answer, so it is for tens of
validators where the command, which asks the engine, is for thousands.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.cli.output import USAGE, add_json, warn
from llm_policy_host.cli.validators import add_arguments, do
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.errors import HostError, UsageError
from llm_policy_host.onchain.validators import BUCKET, Answer

from .backends import backend, model
from .values import Failure as ProviderFailure
from .world import GENERATIONS, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.onchain.validators import Scenario, Setting, Validator

    from .values import Request
    from .world import Generation

# What a node's own overlay may say of a config, word for word.
SAME = ("fields", "params", "tier_order", "defaults", "policy_envelope", "retry_policies", "profiles")
ADDRESS = {"base_url", "api_kind", "auth", "auth_env", "discovery", "discovery_id", "region", "aws_region"}
CAPABILITIES = {"supports_json_mode": "json", "supports_vision": "image"}


def lua(value: Any) -> str:
    """Write plain data as Lua."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(key)}] = {lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(lua, value)) + "}"
    return json.dumps(value)


def overlay(config: dict[str, Any], profile: str, without: frozenset[str]) -> str:
    """Write what a config says beside its catalog as the overlay of a node, for the backends it has."""
    providers = {
        name: {key: value for key, value in row.items() if key not in ADDRESS}
        for name, row in config["providers"].items()
        if name not in without
    }
    models = {
        family: {
            key: value
            for key, value in row["served_by"][0].items()
            if key not in {"provider", "provider_model_id"}
        }
        for family, row in config["models"].items()
        if family.partition("/")[0] not in without
    }
    said = {key: config[key] for key in SAME if key in config}
    return "return " + lua({**said, "providers": providers, "models": models, "policy": profile})


def backends(config: dict[str, Any], without: frozenset[str]) -> dict[str, Any]:
    """Give a config's catalog as the backends of a node; a family is `backend/model`."""
    found: dict[str, dict[str, Any]] = {}
    for family, row in config["models"].items():
        provider, _, name = family.partition("/")
        if [served["provider"] for served in row["served_by"]] != [provider]:
            raise UsageError(f"`{family}` is no model of one backend: on chain a family is `backend/model`")
        able = row.get("capabilities", {})
        flags: dict[str, Any] = {short: able.get(long) is True for long, short in CAPABILITIES.items()}
        if provider not in without:
            found.setdefault(provider, {})[name] = model(**flags)
    return {provider: backend(models) for provider, models in found.items()}


class Nodes:
    """The nodes' VMs, made when they are first asked."""

    def __init__(self, configs: dict[str, dict[str, Any]], generation: Generation) -> None:
        self._configs = configs
        self._generation = generation
        self._worlds: dict[tuple[str, frozenset[str]], World] = {}

    def answer(self, node: Validator, transaction: str, scenario: Scenario, setting: Setting) -> Answer:
        """Let the script answer, as `onchain.validators.answer` lets the engine."""
        del setting
        tried: list[str] = []

        def script(request: Request) -> Any:
            failure = scenario.failure(request.provider, tried.count(request.provider))
            tried.append(request.provider)
            return "said" if failure is None else ProviderFailure(failure.http_status)

        world = self._world(node)
        world.script = script
        with world.session("7", {"node_address": node.address, "tx_id": transaction}) as session:
            outcome = world.exec_prompt(session, {"prompt": "hello"})
        routes = [f"{call.provider}/{call.model}@{call.provider}" for call in outcome.calls]
        first = routes[0] if routes else None
        if outcome.error is not None:
            return Answer(first, attempts=len(routes), error="error")
        bucket = int(outcome.calls[-1].prompt["temperature"] // BUCKET)
        return Answer(first, routes[-1], routes[-1].partition("@")[0], bucket, len(routes))

    def _world(self, node: Validator) -> World:
        key = (node.policy.name, node.without)
        if key not in self._worlds:
            config = self._configs[node.policy.name]
            profile = node.policy.profile or "default"
            files = {"router-overlay.lua": overlay(config, profile, node.without)}
            world = World(self._generation, backends(config, node.without), files=files)
            if world.load_error is not None:
                raise UsageError(f"{node.policy.name}: {world.load_error}")
            self._worlds[key] = world
        return self._worlds[key]


def read_configs(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read the configs by the names of their files."""
    files = [
        each for path in map(Path, given) for each in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    return {
        path.name: parse_yaml(path.read_text("utf-8"), str(path)).data
        for path in files
        if path.suffix in {".yaml", ".yml", ".json"}
    }


def main(given: Sequence[str] | None = None) -> int:
    """Simulate over the fakes."""
    parser = argparse.ArgumentParser(prog="python -m tests.genvm.validators", description=__doc__)
    add_arguments(parser)
    add_json(parser)
    parser.add_argument("--generation", choices=GENERATIONS, default=GENERATIONS[-1])
    arguments = parser.parse_args(given)
    nodes = Nodes(read_configs(arguments.configs), arguments.generation)
    try:
        return do(arguments, nodes.answer)
    except HostError as error:
        warn(f"validators: {error}")
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
