"""Fields of bodies that several skins read: the parameters a policy may change, and lists of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.run.attempt import NUMBER_PARAMS, TEXT_PARAMS
from llm_policy_host.web.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

# The caller's word for a parameter to the language's (spec 1.7). A number or text goes to the policy;
# anything else under such a name is the caller's mistake.
PARAMS = {**{name: name for name in (*NUMBER_PARAMS, *TEXT_PARAMS)}, "max_completion_tokens": "max_tokens"}
"""OpenAI's words for parameters."""

_MAX_EXACT = 2**53


def take_params(rest: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """Move the parameters out of a body; a wrong type names its field."""
    params: dict[str, Any] = {}
    for word in rest.keys() & words.keys():
        value = rest.pop(word)
        if value is None:
            continue
        params[words[word]] = _checked(word, words[word], value)
    return dict(sorted(params.items()))


def _checked(word: str, name: str, value: Any) -> Any:  # noqa: ANN401 - a scalar
    if name in TEXT_PARAMS:
        if isinstance(value, str) and len(value) <= 64:
            return value
        raise invalid("must be a text", word)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("must be a number", word)
    if name in ("max_tokens", "n", "top_k") and (not float(value).is_integer() or value < 0):
        raise invalid("must be a whole number of at least 0", word)
    if name == "seed" and not (isinstance(value, int) and abs(value) < _MAX_EXACT):
        raise invalid("must be a whole number below 2^53", word)
    if abs(value) > _MAX_EXACT:
        raise invalid("must be below 2^53", word)
    return value


def records(value: Any, at: str) -> list[dict[str, Any]]:  # noqa: ANN401 - as the caller wrote it
    """Read a list of objects; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid("must be a list of objects", at)
    return value


def optional_record(value: Any, at: str) -> dict[str, Any]:  # noqa: ANN401 - as the caller wrote it
    """Read an object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("must be an object", at)
    return value


def wanted_text(record: Mapping[str, Any], name: str, at: str) -> str:
    """Read a text that must be there."""
    value = record.get(name)
    if not isinstance(value, str):
        raise invalid("must be a text", f"{at}.{name}")
    return value


def flag(record: Mapping[str, Any], name: str, at: str) -> bool:
    """Read a boolean; an absent one is false."""
    value = record.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid("must be true or false", f"{at}.{name}")
    return bool(value)
