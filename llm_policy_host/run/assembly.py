"""A whole response put together from the chunks of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_policy_host.values import Response, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_policy_host.values import StreamChunk, ToolCallDelta


@dataclass(slots=True)
class _ToolCallParts:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Assembly:
    """Gathers chunks; `response` gives what they amount to."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _ToolCallParts] = {}
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._usage: Usage | None = None
        self._cost_usd: float | None = None

    def add_all(self, batch: Sequence[StreamChunk]) -> None:
        """Take the next chunks."""
        for chunk in batch:
            if chunk.text:
                self._text.append(chunk.text)
            self._add_other(chunk)
            if chunk.finish_reason or chunk.usage or chunk.model or chunk.cost_usd is not None:
                self._add_ending(chunk)

    def _add_other(self, chunk: StreamChunk) -> None:
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        if chunk.refusal:
            self._refusal.append(chunk.refusal)
        for delta in chunk.tool_calls:
            self._add_call(delta)

    def _add_ending(self, chunk: StreamChunk) -> None:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._model = chunk.model or self._model
        self._usage = chunk.usage or self._usage
        self._cost_usd = self._cost_usd if chunk.cost_usd is None else chunk.cost_usd

    def _add_call(self, delta: ToolCallDelta) -> None:
        parts = self._calls.setdefault(delta.index, _ToolCallParts())
        parts.id = delta.id or parts.id
        parts.name = delta.name or parts.name
        parts.arguments.append(delta.arguments)

    def response(self) -> Response:
        """Give the response so far."""
        calls = (
            ToolCall(part.id, part.name, "".join(part.arguments)) for _, part in sorted(self._calls.items())
        )
        return Response(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(calls),
            refusal="".join(self._refusal) or None,
            finish_reason=self._finish_reason,
            model=self._model,
            usage=self._usage,
            cost_usd=self._cost_usd,
        )
