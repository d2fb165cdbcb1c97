"""A call read once for every dialect that is not the caller's own.

Messages, tools and settings come in the words of OpenAI's chat completions; here they become
the shapes that most other dialects share: texts of the system apart, turns of two roles that
alternate, tool results inside the user's turn.
"""

from __future__ import annotations

import json
import re
import struct
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llm_policy_host.values import NOTHING, Failure

from ._plain import record, records, text

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from llm_policy_host.values import Call, Dialect, FailureKind

MIRROR = "_openai"
"""Where a caller's body in another dialect keeps its settings in OpenAI's words; never sent."""

LOST = "_lost"
"""Where such a body names what of it no other dialect is told; never sent."""

BETAS = "_betas"
"""Where such a body names the parts of its dialect that a header turns on; sent as that header."""

# How an answer is delivered is the gateway's affair; `max_tokens` says the bound in every case.
_DELIVERY = frozenset(
    {"model", "messages", "stream", "stream_options", "encoding_format", "max_completion_tokens"}
)

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*?;base64,", re.IGNORECASE)


class UnsayableError(Exception):
    """A call holds what a dialect has no words for, and dropping it would change the question."""

    def __init__(self, detail: str, kind: FailureKind = "bad_request") -> None:
        self.failure = Failure(kind, detail=detail)
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its bytes in base64 with their type, or else where it is."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool by the model."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call, and the name of the tool that was called."""

    id: str
    name: str
    pieces: tuple[Text | Image, ...]


Piece = Text | Image | ToolUse | ToolResult


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says until the other does."""

    role: Literal["user", "assistant"]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The system's texts, wherever they stood, and the turns."""

    system: tuple[str, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A tool: `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    is_strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a tool must be called: `one` is that of `name`."""

    mode: Literal["auto", "none", "required", "one"]
    name: str = ""


# Settings ---------------------------------------------------------------------------------------


def said(call: Call) -> Mapping[str, Any]:
    """Give the caller's settings besides parameters, in OpenAI's words whatever his dialect is."""
    return call.passthrough if call.dialect == "openai" else record(call.passthrough.get(MIRROR))


def own_body(call: Call, dialect: Dialect) -> dict[str, Any] | None:
    """Give the caller's body to start from where it is in the dialect spoken here, else None.

    A policy's filters change the messages in canonical form alone: then his body is not used.
    """
    if call.dialect != dialect or call.filters:
        return None
    return {name: value for name, value in call.passthrough.items() if name not in (MIRROR, LOST, BETAS)}


def unsaid(
    call: Call, dialect: Dialect | None, params: Container[str], settings: Container[str]
) -> tuple[str, ...]:
    """Name what is dropped on the way to `dialect`, which has words for these alone."""
    lost = [name for name, value in call.params.items() if name not in params and _says(name, value)]
    if dialect is not None and own_body(call, dialect) is not None:
        return tuple(lost)
    lost += [name for name, value in said(call).items() if value is not None and name not in settings]
    if call.dialect != "openai":
        lost += call.passthrough.get(LOST, ())
    return tuple(dict.fromkeys(name for name in lost if name not in _DELIVERY))


def _says(name: str, value: Any) -> bool:  # noqa: ANN401 - a parameter's value
    """Whether a parameter asks for more than leaving it out does."""
    return value is not None and (name, value) != ("n", 1)


def stops(call: Call) -> list[str]:
    """Give the texts that end an answer."""
    stop = said(call).get("stop")
    if stop is None:
        return []
    texts = stop if isinstance(stop, list) else [stop]
    if not all(isinstance(each, str) for each in texts):
        raise UnsayableError("`stop` must be a text or a list of texts")
    return texts


def tool_choice(call: Call) -> Choice | None:
    """Read the choice of tools; None where there is none, or none that is understood."""
    given = said(call).get("tool_choice")
    if given in ("auto", "none", "required"):
        return Choice(given)
    name = text(record(record(given).get("function")).get("name"))
    return Choice("one", name) if name else None


def json_schema(call: Call) -> Mapping[str, Any] | None:
    """Give the schema that the answer must fit, if one was given."""
    schema = record(record(record(call.response_format).get("json_schema")).get("schema"))
    return schema or None


def functions(call: Call) -> list[Function]:
    """Give the tools; one of another type has no words in a foreign dialect."""
    return [_function(tool) for tool in call.tools]


def _function(tool: Mapping[str, Any]) -> Function:
    if tool.get("type", "function") != "function":
        raise UnsayableError(f"this provider's dialect has no tools of type `{text(tool.get('type'))[:40]}`")
    given = record(tool.get("function"))
    strict = given.get("strict")
    return Function(
        name=text(given.get("name")),
        description=text(given.get("description")),
        parameters=record(given.get("parameters")) or {"type": "object", "properties": {}},
        is_strict=strict if isinstance(strict, bool) else None,
    )


def as_asked(call: Call, vectors: Sequence[Sequence[float]]) -> tuple[Sequence[float] | str, ...]:
    """Give vectors as numbers, or packed in base64 where the caller wants them so."""
    if said(call).get("encoding_format") != "base64":
        return tuple(vectors)
    packed = (struct.pack(f"<{len(vector)}f", *vector) for vector in vectors)
    return tuple(b64encode(each).decode() for each in packed)


# Messages ---------------------------------------------------------------------------------------


def conversation(call: Call) -> Conversation:
    """Read the messages, or the prompt in their place."""
    messages = call.messages or [{"role": "user", "content": call.prompt or ""}]
    system = [_plain(message) for message in messages if message.get("role") in ("system", "developer")]
    return Conversation(tuple(filter(None, system)), tuple(_merged(_said_by(messages))))


def _plain(message: Mapping[str, Any]) -> str:
    pieces = _content(message.get("content"))
    return "\n".join(piece.text for piece in pieces if isinstance(piece, Text))


def _said_by(messages: Iterable[Mapping[str, Any]]) -> Iterator[Turn]:
    names: dict[str, str] = {}
    for message in messages:
        role = message.get("role")
        if role == "user":
            yield Turn("user", _content(message.get("content")))
        elif role == "assistant":
            uses = tuple(_tool_use(item) for item in records(message.get("tool_calls")))
            names.update((use.id, use.name) for use in uses)
            yield Turn("assistant", (*_content(message.get("content")), *uses))
        elif role == "tool":
            yield Turn("user", (_tool_result(message, names),))
        elif role not in ("system", "developer"):
            raise UnsayableError(f"this provider's dialect has no messages of role `{text(role)[:40]}`")


def _merged(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Join neighbours of one role; what says nothing is left out."""
    last: Turn | None = None
    for turn in turns:
        if not turn.pieces:
            continue
        if last is not None and last.role == turn.role:
            last = Turn(last.role, last.pieces + turn.pieces)
            continue
        if last is not None:
            yield last
        last = turn
    if last is not None:
        yield last


def _tool_use(item: Mapping[str, Any]) -> ToolUse:
    function = record(item.get("function"))
    return ToolUse(text(item.get("id")), text(function.get("name")), _arguments(function.get("arguments")))


def _arguments(given: Any) -> Mapping[str, Any]:  # noqa: ANN401 - as a model once wrote it
    """Read a call's arguments; a model's broken JSON is kept as a text, for it to see."""
    if not given:
        return NOTHING
    try:
        read = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {"arguments": given}


def _tool_result(message: Mapping[str, Any], names: Mapping[str, str]) -> ToolResult:
    called = text(message.get("tool_call_id"))
    pieces = _content(message.get("content"))
    return ToolResult(called, names.get(called) or text(message.get("name")), pieces)


def _content(content: Any) -> tuple[Text | Image, ...]:  # noqa: ANN401 - a text or parts, as the caller wrote it
    if isinstance(content, str):
        return (Text(content),) if content else ()
    parts = (_part(part) for part in records(content))
    return tuple(part for part in parts if part != Text(""))


def _part(part: Mapping[str, Any]) -> Text | Image:
    kind = part.get("type")
    if kind == "text":
        return Text(text(part.get("text")))
    if kind == "refusal":
        return Text(text(part.get("refusal")))
    if kind == "image_url":
        given = part.get("image_url")
        return image(given if isinstance(given, str) else text(record(given).get("url")))
    raise UnsayableError(f"this provider's dialect has no content parts of type `{text(kind)[:40]}`")


def image(url: str) -> Image:
    """Take a data URL apart; any other is only an address."""
    match = _DATA_URL.match(url)
    if match is not None:
        return Image((match[1] or "image/png").lower(), url[match.end() :])
    if url.startswith(("https://", "http://")):
        return Image(url=url)
    raise UnsayableError("an image's address is neither http, https nor data in base64")
