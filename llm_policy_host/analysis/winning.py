"""What would have to change for a route to be first: single fields, each tried on the engine itself.

Nothing here knows what a policy means. It names the fields that a decision may depend on, changes one
at a time, and asks a real engine who is first then. Of a number it looks for the value nearest to the
present one, between values that the policy, the request and the catalog name.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.engine import LuaEngine, create_engine
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import CoreError, UsageError
from llm_policy_host.values import Inputs, nothing

from .fields import CONTRACT_NUMBERS, Literal, literals, numbers_of, observed_names, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Plain

_FACTORS = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.01, 1.1, 1.5, 2.0, 4.0, 10.0, 100.0)
_STEPS = 60
_SLACK = 0.01


@dataclass(frozen=True, slots=True)
class World:
    """All that a decision depends on: a config, a contract in the core's shape, inputs, a state."""

    core: Mapping[str, Any]
    contract: Mapping[str, Any]
    inputs: Inputs
    state: Mapping[str, Any] = field(default_factory=nothing)
    term: Plain = None


@dataclass(frozen=True, slots=True)
class Way:
    """A change of one field that makes the route the first one."""

    where: str
    name: str
    was: Plain
    to: Plain


class Judge:
    """Asks engines who is first; an engine is kept for as long as the config stays the same."""

    def __init__(self, target: tuple[str, str]) -> None:
        self._target = target
        self._vm = Vm()
        self._engines: dict[int, tuple[Mapping[str, Any], LuaEngine | None]] = {}

    def is_won(self, world: World) -> bool:
        """Whether the route is first; a config or contract that is refused makes nobody first."""
        engine = self._engine(world.core)
        if engine is None:
            return False
        if world.state:
            engine.restore_state(world.state)
        ordered = engine.rank(world.contract, world.inputs).get("ordered") or []
        return bool(ordered) and (ordered[0]["provider_id"], ordered[0]["model_family"]) == self._target

    def first(self, world: World) -> str | None:
        """Name the provider of the first route."""
        engine = self._engine(world.core)
        ordered = engine.rank(world.contract, world.inputs).get("ordered") if engine else None
        return ordered[0]["provider_id"] if ordered else None

    def _engine(self, core: Mapping[str, Any]) -> LuaEngine | None:
        known = self._engines.get(id(core))
        if known is None:
            try:
                made = create_engine(self._vm, core)
            except CoreError:
                made = ()
            known = (core, made if isinstance(made, LuaEngine) else None)
            self._engines = {id(core): known}
        return known[1]


def ways_to_win(world: World, target: tuple[str, str]) -> list[Way]:
    """Give every single change that was found to make a (provider, family) the first one."""
    judge = Judge(target)
    if judge.is_won(world):
        raise UsageError(f"`{target[1]} @ {target[0]}` is first already")
    changes = (
        *_of_the_catalog(world, target),
        *_of_the_state(world, target[0], target[1]),
        *_without_rival(world, judge.first(world)),
        *_of_the_request(world),
        *_of_the_policy(world),
    )
    found = (_tried(judge, change) for change in changes)
    return [way for way in found if way is not None]


@dataclass(frozen=True, slots=True)
class _Change:
    """A field that may be changed: how, to which values, and between which numbers to look."""

    where: str
    name: str
    was: Plain
    world: Callable[[Any], World]
    values: Sequence[Plain] = ()
    hints: Sequence[float] = ()
    is_number: bool = False


def _tried(judge: Judge, change: _Change) -> Way | None:
    def wins(value: Plain) -> bool:
        return judge.is_won(change.world(value))

    if change.is_number:
        value = _nearest(change.was, change.hints, wins)
    else:
        value = next((value for value in change.values if wins(value)), _NONE)
    if value is _NONE:
        return None
    return Way(change.where, change.name, change.was, value)


# Numbers ------------------------------------------------------------------------------------------


class _None:
    """No value at all, where None is one."""


_NONE: Any = _None()


