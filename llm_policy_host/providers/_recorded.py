"""The file of a recording: JSON lines, keys sorted, ASCII; how requests and answers stand in it.

    {type: recording, v, started_ms}
    {type: run, run, seed, others, gone}       `others`: what the host knew that it did not know before
    {type: credential, provider, ask, waited_us, failure}    how a credential could not be had
    {type: attempt, run, attempt, request, account, quota, exchanges | items}

A request is kept as digests, answers as they came: without them nothing could be replayed. No header of
a request is kept, and the credential of a call is taken out of all that is said of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from llm_policy_host.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llm_policy_host.values import Call

VERSION = 1
"""Of the file's form; another one is refused."""

LEAST_SECRET = 8
"""Characters of a key. What is shorter is a placeholder of a server without keys, and may be any word."""

_MARK = "…".encode()
_ROUTE = (
    "provider_id",
    "model_family",
    "served_model_id",
    "served_by",
    "api_kind",
    "region",
    "kind",
    "dialect",
)
_CONTENT = ("base_url", "messages", "prompt", "tools", "response_format", "passthrough", "embed")
_KEPT_HEADERS = re.compile(
    r"content-type|retry-after|retry-after-ms|x-amzn-errortype|x-amzn-bedrock-input-token-count"
    r"|(?:x-ratelimit|anthropic-ratelimit|x-codex)-[a-z0-9-]{1,64}"
)


class RecordingError(UsageError):
    """A file that is no recording, or none that can be read or written."""


@dataclass(slots=True)
class Exchange:
    """One answer over HTTP: gaps are waits in µs. `end` is `end`, a failure, or `open` where it was left."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    head_us: int = 0
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    end: str | dict[str, Any] = "open"
    end_us: int = 0


# Requests ---------------------------------------------------------------------------------------


def request_of(call: Call, *, is_stream: bool) -> dict[str, Any]:
    """Give what guards an answer: who is asked, and a digest of each part of what he is told.

    Bounds in time, filters (they are applied by now) and the rest of an offer are no part of it.
    """
    fields: dict[str, Any] = {"is_stream": is_stream}
    fields |= {name: value for name in _ROUTE if (value := getattr(call, name)) is not None}
    fields |= {name: _digest(value) for name in _CONTENT if (value := getattr(call, name))}
    fields |= {f"params.{name}": _digest(value) for name, value in call.params.items()}
    return fields


def differing(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Name the fields in which two requests differ."""
    return [name for name in sorted({*recorded, *asked}) if recorded.get(name) != asked.get(name)]


def _digest(value: Any) -> str:  # noqa: ANN401 - plain data
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: Any) -> bytes:  # noqa: ANN401 - plain data
    """Write plain data in the one way: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_as_plain).encode()


def _as_plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


# Answers ----------------------------------------------------------------------------------------


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Choose the headers that an adapter reads."""
    return {name: text for name, text in headers.items() if _KEPT_HEADERS.fullmatch(name)}


def forms(secrets: Iterable[str]) -> list[bytes]:
    """Give secrets in each way in which an answer may quote them, the longest first."""
    found = set()
    for secret in secrets:
        if len(secret) >= LEAST_SECRET:
            said = json.dumps(secret)[1:-1]
            found |= {secret, said, said.replace("/", "\\/"), quote(secret, safe="")}
    return sorted((form.encode() for form in found), key=lambda form: (-len(form), form))


def masked(pieces: Sequence[bytes], secrets: Sequence[bytes]) -> list[bytes]:
    """Take secrets out of pieces, also where one is cut in two: what is left of it stands in the first."""
    whole = b"".join(pieces)
    any_secret = re.compile(b"|".join(map(re.escape, secrets)))
    spans = [match.span() for match in any_secret.finditer(whole) if secrets] + _cut_short(whole, secrets)
    if not spans:
        return list(pieces)
    ends = list(accumulate(len(piece) for piece in pieces))
    return [
        b"".join(_outside(whole, end - len(piece), end, spans))
        for piece, end in zip(pieces, ends, strict=True)
    ]


def _cut_short(whole: bytes, secrets: Sequence[bytes]) -> list[tuple[int, int]]:
    """Find the beginning of a secret at the end of an answer that broke off in its midst."""
    for secret in secrets:
        for size in range(len(secret) - 1, LEAST_SECRET - 1, -1):
            if whole.endswith(secret[:size]):
                return [(len(whole) - size, len(whole))]
    return []


def _outside(whole: bytes, start: int, end: int, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    for first, last in spans:
        if last > start and first < end:
            yield whole[start:first]
            if first >= start:
                yield _MARK
            start = min(last, end)
    yield whole[start:end]


def line_of_exchange(exchange: Exchange, secrets: Sequence[bytes]) -> dict[str, Any]:
    """Give an exchange as it stands in the file."""
    data = masked([piece for _, piece in exchange.pieces], secrets)
    headers = {
        name: masked([text.encode()], secrets)[0].decode() for name, text in kept(exchange.headers).items()
    }
    return {
        "status": exchange.status,
        "headers": headers,
        "head_us": exchange.head_us,
        "pieces": [[gap, _text(piece)] for (gap, _), piece in zip(exchange.pieces, data, strict=True)],
        "end": exchange.end,
        "end_us": exchange.end_us,
    }


def _text(piece: bytes) -> str | dict[str, str]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(piece).decode()}
