"""What a term is: admission, normal form, encoding (spec 1.2 to 1.4), rule by rule in page order.

Clarity over speed, and nothing shared with the core.
"""

# One case a rule, as in the spec.
# ruff: noqa: C901, PLR0911, PLR0912
from __future__ import annotations

import hashlib
import math
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .signature import SIGNATURE, SORTS, Schema, argument_sorts, dense, is_name, number, raw, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport import Data

# 1.2 Admission ---------------------------------------------------------------------------------

MAX_DEPTH, MAX_NODES, MAX_ENTRIES, MAX_ENCODING = 64, 4096, 1024, 262144
MAX_ACTION_KEYS = 64
ACTIONS = ("retry_same", "next_candidate", "next_provider_same_model", "disable_provider", "abort")
RELS = ("lt", "le", "eq", "ne", "ge", "gt")


class Refusal(NamedTuple):
    """Why a term is not admitted, and where."""

    code: str
    path: str


class _Refused(Exception):  # noqa: N818 - a way out of the walk, no error
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def _refuse(code: str, path: str) -> NoReturn:
    raise _Refused(Refusal(code, path))


def check(term: Data, schema: Schema, expected: str = "", path: str = "$") -> str | Refusal:
    """Answer the sort of a term, or the first refusal of a walk from left to right."""
    try:
        sort = _Walk(schema).admit(term, path, 1, expected)
    except _Refused as stop:
        return stop.refusal
    return Refusal("too_large", path) if len(raw(encode(term))) > MAX_ENCODING else sort


