"""The options of `llm-policy keys` that say what a key may: a row each, of which its caveat follows."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from llm_policy_host.ledger.caveats import CAVEATS, CONTENT_LEVELS
from llm_policy_host.ledger.kinds import MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.ports import Clock

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"([1-9][0-9]{0,8})([smhd])\Z")
_MICRO = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class CaveatOption:
    """A row: the option, the caveat it becomes, how its text is read; `is_many` may be given repeatedly."""

    flag: str
    caveat: str
    metavar: str
    read: Callable[[str, int], Any]
    is_many: bool = False
    words: str = ""


def _same(text: str, _now_ms: int) -> str:
    return text


def moment(text: str, now_ms: int) -> int:
    """Read `30d`, `12h`, `15m` or `90s` from now on, or a moment in ISO 8601, of UTC unless it says."""
    span = _SPAN.match(text)
    if span is not None:
        return now_ms + int(span[1]) * _UNITS_MS[span[2]]
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no moment: `30d`, `12h` or `2027-01-31`") from None
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)


def count(text: str, _now_ms: int = 0) -> int:
    """Read a whole number."""
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= MOST):
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number of at least 0")
    return int(text)


def usd(text: str, _now_ms: int = 0) -> int:
    """Read USD, exactly, as millionths of one."""
    try:
        micro = Decimal(text) * _MICRO
    except InvalidOperation:
        micro = Decimal("nan")
    if not (micro.is_finite() and 0 <= micro <= MOST and micro == micro.to_integral_value()):
        raise argparse.ArgumentTypeError(f"`{text}` is no amount of USD with at most 6 decimals")
    return int(micro)


# budgets stand last: keys that differ in anything else are charged to accounts of their own
OPTIONS = (
    CaveatOption("--expires", "expires_ms", "WHEN", moment, words=": `30d`, `12h`, `15m` or `2027-01-31`"),
    CaveatOption("--not-before", "not_before_ms", "WHEN", moment),
    CaveatOption("--model", "models", "FAMILY", _same, is_many=True),
    CaveatOption("--provider", "providers", "NAME", _same, is_many=True),
    CaveatOption("--profile", "profiles", "NAME", _same, is_many=True),
    CaveatOption("--policy", "policies", "ID", _same, is_many=True),
    CaveatOption("--right", "rights", "RIGHT", _same, is_many=True),
    CaveatOption("--content", "content", "LEVEL", _same, words=": " + ", ".join(CONTENT_LEVELS)),
    CaveatOption("--audience", "audience", "NAME", _same, is_many=True),
    CaveatOption("--usd", "usd_micro", "AMOUNT", usd),
    CaveatOption("--tokens", "tokens", "N", count),
    CaveatOption("--calls", "calls", "N", count),
    CaveatOption("--calls-per-minute", "calls_per_minute", "N", count),
)


def add_caveats(parser: argparse.ArgumentParser, clock: Clock) -> None:
    """Add the options; spans of time are from the clock's now on."""
    now_ms = clock.now_ms()
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            dest=option.caveat,
            metavar=option.metavar,
            type=_reader(option, now_ms),
            action="append" if option.is_many else "store",
            help=_about(option),
        )


def _reader(option: CaveatOption, now_ms: int) -> Callable[[str], Any]:
    return lambda text: option.read(text, now_ms)


def _about(option: CaveatOption) -> str:
    about = CAVEATS[option.caveat].about.replace("in millionths of a USD", "in USD")
    return about + option.words + (" (repeatable)" if option.is_many else "")


def caveats_of(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    """Give the caveats that were asked for, in the table's order."""
    given = ((option.caveat, getattr(arguments, option.caveat)) for option in OPTIONS)
    return [(name, value) for name, value in given if value is not None]
