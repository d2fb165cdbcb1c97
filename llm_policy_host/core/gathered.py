"""What the host gathered for runs, carried to Lua once for as long as it stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Plain

    from .vm import Vm


class Gathered:
    """Tables of `Inputs.others`, by the identity of the whole and of each part.

    INVARIANT: what was given is never changed: something new comes as a new mapping.
    """

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._whole: tuple[Mapping[str, Any], Any] = (NOTHING, None)
        self._parts: dict[str, tuple[Plain, Any]] = {}

    def table(self, others: Mapping[str, Any]) -> Any:  # noqa: ANN401 - lupa has no types
        """Give the table of a mapping; nothing where it is empty."""
        known, table = self._whole
        if known is not others:
            table = self.with_scalars(others, {}) if others else None
            self._whole = (others, table)
        return table

    def with_scalars(self, others: Mapping[str, Any], scalars: Mapping[str, Plain]) -> Any:  # noqa: ANN401
        """Give a table of its own of a mapping's parts and some scalars beside them."""
        parts = {
            name.encode(): self._part(name, value) for name, value in others.items() if value is not None
        }
        parts |= {
            name.encode(): self._vm.to_lua(value) for name, value in scalars.items() if value is not None
        }
        return self._vm.table_from(parts)

    def _part(self, name: str, value: Plain) -> Any:  # noqa: ANN401 - lupa has no types
        known = self._parts.get(name)
        if known is None or known[0] is not value:
            known = self._parts[name] = (value, self._vm.to_lua(value))
        return known[1]
