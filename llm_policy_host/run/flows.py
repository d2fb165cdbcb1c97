"""Flows over the driver: each llm node is one run, begun as soon as its inputs are there (spec 2.6).

A flow takes one text and gives one text. What a caller gives beside the text (parameters, seed, key)
holds for every node; a response format for the node whose text is the answer. Of a body in another dialect
than OpenAI's the nodes get what OpenAI's has words for. Nodes begin in canonical order; the first failure
ends the flow, and what is under way then is cancelled.
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.language import Refusal
from llm_policy_host.errors import LedgerError
from llm_policy_host.values import NOTHING, Contract, Result, StreamChunk, nothing

from .driver import BUDGET_EXCEEDED
from .flow_forms import bound
from .flow_sums import longest, whole
from .flow_texts import assemble, openai_words, refusal_of, text_of
from .reading import with_rejected

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from llm_policy_host.core.language import FlowNode, IdentifiedFlow
    from llm_policy_host.ports import Clock, FlowPage
    from llm_policy_host.values import Refused

    from .driver import Driver


@dataclass(frozen=True, slots=True)
class Done:
    """What was done of a flow before, by canonical ids: nodes' results, and how often each began in vain."""

    results: Mapping[str, Result] = dataclasses.field(default_factory=nothing)
    begun: Mapping[str, int] = dataclasses.field(default_factory=nothing)


NOT_BEGUN = Done()


