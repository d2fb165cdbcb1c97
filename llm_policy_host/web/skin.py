"""What an API must offer to stand on the gateway: from body to contract, from result to body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llm_policy_host.quick import quick
from llm_policy_host.values import nothing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.ledger.keys import Grant
    from llm_policy_host.values import Contract, Result, StreamChunk

    from .errors import Problem


@dataclass(frozen=True, slots=True)
class Granted:
    """What a key of the ledger gives: its caveats, the rights that they leave, and who pays."""

    grant: Grant
    rights: frozenset[str]
    account: str | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request came with: its profiles (None is all) and what else it may.

    `granted` is there where the key is the ledger's, and not one of the config.
    """

    name: str
    profiles: frozenset[str] | None = None
    may: frozenset[str] = frozenset()
    granted: Granted | None = None


@quick
@dataclass(frozen=True, slots=True)
class Asked:
    """What a skin may know of a request besides its contract.

    `model` is as the caller wrote it; `profile` is of the path; `body` is what an answer may have
    to repeat; `headers` may turn on parts of a dialect.
    """

    request_id: str
    created: int
    model: str = ""
    profile: str | None = None
    caller: Caller | None = None
    is_stream: bool = False
    wants_metadata: bool = False
    wants_usage: bool = False
    body: Mapping[str, Any] = field(default_factory=nothing, repr=False)
    headers: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)


class Encoder(Protocol):
    """Words one stream as server-sent events."""

    def begin(self, candidate: Mapping[str, Any]) -> None:
        """Learn who answers, before the first pieces."""

    def chunks(self, batch: Sequence[StreamChunk]) -> bytes:
        """Give the events of some pieces; there may be none."""

    def end(self, result: Result) -> bytes:
        """Give the events that end an answer."""

    def error(self, problem: Problem, result: Result) -> bytes:
        """Give the events that end a broken answer: a typed error, then the dialect's own end."""


class Skin(Protocol):
    """One API."""

    path: str
    """Where it stands, below `/v1`."""

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body, aimed as told; `RefusedError` names what is wrong with it."""

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer."""

    def encoder(self, asked: Asked) -> Encoder:
        """Give an encoder for one stream."""

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
