"""Policies to start from: a few named shapes with typed parameters, compiled to terms (spec 3.6).

A template has no meaning of its own: what it gives is an ordinary term, with its identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .errors import RefusedError, invalid
from .sugar import MAX_NAMES, Term, hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Values = Mapping[str, Any]

_MAX_PRICE = 10_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a template: its type, its default, its bounds or its words, what it means."""

    name: str
    type: str
    default: Any
    about: str
    low: float = 0
    high: float = _MAX_PRICE

    def described(self) -> dict[str, Any]:
        """Say what it takes."""
        bounds = {"minimum": self.low, "maximum": self.high} if self.type in ("number", "integer") else {}
        return {"name": self.name, "type": self.type, "default": self.default, **bounds, "about": self.about}

    def read(self, value: Any) -> Any:  # noqa: ANN401 - as the caller wrote it
        """Check a value; null is the default."""
        if value is None:
            return self.default
        if not _CHECKS[self.type](value):
            raise invalid(f"`{self.name}` must be a {self.type}", self.name)
        if self.type in ("number", "integer") and not self.low <= value <= self.high:
            raise invalid(f"`{self.name}` must be within {self.low} and {self.high}", self.name)
        return value


def _is_number(value: Any) -> bool:  # noqa: ANN401 - any JSON
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_names(value: Any) -> bool:  # noqa: ANN401 - any JSON
    is_list = isinstance(value, list) and len(value) <= MAX_NAMES
    return is_list and all(isinstance(name, str) and 0 < len(name) <= 256 for name in value)


_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "number": _is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list of names": _are_names,
}


