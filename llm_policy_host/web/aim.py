"""What a body's `model` and its kin mean: a profile, a pin, a flow, or a policy of the caller's (spec 3.6).

The meaning of a model string, first match:

1. the name of a family: the default profile, and only this family;
2. `profile:`, `family:`, `pin:PROVIDER/FAMILY`, `flow:` and a name; any other prefix is refused;
3. any other text, or none: the default profile.

`:nitro` and `:floor` may end any of them. The default profile is the path's, else the caller's only
one, else the config's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.core.language import Refusal

from . import sugar
from .errors import RefusedError, invalid
from .keys import OVERRIDE_HEADER, check_may, read_override
from .narrowing import bounds_of
from .sugar import NO_WISHES, Wishes, hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.values import Plain, Secret

    from .host import GatewayHost
    from .narrowing import Bounds
    from .skin import Asked, Skin

ROUTING_FIELDS: Final = (
    "models",
    "provider",
    "policy_ir",
    "flow_ir",
    "extra_candidates",
    "route",
    "transforms",
)
"""What a body says to the gateway alone: no provider gets it."""
_ROUTING: Final = frozenset(ROUTING_FIELDS)

SUFFIXES: Final[Mapping[str, str]] = {"nitro": "throughput", "floor": "price"}

_MAX_KNOWN = 512
_MAX_MODEL = 600
_MAX_EXTRA = 64
# dialects whose calls are signed with the machine's own credentials where none are given
_SIGNING = ("bedrock",)


@dataclass(frozen=True, slots=True)
class Target:
    """What a model string names; `profile` is None where it is the default one."""

    profile: str | None = None
    route: tuple[str | None, str | None] = (None, None)
    flow: str | None = None
    sort: str | None = None


class Aims:
    """Reads routing fields for one host; what it lowered once it knows, within a bound."""

    def __init__(self, host: GatewayHost, flows: Mapping[str, Plain]) -> None:
        catalog = host.catalog
        self._host = host
        self._flows = flows
        self._families = frozenset(catalog.get("models") or ())
        self._providers = frozenset(catalog.get("providers") or ())
        self._profiles = frozenset(catalog.get("profiles") or ())
        self._default = default_profile(catalog)
        self._targets: dict[str, Target] = {}
        self._terms: dict[tuple[str, Wishes, str, Bounds | None], Plain] = {}

    def aim(self, body: dict[str, Any], asked: Asked, skin: Skin) -> dict[str, Any]:
        """Take the routing fields out of a body; give the parts of its contract that they are."""
        given = _take(body)
        kind = skin.path.removeprefix("/")
        target = self._target(asked.model)
        pieces: dict[str, Any] = {}
        if target.route != (None, None):
            pieces["requirements"] = {"pin": _pin(target.route)}
        override = read_override(asked.headers, asked.caller)
        if "extra_candidates" in given:
            pieces["extra_candidates"] = self._extra(given["extra_candidates"], asked, override)
        if override:
            pieces["auth_override"] = self._override(override, pieces)
        bounds = bounds_of(asked.caller)
        if "policy_ir" in given or "flow_ir" in given or target.flow is not None:
            return {**pieces, **self._own(given, target, asked, bounds)}
        profile = self._profile(target.profile, asked)
        wishes = NO_WISHES
        if "models" in given or "provider" in given or target.sort is not None:
            wishes = self._wishes(given, body, target)
        if wishes.routes:
            pieces.pop("requirements", None)
        if (wishes is NO_WISHES or wishes == NO_WISHES) and kind != "embeddings" and bounds is None:
            return {**pieces, "profile": profile}
        return {**pieces, **self._lowered(profile, wishes, kind, bounds)}

    # Who decides ------------------------------------------------------------------------------

    def _own(
        self, given: Mapping[str, Any], target: Target, asked: Asked, bounds: Bounds | None
    ) -> dict[str, Any]:
        """Give the caller's own policy or flow, or the flow that its model string names."""
        named = "flow_ir" if "flow_ir" in given else "policy_ir"
        beside = [name for name in ("policy_ir", "flow_ir", "models", "provider") if name in given]
        if target.flow is not None:
            if beside:
                raise invalid(f"`{asked.model}` decides alone: leave `{beside[0]}` out", beside[0])
            _check_may_name(f"flow:{target.flow}", target.flow, self._flows, "flow", asked)
            flow = self._flows[target.flow]
            return {"flow_ir": flow if bounds is None else bounds.over_flow(flow, self._host)}
        if len(beside) > 1 or target.sort is not None:
            other = next((name for name in beside if name != named), "model")
            raise invalid(f"`{named}` decides alone: leave the routing of `{other}` out", other)
        if target.profile is not None:
            raise invalid(f"`{named}` and `{asked.model}` are two policies", "model")
        check_may(asked.caller, "policy", f"`{named}`", named)
        term = given[named]
        if named == "flow_ir":
            return {named: term if bounds is None else bounds.over_flow(term, self._host)}
        return {named: self._admitted(term if bounds is None else bounds.over(term, self._admitted(term)))}

    def _profile(self, named: str | None, asked: Asked) -> str:
        """Give the profile that decides."""
        caller = asked.caller
        allowed = None if caller is None else caller.profiles
        own = next(iter(allowed)) if allowed is not None and len(allowed) == 1 else self._default
        profile = named or asked.profile or own
        if profile is None:
            raise RefusedError(
                404, "unknown_profile", "no profile is named, and there is no default", "model"
            )
        if allowed is not None and profile not in allowed:
            raise RefusedError(403, "profile_not_allowed", f"this key may not use `{profile}`", "model")
        if profile not in self._profiles:
            near = hint(profile, self._profiles if allowed is None else allowed)
            raise RefusedError(404, "unknown_profile", f"no profile `{profile}`{near}", "model")
        return profile

    def _lowered(self, profile: str, wishes: Wishes, kind: str, bounds: Bounds | None) -> dict[str, Any]:
        """Give the identity of a profile's term with the wishes in it, and within a key's bounds."""
        key = (profile, wishes, kind, bounds)
        term = self._terms.get(key)
        if term is None:
            own = self._host.engine.profile_term(profile, is_bare=True)
            if own is None:
                if wishes == NO_WISHES and bounds is None:
                    return {"profile": profile}  # a function of the operator decides about vectors, too
                detail = f"`{profile}` is a function of the operator's: it takes no routing fields"
                raise invalid(detail, "provider", "local_policy")
            term = sugar.lower(own, wishes)
            if bounds is not None:
                term = bounds.over(term, self._admitted(term))
            term = sugar.for_kind(term, kind)
            _remember(self._terms, key, term)
        return {"policy_ir": self._admitted(term)}

    def _admitted(self, term: Plain) -> str:
        answer = self._host.engine.admit(term)
        if isinstance(answer, Refusal):
            detail = f"the policy is refused: {answer.detail or answer.code}"
            raise RefusedError(400, answer.code, detail, answer.path)
        return str(answer)

    def _extra(self, given: Any, asked: Asked, override: Mapping[str, Secret]) -> list[dict[str, Any]]:  # noqa: ANN401 - as the caller wrote it
        """Take the caller's own candidates.

        None may borrow a key of the operator's: neither by the name of a provider here, nor in a
        dialect that signs with what this machine has where no key is given.
        """
        check_may(asked.caller, "extra_candidates", "`extra_candidates`", "extra_candidates")
        if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
            raise invalid("must be a list of candidates", "extra_candidates")
        if len(given) > _MAX_EXTRA:
            raise invalid(f"may hold at most {_MAX_EXTRA}", "extra_candidates")
        for index, entry in enumerate(given):
            provider = entry.get("provider_id")
            if not isinstance(provider, str) or provider in self._providers:
                detail = "must be a name, and none of this gateway's providers'"
                raise invalid(detail, f"extra_candidates[{index}].provider_id")
            if entry.get("api_kind") in _SIGNING and provider not in override:
                detail = f"needs a key of the caller's own: `{OVERRIDE_HEADER.decode()}`"
                raise invalid(detail, f"extra_candidates[{index}].api_kind")
        return given

    def _override(self, override: dict[str, Secret], pieces: Mapping[str, Any]) -> dict[str, Secret]:
        """Refuse a key for nobody: it would be dropped without a word."""
        known = {entry.get("provider_id") for entry in pieces.get("extra_candidates", ())} | self._providers
        for name in override:
            if name not in known:
                near = hint(name, self._providers)
                raise invalid(
                    f"no provider `{name[:256]}`{near}", OVERRIDE_HEADER.decode(), "unknown_provider"
                )
        return override

    # What is wished ---------------------------------------------------------------------------

    def _wishes(self, given: Mapping[str, Any], body: Mapping[str, Any], target: Target) -> Wishes:
        wished: dict[str, Any] = {}
        if "provider" in given:
            wished = sugar.read_preferences(given["provider"], body, self._providers)
        sorts = {target.sort, wished.get("sort")}
        routes = []
        if "models" in given:
            targets = [target, *(self._listed(name) for name in sugar.names_in(given["models"], "models"))]
            routes = [entry.route for entry in targets if entry.route != (None, None)]
            sorts |= {entry.sort for entry in targets}
        sorts.discard(None)
        if len(sorts) > 1:
            raise invalid(f"both {' and '.join(sorted(map(str, sorts)))} are to decide", "provider.sort")
        wishes = replace(
            Wishes(**wished),
            sort=next(iter(sorts), None),
            routes=tuple((str(family), provider) for family, provider in dict.fromkeys(routes)),
        )
        sugar.check_consistent(wishes)
        return wishes

    def _listed(self, name: str) -> Target:
        target = self._target(name)
        if target.route == (None, None):
            detail = f"no model `{name}`{hint(name, self._families)}"
            raise RefusedError(404, "model_not_found", detail, "models")
        return target

    # Model strings ----------------------------------------------------------------------------

    def _target(self, model: str) -> Target:
        target = self._targets.get(model)
        if target is None:
            if len(model) > _MAX_MODEL:
                raise invalid("longer than any name here", "model")
            target = self._read(model)
            _remember(self._targets, model, target)
        return target

    def _read(self, model: str) -> Target:
        if model in self._families:
            return Target(route=(model, None))
        name, colon, suffix = model.rpartition(":")
        if colon and suffix in SUFFIXES:
            target = self._read(name)
            if target.sort is not None or target.flow is not None:
                raise invalid(f"`{model}` cannot end in `:{suffix}`", "model")
            return replace(target, sort=SUFFIXES[suffix])
        prefix, colon, name = model.partition(":")
        if not colon:
            return Target()
        read = _PREFIXES.get(prefix)
        if read is None:
            near = hint(model, self._families) or hint(prefix, _PREFIXES)
            detail = f"`{prefix}:` means nothing here: a model is a family, or {_PREFIX_WORDS}{near}"
            raise invalid(detail, "model", "unknown_model_prefix")
        return read(self, name)

    def _read_profile(self, name: str) -> Target:
        return Target(profile=_named(name, "profile:"))

    def _read_family(self, name: str) -> Target:
        if _named(name, "family:") not in self._families:
            near = hint(name, self._families)
            raise RefusedError(404, "model_not_found", f"no model `{name}`{near}", "model")
        return Target(route=(name, None))

    def _read_pin(self, name: str) -> Target:
        parts = _named(name, "pin:").split("/")
        splits = [("/".join(parts[:i]), "/".join(parts[i:])) for i in range(1, len(parts))]
        for provider, family in splits:
            if provider in self._providers and family in self._families:
                return Target(route=(family, provider))
        if not splits:
            raise invalid(f"`pin:{name}` is not `pin:PROVIDER/FAMILY`", "model")
        provider, family = splits[0]
        if provider not in self._providers:
            near = hint(provider, self._providers)
            raise RefusedError(404, "unknown_provider", f"no provider `{provider}`{near}", "model")
        near = hint(family, self._families)
        raise RefusedError(404, "model_not_found", f"no model `{family}`{near}", "model")

    def _read_flow(self, name: str) -> Target:
        if _named(name, "flow:") not in self._flows:
            near = hint(name, self._flows)
            raise RefusedError(404, "unknown_flow", f"no flow `{name}`{near}", "model")
        return Target(flow=name)


