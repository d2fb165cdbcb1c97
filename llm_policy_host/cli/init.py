"""`llm-policy init`: a workspace to start from: a config, a policy in Lua, cases, a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import UsageError

from .contracts import reason
from .output import OK, add_json, print_json, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from .output import Commands

_SCAFFOLD = Path(__file__).with_name("scaffold")
_FILES = ("policy.yaml", "careful.lua", "policy.test.yaml", "README.md")


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("init", help="make a workspace: a config, a policy in Lua, cases")
    parser.add_argument("directory", metavar="DIR", help="where; it may exist, the files may not")
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Make the workspace."""
    directory = Path(arguments.directory)
    texts = {directory / name: (_SCAFFOLD / name).read_text("utf-8") for name in _FILES}
    write_new(texts)
    if arguments.json:
        print_json({"ok": True, "files": [str(path) for path in texts]})
        return OK
    for path in texts:
        print(path)
    warn(f"next: cd {directory} && llm-policy test --missing")
    return OK


def write_new(texts: Mapping[Path, str]) -> None:
    """Write files that do not exist yet: all or, where one does, none."""
    there = [path for path in texts if path.exists()]
    if there:
        raise UsageError(f"`{there[0]}` is there already: nothing was written")
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"`{path}` cannot be written: {reason(error)}") from None
