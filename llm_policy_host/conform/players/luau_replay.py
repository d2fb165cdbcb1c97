"""Replay lines on Luau, by `pluau`: `luau_replay.py MODULE INPUT OUTPUT`, with a bundle in the environment.

Only the extension itself is loaded: the Python beside it wants a later Python than it says.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

_NAME = "_pluau"


def _extension() -> Any:  # noqa: ANN401 - no types that can be imported
    package = importlib.util.find_spec("pluau")
    places = [Path(each) for each in (package and package.submodule_search_locations) or ()]
    found = [file for place in places for file in place.glob(f"{_NAME}.*") if file.suffix in {".so", ".pyd"}]
    spec = importlib.util.spec_from_file_location(_NAME, found[0])
    if spec is None or spec.loader is None:
        raise ImportError(_NAME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Load the module out of the bundle, and answer."""
    name, given, answered = sys.argv[1:]
    lua = _extension().Lua()
    [require] = lua.load_chunk(Path(os.environ["LLM_POLICY_BUNDLE"]).read_bytes(), name="bundle")()
    [answer] = require(name)
    with Path(answered).open("wb") as output:
        for line in Path(given).read_bytes().splitlines():
            [text] = answer(lua.create_string(line))
            output.write(_bytes(text) + b"\n")


def _bytes(text: Any) -> bytes:  # noqa: ANN401 - a string of the runtime
    return text.encode() if isinstance(text, str) else bytes(text.as_bytes())


if __name__ == "__main__":
    main()
