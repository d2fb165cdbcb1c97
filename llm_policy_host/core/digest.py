"""The identity of plain data: the core's own encoding and hash, the same in every runtime (spec 1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_policy_host.spelling import decode

if TYPE_CHECKING:
    from llm_policy_host.values import Plain

    from .vm import Vm

_IDENTITY = b"""
local encoding = require("llm_policy.language.encoding")
return encoding.identity(encoding.value((...)))
"""


class Digest:
    """Identifies plain data in one runtime; without state."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._identity = vm.load(_IDENTITY)

    def identity(self, value: Plain) -> str:
        """Give `sha256:` and the hash of a value's encoding, in hexadecimal."""
        return decode(self._vm.call(self._identity, self._vm.to_lua(value)))