def _nearest(was: float | None, hints: Iterable[float], wins: Callable[[Plain], bool]) -> Any:  # noqa: ANN401
    """Give the winning number nearest to the present one: the last step towards it is found by halving."""
    now = math.inf if was is None else float(was)
    points = {float(hint) for hint in hints} | {hint * near for hint in hints for near in (0.99, 1.01)}
    points |= {now * factor for factor in _FACTORS} if math.isfinite(now) else set()
    below = sorted((point for point in points if point < now), reverse=True)
    above = sorted(point for point in points if point > now)
    found = [value for value in (_towards(now, below, wins), _towards(now, above, wins)) if value is not None]
    return min(found, key=lambda value: abs(value - now) if math.isfinite(now) else -value, default=_NONE)


def _towards(now: float, points: Sequence[float], wins: Callable[[Plain], bool]) -> float | None:
    losing = now
    for point in points:
        if wins(point):
            return _short(point, losing, wins) if math.isinf(losing) else _halved(losing, point, wins)
        losing = point
    return None


def _halved(losing: float, winning: float, wins: Callable[[Plain], bool]) -> float:
    for _ in range(_STEPS):
        middle = (losing + winning) / 2
        if middle in (losing, winning) or abs(winning - losing) <= 1e-9 * max(abs(winning), abs(losing)):
            break
        losing, winning = (losing, middle) if wins(middle) else (middle, winning)
    return _short(winning, losing, wins)


def _short(winning: float, losing: float, wins: Callable[[Plain], bool]) -> float:
    """Give the number with the fewest digits that still wins and is as near."""
    away, toward = (1, math.ceil) if winning > losing else (-1, math.floor)
    for digits in range(1, 17):
        step = 10.0 ** (math.floor(math.log10(abs(winning) or 1)) - digits + 1)
        whole = toward(round(winning / step, 6))
        for steps in (whole, whole + away):
            short = float(f"{steps * step:.{digits + 1}g}")
            if abs(short - winning) <= _SLACK * abs(winning) and wins(short):
                return short
    return winning


# What may change ----------------------------------------------------------------------------------


def _of_the_catalog(world: World, target: tuple[str, str]) -> Iterator[_Change]:
    """Give the route's own fields that the policy or the request looks at."""
    provider, family = target
    routes = ((world.core.get("models") or {}).get(family) or {}).get("served_by") or []
    at = next((i for i, route in enumerate(routes) if route.get("provider") == provider), None)
    if at is None:
        return
    names = observed_names(world.term, world.contract)
    for place in places_of(world.core, target, at, names):

        def changed(value: Plain, place: Any = place) -> World:  # noqa: ANN401 - bound early
            return _with_core(world, place.path, value)

        hints = (*place.hints, *_hints_of(world, place.name))
        yield _Change("catalog", place.name, place.was, changed, place.values, hints, place.is_number)


def _hints_of(world: World, name: str) -> list[float]:
    found = [literal.value for literal in literals(world.term) if literal.field == name]
    bound = CONTRACT_NUMBERS.get(name)
    wanted = (world.contract.get("requirements") or {}).get(bound) if bound else None
    return [*found, *([wanted] if isinstance(wanted, int | float) else [])]


def _of_the_state(world: World, provider: str, family: str) -> Iterator[_Change]:
    others = world.inputs.others
    health = world.state.get("health") or {}
    if provider in others.get("disabled", {}) or provider in dict(health.get("disabled") or {}):
        yield _Change("state", "disabled", True, lambda _: _enabled(world, provider), [False])
    keys = {provider, f"{provider}|{family}"} & set(dict(health.get("breakers") or {}))
    if keys:
        yield _Change("state", "breaker_open", True, lambda _: _closed(world, keys), [False])
    if "credits" in observed_names(world.term, world.contract):
        known = others.get("credits", {})

        def rich(value: Plain) -> World:
            return _with_inputs(world, credits={**known, provider: value})

        hints = (*_hints_of(world, "credits"), *known.values())
        yield _Change("state", "credits", known.get(provider, 0), rich, hints=hints, is_number=True)


