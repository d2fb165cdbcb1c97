"""Plain values of the host's vocabulary: frozen, and free of behaviour that acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Plain = Any
"""Plain data: None, booleans, numbers, text, lists and string-keyed dicts of them."""

FailureKind = Literal[
    "rate_limit",
    "timeout",
    "server_error",
    "auth_error",
    "bad_request",
    "content_filter",
    "model_unavailable",
    "context_overflow",
    "network_error",
    "payment_required",
    "bad_response",
    "empty_completion",
    "stream_interrupted",
    "unknown",
]
"""The closed set of failure kinds (spec 2.4)."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def nothing() -> Mapping[str, Any]:
    """Give the empty record: a field's default must be made."""
    return NOTHING


class Secret:
    """Text that is never printed: only `reveal` gives it, at the moment of use."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text; call this only while building the request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __format__(self, _spec: str) -> str:
        return "…"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse to be pickled: a secret never leaves the process."""
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Missing:
    """A secret that cannot be had, and why in words that hold nothing of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What a provider adapter needs to identify itself; no secret means none is needed."""

    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What a caller asks for: the messages, and the policy that chooses who answers.

    Messages never reach the core; it sees the contract's shape (spec 2.3). `params` are
    the sampling parameters a policy may change; `passthrough` is given to the provider
    as it is, unseen by any policy.
    """

    messages: Sequence[Mapping[str, Any]] = ()
    prompt: str | None = None
    profile: str | None = None
    policy_ir: Plain = None
    requirements: Mapping[str, Any] = field(default_factory=nothing)
    tools: Sequence[Mapping[str, Any]] = ()
    images: bool = False
    response_format: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=nothing)
    passthrough: Mapping[str, Any] = field(default_factory=nothing)
    scope: str | None = None
    seed: int | None = None
    chain: Sequence[Mapping[str, str]] | None = None
    extra_candidates: Sequence[Mapping[str, Any]] = ()
    timeout_ms: int | None = None
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint classes: their sum is what was processed."""

    input_tokens: int = 0
    cached_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    reported_total_tokens: int | None = None

    @property
    def total_tokens(self) -> int:
        """Add the classes."""
        return (
            self.input_tokens
            + self.cached_read_tokens
            + self.cache_write_tokens
            + self.output_tokens
            + self.reasoning_tokens
        )

    @property
    def is_consistent(self) -> bool:
        """Whether the classes add up to the total the provider reported, if it did."""
        return self.reported_total_tokens in (None, self.total_tokens)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model asks for; `arguments` is JSON text as it came."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Response:
    """A provider's whole answer. Absent usage is unknown, not zero."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    raw: Mapping[str, Any] = field(default_factory=nothing, repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing: no text, tool call, refusal or length stop."""
        return not (self.text or self.tool_calls or self.refusal or self.finish_reason == "length")


@dataclass(frozen=True, slots=True)
class Failure:
    """A provider's misfortune. `detail` stays in the host: it never enters a trace."""

    kind: FailureKind
    http_status: int | None = None
    retry_after_ms: int | None = None
    detail: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; pieces of one call share `index`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of a streamed answer.

    The last chunk of a stream carries `result`. A failure after the first content is
    in-band: `error` is set and `finish_reason` is `error`.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    error: Failure | None = None
    result: Result | None = None

    @property
    def has_content(self) -> bool:
        """Whether a caller who sees this chunk has begun to receive the answer."""
        return bool(self.text or self.reasoning or self.tool_calls or self.refusal)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an attempt may take, in milliseconds from its start; None is no bound."""

    attempt_ms: float | None = None
    ttft_ms: float | None = None
    idle_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt as a provider adapter gets it: the target, the parameters, the messages."""

    provider_id: str
    model_family: str
    served_model_id: str
    served_by: str | None = None
    base_url: str | None = None
    api_kind: str = "openai_compatible"
    params: Mapping[str, Any] = field(default_factory=nothing)
    filters: Mapping[str, Any] = field(default_factory=nothing)
    messages: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    prompt: str | None = field(default=None, repr=False)
    tools: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    response_format: Mapping[str, Any] | None = None
    passthrough: Mapping[str, Any] = field(default_factory=nothing, repr=False)
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the host gathered before a run, so that the core asks nothing back (spec 2.3)."""

    now_ms: int
    seed: int | None = None
    is_full_trace: bool = False
    others: Mapping[str, Any] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class Step:
    """What the core asks for next, with the state to resume from.

    A `call` names its candidate, and the parameters where they are not the contract's own; a
    `wait` its end; a `done` the result as plain data.
    """

    status: Literal["call", "wait", "done"]
    handle: object = None
    candidate: Mapping[str, Any] = field(default_factory=nothing)
    params: Mapping[str, Any] | None = None
    until_ms: float = 0
    result: Mapping[str, Any] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider and a model that could serve a call, as a ranking lists it."""

    provider_id: str
    model_family: str
    served_by: str | None = None
    score: float | None = None
    tier: str | None = None
    facts: Mapping[str, Any] = field(default_factory=nothing, repr=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate that the policy's filter refused, and the first reason."""

    provider_id: str
    model_family: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who would serve a contract, in order, and who was refused."""

    ordered: tuple[Candidate, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    error: str | None = None
    refusal: Mapping[str, Any] | None = None
    policy_id: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What was decided and tried, as the core recorded it (spec 2.4)."""

    ranked: tuple[Candidate, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    decision_path: tuple[Mapping[str, Any], ...] = ()
    policy_id: str | None = None
    policy_fingerprint: str | None = None
    started_at_ms: float | None = None
    total_latency_ms: float | None = None
    raw: Mapping[str, Any] = field(default_factory=nothing, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `failures` holds every misfortune on the way, in order."""

    ok: bool
    response: Response | None = None
    error: str | None = None
    refusal: Mapping[str, Any] | None = None
    chosen: Mapping[str, Any] | None = None
    trace: Trace = Trace()
    failures: tuple[Failure, ...] = ()
    seed: int | None = None
