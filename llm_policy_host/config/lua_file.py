"""A config written in Lua: `return {…}`, evaluated in the sandbox, in a process of its own."""

from __future__ import annotations

import re

from llm_policy_host.core.child import Child
from llm_policy_host.errors import Problem, SandboxError

from .document import Document, Place
from .settings import HOST_KEYS

_AT_LINE = re.compile(r"config:(\d+): (.*)", re.DOTALL)


def parse_lua(source: bytes, file: str) -> Document:
    """Evaluate a Lua config. Lua tells no places of values: mistakes in them stand at the start."""
    try:
        child = Child(source, HOST_KEYS)
    except SandboxError as error:
        match = _AT_LINE.search(str(error))
        line, detail = (int(match[1]), match[2]) if match else (1, str(error))
        return Document(file, {}, Place((line, 1)), [Problem(file, line, 1, "$", detail)])
    return Document(file, child.value, Place((1, 1)), child=child if child.is_local else None)
