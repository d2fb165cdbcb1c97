"""What a document is to this server: a term, a config, or none of its business, as most YAML files are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = re.compile(r"polic(?:y|ies)", re.IGNORECASE)
_CASES: Final = re.compile(r"\.test\.ya?ml\Z")
_CONFIG: Final = re.compile(r"^(?:providers|policy_envelope|retry_policies)[ \t]*:", re.MULTILINE)
_LUA: Final = re.compile(r"\b(?:llm_policy|providers|policy_envelope)\b|\breturn\s*\{\s*[\"']\w+[\"']")
_LINE: Final = re.compile(r"^[ \t]*[^\s#].*", re.MULTILINE)
_TERM: Final = re.compile(r"(?:---\s+)?(?:\[|- )\s*[\"']?\w*[\"']?\s*(?:[,\]|]|$)")


def is_ours(text: str, path: Path) -> bool:
    """Whether a document is a config or a policy, by its name or by what it says."""
    if _CASES.search(path.name):
        return False
    said = _LUA if path.suffix == ".lua" else _CONFIG
    return bool(_NAME.search(path.name) or said.search(text) or _is_list(text))


def is_term(text: str, path: Path) -> bool:
    """Whether a document is a term: JSON, or YAML that is a list whose first item is a word."""
    return path.suffix == ".json" or (path.suffix != ".lua" and _is_list(text))


def _is_list(text: str) -> bool:
    first = _LINE.search(text)
    return first is not None and _TERM.match(first[0].lstrip()) is not None
