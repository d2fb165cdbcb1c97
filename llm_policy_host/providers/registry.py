"""Which adapter speaks which dialect: adding one is a file and a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._http import HttpClient
from .openai_compatible import OpenAICompatible
from .scripted import Scripted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.ports import Clock, Provider


@dataclass(frozen=True, slots=True)
class Tools:
    """What an adapter may be built from."""

    http: HttpClient
    clock: Clock
    scripts: Mapping[str, Any]


ADAPTERS: Mapping[str, Callable[[Tools], Provider]] = {
    "openai_compatible": lambda tools: OpenAICompatible(tools.http, tools.clock),
    "scripted": lambda tools: Scripted(tools.scripts, tools.clock),
}


class Adapters:
    """One adapter per dialect over one pool of connections."""

    def __init__(self, clock: Clock, scripts: Mapping[str, Any]) -> None:
        self._http = HttpClient()
        tools = Tools(self._http, clock, scripts)
        self.by_kind: Mapping[str, Provider] = {kind: make(tools) for kind, make in ADAPTERS.items()}

    async def close(self) -> None:
        """Give back every adapter's things and the connections."""
        for adapter in self.by_kind.values():
            await adapter.close()
        await self._http.close()
