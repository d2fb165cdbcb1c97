"""Plain values of the host's vocabulary: frozen, and free of behaviour that acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from .quick import quick

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


@quick
@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer over HTTP; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Missing:
    """A secret that cannot be had, and why in words that hold nothing of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What a provider adapter needs to identify itself; no secret means none is needed.

    `extras` holds what some dialects need beside it (a secret id, a session token, an account);
    `account` names whose subscription it is, where a provider has several; `is_callers` says that
    the caller brought it, and not the operator.
    """

    secret: Secret | None = None
    account: str | None = None
    extras: Mapping[str, str | Secret] = field(default_factory=nothing, repr=False)
    is_callers: bool = False


Kind = Literal["chat", "completion", "embeddings"]
"""What is asked of a model: an answer to messages, a text's continuation, or vectors."""

Dialect = Literal["openai", "openai_responses", "anthropic", "google", "bedrock", "ollama"]
"""Whose words a body or an event is in: `openai` is chat completions and its relatives."""

CostBasis = Literal["reported", "computed", "estimated", "subscription", "unknown"]
"""How a cost is known (spec 3.3)."""


@quick
@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, and through what: what the ledger notes of a request beside its contract (spec 5.2).

    `approval` names the approval of a request that is asked again, to go on where it was put off.
    `accounts` is the path that pays, the leaf first, by whose root the `tenant` is named; `grant` the digest
    of the caveats of his key; `idem` that of an Idempotency-Key; `parent` the run that this one is a part of,
    as its `node`; `is_resumable` says that its answer is to be kept, where answers may be, for whoever goes
    on after a restart; `content` is the most that may be kept of what is said (spec 5.6), None as much as the
    operator lets be.
    """

    api: str = "python"
    by: Literal["driver", "gateway"] = "driver"
    tenant: str | None = None
    accounts: tuple[str, ...] = ()
    key_id: str | None = None
    grant: str | None = None
    session: str | None = None
    idem: str | None = None
    parent: str | None = None
    node: str | None = None
    approval: str | None = None
    is_resumable: bool = False
    content: str | None = None


@quick
@dataclass(frozen=True, slots=True)
class Contract:
    """What a caller asks for: the messages, and the policy that chooses who answers.

    Messages, tools and the response format are in the words of OpenAI's chat completions, the
    one form that every adapter can translate. They never reach the core; it sees the contract's
    shape (spec 2.3). `params` are the sampling parameters a policy may change. `passthrough` is
    what the caller wrote besides, in the words of `dialect`: a provider of that dialect gets it
    as it is, unseen by any policy; for any other it is dropped, and the result says so. In the
    dialects `anthropic` and `openai_responses` it is the caller's whole body, messages included,
    so that nothing of it is lost on the way to a provider of the same dialect.
    `flow_ir` is a flow (spec 2.6) that answers in place of one policy's call.
    """

    messages: Sequence[Mapping[str, Any]] = ()
    prompt: str | None = None
    profile: str | None = None
    policy_ir: Plain = None
    flow_ir: Plain = None
    requirements: Mapping[str, Any] = field(default_factory=nothing)
    tools: Sequence[Mapping[str, Any]] = ()
    images: bool = False
    response_format: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=nothing)
    passthrough: Mapping[str, Any] = field(default_factory=nothing)
    dialect: Dialect = "openai"
    kind: Kind = "chat"
    embed: Sequence[Any] = ()
    auth_override: Mapping[str, Secret] = field(default_factory=nothing, repr=False)
    scope: str | None = None
    seed: int | None = None
    chain: Sequence[Mapping[str, str]] | None = None
    extra_candidates: Sequence[Mapping[str, Any]] = ()
    timeout_ms: int | None = None
    deadline_ms: int | None = None
    origin: Origin = Origin()


@quick
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


@quick
@dataclass(frozen=True, slots=True)
class Response:
    """A provider's whole answer. Absent usage is unknown, not zero.

    `raw` is the provider's own body in the words of `dialect`; `cost_usd` is what the provider
    itself reported to have charged.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    embeddings: tuple[Sequence[float] | str, ...] = field(default=(), repr=False)
    cost_usd: float | None = None
    raw: Mapping[str, Any] = field(default_factory=nothing, repr=False)
    dialect: Dialect | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing: no text, tool call, refusal, vector or length stop."""
        has_answer = self.text or self.tool_calls or self.refusal or self.embeddings
        return not (has_answer or self.finish_reason == "length")


@dataclass(frozen=True, slots=True)
class Failure:
    """A provider's misfortune. `detail` stays in the host: it never enters a trace.

    `is_unsent` says that no byte of the request left, so that nobody can charge it.
    One that is the caller's fault is evidence against nobody, whatever its kind (decision 0016).
    """

    kind: FailureKind
    http_status: int | None = None
    retry_after_ms: int | None = None
    detail: str = field(default="", repr=False)
    is_unsent: bool = False
    is_callers_fault: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; pieces of one call share `index`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@quick
@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of a streamed answer.

    The last chunk of a stream carries `result`. A failure after the first content is
    in-band: `error` is set and `finish_reason` is `error`. `raw` is the provider's own event in
    the words of `dialect`, also one that adds nothing else here.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    raw: Mapping[str, Any] | None = field(default=None, repr=False)
    dialect: Dialect | None = None
    error: Failure | None = None
    result: Result | None = None

    @property
    def has_content(self) -> bool:
        """Whether a caller who sees this chunk has begun to receive the answer."""
        return bool(self.text or self.reasoning or self.tool_calls or self.refusal)


@quick
@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an attempt may take, in milliseconds from its start; None is no bound."""

    attempt_ms: float | None = None
    ttft_ms: float | None = None
    idle_ms: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One attempt as a provider adapter gets it: the target, the parameters, the messages.

    `run` and `attempt` number it among those of its process; they are told to nobody outside.
    """

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
    dialect: Dialect = "openai"
    kind: Kind = "chat"
    embed: Sequence[Any] = field(default=(), repr=False)
    region: str | None = None
    offer: Mapping[str, Any] = field(default_factory=nothing)
    timeouts: Timeouts = Timeouts()
    run: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most that an attempt can take; None is what nothing bounds.

    `why` says why there is no price: `unpriced`, or `unbounded` where the tokens are.
    """

    tokens: int | None
    usd_micro: int | None
    why: Literal["unpriced", "unbounded"] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that no account pays for: nobody is called, and nobody is to blame."""

    code: str
    resource: str | None = None
    account: str | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that a person has to see first: the operator's gate, and the word it gives as its reason."""

    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Approval:
    """What a run waits for: a person's decision, which is no until somebody says yes in time."""

    id: str
    run_id: str
    gate: str
    reason: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Turned:
    """Why a request that is asked again does not go on: an error's code, and the approval it is about."""

    error: str
    run_id: str | None = None
    approval: Approval | None = None


