"""What a dialect's file says: how each scenario looks in its vendor's bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Credential, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Dialect as DialectName

CANARY = "sk-canary-5up3r-53cr3t"
"""The key that must never be seen but where the vendor looks for it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What must reach the vendor: the path, the JSON body and some of the headers."""

    path: str
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    stream_path: str | None = None
    stream_body: Mapping[str, Any] = field(default_factory=dict)
    """What the body has besides when a stream is asked for."""


@dataclass(frozen=True, slots=True)
class Tell:
    """An answer in the vendor's bytes; `but` what it cannot say, `streamed` what its stream cannot."""

    whole: bytes
    pieces: Sequence[bytes] | None = None
    but: Mapping[str, Any] = field(default_factory=dict)
    streamed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuse:
    """A failure in the vendor's bytes. With `pieces` it is one that comes within a stream."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes] | None = None
    kind: str | None = None
    """In place of the scenario's: where the vendor's word for it is better than the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A dialect as the suite needs to know it."""

    adapter: str
    asked: Mapping[str, Ask]
    told: Mapping[str, Tell]
    refused: Mapping[str, Refuse]
    unsaid: Mapping[str, Sequence[str]]
    lacks: Mapping[str, str] = field(default_factory=dict)
    base_path: str = "/v1"
    key_header: str | None = "authorization"
    """Where the key stands; None where it is never sent, as with signatures."""
    credential: Credential = field(default_factory=lambda: Credential(Secret(CANARY)))
    call: Mapping[str, Any] = field(default_factory=dict)
    """What every call of this dialect needs besides: a region, an id of another form."""
    stream_kind: str = "text/event-stream"
    opening: int = 1
    """How many pieces of the streamed answer `text` come before its first content."""
    garbage: bytes = b"data: {\n\n"
    survives_garbage: bool = True
    ends_itself: bool = True
    """Whether a stream has an end of its own, before the connection's."""
    raw: DialectName | None = None
    """Its name as a caller's dialect, where a gateway's skin may forward its bodies and events."""


def sent(value: Any) -> bytes:
    """JSON as a vendor sends it."""
    return json.dumps(value).encode()


def event(data: Any, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + (data.encode() if isinstance(data, str) else sent(data)) + b"\n\n"
