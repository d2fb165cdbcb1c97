"""What a term may say: the signature (spec 1.1), the vocabulary (1.5, 1.7), the plain data of both.

A Lua table is a list or a dict here (the empty one is either), nil is `HOLE` or a missing key,
and every number is a double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .transport import HOLE, Data

if TYPE_CHECKING:
    from collections.abc import Iterator

# 1.1 Terms and sorts ---------------------------------------------------------------------------

SORTS = ("Pred", "Scorer", "Selector", "Xform", "FailPlan", "Policy")


class Row(NamedTuple):
    """A row of the signature: the sorts of the arguments (of each, where variadic), the sort."""

    args: tuple[str, ...]
    sort: str
    variadic: bool


_SIGNATURE = """
top bot meets_req scope_matches               | | Pred
and or                                        | Pred + | Pred
not                                           | Pred | Pred
is                                            | BoolField | Pred
cmp                                           | NumField Rel Num | Pred
tier_eq min_tier                              | Tier | Pred
family_eq                                     | Family | Pred
provider_eq                                   | Provider | Pred
served_by_eq                                  | ServedBy | Pred
has_cap                                       | Capability | Pred
zero                                          | | Scorer
add                                           | Scorer + | Scorer
scale                                         | Num Scorer | Scorer
gate                                          | Pred Scorer | Scorer
neg normalize                                 | Scorer | Scorer
clamp                                         | Num Num Scorer | Scorer
field                                         | NumField | Scorer
lit                                           | Num | Scorer
argmax ordered                                | | Selector
sample                                        | Num | Selector
chain                                         | Chain | Selector
top_k                                         | Count Selector | Selector
prefer                                        | Pred Selector | Selector
id                                            | | Xform
seq                                           | Xform + | Xform
set_param                                     | ParamName Scalar | Xform
inject_seed                                   | ParamName | Xform
clamp_param                                   | ParamName Num Num | Xform
jitter                                        | ParamName Num | Xform
filter_text filter_image                      | Recipe | Xform
custom                                        | Sym | Xform
when                                          | Pred Xform | Xform
always                                        | Action | FailPlan
override                                      | FailPlan FailReason Action | FailPlan
policy                                        | Pred Scorer Selector Xform FailPlan | Policy
"""


def _rows() -> Iterator[tuple[str, Row]]:
    for line in _SIGNATURE.strip().splitlines():
        ops, args, sort = line.split("|")
        sorts = tuple(word for word in args.split() if word != "+")
        for op in ops.split():
            yield op, Row(sorts, sort.strip(), "+" in args)


SIGNATURE = dict(_rows())


def argument_sorts(op: str, given: int) -> list[str]:
    """Name the sort of each of the given arguments of an op that takes so many."""
    row = SIGNATURE[op]
    return list(row.args) * given if row.variadic else list(row.args)


# 1.5 and 1.7 The vocabulary ---------------------------------------------------------------------

CORE_NUMBERS = {
    "price_in": math.inf,  # infinity is absent-high
    "price_out": math.inf,
    "latency_ms": math.inf,
    "tok_s": 0.0,
    "success_rate": 1.0,
    "credits": 0.0,
    "context": 0.0,
}
CORE_BOOLEANS = ("has_tee", "no_log", "breaker_open", "disabled")
TIERS = ("fallback", "marketplace", "partner")
_PARAMS = """
temperature top_p top_k min_p max_tokens seed presence_penalty frequency_penalty
repetition_penalty n reasoning_effort verbosity timeout_ms ttft_ms idle_ms
"""
_TARGETS = """
base_url auth auth_env api_kind provider_id served_model_id aws_region offer messages
"""
PARAMS, NEVER_PARAMS = frozenset(_PARAMS.split()), frozenset(_TARGETS.split())


@dataclass(frozen=True)
class Schema:
    """The vocabulary: what a term may name, the core's fields and the declared ones together."""

    numbers: dict[str, float] = field(default_factory=lambda: dict(CORE_NUMBERS))
    booleans: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(CORE_BOOLEANS, False))
    tiers: tuple[str, ...] = TIERS
    params: frozenset[str] = PARAMS
    customs: frozenset[str] = frozenset()

    @staticmethod
    def read(config: Data) -> Schema:
        """Take `fields`, `params`, `tier_order` and `customs` of a config or of a case's schema."""
        schema = Schema(
            tiers=tuple(dense(part(config, "tier_order")) or TIERS),
            params=PARAMS | (frozenset(dense(part(config, "params")) or ()) - NEVER_PARAMS),
            customs=frozenset(part(config, "customs") or ()),
        )
        for name, spec in record(part(config, "fields")).items():
            default = part(spec, "default")
            if name in CORE_NUMBERS or name in CORE_BOOLEANS:
                continue
            if part(spec, "sort") == "Num":
                value = number(default)
                schema.numbers[name] = math.inf if value is None else value
            else:
                schema.booleans[name] = default is True
        return schema


MAX_NAME = 256

# Reading plain data ----------------------------------------------------------------------------


def dense(value: Data) -> list[Data] | None:
    """Answer the entries of a table whose keys are exactly 1..n, else nothing."""
    if isinstance(value, list) and HOLE not in value and None not in value:
        return value
    return [] if value == {} else None


def record(value: Data) -> dict[str, Data]:
    """Answer the string keys of a table; anything else has none."""
    return value if isinstance(value, dict) else {}


def part(value: Data, *keys: str) -> Data:
    """Follow the keys into nested tables; None where there is nothing."""
    for key in keys:
        value = record(value).get(key)
    return value


def number(value: Data) -> float | None:
    """Answer a finite number as a double without -0, else nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        double = float(value) + 0.0
    except OverflowError:
        return None
    return double if math.isfinite(double) else None


def raw(string: str) -> bytes:
    """Answer the bytes of a string: what its length, order and hash are taken of."""
    return string.encode("utf-8", "surrogatepass")


def is_name(value: Data) -> bool:
    """Tell a string of 1 to 256 bytes."""
    return isinstance(value, str) and 1 <= len(raw(value)) <= MAX_NAME
