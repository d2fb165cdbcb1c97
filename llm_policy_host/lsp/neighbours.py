"""What a policy in a file of its own may name: what the config beside it declares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.load import MAX_BYTES
from llm_policy_host.config.yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.values import Plain

CONFIG = "policy.yaml"
"""As `llm-policy init` and `new-policy` name it."""


@dataclass(frozen=True)
class Neighbour:
    """The config beside a file, read when it is asked for: as it is open, or else on disk."""

    path: Path
    opened: str | None = None

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Give its data, as far as it can be read."""
        data = parse_yaml(_read(self.path) if self.opened is None else self.opened, CONFIG).data
        return data if isinstance(data, dict) else {}


def schema_of(data: Plain) -> dict[str, Any]:
    """Give what a config's data says that terms may name, as far as it is well formed."""
    schema: dict[str, Any] = {}
    found = data if isinstance(data, dict) else {}
    fields, customs = found.get("fields"), found.get("customs")
    if isinstance(fields, dict):
        schema["fields"] = {name: row for name, row in fields.items() if isinstance(row, dict)}
    for key in ("params", "tier_order"):
        if isinstance(found.get(key), list):
            schema[key] = [name for name in found[key] if isinstance(name, str)]
    return {**schema, "customs": sorted(customs)} if isinstance(customs, dict) else schema


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