class _Walk:
    """One admission: the vocabulary, and the nodes met so far."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.nodes = count(1)

    def admit(self, term: Data, path: str, depth: int, expected: str) -> str:
        """Answer the sort of a subterm, or leave the walk."""
        if not isinstance(term, list | dict):
            _refuse("not_a_term", path)
        if depth > MAX_DEPTH:
            _refuse("too_deep", path)
        if next(self.nodes) > MAX_NODES:
            _refuse("too_large", path)
        entries = dense(term)
        if not entries or not isinstance(entries[0], str):
            _refuse("not_a_term", path)
        op, args = entries[0], entries[1:]
        if op not in SIGNATURE:
            _refuse("unknown_op", path)
        row = SIGNATURE[op]
        if expected and row.sort != expected:
            _refuse("sort_mismatch", path)
        if (len(args) < 1) if row.variadic else (len(args) != len(row.args)):
            _refuse("arity", path)
        for k, (sort, arg) in enumerate(zip(argument_sorts(op, len(args)), args, strict=True), 1):
            place = f"{path}.{op}[{k}]"
            if sort in SORTS:
                self.admit(arg, place, depth + 1, sort)
            elif code := _parameter_fault(sort, arg, self.schema):
                _refuse(code, place)
        return row.sort


def _parameter_fault(sort: str, value: Data, schema: Schema) -> str:
    """Name the code that refuses a parameter, or nothing."""
    if sort in _SHAPES:
        code, is_good = _SHAPES[sort]
        return "" if is_good(value) else code
    if not is_name(value):
        return "bad_name"
    fields = {**schema.numbers, **schema.booleans}
    if sort in ("NumField", "BoolField"):
        if value not in fields:
            return "undeclared_field"
        wanted = schema.numbers if sort == "NumField" else schema.booleans
        return "" if value in wanted else "field_sort"
    closed = {
        "Tier": (schema.tiers, "unknown_tier"),
        "ParamName": (schema.params, "undeclared_param"),
        "Sym": (schema.customs, "unknown_custom"),
    }
    if sort in closed and value not in closed[sort][0]:
        return closed[sort][1]
    return ""


def _is_count(value: Data) -> bool:
    double = number(value)
    return double is not None and 1 <= double <= 2.0**53 and double == math.floor(double)


def _is_scalar(value: Data) -> bool:
    return isinstance(value, bool | str) or number(value) is not None


def _is_positive(value: Data) -> bool:
    double = number(value)
    return double is not None and double >= 0


def _is_action(value: Data) -> bool:
    """Tell a flat record of two action words, three knobs and numbers (1.6)."""
    action = record(value)
    if "action" not in action or len(action) > MAX_ACTION_KEYS:
        return False
    for key, each in action.items():
        if key in ("action", "then_action"):
            good = isinstance(each, str) and each in ACTIONS
        elif key == "backoff_ms":
            steps = dense(each) or []
            good = _is_positive(each) or (1 <= len(steps) <= MAX_ENTRIES and all(map(_is_positive, steps)))
        elif key in ("attempts", "open_breaker_ms"):
            good = _is_positive(each)
        else:
            good = is_name(key) and number(each) is not None
        if not good:
            return False
    return True


def _is_recipe(value: Data) -> bool:
    steps = dense(value)
    return steps is not None and len(steps) <= MAX_ENTRIES and all(map(_is_recipe_step, steps))


def _is_recipe_step(step: Data) -> bool:
    knobs = record(step)
    return is_name(step) or (
        bool(knobs) and all(is_name(key) and number(knobs[key]) is not None for key in knobs)
    )


def _is_chain(value: Data) -> bool:
    links = dense(value)
    return links is not None and len(links) <= MAX_ENTRIES and all(map(_is_link, links))


def _is_link(link: Data) -> bool:
    keys = set(record(link))
    return (
        len(keys) == len(("provider", "model"))
        and len(keys & {"provider", "provider_id"}) == 1
        and len(keys & {"model", "model_family"}) == 1
        and all(is_name(each) for each in link.values())
    )


_SHAPES: dict[str, tuple[str, Callable[[Data], bool]]] = {
    "Num": ("bad_number", lambda value: number(value) is not None),
    "Count": ("bad_count", _is_count),
    "Rel": ("bad_rel", lambda value: isinstance(value, str) and value in RELS),
    "Scalar": ("bad_scalar", _is_scalar),
    "Action": ("bad_action", _is_action),
    "Recipe": ("bad_recipe", _is_recipe),
    "Chain": ("bad_chain", _is_chain),
}


def spelled(links: Data) -> list[dict[str, str]]:
    """Answer the records of a chain under the keys `provider` and `model`."""
    return [
        {
            "provider": link.get("provider", link.get("provider_id")),
            "model": link.get("model", link.get("model_family")),
        }
        for link in dense(links) or []
    ]


# 1.3 Normal form -------------------------------------------------------------------------------


def normal_form(term: Data) -> Data:
    """Apply the laws of 1.1 to an admitted term, children first."""
    op, *args = term
    if SIGNATURE[op].sort == "FailPlan":
        return _failplan_form(term)
    sorts = argument_sorts(op, len(args))
    args = [
        normal_form(arg) if sort in SORTS else spelled(arg) if sort == "Chain" else arg
        for sort, arg in zip(sorts, args, strict=True)
    ]
    match [op, *args]:
        case ["and", *_]:
            return _collect(op, args, unit=["top"], absorbing=["bot"])
        case ["or", *_]:
            return _collect(op, args, unit=["bot"], absorbing=["top"])
        case ["add", *_]:
            return _collect(op, args, unit=["zero"], absorbing=None)
        case ["seq", *_]:
            return _collect(op, args, unit=["id"], absorbing=None)
        case ["not", ["not", inner]]:
            return inner
        case ["not", ["top"]]:
            return ["bot"]
        case ["not", ["bot"]]:
            return ["top"]
        case ["scale", weight, inner] if number(weight) == 1:
            return inner
        case ["scale", weight, inner] if number(weight) == 0 or inner == ["zero"]:
            return ["zero"]
        case ["gate", ["top"], inner]:
            return inner
        case ["gate", ["bot"], _] | ["gate", _, ["zero"]]:
            return ["zero"]
        case ["normalize", ["normalize", inner]]:
            return ["normalize", inner]
    return [op, *args]


def _collect(op: str, children: list[Data], unit: Data, absorbing: Data) -> Data:
    """Flatten, drop units, absorb; sort by the bytes of the encoding, except `seq`."""
    flat: list[Data] = []
    for child in children:
        flat += child[1:] if child[0] == op else [child]
    if absorbing in flat:
        return absorbing
    flat = [child for child in flat if child != unit]
    if op != "seq":
        flat.sort(key=lambda child: raw(e(child)))
    if len(flat) == 1:
        return flat[0]
    return [op, *flat] if flat else unit


def failplan_table(plan: Data) -> dict[str, Data]:
    """Read a failure plan as reason -> action, its base under `unknown`."""
    if plan[0] == "always":
        return {"unknown": plan[1]}
    _, inner, reason, action = plan
    return {**failplan_table(inner), reason: action}


def _failplan_form(plan: Data) -> Data:
    table = failplan_table(plan)
    base = table["unknown"]
    form = ["always", base]
    for reason in sorted(table, key=raw):
        if e_value(table[reason]) != e_value(base):
            form = ["override", form, reason, table[reason]]
    return form


# 1.4 Encoding and identity ----------------------------------------------------------------------


def encode(term: Data) -> str:
    """Write a term with its tag; for the canonical text give a normal form."""
    return "sigma-pol/v2:" + e(term)


def e(term: Data) -> str:
    """Write an admitted term."""
    op, *args = term
    words = [op]
    for sort, arg in zip(argument_sorts(op, len(args)), args, strict=True):
        if sort in SORTS:
            words.append(e(arg))
        else:
            words.append(e_value(spelled(arg) if sort == "Chain" else arg))
    return "(" + " ".join(words) + ")"


def e_value(value: Data) -> str:
    """Write a string, number, boolean, array or record."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return e_string(value)
    if isinstance(value, list):
        return "[" + ",".join(map(e_value, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=raw)
        pairs = [e_string(key) + ":" + e_value(value[key]) for key in keys]
        return "{" + ",".join(pairs) + "}" if pairs else "[]"
    return e_number(value)


def e_string(string: str) -> str:
    """Quote a string, escaping exactly five bytes."""
    for plain, escape in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
    ):
        string = string.replace(plain, escape)
    return f'"{string}"'


def e_number(value: float) -> str:
    """Write a double: plain digits where integral and at most 2^53, else `%.17g`."""
    double = float(value)
    if abs(double) <= 2.0**53 and double == math.floor(double):
        return str(int(double))
    return f"{double:.17g}"


def identity(encoding: str) -> str:
    """Hash the encoding of a normal form."""
    return "sha256:" + hashlib.sha256(raw(encoding)).hexdigest()


def fingerprint(encoding: str) -> str:
    """Fold the bytes of an encoding into two lanes."""
    h1, h2 = 5381, 52711
    for byte in raw(encoding):
        h1 = (h1 * 31 + byte) % 2147483647
        h2 = (h2 * 37 + byte) % 2147483629
    return f"{h1}-{h2}"
