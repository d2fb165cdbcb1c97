"""Every config that stands somewhere in the repository, as data, with where it stands."""

from __future__ import annotations

import ast
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from llm_policy_host.clock import VirtualClock
from llm_policy_host.config.load import read_config
from llm_policy_host.config.lua_file import parse_lua
from llm_policy_host.config.yaml_file import parse_yaml
from llm_policy_host.errors import ConfigError, HostError
from llm_policy_host.wiring import Host
from tests.docs.pages import ROOT, pages
from tests.docs.running import is_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Found = tuple[str, dict[str, Any]]

SHIPPED = ("llm_policy_host/cli/demo.yaml", "llm_policy_host/cli/scaffold/policy.yaml")


def is_taken(data: dict[str, Any], directory: Path) -> bool:
    """Whether the loader takes a config, written down and read as any other."""
    config = read_config(parse_yaml(json.dumps(data), "a config"), directory)
    try:
        Host(config, VirtualClock(), {})
    except ConfigError:
        return False
    return True


@cache
def documented() -> list[Found]:
    """Give the configs of the pages that are read there, and those that are shipped."""
    texts = ((path, (ROOT / path).read_text("utf-8").replace("@KIND@", "scripted")) for path in SHIPPED)
    found = [(path, _yaml(text)) for path, text in texts]
    for page in pages():
        for block in page.blocks:
            if is_config(block) and "refused" not in block.words:
                read = _yaml if block.language == "yaml" else _lua
                found.append((f"{page.name}:{block.line}", read(block.text)))
    return [(at, data) for at, data in found if data]


@cache
def tested() -> list[Found]:
    """Give the configs in texts and literals of the tests and examples, and those of the cases."""
    found = []
    for folder in ("tests", "example_host", "llm_policy_host"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += [(f"{path.relative_to(ROOT)}:{line}", data) for line, data in _in_python(path)]
    for path in sorted((ROOT / "tests/conformance").glob("*/*.json")):
        data = json.loads(path.read_text("utf-8")).get("config")
        if isinstance(data, dict):
            found.append((str(path.relative_to(ROOT)), data))
    return found


def _yaml(text: str) -> dict[str, Any]:
    document = parse_yaml(text, "f")
    return document.data if isinstance(document.data, dict) and not document.problems else {}


def _lua(text: str) -> dict[str, Any]:
    try:
        document = parse_lua(text.encode(), "f")
    except HostError:
        return {}
    is_plain = isinstance(document.data, dict) and not document.problems and document.child is None
    return document.data if is_plain and isinstance(document.data, dict) else {}


def _in_python(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Constant | ast.Dict):
            continue
        data: Any = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "providers:" in node.value:
            data = _yaml(node.value)
        elif isinstance(node, ast.Dict):
            try:
                data = ast.literal_eval(node)
            except (ValueError, TypeError):
                continue
        if isinstance(data, dict) and "providers" in data and _is_plain(data):
            yield node.lineno, data


def _is_plain(data: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(data)) == data)
    except (TypeError, ValueError):
        return False
