"""Declarative profiles as terms: spec 1.8, row by row of its table.

A key or a shape that the table does not name is refused (`SugarError`). An empty list of names or
of parts is the unit: `all_of` top, `any_of` and `*_in` bot. A filter key that stands for itself
(`requirements: true`) may be `false`, which asks nothing.
"""

# One case a rule, as in the spec.
# ruff: noqa: PLR0911
from __future__ import annotations

from typing import TYPE_CHECKING

from .signature import dense, number, part, raw, record

if TYPE_CHECKING:
    from .transport import Data

SELF = {
    "requirements": ["meets_req"],
    "not_disabled": ["not", ["is", "disabled"]],
    "breaker_closed": ["not", ["is", "breaker_open"]],
    "scope_matches": ["scope_matches"],
}
NAMED = {
    "tier": "tier_eq",
    "family": "family_eq",
    "provider": "provider_eq",
    "served_by": "served_by_eq",
}
NEXT = {"action": "next_candidate"}


class SugarError(ValueError):
    """A profile that lowers to no term."""


def lower(profile: Data, config: Data, contract_chain: Data = None) -> Data:
    """Lower a profile, or the one of that name in the config, to its policy term."""
    whole = resolve(profile, config)
    if "policy_ir" in whole:
        return whole["policy_ir"]
    closed = SELF["breaker_closed"]
    return [
        "policy",
        _filter(whole.get("filter")),
        ["gate", closed, whole.get("scorer", ["zero"])],
        _selector(whole, contract_chain),
        _mutate(whole.get("mutate", "identity")),
        _retry_policy(whole.get("retry_policy"), config),
    ]


def resolve(profile: Data, config: Data) -> dict[str, Data]:
    """Follow `extends`: the parent's keys, maps merged one level, the child's winning."""
    seen: list[str] = []
    if isinstance(profile, str):
        seen, profile = [profile], part(config, "profiles", profile)
    whole = dict(_map(profile))
    while "extends" in whole:
        parent = whole.pop("extends")
        if not isinstance(parent, str) or parent in seen:
            raise SugarError(parent)
        seen.append(parent)
        below = dict(_map(part(config, "profiles", parent)))
        for key, own in whole.items():
            both = isinstance(own, dict) and isinstance(below.get(key), dict)
            below[key] = {**below[key], **own} if both else own
        whole = below
    return whole


def _map(value: Data) -> dict[str, Data]:
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise SugarError(value)
    return value


def _list(value: Data) -> list[Data]:
    entries = dense(value)
    if entries is None:
        raise SugarError(value)
    return entries


def _ordered(value: Data) -> list[tuple[str, Data]]:
    return sorted(_map(value).items(), key=lambda pair: raw(pair[0]))


def _joined(op: str, terms: list[Data], unit: str) -> Data:
    """Join terms by an op, none to its unit, one alone."""
    if not terms:
        return [unit]
    return terms[0] if len(terms) == 1 else [op, *terms]


def _filter(value: Data) -> Data:
    if value is None:
        return ["and", SELF["requirements"], SELF["not_disabled"]]
    return _part_of_filter(value)


def _part_of_filter(value: Data) -> Data:
    """Lower a word, a bare list or a map, whose keys are `and`-ed in byte order."""
    if isinstance(value, str):
        return _filter_key(value, given=True)
    if isinstance(value, list):
        return _joined("and", [_part_of_filter(each) for each in value], "top")
    return _joined("and", [_filter_key(key, each) for key, each in _ordered(value)], "top")


def _filter_key(key: str, given: Data) -> Data:
    if key in SELF and isinstance(given, bool):
        return SELF[key] if given else ["top"]
    if key in ("all_of", "any_of", "none_of"):
        parts = [_part_of_filter(each) for each in _list(given)]
        if key == "all_of":
            return _joined("and", parts, "top")
        some = _joined("or", parts, "bot")
        return ["not", some] if key == "none_of" else some
    if key == "cmp":
        return ["cmp", *_list(given)]
    if key == "is":
        return ["is", given]
    if key == "price_max":
        return _price_max(_map(given))
    noun, _, rest = key.rpartition("_")
    if rest == "in" and noun in NAMED:
        return _joined("or", [[NAMED[noun], name] for name in _list(given)], "bot")
    if key in ("provider_not_in", "served_by_not_in"):
        return ["not", _filter_key(key.replace("_not_in", "_in"), given)]
    raise SugarError(key)


def _price_max(ceilings: dict[str, Data]) -> Data:
    if not set(ceilings) <= {"input", "output"}:
        raise SugarError(ceilings)
    fields = {"input": "price_in", "output": "price_out"}
    return _joined(
        "and",
        [["cmp", fields[key], "le", ceilings[key]] for key in fields if key in ceilings],
        "top",
    )


def _selector(profile: dict[str, Data], contract_chain: Data) -> Data:
    options = _map(profile.get("selector_opts", {}))
    match profile.get("selector", "argmax"):
        case "argmax" | "ordered" as op:
            return [op]
        case "chain":
            return ["chain", profile.get("chain", []) if contract_chain is None else contract_chain]
        case "sample" | "softmax_sample":
            return ["sample", options.get("temp", 1.0)]
        case "top_k":
            return ["top_k", options.get("k", 3), ["argmax"]]
    raise SugarError(profile["selector"])


def _mutate(value: Data) -> Data:
    """Lower a word, a list (a pipe) or a map, whose keys run in byte order."""
    if value == "identity":
        return ["id"]
    if isinstance(value, list):
        return _joined("seq", [_mutate(each) for each in value], "id")
    return _joined("seq", [_mutate_key(key, each) for key, each in _ordered(value)], "id")


def _mutate_key(key: str, given: Data) -> Data:
    match key:
        case "identity":
            return ["id"]
        case "pipe":
            return _joined("seq", [_mutate(each) for each in _list(given)], "id")
        case "filter_text" | "filter_image" | "custom":
            return [key, given]
        case "jitter" | "set_param" | "clamp":
            steps = [_parameter(key, name, value) for name, value in _ordered(given)]
            return _joined("seq", steps, "id")
    raise SugarError(key)


def _parameter(key: str, name: str, value: Data) -> Data:
    if key == "jitter":
        return ["jitter", name, value]
    if key == "clamp":
        bounds = [0, value] if number(value) is not None else _list(value)
        return ["clamp_param", name, *bounds]
    return ["inject_seed", name] if value == "from_ctx" else ["set_param", name, value]


def _retry_policy(name: Data, config: Data) -> Data:
    if name is None:
        return ["always", NEXT]
    known = record(part(config, "retry_policies"))
    if not isinstance(name, str) or name not in known:
        raise SugarError(name)
    actions = _map(known[name])
    term = ["always", actions.get("unknown", NEXT)]
    for reason, action in _ordered(actions):
        term = ["override", term, reason, action]
    return term
