"""What the host needs from the world, as protocols: the driver knows nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from .values import NOTHING

LedgerRow: TypeAlias = "tuple[int, str | None, str, str, str | None, bytes]"
"""A line of the ledger and what a store finds it by: seq, run, type, tenant, idem, line."""

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from .values import (
        Approval,
        Attempt,
        Call,
        Contract,
        Cost,
        Credential,
        Failure,
        Held,
        HttpAnswer,
        Inputs,
        Missing,
        Origin,
        Plain,
        Refused,
        Response,
        Secret,
        Step,
        StreamChunk,
        Turned,
    )


class Timer(Protocol):
    """Something that will happen unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not happen."""


class Clock(Protocol):
    """The only source of time."""

    def now_ms(self) -> int:
        """Give milliseconds since 1970; never smaller than before."""

    def elapsed_ms(self) -> float:
        """Give finer milliseconds from an origin of its own, to measure durations with."""

    async def sleep_ms(self, ms: float) -> None:
        """Return after `ms` milliseconds."""

    def call_later(self, ms: float, action: Callable[[], None]) -> Timer:
        """Run `action` on the running event loop after `ms` milliseconds."""


class Provider(Protocol):
    """A dialect: turns a call into an answer or a failure, and raises neither."""

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        """Answer a call at once."""

    def stream(self, call: Call, credential: Credential) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        """Answer a call in pieces: each item holds what arrived together; a failure is the last one."""

    def unsaid(self, call: Call) -> Sequence[str]:
        """Name the parameters and passthrough fields of a call that this dialect has no words for."""

    async def close(self) -> None:
        """Give back what it holds."""


class Fetcher(Protocol):
    """HTTP off the hot path: feeds, device flows, refreshes. A broken wire is an `OSError`."""

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        """Give the whole answer, whatever its status."""


class SecretSource(Protocol):
    """Where secrets live."""

    def find(self, auth: Mapping[str, Any]) -> Secret | Missing:
        """Give the secret that an `auth` record names, or why it cannot be had."""


class Authenticator(Protocol):
    """Turns a provider's name into the credential for one call."""

    def at_once(self, provider_id: str) -> Credential | None:
        """Give the credential if nobody must be waited for; None where `credential` is to be asked."""

    async def credential(self, provider_id: str) -> Credential | Failure:
        """Give what the adapter needs; a failure when the secret cannot be had."""

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Take note that the provider did not accept a credential: the next one is fetched anew."""


class Pricer(Protocol):
    """What an answer cost."""

    def cost(self, response: Response, chosen: Mapping[str, Any], api_kind: str) -> Cost:
        """Price an answer of a chosen route; what is not known is said to be unknown."""


class Engine(Protocol):
    """The core as the driver sees it: start, then an event for each step (spec 2.1).

    A contract is the plain data of spec 2.3. A handle is opaque to the host.
    """

    def start(self, contract: Plain, inputs: Inputs) -> Step:
        """Plan, and take the first step."""

    def succeed(self, handle: object, now_ms: int) -> Step:
        """Take the next step after an answer."""

    def fail(
        self, handle: object, now_ms: int, failure: Failure, disabled: Mapping[str, bool] = NOTHING
    ) -> Step:
        """Take the next step after a failure; who is `disabled` is passed by in this step."""

    def wake(self, handle: object, now_ms: int) -> Step:
        """Take the next step after a wait."""

    def abandon(self, handle: object, now_ms: int, kind: str) -> Step:
        """End a run from outside: its deadline passed; no evidence against anyone."""

    def dump(self, handle: object) -> bytes:
        """Give a run's handle as text, so that the run can go on in another process."""

    def revive(self, text: bytes, now_ms: int, target: tuple[str, str] | None = None) -> Step | str:
        """Give the call of a dumped run again, which nobody has made yet; a text is the code of a refusal.

        A `target` is the provider and the family to call in its place, if the policy lists that route.
        """

    def policy_id(self, handle: object) -> str | None:
        """Give the identity of the policy that a run obeys; None for a local one."""

    def rank(self, contract: Plain, inputs: Inputs) -> Plain:
        """Plan without any effect: `{ordered, error, rejected, refusal}`."""

    def explain(self, contract: Plain, inputs: Inputs) -> Plain:
        """Say why a plan is as it is: `{ordered, rejected, policy}`, or `{error, refusal}`; no effect."""

    def status(self, now_ms: int) -> Plain:
        """Give the health of every provider."""