_PREFIXES: Final[Mapping[str, Callable[[Aims, str], Target]]] = {
    "profile": Aims._read_profile,  # noqa: SLF001 - the table of its own class
    "family": Aims._read_family,  # noqa: SLF001
    "pin": Aims._read_pin,  # noqa: SLF001
    "flow": Aims._read_flow,  # noqa: SLF001
}
_PREFIX_WORDS = "`profile:NAME`, `family:NAME`, `pin:PROVIDER/FAMILY`, `flow:NAME`"


def default_profile(catalog: Mapping[str, Any]) -> str | None:
    """Name the profile of a contract that names none: the core's own rule."""
    profiles = catalog.get("profiles") or {}
    named: str | None = (catalog.get("defaults") or {}).get("profile")
    if named:
        return named
    if "default" in profiles:
        return "default"
    return next(iter(profiles)) if len(profiles) == 1 else None


def _take(body: dict[str, Any]) -> dict[str, Any]:
    """Take the routing fields; a null says nothing, and what this gateway cannot do is refused."""
    given: dict[str, Any] = {}
    if _ROUTING.isdisjoint(body):
        return given
    for name in ROUTING_FIELDS:
        if name in body:
            value = body.pop(name)
            if value is not None:
                given[name] = value
    if given.pop("route", "fallback") != "fallback":
        raise invalid("must be `fallback`", "route")
    if given.pop("transforms", None):
        raise invalid("this gateway transforms no prompts", "transforms", "unsupported")
    return given


def _pin(route: tuple[str | None, str | None]) -> dict[str, str]:
    family, provider = route
    return {key: name for key, name in (("model", family), ("provider", provider)) if name is not None}


def _named(name: str, prefix: str) -> str:
    if not name:
        raise invalid(f"`{prefix}` needs a name", "model")
    return name


def _check_may_name(model: str, name: str, known: Mapping[str, Plain], noun: str, asked: Asked) -> None:
    """Refuse a caller who is held to profiles: whatever else decides is none of them."""
    if asked.caller is not None and asked.caller.profiles is not None:
        raise RefusedError(403, f"{noun}_not_allowed", f"this key may not use `{model}`", "model")
    if name not in known:
        raise RefusedError(404, f"unknown_{noun}", f"no {noun} `{name}`{hint(name, known)}", "model")


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:  # noqa: ANN401 - of either cache
    """Keep a value; the oldest goes where there are too many."""
    known[key] = value
    if len(known) > _MAX_KNOWN:
        known.pop(next(iter(known)), None)
