"""`llm-policy import`: another gateway's config as one of ours, and what of it has no place here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.config.imports.imported import read_file
from llm_policy_host.config.imports.litellm import import_litellm
from llm_policy_host.config.imports.openrouter import import_openrouter
from llm_policy_host.errors import UsageError
from llm_policy_host.wiring import Host

from .contracts import reason
from .output import FAILED, OK, add_json, print_json, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Any

    from llm_policy_host.config.imports.imported import Imported

    from .output import Commands

SOURCES: Mapping[str, Callable[[Any], Imported]] = {
    "litellm": import_litellm,
    "openrouter": import_openrouter,
}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "import", help="make a config of a LiteLLM proxy's, or of OpenRouter's requests"
    )
    parser.add_argument(
        "file", metavar="FILE", help="LiteLLM's `config.yaml`; OpenRouter's requests or presets as JSON"
    )
    parser.add_argument("--from", dest="source", required=True, choices=sorted(SOURCES), help="whose it is")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the config goes (else: standard output)"
    )
    parser.add_argument("--strict", action="store_true", help="fail (1) where a part did not convert")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Import."""
    imported = SOURCES[arguments.source](read_file(Path(arguments.file)))
    Host.from_data(imported.config, environment={})  # what is written can be loaded
    text = imported.text(f"{Path(arguments.file).name} ({arguments.source})")
    if arguments.output is not None:
        _write(Path(arguments.output), text)
    elif not arguments.json:
        print(text, end="")
    if arguments.json:
        print_json(
            {
                "ok": not (arguments.strict and imported.lost),
                "config": imported.config,
                "lost": imported.lost,
                "changed": imported.changed,
            }
        )
    else:
        _tell(imported)
    return FAILED if arguments.strict and imported.lost else OK


def _tell(imported: Imported) -> None:
    for note in imported.lost:
        warn(f"not converted: {note.path}: {note.reason}")
    for note in imported.changed:
        warn(f"otherwise: {note.path}: {note.reason}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {reason(error)}") from None