class Grounds(Protocol):
    """What a planned run stands on that only the engine knows; a handle is opaque to the host."""

    def grounds(self, handle: object) -> tuple[str | None, int]:
        """Give a planned run's policy, None for a local one, and a number that stays while the state does."""

    def grounds_text(self, handle: object) -> tuple[bytes, bytes | None]:
        """Give the encoded state that a run was planned in, and its policy's encoded term."""

    def used(self, handle: object) -> Plain:
        """Give the part of the shortlist that a run used, also where its trace lists everyone."""


class Reopened(NamedTuple):
    """A run that goes on: its page, what was parked of it, and whom to call in place of its target."""

    page: Page
    parked: Mapping[str, Any]
    target: tuple[str, str] | None


class Page(Protocol):
    """One run in the books (spec 5.1). Its calls come in the order of its life; each but the last may repeat.

    Where an answer can be awaited, nobody is called and nothing is told before it has come.
    """

    run_id: str | None

    def admitted(self, step: Step, shape: Plain, inputs: Inputs, bound_ms: int) -> None:
        """Note what was asked and what was planned, or why nothing was."""

    def propose(
        self, call: Call, candidate: Mapping[str, Any], provider: Provider | None
    ) -> Held | Refused | Awaitable[Refused | None] | None:
        """Ask for an attempt: None lets it be made; the worst case is held up the account path from here on.

        One that is held is to be parked: it is made when a person lets it.
        """

    async def park(self, parked: Mapping[str, Any]) -> Approval | Refused:
        """Put the run off, with what the driver needs to go on; nothing more is told of it here."""

    def give_up(self, error: str) -> None:
        """End a run that was put off and cannot go on."""

    async def keep(self, outcome: Response | Failure | None) -> None:
        """Keep an answer before it is settled, for whoever goes on after a restart."""

    def outcome(self, outcome: Response | Failure | None, sent: Attempt | None) -> None:
        """Settle the attempt; no outcome is one cut from outside, nothing sent one that reached nobody."""

    def waits(self, ms: float) -> None:
        """Note a wait before the next attempt."""

    def end(self, step: Step, *, is_cancelled: bool = False) -> Awaitable[None] | None:
        """Note how the run ended; an attempt under way is settled as cut from outside."""


class FlowPage(Protocol):
    """A flow in the books: its nodes' runs are parts of it."""

    run_id: str | None

    def refused(self, code: str) -> None:
        """Note that there is no such flow."""

    async def admitted(self, identity: str, bound_ms: int, term: Plain) -> Refused | None:
        """Note the flow that runs; what it would be resumed from is kept, where such things are.

        A refusal says why it does not run.
        """

    def end(self, error: str | None, *, is_cancelled: bool = False) -> Awaitable[None] | None:
        """Note how it ended."""


class Books(Protocol):
    """Where every run is written down and every attempt asked for: the one choke point (spec 5.1)."""

    def begin(self, contract: Contract, *, is_stream: bool) -> Page:
        """Open a run's page; nothing is kept of it before it is admitted and goes on."""

    def reopen(self, contract: Contract, shape: Plain, *, is_stream: bool) -> Reopened | Turned:
        """Go on with a run that was put off, whose request is asked again with its approval."""

    def waiting(self, approval: str, origin: Origin | None = None) -> Contract | None:
        """Give a request that waits, where its text is kept: as of who asked, or of who asks again."""

    def begin_flow(self, contract: Contract, *, is_stream: bool, run: str | None = None) -> FlowPage:
        """Open a flow's page, or that of one that goes on, its `run`."""


