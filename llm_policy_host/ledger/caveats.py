"""The caveats a key can have: one table, a row each (spec 5.4).

What a row means of two caveats of its name is their meet, so that a longer chain never gives more.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from operator import lt
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from llm_policy_host.errors import UsageError

from . import schema
from .kinds import MOST, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Caveats: TypeAlias = "Mapping[str, Any]"
"""What a chain of caveats leaves, by name."""

RIGHTS: Final = frozenset(schema.RIGHTS)
"""All that a key may give its holder to do."""

CONTENT_LEVELS: Final = ("none", "digest", "sealed", "plain")
"""How much of content may be kept, from nothing to all (spec 5.6)."""

MAX_NAMES: Final = 64
MAX_NAME: Final = 256


def _is_count(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return type(value) is int and 0 <= value <= MOST


def _are_names(value: Any) -> bool:  # noqa: ANN401 - any plain value
    """Whether a list of names is sorted and without doubles: the one way to write a set."""
    if type(value) is not list or not 0 < len(value) <= MAX_NAMES:
        return False
    try:
        joined = "".join(value)
    except TypeError:
        return False
    if len(joined) > MAX_NAME and max(map(len, value)) > MAX_NAME:
        return False
    is_plain = joined.isprintable() or is_name(joined)
    return is_plain and value[0] != "" and all(map(lt, value, value[1:]))


def _are_rights(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return _are_names(value) and RIGHTS.issuperset(value)


def _is_level(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return type(value) is str and value in CONTENT_LEVELS


def _same(value: Any) -> Any:  # noqa: ANN401 - any plain value
    return value


def _lower(left: str, right: str) -> str:
    return min(left, right, key=CONTENT_LEVELS.index)


def least_content(*levels: str | None) -> str:
    """Give the lowest of levels of content; one that is None bounds nothing."""
    return min((level for level in levels if level is not None), key=CONTENT_LEVELS.index, default="plain")


@dataclass(frozen=True, slots=True)
class Caveat:
    """A row: what it accepts, what two of them leave, what they mean.

    A caveat with a `window` is a budget: its limit is over a `resource` of an account.
    """

    name: str
    accepts: str
    is_good: Callable[[Any], bool]
    about: str
    meet: Callable[[Any, Any], Any]
    first: Callable[[Any], Any] = _same
    resource: str = ""
    window: str | None = None


_COUNT = "a whole number of at least 0"
_NAMES = f"a list of 1 to {MAX_NAMES} names"


def _of_names(name: str, about: str) -> Caveat:
    return Caveat(name, _NAMES, _are_names, about, frozenset.intersection, frozenset)


def _of_amount(name: str, about: str, resource: str, window: str) -> Caveat:
    return Caveat(name, _COUNT, _is_count, about, min, resource=resource, window=window)


_ROWS: Final = (
    Caveat("expires_ms", _COUNT, _is_count, "it is good before this moment", min),
    Caveat("not_before_ms", _COUNT, _is_count, "it is good from this moment", max),
    _of_names("models", "the only model families"),
    _of_names("providers", "the only providers"),
    _of_names("profiles", "the only profiles"),
    _of_names("policies", "the only policies, by their ids"),
    Caveat(
        "rights",
        "a list of " + " ".join(f"`{right}`" for right in sorted(RIGHTS)),
        _are_rights,
        "all that it may be used for",
        frozenset.intersection,
        frozenset,
    ),
    Caveat(
        "content",
        "one of " + " ".join(f"`{level}`" for level in CONTENT_LEVELS),
        _is_level,
        "how much of content may be kept at most",
        _lower,
    ),
    _of_names("audience", "the only hosts that take it, by their `host.audience`"),
    _of_amount("usd_micro", "how much may be spent, in millionths of a USD", "usd_micro", "lifetime"),
    _of_amount("tokens", "how many tokens may be used", "tokens", "lifetime"),
    _of_amount("calls", "how many calls may be made", "calls", "lifetime"),
    _of_amount("calls_per_minute", "how many calls may be made in each minute", "calls", "minute"),
)

CAVEATS: Final[Mapping[str, Caveat]] = MappingProxyType({row.name: row for row in _ROWS})


def canonical(name: str, value: Any) -> bytes:  # noqa: ANN401 - any plain value
    """Write a caveat as the line that is signed."""
    return orjson.dumps([name, value])


def written(name: str, value: Any) -> bytes:  # noqa: ANN401 - any plain value
    """Write a caveat that someone asks for; `UsageError` where it cannot be one."""
    row = CAVEATS.get(name)
    if row is None:
        near = get_close_matches(name, CAVEATS, 1)
        raise UsageError(f"unknown caveat `{name}`" + (f" (did you mean `{near[0]}`?)" if near else ""))
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        value = sorted(set(value))
    if not row.is_good(value):
        raise UsageError(f"{name}: must be {row.accepts}")
    return canonical(name, value)
