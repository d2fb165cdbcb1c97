"""What a provider port gives, as plain data and back: for dialects that use no HTTP."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, Response, StreamChunk, ToolCall, ToolCallDelta, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def plain_of(item: Response | Failure | Sequence[StreamChunk]) -> dict[str, Any]:
    """Give an item as plain data; what has its default is left out."""
    if isinstance(item, Response):
        return {"response": _fields(item)}
    if isinstance(item, Failure):
        return {"failure": _fields(item)}
    return {"chunks": [_fields(chunk) for chunk in item]}


def item_of(data: Any) -> Response | Failure | list[StreamChunk]:  # noqa: ANN401 - as a file has it
    """Read an item; what is none is a `ValueError`."""
    try:
        ((kind, given),) = data.items()
        if kind == "response":
            return Response(**_read(given, ToolCall))
        if kind == "failure":
            return Failure(**given)
        if kind == "chunks":
            return [StreamChunk(**_read(each, ToolCallDelta)) for each in given]
    except (AttributeError, TypeError, ValueError):
        pass
    raise ValueError("no item")


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the values
    given = ((each, getattr(value, each.name)) for each in dataclasses.fields(value))
    return {each.name: _plain(one) for each, one in given if one not in (each.default, _made(each))}


def _made(each: dataclasses.Field[Any]) -> Any:  # noqa: ANN401 - whatever it makes
    made = each.default_factory
    return dataclasses.MISSING if made is dataclasses.MISSING else made()


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _read(given: Mapping[str, Any], call: type[ToolCall | ToolCallDelta]) -> dict[str, Any]:
    fields = dict(given)
    if "tool_calls" in fields:
        fields["tool_calls"] = tuple(call(**each) for each in fields["tool_calls"])
    if fields.get("usage") is not None:
        fields["usage"] = Usage(**fields["usage"])
    if "embeddings" in fields:
        fields["embeddings"] = tuple(fields["embeddings"])
    return fields
