"""Streams for the skins' tests: answers cut anywhere, and what the vendors' own clients make of the bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic.lib.streaming._messages as anthropic_streams
from anthropic import not_given
from anthropic._streaming import SSEDecoder
from anthropic.types import RawMessageStreamEvent
from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from llm_policy_host.run.assembly import Assembly
from llm_policy_host.values import Response, Result, StreamChunk, ToolCallDelta, Trace, Usage
from llm_policy_host.web.skin import Asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_policy_host.web.skin import Skin

USAGE = Usage(7, 5, 3, 11, 2)
CHOSEN = {"provider_id": "acme", "model_family": "small", "served_model_id": "acme-small"}
ASKED = Asked("r1", 1_700_000_000, "cheap")


def result(response: Response) -> Result:
    return Result(ok=True, response=response, chosen=CHOSEN, trace=Trace())


def called(index: int, arguments: str = "", given: str | None = None, name: str | None = None) -> StreamChunk:
    return StreamChunk(tool_calls=(ToolCallDelta(index, given, name, arguments),))


def assembled(chunks: Iterable[StreamChunk]) -> Response:
    assembly = Assembly()
    assembly.add_all(list(chunks))
    return assembly.response()


def encoded(skin: Skin, batches: Sequence[Sequence[StreamChunk]], asked: Asked = ASKED) -> bytes:
    encoder = skin.encoder(asked)
    encoder.begin(CHOSEN)
    out = b"".join([encoder.chunks(batch) for batch in batches])
    return out + encoder.end(result(assembled(chunk for batch in batches for chunk in batch)))


def events(data: bytes) -> list[dict[str, Any]]:
    """Give the events' data; each stands under its own name."""
    read = list(SSEDecoder().iter_bytes(iter([data])))
    for each in read:
        assert each.event == json.loads(each.data)["type"]
    return [json.loads(each.data) for each in read]


def message_of(data: bytes) -> Any:
    """What Anthropic's own client makes of a stream."""
    message: Any = None
    pieces: dict[int, bytes] = {}
    for event in events(data):
        if event["type"] == "ping":
            continue
        read: Any = construct_type_unchecked(type_=RawMessageStreamEvent, value=event)  # type: ignore[arg-type]
        message = anthropic_streams.accumulate_event(
            event=read, current_snapshot=message, json_bufs=pieces, output_format=not_given
        )
    return message


def response_of(data: bytes) -> Any:
    """What OpenAI's own client makes of a stream, event by event."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for number, event in enumerate(events(data)):
        assert event["sequence_number"] == number
        read: Any = construct_type_unchecked(type_=ResponseStreamEvent, value=event)  # type: ignore[arg-type]
        for told in state.handle_event(read):
            last = told
    return last.response


# Answers ------------------------------------------------------------------------------------------

_TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_ARGUMENTS = st.dictionaries(
    st.sampled_from(["city", "n"]), st.one_of(_TEXTS, st.integers(-9, 9)), max_size=2
)


@st.composite
def _cut(draw: st.DrawFn, text: str) -> list[str]:
    ends = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@st.composite
def streams(draw: st.DrawFn) -> list[list[StreamChunk]]:
    """An answer in pieces: a thought, a text, calls whose pieces may come in turns; batched anyhow."""
    chunks = (
        [StreamChunk(reasoning=piece) for piece in draw(_cut(draw(_TEXTS)))] if draw(st.booleans()) else []
    )
    said = draw(_TEXTS) if draw(st.booleans()) else ""
    chunks += [StreamChunk(text=piece) for piece in draw(_cut(said))]
    calls = []
    for index in range(draw(st.integers(0, 3))):
        arguments = draw(_cut(json.dumps(draw(_ARGUMENTS))))
        calls.append(
            [called(index, "", f"call_{index}", f"tool{index}"), *(called(index, each) for each in arguments)]
        )
    if draw(st.booleans()):
        chunks += [chunk for call in calls for chunk in call]
    else:
        while any(calls):
            call = draw(st.sampled_from([call for call in calls if call]))
            chunks.append(call.pop(0))
    chunks.append(
        StreamChunk(finish_reason=draw(st.sampled_from(["stop", "length", "tool_calls"])), usage=USAGE)
    )
    return draw(_batched(chunks))


@st.composite
def _batched(draw: st.DrawFn, chunks: list[StreamChunk]) -> list[list[StreamChunk]]:
    batches: list[list[StreamChunk]] = [[]]
    for chunk in chunks:
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(chunk)
    return batches


# Bodies -------------------------------------------------------------------------------------------


def bodies(*words: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any JSON object that uses these words, where they belong and where they do not."""
    names = st.sampled_from(words)
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(-3, 9), st.floats(allow_nan=False), names, st.text(max_size=3)
    )
    return st.dictionaries(
        names,
        st.recursive(
            leaves,
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
            max_leaves=12,
        ),
        max_size=6,
    )