class FlowRun:
    """One run of a flow. `live` runs have it whole before they give their first piece."""

    def __init__(  # noqa: PLR0913 - what a run of a flow is made of, given by the composition root
        self,
        flow: IdentifiedFlow | Refusal,
        contract: Contract,
        driver: Driver,
        clock: Clock,
        ends_at_ms: int,
        page: FlowPage,
        *,
        done: Done = NOT_BEGUN,
        is_parallel: bool = True,
    ) -> None:
        """Take an admitted flow, or the refusal that its result will be.

        Where it is not `is_parallel`, one node runs at a time: of a recording the order is a part.
        """
        self._admitted = flow
        self._contract = contract
        self._driver = driver
        self._clock = clock
        self._ends_at_ms = ends_at_ms
        self._page = page
        self._done = done
        self._most = None if is_parallel else 1
        self._results: dict[int, Result] = {}

    @property
    def candidate(self) -> Mapping[str, Any]:
        """Give who answered last, in canonical order."""
        return (self._results[max(self._results)].chosen or NOTHING) if self._results else NOTHING

    @property
    def policy_id(self) -> str | None:
        """Give the flow's identity."""
        return None if isinstance(self._admitted, Refusal) else self._admitted.identity

    @property
    def run_id(self) -> str | None:
        """Give the flow's run in the ledger."""
        return self._page.run_id

    @property
    def attempts(self) -> int:
        """Count the attempts of all nodes so far."""
        steps = (step for result in self._results.values() for step in result.trace.decision_path)
        return sum(step.get("event") == "attempted" for step in steps)

    @property
    def upstream_ms(self) -> float:
        """Give how long providers were waited for, on the longest way through the nodes."""
        if isinstance(self._admitted, Refusal):
            return 0
        return longest(self._admitted, self._results, lambda result: result.upstream_ms)

    async def batches(self) -> AsyncGenerator[Sequence[StreamChunk], None]:
        """Give the answer in one piece, then the result."""
        result = await self.result()
        response = result.response
        if response is None:
            error = result.failures[-1] if result.failures else None
            yield (StreamChunk(finish_reason="error", error=error, result=result),)
            return
        yield (StreamChunk(text=response.text, finish_reason=response.finish_reason, model=response.model),)
        yield (StreamChunk(usage=response.usage, result=result),)

    async def stream(self) -> AsyncGenerator[StreamChunk, None]:
        """Give the same chunk by chunk."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def result(self) -> Result:
        """Run every node; the output's text is the answer."""
        flow = self._admitted
        if not isinstance(flow, Refusal):
            flow = refusal_of(self._contract) or flow
        if isinstance(flow, Refusal):
            self._page.refused(flow.code)
            result = Result(ok=False, error="policy_refused", refusal=dataclasses.asdict(flow))
        else:
            try:
                refused = await self._page.admitted(flow.identity, self._left_ms(), flow.term)
                result = await self._played(flow) if refused is None else _unpaid(refused)
            except BaseException as error:
                if not _is_anothers(error):
                    self._page.end("cancelled", is_cancelled=True)
                raise
        ending = self._page.end(result.error)
        if ending is not None:
            await ending
        return dataclasses.replace(result, run_id=self._page.run_id)

    # Nodes ------------------------------------------------------------------------------------

    async def _played(self, flow: IdentifiedFlow) -> Result:
        """Begin every node whose inputs are there, until the output's are, or one has failed."""
        outputs: dict[int, str] = {}
        tasks: dict[asyncio.Task[Result], int] = {}
        failed: int | None = None
        try:
            while failed is None:
                self._begin(flow, outputs, tasks)
                if not tasks:
                    break
                over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                failed = self._note(over, tasks, outputs)
        finally:
            await _cancel(tasks)
        cut = sorted(tasks.values())
        return whole(flow, self._results, outputs.get(len(flow.nodes) - 1), failed, cut)

    def _begin(
        self, flow: IdentifiedFlow, outputs: dict[int, str], tasks: dict[asyncio.Task[Result], int]
    ) -> None:
        """Begin what is ready, in canonical order; what needs no call is done at once."""
        under_way = set(tasks.values())
        for place, node in enumerate(flow.nodes):
            if place in outputs or place in under_way or any(each not in outputs for each in node.sources):
                continue
            if node.kind == "input":
                outputs[place] = text_of(self._contract)
                continue
            text = assemble(node.template, [outputs[each] for each in node.sources])
            known = self._done.results.get(f"n{place}")
            if node.kind == "output":
                outputs[place] = text
            elif known is not None and known.response is not None:
                self._results[place] = known
                outputs[place] = known.response.text
            elif self._most is None or len(tasks) < self._most:
                asked = self._contract_of(flow, place, text)
                tasks[asyncio.ensure_future(self._ask(asked))] = place

    async def _ask(self, asked: Contract) -> Result:
        """Run a node; whoever is told why the flow failed cannot make the node's plan again."""
        return with_rejected(await self._driver.run(asked), asked, self._driver.rank)

    def _note(
        self,
        over: set[asyncio.Task[Result]],
        tasks: dict[asyncio.Task[Result], int],
        outputs: dict[int, str],
    ) -> int | None:
        """Take the results of nodes in canonical order; give the first that failed."""
        failed: int | None = None
        for task in sorted(over, key=tasks.__getitem__):
            place = tasks.pop(task)
            result = self._results[place] = task.result()
            if result.response is not None:
                outputs[place] = result.response.text
            elif failed is None:
                failed = place
        return failed

    def _contract_of(self, flow: IdentifiedFlow, place: int, text: str) -> Contract:
        """Make a node's contract: the caller's own, but for its text and who decides.

        In the ledger a node has its canonical id: its author's is a text of his.
        """
        asked, run = self._contract, self._page.run_id
        node, name = flow.nodes[place], f"n{place}"
        messages = [{"role": "system", "content": node.system}] if node.system is not None else []
        origin = dataclasses.replace(
            asked.origin,
            by="driver",
            idem=None if run is None else node_key(run, name, self._done.begun.get(name, 0)),
            parent=run,
            node=name,
            is_resumable=True,
        )
        return Contract(
            messages=[*messages, {"role": "user", "content": text}],
            policy_ir=bound(node.policy, self._answered(node)),
            params=asked.params,
            requirements=asked.requirements,
            extra_candidates=asked.extra_candidates,
            response_format=asked.response_format if _feeds_output(flow, node) else None,
            passthrough=openai_words(asked),
            auth_override=asked.auth_override,
            scope=asked.scope,
            seed=asked.seed,
            timeout_ms=asked.timeout_ms,
            deadline_ms=self._left_ms(),
            origin=origin,
        )

    def _answered(self, node: FlowNode) -> dict[int, str]:
        """Say which provider answered each of a node's inputs."""
        chosen = {
            number: self._results[place].chosen or NOTHING
            for number, place in enumerate(node.sources, 1)
            if place in self._results
        }
        return {number: each["provider_id"] for number, each in chosen.items() if "provider_id" in each}

    def _left_ms(self) -> int:
        return max(0, self._ends_at_ms - self._clock.now_ms())


def node_key(run: str, node: str, begun: int) -> str:
    """Give the key under which a flow's node runs: the ledger takes each once, whoever drives the flow."""
    return sha256(f"{run}\n{node}\n{begun}".encode()).hexdigest()


def _unpaid(refused: Refused) -> Result:
    return Result(ok=False, error=BUDGET_EXCEEDED, refusal=dataclasses.asdict(refused))


def _is_anothers(error: BaseException) -> bool:
    """Whether a flow is driven by another process, whose it is to end."""
    return isinstance(error, LedgerError) and error.code == "duplicate"


async def _cancel(tasks: Mapping[asyncio.Task[Result], int]) -> None:
    """Cancel runs, and wait until each has noted its end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def _feeds_output(flow: IdentifiedFlow, node: FlowNode) -> bool:
    """Whether a node's text is the answer as it is."""
    output = flow.nodes[-1]
    sources = [flow.nodes[place].id for place in output.sources]
    return sources == [node.id] and output.template is None
