"""Whole values to start from: of each operation a term that is admitted as it stands, and records by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.config.yaml_text import line_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.core.language import Operation
    from llm_policy_host.values import Plain

_GIVEN: Final[Mapping[str, Any]] = {
    "Pred": ["top"],
    "Scorer": ["zero"],
    "Selector": ["argmax"],
    "Xform": ["id"],
    "FailPlan": ["always", {"action": "next_candidate"}],
    "Num": 1,
    "Count": 1,
    "Scalar": 1,
    "Rel": "le",
    "NumField": "price_in",
    "BoolField": "disabled",
    "ParamName": "temperature",
    "FailReason": "unknown",
    "Action": {"action": "next_candidate"},
    "Recipe": ["FILTER"],
    "Chain": [{"provider": "PROVIDER", "model": "MODEL"}],
}
"""Something of a sort to stand there until there is more to say; of other sorts, a name."""

_LOW: Final = ("lo",)

RECORDS: Final[Mapping[str, str]] = {
    "providers": "NAME: {base_url: https://HOST/v1, auth_env: NAME_KEY, tier: TIER}",
    "models": "FAMILY: {served_by: [{provider: PROVIDER, price_in: 1, price_out: 1}]}",
    "profiles": "NAME: {filter: [requirements, not_disabled], scorer: [neg, [normalize, [field, price_in]]]}",
    "retry_policies": "NAME: {timeout: {action: retry_same, attempts: 1}, unknown: {action: next_candidate}}",
    "fields": "NAME: {sort: Num, default: 0}",
}
"""Entries of the records whose names are the operator's, to start from."""


def skeleton(op: str, row: Operation, first: Callable[[str], str | None]) -> list[Any]:
    """Give a term of an operation; `first` gives some name of a sort that the document declares."""
    rows = zip(row.labels, row.sorts, strict=True)
    return [
        op,
        *(0 if label in _LOW else _GIVEN.get(sort, first(sort) or sort.upper()) for label, sort in rows),
    ]


def written(value: Plain, *, is_json: bool) -> str:
    """Write a value on one line, as the document is written."""
    return json.dumps(value, ensure_ascii=False) if is_json else line_text(value)
