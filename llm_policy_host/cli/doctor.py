"""`llm-policy doctor`: what runs here, and what is missing; never a secret's value."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.sources import core_directory
from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.wiring import Host

from .models import find_model_files
from .output import OK, add_json, print_json, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from .output import Commands


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("doctor", help="say what runs: runtimes, model files, secrets set or not")
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="also say what this config can use")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Examine."""
    facts = _facts()
    if arguments.config is not None:
        host = Host.from_config(arguments.config)
        facts["runtime"] = host.config.settings.runtime or facts["runtime"]
        facts["providers"] = list(_providers(host))
    if arguments.json:
        print_json({"ok": True, **facts})
        return OK
    for line in table([(f"{name}:", _text(value)) for name, value in facts.items() if name != "providers"]):
        print(line)
    for line in table([tuple(row.values()) for row in facts.get("providers", ())]):
        print(line)
    return OK


def _facts() -> dict[str, Any]:
    vm = Vm()
    return {
        "version": metadata.version("llm-policy"),
        "python": platform.python_version(),
        "runtime": vm.name,
        "lua": vm.version,
        "runtimes": list(available_runtimes()),
        "lupa": metadata.version("lupa"),
        "core": str(core_directory()),
        **find_model_files(),
    }


def _providers(host: Host) -> Iterable[dict[str, str]]:
    for name, provider in (host.config.core.get("providers") or {}).items():
        auth = host.config.auths.get(name, {"kind": "none"})
        yield {
            "provider": name,
            "api_kind": provider.get("api_kind") or "openai_compatible",
            "auth": auth["kind"],
            "state": f"disabled: {host.disabled[name]}" if name in host.disabled else _ready(auth["kind"]),
        }


def _ready(kind: str) -> str:
    return "ready" if kind == "none" else "ready: secret set"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
