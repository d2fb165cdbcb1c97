"""A conformance case as its file has it: what fits in a line stands in one."""

from __future__ import annotations

import json
from typing import Any

COLUMNS = 100


def written(case: dict[str, Any]) -> str:
    """Write a case as the files have it."""
    return _lines(_tidy(case), "") + "\n"


def _tidy(value: Any) -> Any:  # noqa: ANN401 - any plain data
    """Write integral doubles without a fraction, as every JSON reader of ours reads them."""
    if isinstance(value, list):
        return [_tidy(each) for each in value]
    if isinstance(value, dict):
        return {key: _tidy(each) for key, each in value.items()}
    is_integral = isinstance(value, float) and abs(value) <= 2.0**53 and value == int(value)
    return int(value) if is_integral else value


def _lines(value: Any, margin: str) -> str:  # noqa: ANN401 - any plain data
    line = json.dumps(value, ensure_ascii=False)
    if len(margin) + len(line) <= COLUMNS or not value or not isinstance(value, list | dict):
        return line
    deeper = margin + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(each, deeper)}" for key, each in value.items()]
        return "{\n" + ",\n".join(deeper + part for part in parts) + f"\n{margin}}}"
    return "[\n" + ",\n".join(deeper + part for part in _packed(value, deeper)) + f"\n{margin}]"


def _packed(entries: list[Any], margin: str) -> list[str]:
    """Put short scalars and ops without arguments of a long list side by side."""
    parts: list[str] = []
    for each in entries:
        part = _lines(each, margin)
        is_small = not isinstance(each, list | dict) or len(each) == 1
        joined = f"{parts[-1]}, {part}" if parts else ""
        if parts and is_small and "\n" not in joined and len(margin) + len(joined) <= COLUMNS:
            parts[-1] = joined
        else:
            parts.append(part)
    return parts
