"""Which adapter speaks which dialect: adding one is a file and a row."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import NOTHING, nothing

from ._aws import Signer
from ._http import HttpClient
from ._quota import ignored
from .anthropic import Anthropic
from .bedrock import Bedrock
from .google import Google
from .ollama import Ollama
from .openai_codex import OpenAICodex
from .openai_compatible import OpenAICompatible
from .scripted import Scripted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock, Provider

    from ._http import Http
    from ._quota import NoteQuota


@dataclass(frozen=True, slots=True)
class Tools:
    """What an adapter may be built from."""

    http: Http
    clock: Clock
    scripts: Mapping[str, Any]
    note_quota: NoteQuota = ignored
    pins: Mapping[str, str] = field(default_factory=nothing)
    signer: Signer = field(default_factory=lambda: Signer("bedrock"))


Make = Callable[["Tools"], "Provider"]
"""How an adapter is made."""

ADAPTERS: Mapping[str, Make] = {
    "anthropic": lambda tools: Anthropic(tools.http, tools.clock),
    "bedrock": lambda tools: Bedrock(tools.http, tools.clock, tools.signer),
    "google": lambda tools: Google(tools.http, tools.clock),
    "openai_codex": lambda tools: OpenAICodex(tools.http, tools.clock, tools.note_quota),
    "openai_compatible": lambda tools: OpenAICompatible(tools.http, tools.clock, tools.pins),
    "ollama": lambda tools: Ollama(tools.http, tools.clock),
    "scripted": lambda tools: Scripted(tools.scripts, tools.clock),
}


_NEEDS: Mapping[str, str] = {"bedrock": "botocore"}
"""Packages beyond the distribution's own that a dialect needs."""


def lacking(kind: str) -> str | None:
    """Name the package that a dialect needs and this machine has not."""
    package = _NEEDS.get(kind)
    return package if package is not None and importlib.util.find_spec(package) is None else None


class Adapters:
    """One adapter per dialect over one pool of connections; `wrap` may put something before each."""

    def __init__(
        self,
        clock: Clock,
        scripts: Mapping[str, Any],
        note_quota: NoteQuota = ignored,
        pins: Mapping[str, str] = NOTHING,
        wrap: Callable[[Make, Tools], Provider] = lambda make, tools: make(tools),
    ) -> None:
        self.http = HttpClient()
        tools = Tools(self.http, clock, scripts, note_quota, pins)
        self.by_kind: Mapping[str, Provider] = {kind: wrap(make, tools) for kind, make in ADAPTERS.items()}

    async def close(self) -> None:
        """Give back every adapter's things and the connections."""
        for adapter in self.by_kind.values():
            await adapter.close()
        await self.http.close()
