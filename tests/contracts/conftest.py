"""The adapter under test over a real client, and what a stream says taken together."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

from llm_policy_host.clock import SystemClock
from llm_policy_host.providers.registry import Adapters
from llm_policy_host.values import Call, Failure, Response, StreamChunk, ToolCall

from .scenarios import MODEL
from .vendor import Vendor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Credential

    from .dialect import Dialect
    from .vendor import Reply

FIELDS = (
    "text",
    "reasoning",
    "tool_calls",
    "refusal",
    "finish_reason",
    "model",
    "usage",
    "embeddings",
    "cost_usd",
)
"""What the suite compares of an answer: what every dialect can be asked for."""


@pytest.fixture
async def adapters() -> AsyncIterator[Mapping[str, Provider]]:
    made = Adapters(SystemClock(), {})
    yield made.by_kind
    await made.close()


class Talk:
    """One adapter talking to a vendor that replies as told."""

    def __init__(self, dialect: Dialect, adapters: Mapping[str, Provider]) -> None:
        self.dialect = dialect
        self.adapter = adapters[dialect.adapter]

    def call(self, origin: str, fields: Mapping[str, Any]) -> Call:
        target = {"provider_id": "p", "model_family": "f", "served_model_id": MODEL}
        base_url = origin + self.dialect.base_path
        return Call(**{**target, "base_url": base_url, **self.dialect.call, **fields})

    async def send(
        self, vendor: Vendor, fields: Mapping[str, Any], credential: Credential | None = None
    ) -> Response | Failure:
        call = self.call(vendor.origin, fields)
        return await self.adapter.send(call, credential or self.dialect.credential)

    async def stream(
        self, vendor: Vendor, fields: Mapping[str, Any], credential: Credential | None = None
    ) -> list[StreamChunk | Failure]:
        """Give the chunks, and the failure after them; nothing follows a failure, no batch is empty."""
        heard: list[StreamChunk | Failure] = []
        items = self.adapter.stream(self.call(vendor.origin, fields), credential or self.dialect.credential)
        async with aclosing(cast("AsyncGenerator[Sequence[StreamChunk] | Failure, None]", items)) as batches:
            async for batch in batches:
                assert not (heard and isinstance(heard[-1], Failure)), "something follows a failure"
                assert batch, "an empty batch"
                heard += [batch] if isinstance(batch, Failure) else batch
        return heard

    async def ask(self, reply: Reply, fields: Mapping[str, Any]) -> Response | Failure:
        async with Vendor([reply]) as vendor:
            return await self.send(vendor, fields)

    async def hear(self, reply: Reply, fields: Mapping[str, Any]) -> list[StreamChunk | Failure]:
        async with Vendor([reply]) as vendor:
            return await self.stream(vendor, fields)


def meaning(answer: Response | Failure) -> dict[str, Any]:
    """What the suite compares of an answer."""
    assert isinstance(answer, Response), f"{answer} {answer.detail}"
    return {name: getattr(answer, name) for name in FIELDS}


def together(heard: list[StreamChunk | Failure]) -> dict[str, Any]:
    """What the suite compares of a stream that ended well."""
    calls: dict[int, list[str]] = {}
    for chunk in heard:
        assert isinstance(chunk, StreamChunk), f"{chunk} {chunk.detail}"
        for delta in chunk.tool_calls:
            call = calls.setdefault(delta.index, ["", "", ""])
            call[0] = delta.id or call[0]
            call[1] = delta.name or call[1]
            call[2] += delta.arguments
    chunks = [chunk for chunk in heard if isinstance(chunk, StreamChunk)]
    return {
        "text": "".join(chunk.text for chunk in chunks),
        "reasoning": "".join(chunk.reasoning for chunk in chunks),
        "tool_calls": tuple(ToolCall(*calls[index]) for index in sorted(calls)),
        "refusal": "".join(chunk.refusal or "" for chunk in chunks) or None,
        "embeddings": (),
        **{name: _last(chunks, name) for name in ("finish_reason", "model", "usage", "cost_usd")},
    }


def _last(chunks: list[StreamChunk], name: str) -> Any:
    said = [getattr(chunk, name) for chunk in chunks]
    return next((each for each in reversed(said) if each is not None), None)
