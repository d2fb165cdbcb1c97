"""Where two policies decide differently: who is chosen, in what order, who is rejected and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llm_policy_host.values import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_policy_host.values import Plain

    from .corpus import Occasion

_NOW_MS = 1
_LATER_MS = 1_000_000
_MANY_FAILURES = 1_000_000


class Planner(Protocol):
    """An engine as this module uses it."""

    def rank(self, contract: Plain, inputs: Inputs) -> Plain:
        """Plan without any effect."""

    def restore_state(self, state: Plain) -> None:
        """Take a state in place of its own."""


@dataclass(frozen=True, slots=True)
class Side:
    """An engine, and what names the policy in its contracts: `profile` or `policy_ir`."""

    engine: Planner
    policy: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class Decision:
    """Routes in order, the rejected ones with their reasons, or why nothing was decided."""

    order: tuple[str, ...]
    rejected: Mapping[str, str]
    error: str | None = None

    @property
    def chosen(self) -> str | None:
        """Name the first route."""
        return self.order[0] if self.order else None


@dataclass(frozen=True, slots=True)
class Moved:
    """An occasion on which two policies differ, and in what: `chosen`, `order`, `rejected`, `reasons`."""

    place: int
    occasion: Occasion
    differs: tuple[str, ...]
    before: Decision
    after: Decision


def moved(first: Side, second: Side, occasions: Iterable[Occasion]) -> Iterator[Moved]:
    """Give the occasions on which two policies decide differently, with their places from 1."""
    for place, occasion in enumerate(occasions, 1):
        before, after = decide(first, occasion), decide(second, occasion)
        differs = tuple(_differences(before, after))
        if differs:
            yield Moved(place, occasion, differs, before, after)


def decide(side: Side, occasion: Occasion) -> Decision:
    """Plan one occasion."""
    breaker = {"failures": _MANY_FAILURES, "until_ms": _LATER_MS}
    health = {"breakers": dict.fromkeys(occasion.open, breaker), "disabled": {}}
    side.engine.restore_state({"v": 1, "health": health})
    others: dict[str, Any] = {"disabled": dict.fromkeys(occasion.disabled, True)} if occasion.disabled else {}
    if occasion.credits:
        others["credits"] = occasion.credits
    plan = side.engine.rank({**occasion.contract, **side.policy}, Inputs(_NOW_MS, 0, others=others))
    refusal = plan.get("refusal")
    error = f"{refusal['code']} at {refusal['path']}" if refusal else plan.get("error")
    rejected = {
        f"{each['model']} @ {each['provider']}": each["reason"] for each in plan.get("rejected") or ()
    }
    return Decision(tuple(map(_route, plan.get("ordered") or ())), rejected, error)


def _differences(before: Decision, after: Decision) -> Iterator[str]:
    if before.chosen != after.chosen or before.error != after.error:
        yield "chosen"
    if before.order != after.order:
        yield "order"
    if before.rejected.keys() != after.rejected.keys():
        yield "rejected"
    elif before.rejected != after.rejected:
        yield "reasons"


def _route(entry: Mapping[str, Any]) -> str:
    peer = entry.get("served_by")
    through = f" by {peer}" if peer not in (None, entry["provider_id"]) else ""
    return f"{entry['model_family']} @ {entry['provider_id']}{through}"