class LedgerTransaction(Protocol):
    """The ledger's lines while no other process may add any; all that is inserted stays, or nothing."""

    def lines(self, after_seq: int) -> Iterator[bytes]:
        """Give the lines behind one, in order, without their line ends."""

    def insert(self, rows: Sequence[LedgerRow]) -> None:
        """Add lines at the end."""


class EventStore(Protocol):
    """Where the ledger's lines and blobs lie: it knows their order, and nothing of what they say.

    A store that `is_shared` is written by several processes, each line in a transaction; into one that is
    not, lines are `put` and reach the disk soon, in their order.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other processes write too."""

    @property
    def alone_at(self) -> int | None:
        """Give the number of the last line as this process came, if no other had the store then."""

    def lines(self, after_seq: int = 0) -> Iterator[bytes]:
        """Give the lines behind one, in order, without their line ends; what was put is among them."""

    def put(self, row: LedgerRow) -> None:
        """Take the next line; returns at once. A `LedgerError` with code `store` if writing has failed."""

    async def durable(self, seq: int) -> None:
        """Return once the line `seq` outlives a loss of power."""

    def transaction(self) -> AbstractContextManager[LedgerTransaction]:
        """Keep other processes out until it ends; it commits, or takes all back if left by an exception."""

    def blob_put(self, digest: str, data: bytes) -> None:
        """Keep a blob under its digest; once is enough. It is durable before any later line is."""

    def blob_get(self, digest: str) -> bytes | None:
        """Give a blob, or None where there is none."""

    def cut(self, after_seq: int) -> None:
        """Forget the lines behind one: a torn tail."""

    def close(self) -> None:
        """Write what is left and give back what it holds."""


class Keep(Protocol):
    """The content plane (spec 5.6): what was said in runs, as far as operator, key and request let it be.

    Each content has a run and a name in it; the same name again takes the place of what was there. What
    cannot be kept is lost, and counted: nobody's answer waits for it.
    """

    def put(self, run: str, tenant: str, name: str, data: bytes, level: str | None = None) -> str | None:
        """Take content, and return at once: it is written soon. At most `level` of it is kept, where given.

        Gives its keyed digest, the one thing that events may hold; None where nothing is to be known of it.
        """

    def get(self, run: str, name: str) -> bytes | None:
        """Give content; None where it was not kept, is kept no longer, or its tenant was purged."""

    async def written(self) -> None:
        """Return once all that was put is on the disk, or lost."""

    def faults(self) -> Mapping[str, int]:
        """Give how often what went wrong since it was last asked, by code."""

    def close(self) -> None:
        """Write what is left and give back what it holds."""


ContentRow: TypeAlias = "tuple[str, str, str, str, int, bytes]"
"""A content as it lies in a store: run, name, tenant, level, when it was put (ms), its bytes as they lie."""


class ContentStore(Protocol):
    """Where content lies, and the wrapped key of each tenant: it can read none of what is sealed."""

    def transaction(self) -> AbstractContextManager[None]:
        """Keep other writers out until it ends; it commits, or takes all back if left by an exception."""

    def key(self, tenant: str) -> bytes | None:
        """Give a tenant's wrapped key; None where he has none, or has none any more."""

    def put_key(self, tenant: str, wrapped: bytes) -> None:
        """Note a tenant's wrapped key, within a transaction."""

    def put(self, rows: Sequence[ContentRow]) -> None:
        """Keep contents, within a transaction."""

    def find(self, run: str, name: str) -> ContentRow | None:
        """Give one content."""

    def expire(self, before_ms: int) -> int:
        """Forget what was put before a moment; give how many contents that was."""

    def close(self) -> None:
        """Give back what it holds."""