def _without_rival(world: World, rival: str | None) -> Iterator[_Change]:
    """Give what it takes that whoever is first cannot be called."""
    if rival is not None:
        disabled = {**world.inputs.others.get("disabled", {}), rival: True}
        yield _Change(
            "state", f"disabled of {rival}", False, lambda _: _with_inputs(world, disabled=disabled), [True]
        )


def _of_the_request(world: World) -> Iterator[_Change]:
    required = dict(world.contract.get("requirements") or {})
    for name in sorted(required):
        without = {key: value for key, value in required.items() if key != name}

        def relaxed(value: Plain, name: str = name, without: Any = without) -> World:  # noqa: ANN401
            kept = without if value is None else {**without, name: value}
            return _with_contract(world, "requirements", kept)

        was = required[name]
        if name == "needs":
            fewer = [[need for need in was if need != gone] for gone in was]
            yield _Change("request", name, was, relaxed, [*fewer, None])
        elif isinstance(was, int | float):
            hints = numbers_of(world.core, {bound: key for key, bound in CONTRACT_NUMBERS.items()}[name])
            yield _Change("request", name, was, relaxed, hints=hints, is_number=True)
        else:
            yield _Change("request", name, was, relaxed, [None])
    for name in ("tools", "images", "response_format", "scope"):
        if name in world.contract:

            def dropped(_: Plain, name: str = name) -> World:
                return _with_contract(world, name, None)

            yield _Change("request", name, world.contract[name], dropped, [None])


def _of_the_policy(world: World) -> Iterator[_Change]:
    if world.term is None or "chain" in world.contract:
        return
    for literal in literals(world.term):

        def rewritten(value: Plain, literal: Literal = literal) -> World:
            contract = {**world.contract, "policy_ir": _replaced(world.term, literal.at, value)}
            return World(world.core, contract, world.inputs, world.state, world.term)

        hints = () if literal.field is None else numbers_of(world.core, literal.field)
        yield _Change("policy", literal.path, literal.value, rewritten, hints=hints, is_number=True)


# Worlds with one thing changed --------------------------------------------------------------------


def _with_core(world: World, path: Sequence[str | int], value: Plain) -> World:
    core = copy.deepcopy(dict(world.core))
    place: Any = core
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    place[path[-1]] = value
    return World(core, world.contract, world.inputs, world.state, world.term)


def _with_inputs(world: World, **changed: Plain) -> World:
    inputs = Inputs(
        world.inputs.now_ms, world.inputs.seed, world.inputs.is_full_trace, {**world.inputs.others, **changed}
    )
    return World(world.core, world.contract, inputs, world.state, world.term)


def _with_contract(world: World, name: str, value: Plain) -> World:
    contract = {key: kept for key, kept in world.contract.items() if key != name}
    if value is not None:
        contract[name] = value
    return World(world.core, contract, world.inputs, world.state, world.term)


def _enabled(world: World, provider: str) -> World:
    disabled = {
        name: until for name, until in world.inputs.others.get("disabled", {}).items() if name != provider
    }
    return _with_inputs(_without_health(world, "disabled", {provider}), disabled=disabled)


def _closed(world: World, keys: set[str]) -> World:
    return _without_health(world, "breakers", keys)


def _without_health(world: World, part: str, keys: set[str]) -> World:
    health = dict(world.state.get("health") or {})
    if part not in health:
        return world
    health[part] = {key: entry for key, entry in dict(health[part]).items() if key not in keys}
    return World(world.core, world.contract, world.inputs, {**world.state, "health": health}, world.term)


def _replaced(term: Plain, at: Sequence[int], value: Plain) -> Plain:
    if not at:
        return value
    changed = list(term)
    changed[at[0]] = _replaced(term[at[0]], at[1:], value)
    return changed
