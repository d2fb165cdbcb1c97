"""What contract is refused, and where: decision 0007, row by row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .language import Refusal, check
from .signature import Schema, dense, is_name, number, part

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Data


def refusal(contract: Data, schema: Schema) -> tuple[str, str] | None:
    """Answer the code and path of the first mistake of a contract, or nothing."""
    wanted = part(contract, "requirements")
    if wanted is not None and not isinstance(wanted, dict | list):
        return "bad_scalar", "$.requirements"
    for holder, path, rows in ((contract, "$", FIELDS), (wanted, "$.requirements", REQUIREMENTS)):
        for key, code, is_good in rows:
            value = part(holder, key)
            if value is not None and not is_good(value):
                return code, f"{path}.{key}"
    for name in sorted(schema.params, key=str.encode):
        value = part(contract, name)
        if value is not None and not _is_scalar(value):
            return "bad_scalar", f"$.{name}"
    chain = part(contract, "chain")
    if chain is not None and isinstance(check(["chain", chain], schema), Refusal):
        return "bad_chain", "$.chain"
    return _refused_candidates(contract)


def _refused_candidates(contract: Data) -> tuple[str, str] | None:
    extra = part(contract, "extra_candidates")
    if extra is None:
        return None
    listed = dense(extra)
    if listed is None or len(listed) > 4096:
        return "bad_chain", "$.extra_candidates"
    for place, candidate in enumerate(listed, 1):
        if not _is_candidate(candidate):
            return "bad_chain", f"$.extra_candidates[{place}]"
    return None


def _is_candidate(candidate: Data) -> bool:
    names = [part(candidate, "provider_id"), part(candidate, "model_family")]
    wire, capabilities = part(candidate, "served_model_id"), part(candidate, "capabilities")
    prices = [part(candidate, "price_in"), part(candidate, "price_out")]
    return (
        all(is_name(each) for each in names)
        and (wire is None or is_name(wire))
        and all(each is None or _is_not_negative(each) for each in prices)
        and (capabilities is None or isinstance(capabilities, dict | list))
    )


def _is_scalar(value: Data) -> bool:
    return isinstance(value, str | bool) or number(value) is not None


def _is_not_negative(value: Data) -> bool:
    seen = number(value)
    return seen is not None and seen >= 0


def _is_seed(value: Data) -> bool:
    seen = number(value)
    return seen is not None and seen == math.floor(seen) and abs(seen) < 2.0**53


def _is_needs(value: Data) -> bool:
    listed = dense(value)
    return listed is not None and len(listed) <= 64 and all(is_name(each) for each in listed)


def _is_pin(value: Data) -> bool:
    if not isinstance(value, dict | list):
        return False
    names = [part(value, "provider"), part(value, "model")]
    return all(each is None or is_name(each) for each in names)


Row = tuple[str, str, "Callable[[Data], bool]"]

FIELDS: tuple[Row, ...] = (
    ("profile", "bad_name", is_name),
    ("scope", "bad_name", is_name),
    ("seed", "bad_number", _is_seed),
)
REQUIREMENTS: tuple[Row, ...] = (
    ("max_latency_ms", "bad_number", _is_not_negative),
    ("min_context", "bad_number", _is_not_negative),
    ("min_tok_s", "bad_number", _is_not_negative),
    ("model_family", "bad_name", is_name),
    ("needs", "bad_name", _is_needs),
    ("pin", "bad_name", _is_pin),
    ("privacy", "bad_name", lambda value: value in ("none", "no_log", "tee_required")),
    ("tier", "bad_name", is_name),
)
