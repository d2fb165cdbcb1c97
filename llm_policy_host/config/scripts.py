"""The scripts of scripted providers: written in the config, or in YAML files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .yaml_file import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .document import Document


def read_scripts(document: Document, scripts: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Give every script as data; a file that cannot be used is a mistake of the config."""
    return {
        name: _read_file(document, ("host", "scripts", name), directory / script)
        if isinstance(script, str)
        else script
        for name, script in scripts.items()
    }


def _read_file(document: Document, at: tuple[str | int, ...], path: Path) -> Any:  # noqa: ANN401 - plain data
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        document.report(at, f"the script `{path.name}` cannot be read")
        return []
    script = parse_yaml(text, str(path))
    document.problems.extend(script.problems)
    return script.data
