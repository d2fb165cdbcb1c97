"""Flows over the driver: each llm node is one run, in canonical order; the first failure ends it (spec 2.6).

A flow takes one text and gives one text. What a caller gives beside the text (parameters, seed, key)
holds for every node; a response format for the node whose text is the answer. Of a body in another dialect
than OpenAI's the nodes get what OpenAI's has words for.
"""

from __future__ import annotations

import dataclasses
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from llm_policy_host.core.language import Refusal
from llm_policy_host.values import (
    NOTHING,
    Contract,
    Cost,
    Response,
    Result,
    StreamChunk,
    Trace,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from llm_policy_host.core.language import FlowNode, IdentifiedFlow
    from llm_policy_host.ports import Clock, FlowPage

    Run = Callable[[Contract], Awaitable[Result]]

_PLACE = re.compile(r"\$([0-9]+)")
_MAX_INPUTS_DIGITS = 3
# of several costs the least certain names the sum's
_BASES = ("reported", "subscription", "computed", "estimated", "unknown")


def assemble(template: str | None, texts: Sequence[str]) -> str:
    """Make one text of a node's inputs: the core's own rule."""
    if template is not None:
        return _PLACE.sub(lambda match: _text_at(texts, match), template)
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(f"[input {place}]\n{text}" for place, text in enumerate(texts, 1))


def _text_at(texts: Sequence[str], match: re.Match[str]) -> str:
    digits = match[1].lstrip("0")
    place = int(digits) if 0 < len(digits) <= _MAX_INPUTS_DIGITS else 0
    return texts[place - 1] if 0 < place <= len(texts) else match[0]


class FlowRun:
    """One run of a flow. `live` runs have it whole before they give their first piece."""

    def __init__(
        self,
        flow: IdentifiedFlow | Refusal,
        contract: Contract,
        run: Run,
        clock: Clock,
        ends_at_ms: int,
        page: FlowPage,
    ) -> None:
        """Take an admitted flow, or the refusal that its result will be."""
        self._admitted = flow
        self._contract = contract
        self._run = run
        self._clock = clock
        self._ends_at_ms = ends_at_ms
        self._page = page
        self._results: list[tuple[str, Result]] = []

    @property
    def candidate(self) -> Mapping[str, Any]:
        """Give who answered last."""
        return (self._results[-1][1].chosen or NOTHING) if self._results else NOTHING

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
        steps = (step for _, result in self._results for step in result.trace.decision_path)
        return sum(step.get("event") == "attempted" for step in steps)

    @property
    def upstream_ms(self) -> float:
        """Give how long providers were waited for."""
        return sum(result.upstream_ms for _, result in self._results)

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
        refusal = flow if isinstance(flow, Refusal) else _refusal_of(self._contract)
        if isinstance(flow, Refusal) or refusal is not None:
            self._page.refused((refusal or flow).code)
            result = Result(ok=False, error="policy_refused", refusal=dataclasses.asdict(refusal or flow))
        else:
            try:
                await self._page.admitted(flow.identity, self._left_ms())
                result = await self._played(flow)
            except BaseException:
                self._page.end("cancelled", is_cancelled=True)
                raise
        ending = self._page.end(result.error)
        if ending is not None:
            await ending
        return dataclasses.replace(result, run_id=self._page.run_id)

    async def _played(self, flow: IdentifiedFlow) -> Result:
        outputs: list[str] = []
        for node in flow.nodes:
            if node.kind == "input":
                outputs.append(text_of(self._contract))
                continue
            text = assemble(node.template, [outputs[place] for place in node.sources])
            if node.kind == "output":
                return self._whole(flow, text)
            is_last = _feeds_output(flow, node)
            result = await self._run(self._contract_of(node, text, is_last=is_last))
            self._results.append((node.id, result))
            if result.response is None:
                break
            outputs.append(result.response.text)
        return self._whole(flow, None)

    def _contract_of(self, node: FlowNode, text: str, *, is_last: bool) -> Contract:
        """Make a node's contract: the caller's own, but for its text and who decides."""
        asked = self._contract
        messages = [{"role": "system", "content": node.system}] if node.system is not None else []
        return Contract(
            messages=[*messages, {"role": "user", "content": text}],
            policy_ir=node.policy,
            params=asked.params,
            response_format=asked.response_format if is_last else None,
            passthrough=_openai_words(asked),
            auth_override=asked.auth_override,
            scope=asked.scope,
            seed=asked.seed,
            timeout_ms=asked.timeout_ms,
            deadline_ms=self._left_ms(),
            origin=dataclasses.replace(
                asked.origin, by="driver", idem=None, parent=self._page.run_id, node=node.id
            ),
        )

    def _left_ms(self) -> int:
        return max(0, self._ends_at_ms - self._clock.now_ms())

    def _whole(self, flow: IdentifiedFlow, text: str | None) -> Result:
        """Join the nodes' results; without a text the last one says what went wrong."""
        results = [result for _, result in self._results]
        last = results[-1] if results else Result(ok=True)
        response = None
        if text is not None:
            final = last.response or Response()
            response = Response(
                text=text,
                finish_reason=final.finish_reason or "stop",
                model=final.model,
                usage=_usage([one.response.usage for one in results if one.response]),
            )
        return dataclasses.replace(
            last,
            ok=text is not None,
            response=response,
            trace=self._trace(flow, last),
            failures=tuple(failure for one in results for failure in one.failures),
            changes=tuple(change for one in results for change in one.changes),
            cost=_cost([one.cost for one in results]),
            upstream_ms=self.upstream_ms,
        )

    def _trace(self, flow: IdentifiedFlow, last: Result) -> Trace:
        nodes = [{"id": name, "trace": dict(result.trace.raw)} for name, result in self._results]
        first = self._results[0][1].trace.started_at_ms if self._results else None
        return dataclasses.replace(
            last.trace,
            decision_path=tuple(step for _, result in self._results for step in result.trace.decision_path),
            policy_id=flow.identity,
            policy_fingerprint=flow.fingerprint,
            started_at_ms=first,
            total_latency_ms=sum(result.trace.total_latency_ms or 0 for _, result in self._results),
            raw={"flow": flow.identity, "nodes": nodes},
        )


def _feeds_output(flow: IdentifiedFlow, node: FlowNode) -> bool:
    """Whether a node's text is the answer as it is."""
    output = flow.nodes[-1]
    sources = [flow.nodes[place].id for place in output.sources]
    return sources == [node.id] and output.template is None


def _refusal_of(contract: Contract) -> Refusal | None:
    """Refuse what no text can hold."""
    if contract.kind == "embeddings":
        return Refusal("unsupported", "model", "a flow gives no vectors")
    if contract.tools:
        return Refusal("unsupported", "tools", "a flow takes no tools")
    parts = [part for message in contract.messages for part in _parts(message)]
    if any(part.get("type") != "text" for part in parts):
        return Refusal("unsupported", "messages", "a flow takes texts only")
    return None


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def text_of(contract: Contract) -> str:
    """Give a conversation as one text; a single message is its own."""
    if contract.prompt is not None:
        return contract.prompt
    texts = [(str(message.get("role")), _text(message)) for message in contract.messages]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in _parts(message))


def _openai_words(contract: Contract) -> Mapping[str, Any]:
    if contract.dialect == "openai":
        return contract.passthrough
    words: Mapping[str, Any] = contract.passthrough.get("_openai", NOTHING)
    return words


def _usage(usages: Sequence[Usage | None]) -> Usage | None:
    known = [usage for usage in usages if usage is not None]
    if not known or len(known) < len(usages):
        return None
    names = ("input_tokens", "cached_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return Usage(*(sum(getattr(usage, name) for usage in known) for name in names))


def _cost(costs: Sequence[Cost]) -> Cost:
    known = [cost.usd for cost in costs if cost.usd is not None]
    if not costs or len(known) < len(costs):
        return Cost()
    return Cost(sum(known), max((cost.basis for cost in costs), key=_BASES.index))