@quick
@dataclass(frozen=True, slots=True)
class Inputs:
    """What the host gathered before a run, so that the core asks nothing back (spec 2.3).

    `is_callers_policy` says that a contract's `policy_ir` is a caller's: what it does to health, it does
    within its run (decision 0016).
    """

    now_ms: int
    seed: int | None = None
    is_full_trace: bool = False
    others: Mapping[str, Any] = field(default_factory=nothing)
    is_callers_policy: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Step:
    """What the core asks for next, with the state to resume from.

    A `call` names its candidate, the parameters where they are not the contract's own, and the bounds
    that its caller made shorter than the operator's; a `wait` its end; a `done` the result as plain data.
    """

    status: Literal["call", "wait", "done"]
    handle: object = None
    candidate: Mapping[str, Any] = field(default_factory=nothing)
    params: Mapping[str, Any] | None = None
    until_ms: float = 0
    result: Mapping[str, Any] = field(default_factory=nothing)
    callers_bounds: Sequence[str] = ()


@quick
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


@quick
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


@quick
@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost, and how that is known; `usd` is None where it is not."""

    usd: float | None = None
    basis: CostBasis = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """A parameter that reached a provider otherwise than its caller gave it; `to` None is dropped."""

    attempt: int
    name: str
    to: str | float | bool | None = None
    why: Literal["policy", "dialect"] = "policy"


@quick
@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt told about its route, for those who measure (spec 3.3).

    `kind` is the failure's, None after an answer, `cancelled` where the caller left. What is the caller's
    fault says nothing of the route.
    """

    provider_id: str
    model_family: str
    served_by: str | None
    started_ms: int
    took_ms: float
    ttft_ms: float | None = None
    output_tokens: int | None = None
    kind: str | None = None
    is_stream: bool = False
    is_callers_fault: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `failures` holds every misfortune on the way, in order.

    `run_id` names it in the ledger, where one is kept. `approval` is what a run waits for that was put off.
    """

    ok: bool
    response: Response | None = None
    error: str | None = None
    refusal: Mapping[str, Any] | None = None
    chosen: Mapping[str, Any] | None = None
    trace: Trace = Trace()
    failures: tuple[Failure, ...] = ()
    changes: tuple[Change, ...] = ()
    cost: Cost = Cost()
    upstream_ms: float = 0.0
    seed: int | None = None
    run_id: str | None = None
    approval: Approval | None = None
