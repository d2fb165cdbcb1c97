"""What a decision looks at: the names in a term and a request, and where the config holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain

CONTRACT_NUMBERS: Final[Mapping[str, str]] = {
    "context": "min_context",
    "tok_s": "min_tok_s",
    "latency_ms": "max_latency_ms",
}
"""Fields that a request bounds, and by which requirement."""

_TIERS: Final = ("fallback", "marketplace", "partner")
_NUMBERS: Final = ("price_in", "price_out", "latency_ms", "tok_s", "success_rate")
_FLAGS: Final = ("has_tee", "no_log")
_NEEDS: Final = ("tools", "vision", "json_mode", "seed")
# the places of numbers among the arguments, by operation; 1 is the first
_LITERALS: Final[Mapping[str, tuple[int, ...]]] = {"cmp": (3,), "scale": (1,), "lit": (1,), "clamp": (1, 2)}
_OF_A_FIELD: Final = ("cmp", "field", "is")


@dataclass(frozen=True, slots=True)
class Literal:
    """A number in a term: its path in words and as indices, and the field that it is compared with."""

    path: str
    at: tuple[int, ...]
    value: float
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A field of a route in a config: where it stands or would stand, and what it may become."""

    name: str
    path: tuple[str | int, ...]
    was: Plain
    values: Sequence[Plain] = ()
    hints: Sequence[float] = ()
    is_number: bool = False


def literals(term: Plain, path: str = "$", at: tuple[int, ...] = ()) -> Iterator[Literal]:
    """Give the numbers by which a policy filters and scores, in the order of the term."""
    if not isinstance(term, list) or not term or not isinstance(term[0], str):
        return
    op = term[0]
    for place, argument in enumerate(term[1:], 1):
        here = f"{path}.{op}[{place}]"
        if place in _LITERALS.get(op, ()):
            yield Literal(here, (*at, place), float(argument), term[1] if op == "cmp" else None)
        else:
            yield from literals(argument, here, (*at, place))


def observed_names(term: Plain, contract: Mapping[str, Any]) -> frozenset[str]:
    """Name the fields and capabilities that a term or a request looks at; without a term, all numbers."""
    found = set(_named(term)) if term is not None else {*_NUMBERS, *_FLAGS, "tier", "context"}
    required = contract.get("requirements") or {}
    found |= {field for field, bound in CONTRACT_NUMBERS.items() if bound in required}
    found |= {f"supports_{need}" for need in required.get("needs", ())}
    for key, need in (("tools", "tools"), ("images", "vision"), ("response_format", "json_mode")):
        if key in contract:
            found.add(f"supports_{need}")
    if "tier" in required:
        found.add("tier")
    return frozenset(found | set(_FLAGS if "privacy" in required else ()))


def _named(term: Plain) -> Iterator[str]:
    if not isinstance(term, list) or not term:
        return
    if term[0] in _OF_A_FIELD:
        yield term[1]
    elif term[0] in ("tier_eq", "min_tier"):
        yield "tier"
    elif term[0] == "has_cap":
        yield term[1] if term[1] not in _NEEDS else f"supports_{term[1]}"
    for argument in term[1:]:
        yield from _named(argument)


def places_of(
    core: Mapping[str, Any], target: tuple[str, str], index: int, names: frozenset[str]
) -> Iterator[Place]:
    """Give where a route has the fields of these names; what is not said is at its default."""
    provider, family = target
    model = core["models"][family]
    route, of_provider = model["served_by"][index], (core.get("providers") or {}).get(provider) or {}
    said = {**of_provider, **route}
    abilities = {**(model.get("capabilities") or {}), **(route.get("capabilities") or {})}
    declared = core.get("fields") or {}
    at: tuple[str | int, ...] = ("models", family, "served_by", index)
    for name in sorted(names):
        sort = (declared.get(name) or {}).get("sort")
        if name in _NUMBERS or sort == "Num":
            default = _default(name, declared)
            hints = numbers_of(core, name)
            yield Place(name, (*at, name), said.get(name, default), hints=hints, is_number=True)
        elif name in _FLAGS or sort == "Bool":
            was = said.get(name, bool((declared.get(name) or {}).get("default")))
            yield Place(name, (*at, name), was, [not was])
        elif name == "tier":
            was = said.get("tier", "fallback")
            order = core.get("tier_order") or _TIERS
            yield Place(name, (*at, name), was, [tier for tier in order if tier != was])
        elif name == "context":
            path = (*at, "capabilities", "context")
            yield Place(
                name, path, abilities.get("context", 0), hints=numbers_of(core, "context"), is_number=True
            )
        elif name not in ("credits", "breaker_open", "disabled"):
            was = abilities.get(name) is True
            yield Place(name, (*at, "capabilities", name), was, [not was])


def _default(name: str, declared: Mapping[str, Any]) -> Plain:
    if name in declared:
        return declared[name].get("default")
    return {"tok_s": 0, "success_rate": 1}.get(name)


def _routes(core: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for model in (core.get("models") or {}).values():
        for route in model.get("served_by") or ():
            yield model, route


def numbers_of(core: Mapping[str, Any], name: str) -> list[float]:
    """Give the numbers that the catalog has of a field."""
    found = (
        {**(model.get("capabilities") or {}), **(route.get("capabilities") or {}), **route}.get(name)
        for model, route in _routes(core)
    )
    return [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
