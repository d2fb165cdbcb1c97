"""What a field of an event may hold: a kind says it twice, for people and as an expression of Python.

There is no kind for free text and none for fractions: what an event tells is counted or named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST = 2**53 - 1
"""The largest whole number that every reader of JSON reads exactly."""

# Line breaks, controls, direction marks and halves of characters have no place in a name. It is a rule
# of its own because `isprintable` changes with Python's version; whatever that accepts, this does too.
_UNNAMED = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def is_name(text: str) -> bool:
    """Whether every character of a text may stand in a name."""
    return _UNNAMED.search(text) is None


def is_code(text: str) -> bool:
    """Whether a text is a short lower-case word."""
    return _CODE.match(text) is not None


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field accepts, in words, and the expression that is true of a good value `v`.

    `scope` holds what the expression names. A record's `parts` are fields of their own.
    """

    words: str
    test: str
    scope: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Field] = field(default_factory=dict)
    is_blob: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field's kind, and whether it may be absent (which null says as well)."""

    kind: Kind
    is_optional: bool = False


def optional(kind: Kind) -> Field:
    """Let a field be absent."""
    return Field(kind, is_optional=True)


def whole(least: int, most: int = MOST) -> Kind:
    """Give the kind of whole numbers in a range."""
    text = f"a whole number from {least} to {'2^53 - 1' if most == MOST else most}"
    return Kind(text, f"v.__class__ is int and {least} <= v <= {most}")


def one_of(*words: str) -> Kind:
    """Give the kind of words from a closed set."""
    shown = " ".join(f"`{word}`" for word in words)
    return Kind(f"one of {shown}", "v.__class__ is str and v in words", {"words": frozenset(words)})


def names(most: int) -> Kind:
    """Give the kind of short lists of names."""
    return Kind(
        f"a list of at most {most} names",
        f"v.__class__ is list and len(v) <= {most} and all(map(is_good_name, v))",
        {"is_good_name": expression(NAME)},
    )


def record(**parts: Kind | Field) -> Kind:
    """Give the kind of records with fields of their own."""
    fields = as_fields(parts)
    words = "a record of " + ", ".join(
        f"`{name}`{'?' if part.is_optional else ''}" for name, part in fields.items()
    )
    return Kind(words, "is_good_record(v)", {"is_good_record": fields_test(fields)}, fields)


def as_fields(parts: Mapping[str, Kind | Field]) -> dict[str, Field]:
    """Give each field its full form."""
    return {name: part if isinstance(part, Field) else Field(part) for name, part in parts.items()}


def expression(kind: Kind) -> Callable[[Any], bool]:
    """Compile a kind's expression to a function of one value."""
    made: Callable[[Any], bool] = eval(f"lambda v: {kind.test}", dict(kind.scope))  # noqa: S307 - ours
    return made


def fields_test(*parts: Mapping[str, Field]) -> Callable[..., bool]:
    """Compile the test of records, one argument each: one expression, since every append pays for it."""
    scope: dict[str, Any] = {}
    tests = []
    for place, fields in enumerate(parts):
        given = f"r{place}"
        scope[f"known{place}"] = frozenset(fields)
        of_fields = [f"known{place}.issuperset({given})"]
        for count, (name, each) in enumerate(fields.items()):
            test = each.kind.test
            for old, value in each.kind.scope.items():
                new = f"{old}_{place}_{count}"
                scope[new] = value
                test = re.sub(rf"\b{old}\b", new, test)
            get = f"(v := {given}.get({name!r}))"
            # no kind's test is true of None, so that a field that must be there needs no more
            known = f"({get} is None or {test})" if each.is_optional else re.sub(r"\bv\b", get, test, count=1)
            of_fields.append(known)
        tests.append(f"{given}.__class__ is dict")
        all_of = " and ".join(of_fields)
        # most events leave out a part of which nothing must be there
        may_be_empty = all(each.is_optional for each in fields.values())
        tests.append(f"(not {given} or {all_of})" if may_be_empty else all_of)
    arguments = ", ".join(f"r{place}" for place in range(len(parts)))
    made: Callable[..., bool] = eval(f"lambda {arguments}: {' and '.join(tests)}", scope)  # noqa: S307 - ours
    return made


def _digest(before: str, words: str) -> Kind:
    matches = re.compile(before + r"[0-9a-f]{64}\Z").match
    return Kind(words, "v.__class__ is str and matches(v) is not None", {"matches": matches})


NAME = Kind(
    "a name of at most 256 characters",
    "v.__class__ is str and 0 < len(v) <= 256 and (v.isprintable() or is_name(v))",
    {"is_name": is_name},
)
CODE = Kind("a word of `a-z`, `0-9` and `_`", "v.__class__ is str and is_code(v)", {"is_code": is_code})
FLAG = Kind("true or false", "(v is True or v is False)")
DIGEST = _digest("", "64 hex digits")
BLOB = replace(_digest("sha256:", "`sha256:` and 64 hex digits"), is_blob=True)
KEYED = _digest("hmac-sha256:", "`hmac-sha256:` and 64 hex digits")
COUNT = whole(0)
