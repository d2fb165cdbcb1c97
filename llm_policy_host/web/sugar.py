"""OpenRouter's routing fields as one term: `models`, `provider` and what a suffix asks (spec 3.6).

Nothing here decides. A caller's wishes narrow the filter of a profile's term and change its order;
failure plan, request changes and the operator's envelope stay as they are. What has an open breaker
comes last in every order, as in every profile.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Term = list[Any]
Route = tuple[str, str | None]
"""A model family, and the provider where only that one will do."""

SORTS: Final[Mapping[str, Term]] = {
    # what is not known comes last: an unknown price or latency is higher than every number
    "price": ["scale", -1, ["add", ["field", "price_in"], ["field", "price_out"]]],
    "throughput": ["field", "tok_s"],
    "latency": ["scale", -1, ["field", "latency_ms"]],
}

QUANTIZATIONS = ("int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32", "unknown")
"""Each but the last is a capability of that name in the config."""

MAX_NAMES = 24
"""Each name of an order is a level of the term, and a term has at most 64."""

_MAX_NAME = 256
_CEILINGS = {"prompt": "price_in", "completion": "price_out"}
_HEALTHY: Term = ["not", ["is", "breaker_open"]]
_PRIVATE: Term = ["or", ["is", "no_log"], ["is", "has_tee"]]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller wants of a policy; the value without any wish changes nothing."""

    routes: tuple[Route, ...] = ()
    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    sort: str | None = None
    ceilings: tuple[tuple[str, float], ...] = ()
    is_private: bool = False
    needs: tuple[str, ...] = ()
    quantizations: tuple[str, ...] = ()


NO_WISHES: Final = Wishes()


def hint(name: str, known: Iterable[str]) -> str:
    """Add the nearest known name to a message, where one is near."""
    near = difflib.get_close_matches(name, known, 1)
    return f", did you mean `{near[0]}`?" if near else ""


# Reading ------------------------------------------------------------------------------------------


def read_preferences(preferences: Any, body: Mapping[str, Any], providers: Iterable[str]) -> dict[str, Any]:  # noqa: ANN401 - as the caller wrote it
    """Read a body's `provider`, checking every key; `RefusedError` names the one that is wrong."""
    if not isinstance(preferences, dict):
        raise invalid("`provider` must be a record", "provider")
    wishes: dict[str, Any] = {}
    for key, value in preferences.items():
        read = _READERS.get(key)
        if read is None:
            shown = key[:_MAX_NAME]
            raise invalid(f"unknown key `{shown}` in `provider`{hint(shown, _READERS)}", f"provider.{shown}")
        if value is not None:
            read(wishes, value, f"provider.{key}")
    known = frozenset(providers)
    for key in ("order", "only"):
        for name in wishes.get(key, ()):
            if name not in known:
                raise invalid(
                    f"no provider `{name}`{hint(name, known)}", f"provider.{key}", "unknown_provider"
                )
    if wishes.pop("require_parameters", False):
        wishes["needs"] = _needs(body)
    return wishes


def names_in(value: Any, param: str, *, may_be_empty: bool = True) -> tuple[str, ...]:  # noqa: ANN401 - as the caller wrote it
    """Read a list of names, each once."""
    if not isinstance(value, list) or not all(_is_name(name) for name in value):
        raise invalid(f"`{param}` must be a list of names", param)
    if not value and not may_be_empty:
        raise invalid(f"`{param}` must hold a name at least", param)
    names = tuple(dict.fromkeys(value))
    if len(names) > MAX_NAMES:
        raise invalid(f"`{param}` may hold at most {MAX_NAMES} names", param)
    return names


def _is_name(value: Any) -> bool:  # noqa: ANN401 - as the caller wrote it
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME


