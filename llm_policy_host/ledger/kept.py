"""What is kept of a flow and its nodes beside the ledger, so that it can go on: as bytes, and read again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from llm_policy_host.values import Contract, Cost, Origin, Response, Result, ToolCall, Trace, Usage

if TYPE_CHECKING:
    from llm_policy_host.values import Call, Plain

FLOW: Final = "flow"
"""The name of what is kept of a flow's run: its term, and what was asked."""

ANSWER: Final = "result"
"""The name of what is kept of a run: its answer, who gave it, what it took."""

_SAID: Final = ("text", "reasoning", "refusal", "finish_reason", "model", "embeddings", "cost_usd")
"""What is kept of an answer beside its tool calls; not its provider's own body, which says it once more."""
_ASKED: Final = (
    *("prompt", "messages", "params", "requirements", "extra_candidates"),
    *("response_format", "passthrough", "dialect", "scope", "seed"),
)
_BOUNDS: Final = ("timeout_ms", "deadline_ms")


def flow_bytes(contract: Contract, term: Plain) -> bytes | None:
    """Write a flow and what was asked of it; None where a key came with it, which is kept nowhere."""
    if contract.auth_override:
        return None
    asked = {name: getattr(contract, name) for name in (*_ASKED, *_BOUNDS)}
    return orjson.dumps({"asked": asked, "content": contract.origin.content, "flow": term}, default=_plain)


def read_flow(data: bytes, origin: Origin) -> Contract:
    """Read it as the contract that it was."""
    kept = orjson.loads(data)
    origin = dataclasses.replace(origin, content=kept["content"])
    return Contract(**kept["asked"], flow_ir=kept["flow"], origin=origin)


def answer_bytes(response: Response, call: Call, cost: Cost | None) -> bytes:
    """Write an answer, who gave it and what it took."""
    usage = None if response.usage is None else dataclasses.asdict(response.usage)
    return orjson.dumps(
        {
            "chosen": {"provider_id": call.provider_id, "model_family": call.model_family},
            "cost": None if cost is None else [cost.usd, cost.basis],
            "response": {name: getattr(response, name) for name in _SAID},
            "tool_calls": [dataclasses.asdict(each) for each in response.tool_calls],
            "usage": usage,
        },
        default=_plain,
    )


def read_answer(data: bytes, run: str) -> Result:
    """Read it as the result of a run, without what only its process knew."""
    kept: dict[str, Any] = orjson.loads(data)
    usage, cost = kept["usage"], kept["cost"]
    said = {**kept["response"], "embeddings": tuple(kept["response"].get("embeddings") or ())}
    calls = tuple(ToolCall(**each) for each in kept.get("tool_calls") or ())
    return Result(
        ok=True,
        response=Response(**said, tool_calls=calls, usage=None if usage is None else Usage(**usage)),
        chosen=kept["chosen"],
        trace=Trace(),
        cost=Cost() if cost is None else Cost(*cost),
        run_id=run,
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - a mapping or a sequence of another class
    return dict(value) if hasattr(value, "keys") else list(value)