@dataclass(frozen=True, slots=True)
class Template:
    """A shape of policies."""

    id: str
    about: str
    parameters: Sequence[Parameter]
    make: Callable[[Values], Term]

    def described(self) -> dict[str, Any]:
        """Say what it is and what it takes."""
        parameters = [parameter.described() for parameter in self.parameters]
        return {"id": self.id, "about": self.about, "parameters": parameters}

    def compile(self, given: Values) -> Term:
        """Make the term of some parameters; `RefusedError` names the one that is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                shown = name[:256]
                raise invalid(f"`{self.id}` has no parameter `{shown}`{hint(shown, known)}", shown)
        return self.make({name: parameter.read(given.get(name)) for name, parameter in known.items()})


# What the shapes are made of ------------------------------------------------------------------------

_ELIGIBLE: Sequence[Term] = (["meets_req"], ["not", ["is", "disabled"]])
_HEALTHY: Term = ["not", ["is", "breaker_open"]]
_CHEAP: Term = ["neg", ["normalize", ["add", ["field", "price_in"], ["field", "price_out"]]]]
_FAST: Term = ["normalize", ["field", "tok_s"]]
_PROMPT: Term = ["neg", ["normalize", ["field", "latency_ms"]]]


def _failures(retries: int) -> Term:
    """Wait where waiting helps, stop where the request is at fault, else go on."""
    plan: Term = ["always", {"action": "next_candidate"}]
    if retries:
        wait = {"action": "retry_same", "attempts": retries, "backoff_ms": [250, 1000]}
        for kind in ("server_error", "timeout"):
            plan = ["override", plan, kind, wait]
    for kind in ("bad_request", "content_filter"):
        plan = ["override", plan, kind, {"action": "abort"}]
    return plan


def _policy(preds: Sequence[Term], scorer: Term, selector: Term, xform: Term, retries: int) -> Term:
    filter_: Term = ["and", *_ELIGIBLE, *preds]
    return ["policy", filter_, ["gate", _HEALTHY, scorer], selector, xform, _failures(retries)]


def _ceilings(values: Values) -> list[Term]:
    fields = (("max_price_in", "price_in"), ("max_price_out", "price_out"))
    return [["cmp", field, "le", values[name]] for name, field in fields if values[name] is not None]


def _one_of(op: str, names: Sequence[str]) -> list[Term]:
    return [["or", *([op, name] for name in names)]] if names else []


def _weighted(*parts: tuple[float, Term]) -> Term:
    return ["add", *(["scale", weight, scorer] for weight, scorer in parts)]


# The shapes -----------------------------------------------------------------------------------------

_PRICES = (
    Parameter("max_price_in", "number", None, "USD per million tokens in, at most"),
    Parameter("max_price_out", "number", None, "USD per million tokens out, at most"),
)
_RETRIES = Parameter("retries", "integer", 1, "further calls of a route that failed for now", 0, 10)
_PRIVATE = Parameter("private", "boolean", False, "only who keeps no log, or computes where none can see")


def _private(values: Values) -> list[Term]:
    return [["or", ["is", "no_log"], ["is", "has_tee"]]] if values["private"] else []


def _default(values: Values) -> Term:
    return _policy(_private(values), _CHEAP, ["argmax"], ["id"], values["retries"])


def _cheapest_family(values: Values) -> Term:
    preds = [*_one_of("family_eq", values["families"]), *_ceilings(values), *_private(values)]
    return _policy(preds, _CHEAP, ["argmax"], ["id"], values["retries"])


def _smart_value(values: Values) -> Term:
    reliable: Term = ["cmp", "success_rate", "ge", values["min_success_rate"]]
    scorer = _weighted(
        (values["price_weight"], _CHEAP),
        (values["speed_weight"], _FAST),
        (values["latency_weight"], _PROMPT),
    )
    selector: Term = ["top_k", values["tries"], ["argmax"]]
    return _policy([reliable, *_ceilings(values)], scorer, selector, ["id"], values["retries"])


def _agent(values: Values) -> Term:
    fits: Term = ["cmp", "context", "ge", values["min_context"]]
    preds: list[Term] = [["has_cap", "tools"], fits, *_ceilings(values)]
    scorer = _weighted((0.5, _PROMPT), (0.3, ["field", "success_rate"]), (0.2, _CHEAP))
    selector: Term = ["argmax"]
    for family in reversed(values["families"]):
        selector = ["prefer", ["family_eq", family], selector]
    xform: Term = ["clamp_param", "temperature", 0, values["max_temperature"]]
    return _policy(preds, scorer, selector, xform, values["retries"])


TEMPLATES: Final[Mapping[str, Template]] = {
    template.id: template
    for template in (
        Template("default", "whoever can serve it, the cheapest first", (_PRIVATE, _RETRIES), _default),
        Template(
            "cheapest-family",
            "the cheapest route to any of some families",
            (
                Parameter("families", "list of names", [], "the families that will do (none named: all)"),
                *_PRICES,
                _PRIVATE,
                _RETRIES,
            ),
            _cheapest_family,
        ),
        Template(
            "smart-value",
            "price, throughput and latency weighed, among those who answer reliably",
            (
                Parameter("price_weight", "number", 0.6, "how much a low price counts", 0, 1),
                Parameter("speed_weight", "number", 0.2, "how much throughput counts", 0, 1),
                Parameter("latency_weight", "number", 0.2, "how much a low latency counts", 0, 1),
                Parameter("min_success_rate", "number", 0.9, "the least share of answered calls", 0, 1),
                Parameter("tries", "integer", 3, "routes to try before giving up", 1, 64),
                *_PRICES,
                _RETRIES,
            ),
            _smart_value,
        ),
        Template(
            "agent",
            "for agents: tools and a long context, quick to answer, the preferred families first",
            (
                Parameter("families", "list of names", [], "families to prefer, the first before the others"),
                Parameter("min_context", "integer", 32_000, "tokens that must fit", 0, 100_000_000),
                Parameter("max_temperature", "number", 1, "the highest temperature that is passed on", 0, 2),
                *_PRICES,
                _RETRIES,
            ),
            _agent,
        ),
    )
}


def find_template(name: str) -> Template:
    """Give a template by its id; `RefusedError` (404) names the nearest."""
    template = TEMPLATES.get(name)
    if template is None:
        shown = name[:256]
        raise RefusedError(404, "unknown_template", f"no template `{shown}`{hint(shown, TEMPLATES)}", "id")
    return template
