"""A config written in Lua: `return {…}`, evaluated in the sandbox, in a process of its own."""

from __future__ import annotations

import re

from llm_policy_host.core.sandbox import evaluate_in_child
from llm_policy_host.errors import Problem, SandboxError

from .document import Document, Place

_AT_LINE = re.compile(r"config:(\d+): (.*)", re.DOTALL)


def parse_lua(source: bytes, file: str) -> Document:
    """Evaluate a Lua config. Lua tells no places of values: mistakes in them stand at the start."""
    try:
        return Document(file, evaluate_in_child(source), Place((1, 1)))
    except SandboxError as error:
        match = _AT_LINE.search(str(error))
        line, detail = (int(match[1]), match[2]) if match else (1, str(error))
        return Document(file, {}, Place((line, 1)), [Problem(file, line, 1, "$", detail)])
