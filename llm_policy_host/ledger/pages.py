"""Pages of the books: what a run has to say, in the order in which it may (spec 5.1, 5.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from llm_policy_host.clock import standing
from llm_policy_host.errors import LedgerError
from llm_policy_host.spelling import encode
from llm_policy_host.values import Failure, Held, Refused, Response

from .account import charged
from .amounts import count, micro_usd, settled, token_classes
from .digests import decision_digest, skips, trace_digest
from .entry import code_of, name_of
from .event import NONE
from .kept import ANSWER, answer_bytes
from .kinds import NAME, expression
from .parking import ParkedEntry
from .said import answer_name, error_name, response_bytes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from llm_policy_host.ports import Provider
    from llm_policy_host.values import Attempt, Call, Contract, Cost, Inputs, Plain, Step

    from .books import LedgerBooks

_REJECTED: Final = frozenset({"policy_refused", "unknown_profile"})
"""Errors of a request of which no policy was made."""

_MOST_SKIPS = 1000
_is_name = expression(NAME)


class RunEntry(ParkedEntry):
    """A run's page."""

    def __init__(self, books: LedgerBooks, contract: Contract, *, is_stream: bool) -> None:
        super().__init__(books, contract, is_stream=is_stream)
        self._is_calling = False
        self._proposing: asyncio.Task[int] | None = None
        self._call: Call | None = None
        self._candidate: Mapping[str, Any] = NONE
        self._hold: Mapping[str, Any] = NONE

    def admitted(self, step: Step, shape: Plain, inputs: Inputs, bound_ms: int) -> None:
        """Note what was asked and what was planned, or why nothing was."""
        books = self._books
        if step.status == "done" and step.result.get("error") in _REJECTED:
            self._received(None)
            refusal = step.result.get("refusal") or {}
            self._say("RequestRejected", {"code": code_of(refusal.get("code") or step.result["error"])})
            self._is_over = True
            return
        profile, (digest, text) = self._contract.profile, books.shape(shape)
        self._received(digest, profile=profile if profile is not None and _is_name(profile) else None)
        policy_id, version = books.grounds.grounds(step.handle)
        ctx = books.contexts.keep(
            version, lambda: books.grounds.grounds_text(step.handle)[0], inputs.others, inputs.now_ms
        )
        refs = {"ctx": ctx.blob, "shape": books.blob(text)}
        core = {"catalog_id": books.catalog_id, "ctx": ctx.identity, "deadline_ms": count(bound_ms)}
        if policy_id is not None:
            core["policy_id"] = policy_id
            refs["policy"], published = books.policy(policy_id, step.handle)
            if published is not None:
                self._drafts.append(published)
        if inputs.seed is not None:
            core["seed"] = inputs.seed
        self._say("PolicyAdmitted", core, {"now_ms": inputs.now_ms}, refs)
        self._grounds = (policy_id, ctx.identity, inputs.seed, digest)
        self._is_full = inputs.is_full_trace
        self._shape = shape

    def propose(
        self, call: Call, candidate: Mapping[str, Any], provider: Provider | None
    ) -> Held | Refused | Awaitable[Refused | None] | None:
        """Ask for an attempt: None lets it be made."""
        books, accounts, desk = self._books, self._accounts, self._books.desk
        hold: dict[str, Any] = {"calls": 1}
        is_gated = desk is not None and (desk.has_gates or self._contract.origin.session is not None)
        if accounts or is_gated:
            estimate = books.estimate(call, candidate, provider)
            if estimate.tokens is not None:
                hold["tokens"] = count(estimate.tokens)
            if estimate.usd_micro is not None:
                hold["usd_micro"] = count(estimate.usd_micro)
        if desk is not None and is_gated and (verdict := self._held(desk, call, candidate, hold)) is not None:
            return verdict
        core = {
            "accounts": list(accounts),
            "attempt": self._attempts + 1,
            "hold": hold,
            "model_family": name_of(call.model_family),
            "params_digest": books.params(call.params),
            "provider_id": name_of(call.provider_id),
        }
        if call.served_by is not None:
            core["served_by"] = name_of(call.served_by)
        own = self._contract.auth_override
        if own and call.provider_id in own:
            core["credential_label"] = "callers"
        self._say("AttemptProposed", core)
        self._call, self._candidate, self._hold = call, candidate, hold
        self._attempts += 1
        self._is_calling = True
        if books.is_shared:
            self._proposing = books.spawn(self._accept())
            return self._proposed_there(self._proposing)
        try:
            seq = self._flush()
        except LedgerError as error:
            return self._withdrawn(error)
        return self._durable(seq) if books.is_strict else None

    def _withdrawn(self, error: LedgerError) -> Refused:
        """Take a proposal back that was not accepted."""
        self._attempts -= 1
        self._is_calling = False
        return self._refused(error)

    async def _proposed_there(self, proposing: asyncio.Task[int]) -> Refused | None:
        """Wait until a ledger that others write too has taken a proposal."""
        try:
            seq = await asyncio.shield(proposing)
        except LedgerError as error:
            self._proposing = None
            return self._withdrawn(error)
        self._proposing = None
        if self._books.is_strict:
            await self._durable(seq)
        return None

    async def keep(self, outcome: Response | Failure | None) -> None:
        """Keep an answer: once its outcome is in the ledger, whoever goes on finds it."""
        keep, call, run = self._books.keep, self._call, self.run_id
        if keep is None or call is None or run is None or not isinstance(outcome, Response):
            return
        data = answer_bytes(outcome, call, self._cost(outcome))
        keep.put(run, self._tenant, ANSWER, data, self._contract.origin.content)
        with standing(self._books.clock):
            await keep.written()

    def outcome(self, outcome: Response | Failure | None, sent: Attempt | None) -> None:
        """Settle the attempt: over a log of its own at once, over a shared one with what comes next."""
        if not self._is_calling or self._proposing is not None:
            return
        self._settle(outcome, sent)
        if not self._books.is_shared:
            self._flush_end()

    def waits(self, ms: float) -> None:
        """Note a wait before the next attempt."""
        self._say("WaitScheduled", {"until_offset_ms": count(ms)})
        if not self._books.is_shared:
            self._flush_end()

    def end(self, step: Step, *, is_cancelled: bool = False) -> Awaitable[None] | None:
        """Note how the run ended; an attempt under way is settled as cut from outside."""
        if self._is_ended:
            return None
        self._is_ended = True
        if self._books.is_shared:
            ending = self._end_there(step, is_cancelled=is_cancelled)
            return asyncio.shield(self._books.spawn(ending, self._contract.origin.parent))
        self._close(step, is_cancelled=is_cancelled)
        self._flush_end()
        return None

    async def _end_there(self, step: Step, *, is_cancelled: bool) -> None:
        if self._proposing is not None:
            try:
                await self._proposing
            except LedgerError as error:
                self._withdrawn(error)
        self._close(step, is_cancelled=is_cancelled)
        await self._accept_end()

    def _close(self, step: Step, *, is_cancelled: bool) -> None:
        """Say the last of the run."""
        if self._is_calling:
            self._settle(None, None)
        if self._is_over or self._grounds is None:
            return
        result = step.result
        trace = result.get("trace") or NONE
        path, error = trace.get("decision_path") or (), result.get("error")
        used = (self._books.grounds.used(step.handle) if self._is_full else trace.get("ranked")) or ()
        policy_id, ctx, seed, shape = self._grounds
        decision = decision_digest(
            policy_id, self._books.catalog_id, ctx, seed, shape, self._books.used(used)
        )
        core: dict[str, Any] = {
            "attempts": self._attempts,
            "decision_digest": decision,
            "trace_digest": trace_digest(decision, path, error),
        }
        skipped = skips(path)
        if skipped:
            core["skips"] = [name_of(each) for each in skipped[:_MOST_SKIPS]]
        if error is not None:
            core["error"] = code_of(error)
        spent = {"tokens": self._tokens, "usd_micro": self._usd_micro}
        obs = {name: amount for name, amount in spent.items() if amount is not None}
        obs["ms"] = self._took_ms()
        failed = "RunCancelled" if is_cancelled else "RunFailed"
        self._say("RunCompleted" if error is None else failed, core, obs)

    def _settle(self, outcome: Response | Failure | None, sent: Attempt | None) -> None:
        """Say how the attempt ended and what it is charged."""
        self._is_calling = False
        core: dict[str, Any] = {"attempt": self._attempts}
        obs: dict[str, Any] = {}
        cost = None
        if sent is not None:
            obs["ms"] = count(sent.took_ms)
            if sent.ttft_ms is not None:
                obs["ttft_ms"] = count(sent.ttft_ms)
        if isinstance(outcome, Response):
            cost = self._cost(outcome)
            self._take(outcome, cost, obs)
        else:
            core["kind"] = "cancelled" if outcome is None else outcome.kind
            status = None if outcome is None else outcome.http_status
            if status is not None and status in _STATUSES:
                obs["status"] = status
        charge = obs["settled"] = settled(outcome, cost, is_sent=sent is not None)
        self._add(charge)
        refs = NONE if self._books.keep is None else self._said(outcome)
        self._say("AttemptOutcome", core, obs, refs)

    def _add(self, charge: Mapping[str, int]) -> None:
        """Add to what the run has taken so far; of what was neither told nor held nobody knows the sum."""
        hold = self._hold
        usd, tokens, _ = charged(charge, (hold.get("usd_micro"), hold.get("tokens"), None))
        self._usd_micro = None if self._usd_micro is None or usd is None else self._usd_micro + usd
        self._tokens = None if self._tokens is None or tokens is None else self._tokens + tokens

    def _said(self, outcome: Response | Failure | None) -> dict[str, Any]:
        """Let what an attempt said be kept, as far as it may."""
        if isinstance(outcome, Response):
            return self._kept(answer_name(self._attempts), "answer", response_bytes(outcome))
        if outcome is None or not outcome.detail:
            return NONE
        return self._kept(error_name(self._attempts), "error", encode(outcome.detail))

    def _take(self, response: Response, cost: Cost | None, obs: dict[str, Any]) -> None:
        """Note what an answer took."""
        usage = response.usage
        if usage is not None:
            obs["tokens"] = token_classes(usage)
        if cost is not None and cost.usd is not None:
            obs["usd_micro"] = micro_usd(cost.usd)
        obs["basis"] = "unknown" if cost is None else cost.basis

    def _cost(self, response: Response) -> Cost | None:
        pricer, call = self._books.pricer, self._call
        if pricer is None or call is None:
            return None
        candidate = self._candidate
        chosen = {
            "provider_id": call.provider_id,
            "model_family": call.model_family,
            "served_model_id": call.served_model_id,
            "raw_price_in": candidate.get("price_in"),
            "raw_price_out": candidate.get("price_out"),
        }
        return pricer.cost(response, chosen, call.api_kind)


_STATUSES = range(100, 600)
