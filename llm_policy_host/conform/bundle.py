"""Lua modules as one chunk, for a runtime without files and without `require`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HEAD = b"""local sources, loaded, require = {}, {}, nil
require = function(name)
  if loaded[name] == nil then
    local source = sources[name]
    if source == nil then
      error("module `" .. name .. "` does not exist here", 2)
    end
    loaded[name] = source(name) or true
  end
  return loaded[name]
end
"""


def bundle(roots: Iterable[Path]) -> bytes:
    """Write a chunk that gives the `require` of all modules under the roots."""
    found = {
        ".".join(file.relative_to(root).with_suffix("").parts): file
        for root in roots
        for file in sorted(root.rglob("*.lua"))
    }
    parts = (_module(name, file) for name, file in found.items() if name != "replay")
    return _HEAD + b"".join(parts) + b"return require\n"


def _module(name: str, file: Path) -> bytes:
    return b'sources["%s"] = function(...)\n%s\nend\n' % (name.encode(), file.read_bytes())