def _read_names(key: str, *, may_be_empty: bool = True) -> Callable[[dict[str, Any], Any, str], None]:
    def read(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
        wishes[key] = names_in(value, param, may_be_empty=may_be_empty)

    return read


def _read_flag(key: str) -> Callable[[dict[str, Any], Any, str], None]:
    def read(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
        if not isinstance(value, bool):
            raise invalid(f"`{param}` must be true or false", param)
        wishes[key] = value

    return read


def _word(value: Any, param: str, words: Iterable[str]) -> str:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(value, str) or value not in words:
        near = hint(value, words) if isinstance(value, str) else ""
        raise invalid(f"`{param}` must be one of {', '.join(words)}{near}", param)
    return value


def _read_sort(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
    wishes["sort"] = _word(value, param, SORTS)


def _read_collection(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
    if _word(value, param, ("allow", "deny")) == "deny":
        wishes["is_private"] = True


def _read_zdr(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(value, bool):
        raise invalid(f"`{param}` must be true or false", param)
    if value:
        wishes["is_private"] = True


def _read_quantizations(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
    names = names_in(value, param, may_be_empty=False)
    wishes["quantizations"] = tuple(_word(name, param, QUANTIZATIONS) for name in names)


def _read_ceilings(wishes: dict[str, Any], value: Any, param: str) -> None:  # noqa: ANN401 - as the caller wrote it
    if not isinstance(value, dict):
        raise invalid(f"`{param}` must be a record", param)
    ceilings = {}
    for key, price in value.items():
        here = f"{param}.{key[:_MAX_NAME]}"
        if key not in _CEILINGS:
            detail = (
                f"no price per {key[:_MAX_NAME]} is observed here: `{param}` takes {' and '.join(_CEILINGS)}"
            )
            raise invalid(detail, here, "unsupported")
        if price is not None:
            ceilings[_CEILINGS[key]] = _price(price, here)
    wishes["ceilings"] = tuple(sorted(ceilings.items()))


def _price(value: Any, param: str) -> float:  # noqa: ANN401 - as the caller wrote it
    """Read USD per million tokens, which may also come as text."""
    if isinstance(value, str) and value.replace(".", "", 1).isdecimal() and value.isascii():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2**53:
        raise invalid(f"`{param}` must be USD per million tokens", param)
    return value


_READERS: Final[Mapping[str, Callable[[dict[str, Any], Any, str], None]]] = {
    "order": _read_names("order"),
    "only": _read_names("only", may_be_empty=False),
    "ignore": _read_names("ignore"),
    "allow_fallbacks": _read_flag("allow_fallbacks"),
    "sort": _read_sort,
    "max_price": _read_ceilings,
    "data_collection": _read_collection,
    "zdr": _read_zdr,
    "require_parameters": _read_flag("require_parameters"),
    "quantizations": _read_quantizations,
}


def _needs(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what a body uses and a catalog can know: the others are the dialects' to drop or to keep."""
    text = body.get("text")
    response_format = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    used = {
        "tools": bool(body.get("tools")),
        "json_mode": kind in ("json_object", "json_schema"),
        "seed": body.get("seed") is not None,
    }
    return tuple(need for need, is_used in used.items() if is_used)


# Lowering -----------------------------------------------------------------------------------------


def lower(term: Term, wishes: Wishes) -> Term:
    """Give a policy's term with a caller's wishes in it."""
    if wishes == NO_WISHES:
        return term
    op, pred, scorer, selector, *rest = term
    preds = _narrowing(wishes)
    if wishes.sort is not None:
        scorer = SORTS[wishes.sort]
        selector = _by_score(selector, preds)
    return [op, _all([pred, *preds]), scorer, _ordered(selector, wishes), *rest]


def for_kind(term: Term, kind: str) -> Term:
    """Give a policy's term for a kind of call: vectors come only from models that say they give them."""
    if kind != "embeddings":
        return term
    op, pred, *rest = term
    return [op, ["and", pred, ["has_cap", "embeddings"]], *rest]


def _narrowing(wishes: Wishes) -> list[Term]:
    """Give the predicates that a candidate must also meet."""
    preds: list[Term] = []
    if wishes.routes:
        preds.append(_any([_is_route(route) for route in wishes.routes]))
    if wishes.only:
        preds.append(_any_provider(wishes.only))
    if wishes.order and not wishes.allow_fallbacks:
        preds.append(_any_provider(wishes.order))
    if wishes.ignore:
        preds.append(["not", _any_provider(wishes.ignore)])
    preds.extend(["cmp", field, "le", price] for field, price in wishes.ceilings)
    if wishes.is_private:
        preds.append(_PRIVATE)
    preds.extend(["has_cap", need] for need in wishes.needs)
    if wishes.quantizations:
        preds.append(_any([_is_quantized(name) for name in wishes.quantizations]))
    return preds


def _ordered(selector: Term, wishes: Wishes) -> Term:
    """Put the preferences over a selector, but under its own bound on how many may be tried."""
    if selector[0] == "top_k":
        return ["top_k", selector[1], _ordered(selector[2], wishes)]
    preferences = [_is_route(route) for route in wishes.routes[:-1]]
    preferences += [["provider_eq", name] for name in wishes.order]
    if preferences or wishes.sort is not None:
        preferences.insert(0, _HEALTHY)
    for preference in reversed(preferences):
        selector = ["prefer", preference, selector]
    is_alone = not wishes.allow_fallbacks and not wishes.order
    return ["top_k", 1, selector] if is_alone else selector


def _by_score(selector: Term, preds: list[Term]) -> Term:
    """Give a selector that orders by score whatever it is; a chain still bounds who may serve."""
    op = selector[0]
    if op == "top_k":
        return [op, selector[1], _by_score(selector[2], preds)]
    if op == "prefer":
        return [op, selector[1], _by_score(selector[2], preds)]
    if op == "chain":
        preds.append(_any([_is_route(_link(entry)) for entry in selector[1]]))
    return ["argmax"]


def _link(entry: Mapping[str, str]) -> Route:
    return entry.get("model") or entry["model_family"], entry.get("provider") or entry["provider_id"]


def _is_route(route: Route) -> Term:
    family, provider = route
    is_family: Term = ["family_eq", family]
    return is_family if provider is None else ["and", is_family, ["provider_eq", provider]]


def _is_quantized(name: str) -> Term:
    if name != "unknown":
        return ["has_cap", name]
    return ["not", _any([["has_cap", other] for other in QUANTIZATIONS[:-1]])]


def _any_provider(names: Iterable[str]) -> Term:
    return _any([["provider_eq", name] for name in names])


def _any(preds: list[Term]) -> Term:
    return preds[0] if len(preds) == 1 else ["or", *preds] if preds else ["bot"]


def _all(preds: list[Term]) -> Term:
    return preds[0] if len(preds) == 1 else ["and", *preds]


def check_consistent(wishes: Wishes) -> None:
    """Refuse wishes that no one term can hold."""
    if not wishes.allow_fallbacks and not wishes.order and len(wishes.routes) > 1:
        detail = "several models without fallbacks need `provider.order`: who is to serve them?"
        raise invalid(detail, "provider.allow_fallbacks")
