"""Where the Lua core's files are: packaged beside this module, or in a checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from llm_policy_host.errors import HostError

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def core_directory() -> Path:
    """Find the directory that holds `llm_policy.lua`."""
    for directory in (_PACKAGE / "_lua", _PACKAGE.parent / "lua"):
        if (directory / "llm_policy.lua").is_file():
            return directory
    raise HostError(
        f"the Lua core is missing: no llm_policy.lua in {_PACKAGE / '_lua'} or beside the package"
    )


@cache
def core_sources() -> dict[str, bytes]:
    """Read every module of the core: its `require` name and its source."""
    root = core_directory()
    return {
        ".".join(file.relative_to(root).with_suffix("").parts): file.read_bytes()
        for file in sorted(root.rglob("*.lua"))
    }


def host_source(name: str) -> bytes:
    """Read one of the Lua files that belong to the host itself."""
    return (Path(__file__).parent / name).read_bytes()
