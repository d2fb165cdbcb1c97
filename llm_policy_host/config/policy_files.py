"""Policies in files of their own: a term as JSON, or Lua that makes one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.child import evaluate_in_child
from llm_policy_host.errors import SandboxError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.values import Plain

    from .document import Document

SUFFIXES = (".lua", ".json")


def is_policy_file(name: Plain) -> bool:
    """Whether a value names a policy's file."""
    return isinstance(name, str) and name.endswith(SUFFIXES)


def read_policy_file(path: Path) -> Plain:
    """Give the term that a file holds; Lua is evaluated in the sandbox, and must leave plain data."""
    try:
        source = path.read_bytes()
        return evaluate_in_child(source) if path.suffix == ".lua" else json.loads(source)
    except OSError as error:
        why = (error.strerror or "unknown reason").lower()
        raise UsageError(f"the policy `{path}` cannot be read: {why}") from None
    except ValueError as error:
        raise UsageError(f"the policy `{path}` is no JSON: {error}") from None
    except SandboxError as error:
        raise UsageError(f"the policy `{path}`: {str(error).replace('the config', 'the policy')}") from None


def with_terms(document: Document, profiles: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Give profiles with the terms of the files that they name; what cannot be read is a mistake."""
    read = dict(profiles)
    for name, profile in profiles.items():
        if isinstance(profile, dict) and is_policy_file(profile.get("policy_ir")):
            try:
                read[name] = {**profile, "policy_ir": read_policy_file(directory / profile["policy_ir"])}
            except UsageError as error:
                document.report(("profiles", name, "policy_ir"), str(error))
    return read
