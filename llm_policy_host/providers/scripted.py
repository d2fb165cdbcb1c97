"""A deterministic double of a provider: what it answers is written down.

A script is a list of turns, one per call; after the last one it stays at the last. A turn is
one of

    {answer: text, latency_ms?, chunks?: n | [text…], gap_ms?, cut_after?: n, usage?: {input, output},
     finish_reason?, tool_calls?: [{id, name, arguments}]}
    {failure: kind, latency_ms?, http_status?, retry_after_ms?}
    {hang: true}

`{prompt}` in an answer stands for the end of the caller's last message. A script may also be a
record of served model to such a list. Without a script every call is answered.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, get_args

from llm_policy_host.errors import HostError
from llm_policy_host.values import (
    Failure,
    FailureKind,
    Response,
    StreamChunk,
    ToolCall,
    ToolCallDelta,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.values import Call, Credential

Turn = dict[str, Any]

_DEFAULT: Turn = {"answer": "a scripted answer to: {prompt}"}
_KEYS = {
    "answer": {
        "answer",
        "latency_ms",
        "chunks",
        "gap_ms",
        "cut_after",
        "usage",
        "finish_reason",
        "tool_calls",
    },
    "failure": {"failure", "latency_ms", "http_status", "retry_after_ms"},
    "hang": {"hang"},
}
_KEPT_CALLS = 1000
_FOREVER_MS = 10 * 365 * 24 * 3_600_000


class Scripted:
    """Plays scripts, one per provider; what it was asked last is kept in `calls`."""

    def __init__(self, scripts: Mapping[str, Any], clock: Clock) -> None:
        check_scripts(scripts)
        self._scripts = scripts
        self._clock = clock
        self._played: dict[tuple[str, str], int] = {}
        self.calls: deque[Call] = deque(maxlen=_KEPT_CALLS)

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""
        del credential
        turn = self._next(call)
        await self._clock.sleep_ms(turn.get("latency_ms", 0))
        if "failure" in turn:
            return _failure(turn)
        if "hang" in turn:
            await self._clock.sleep_ms(_FOREVER_MS)
        response = _response(turn, call)
        return Failure("empty_completion") if response.is_empty else response

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        """Answer a call in pieces, cut short where the script says so."""
        whole = await self.send(call, credential)
        if isinstance(whole, Failure):
            yield whole
            return
        turn = self._current(call)
        cut_after = turn.get("cut_after")
        for index, piece in enumerate(_pieces(turn, whole.text)):
            if index == cut_after:
                yield Failure("network_error", detail="the script cuts the stream here")
                return
            if index:
                await self._clock.sleep_ms(turn.get("gap_ms", 0))
            yield (StreamChunk(text=piece),)
        yield (_ending(whole),)

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name what it has no words for: nothing, it takes whatever comes."""
        del call
        return ()

    async def close(self) -> None:
        """Give back what it holds: nothing."""

    def _next(self, call: Call) -> Turn:
        self.calls.append(call)
        route = (call.provider_id, call.served_model_id)
        self._played[route] = self._played.get(route, 0) + 1
        return self._current(call)

    def _current(self, call: Call) -> Turn:
        turns = _turns(self._scripts.get(call.provider_id), call.served_model_id)
        played = self._played[(call.provider_id, call.served_model_id)]
        return turns[min(played, len(turns)) - 1]


def check_scripts(scripts: Mapping[str, Any]) -> None:
    """Refuse a script with a turn that nobody could play."""
    for name, script in scripts.items():
        for turn in _turns(script):
            _check(name, turn)


def _turns(script: Any, model: str | None = None) -> Sequence[Turn]:  # noqa: ANN401 - a script as written
    """Give the turns for a model, or all turns of a script."""
    if isinstance(script, dict):
        if model is not None:
            return _turns(script.get(model))
        return [turn for part in script.values() for turn in _turns(part)]
    if script and not isinstance(script, list):
        raise HostError("a script is a list of turns, or a record of model to such a list")
    return script or [_DEFAULT]


def _check(provider: str, turn: Any) -> None:  # noqa: ANN401 - a turn as written
    kind = next((kind for kind in _KEYS if isinstance(turn, dict) and kind in turn), None)
    if kind is None:
        raise HostError(f"the script of `{provider}` has a turn that is no answer, failure or hang")
    unknown = sorted(set(turn) - _KEYS[kind])
    if unknown:
        raise HostError(f"the script of `{provider}` has a turn with the unknown key `{unknown[0]}`")
    if kind == "failure" and turn["failure"] not in get_args(FailureKind):
        raise HostError(f"the script of `{provider}` names the unknown failure kind `{turn['failure']}`")


def _failure(turn: Turn) -> Failure:
    return Failure(
        turn["failure"],
        http_status=turn.get("http_status"),
        retry_after_ms=turn.get("retry_after_ms"),
        detail="the script says so",
    )


def _response(turn: Turn, call: Call) -> Response:
    usage = turn.get("usage")
    return Response(
        text=turn["answer"].replace("{prompt}", _last_words(call)),
        tool_calls=tuple(ToolCall(**item) for item in turn.get("tool_calls", ())),
        finish_reason=turn.get("finish_reason", "stop"),
        model=call.served_model_id,
        usage=Usage(usage.get("input", 0), 0, 0, usage.get("output", 0)) if usage else None,
    )


def _last_words(call: Call) -> str:
    text = call.prompt
    if text is None:
        content = call.messages[-1].get("content") if call.messages else ""
        text = content if isinstance(content, str) else ""
    return text[-60:]


def _pieces(turn: Turn, text: str) -> Sequence[str]:
    chunks = turn.get("chunks", 1)
    if isinstance(chunks, list):
        return chunks
    size = max(1, -(-len(text) // max(1, chunks)))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _ending(whole: Response) -> StreamChunk:
    calls = (
        ToolCallDelta(index, call.id, call.name, call.arguments)
        for index, call in enumerate(whole.tool_calls)
    )
    return StreamChunk(
        tool_calls=tuple(calls), finish_reason=whole.finish_reason, model=whole.model, usage=whole.usage
    )


def _conforms(adapter: Scripted) -> Provider:
    """Let the type checker prove the port."""
    return adapter
