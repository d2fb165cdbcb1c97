"""Flows over the driver."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host import ConfigError, Contract, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.vm import Vm
from llm_policy_host.run.flow_texts import assemble, text_of


def term(provider: str) -> list[Any]:
    fail = ["always", {"action": "next_candidate"}]
    return ["policy", ["provider_eq", provider], ["zero"], ["argmax"], ["id"], fail]


AUDIT: list[Any] = [
    "flow",
    {
        "question": {"kind": "input"},
        "draft": {"kind": "llm", "inputs": ["question"], "policy": term("a"), "system": "be brief"},
        "check": {"kind": "llm", "inputs": ["question", "draft"], "policy": term("b")},
        "end": {"kind": "output", "inputs": ["check"], "template": "checked: $1"},
    },
]


def host(scripts: dict[str, Any] | None = None, **more: Any) -> Host:
    usage = {"input": 3, "output": 2}
    given = {
        "a": [{"answer": "A({prompt})", "usage": usage}],
        "b": [{"answer": "B({prompt})", "usage": usage}],
    }
    return Host.from_data(
        {
            "providers": {"a": {"api_kind": "scripted"}, "b": {"api_kind": "scripted"}},
            "models": {
                "m": {"served_by": [{"provider": "a", "price_in": 1, "price_out": 1}, {"provider": "b"}]}
            },
            "profiles": {"default": {}},
            "host": {"scripts": {**given, **(scripts or {})}, **more},
        },
        clock=VirtualClock(),
    )


def ask(text: str = "q", **more: Any) -> Contract:
    return Contract(messages=[{"role": "user", "content": text}], flow_ir=AUDIT, **more)


async def test_each_node_is_one_run_and_the_output_is_the_answer() -> None:
    async with host() as running:
        result = await running.run(ask())
    assert result.ok
    assert result.response is not None
    assert result.response.text.startswith("checked: B(")
    assert "[input 1]\nq" in result.response.text
    assert "[input 2]\nA(q)" in result.response.text
    attempted = [step["provider_id"] for step in result.trace.decision_path if step["event"] == "attempted"]
    assert attempted == ["a", "b"]
    assert result.response.usage is not None
    assert (result.response.usage.input_tokens, result.response.usage.output_tokens) == (6, 4)


async def test_what_the_caller_requires_holds_for_every_node() -> None:
    wanting = ["policy", ["and", ["meets_req"], ["provider_eq", "a"]], *term("a")[2:]]
    flow = ["flow", {**AUDIT[1], "draft": {**AUDIT[1]["draft"], "policy": wanting}}]
    own = {"provider_id": "a", "model_family": "x", "served_model_id": "x", "api_kind": "scripted"}
    contract = Contract(prompt="q", flow_ir=flow, requirements={"privacy": "no_log"})
    async with host() as running:
        refused = await running.run(contract)
        taken = await running.run(
            dataclasses.replace(contract, extra_candidates=[{**own, "base_url": "http://x", "no_log": True}])
        )
    assert (refused.ok, refused.error) == (False, "no_candidates")
    assert taken.ok
    assert taken.trace.decision_path[0]["model_family"] == "x"


async def test_the_trace_names_the_flow_and_holds_every_nodes_own() -> None:
    async with host() as running:
        flow = running.language.identify_flow(AUDIT, {})
        result = await running.run(ask())
    assert result.trace.policy_id == flow.identity  # type: ignore[union-attr]
    nodes = result.trace.raw["nodes"]
    assert [node["id"] for node in nodes] == ["draft", "check"]
    assert len({node["trace"]["policy_id"] for node in nodes}) == 2


async def test_the_first_failure_ends_it() -> None:
    async with host({"a": [{"failure": "server_error"}]}) as running:
        result = await running.run(ask())
        chunks = [chunk async for chunk in running.stream(ask())]
    assert not result.ok
    assert result.error == "exhausted: server_error"
    assert [step["provider_id"] for step in result.trace.decision_path if step["event"] == "attempted"] == [
        "a"
    ]
    assert [chunk.finish_reason for chunk in chunks] == ["error"]


async def test_a_stream_is_one_piece_and_the_result() -> None:
    async with host() as running:
        chunks = [chunk async for chunk in running.stream(ask())]
        live = running.live(ask())
        assert live.attempts == 0
        batches = [batch async for batch in live.batches()]
    assert len(chunks) == 2
    assert chunks[0].text.startswith("checked: ")
    assert chunks[1].result is not None
    assert chunks[1].result.ok
    assert batches[-1][-1].result is not None
    assert (live.attempts, live.candidate["provider_id"]) == (2, "b")


async def test_the_deadline_is_the_whole_flows() -> None:
    slow = {name: [{"answer": "x", "latency_ms": 700}] for name in ("a", "b")}
    async with host(slow, deadline_ms=1000) as running:
        result = await running.run(ask())
        assert running.clock.now_ms() == 1000
    assert (result.ok, result.error) == (False, "timeout")


@pytest.mark.parametrize(
    ("contract", "path"),
    [
        (Contract(flow_ir=["flow", {}], prompt="x"), "$.nodes"),
        (Contract(flow_ir={"flow": 1}, prompt="x"), "$"),
        (ask(tools=[{"type": "function"}]), "tools"),
        (ask(kind="embeddings"), "model"),
        (
            Contract(messages=[{"role": "user", "content": [{"type": "image_url"}]}], flow_ir=AUDIT),
            "messages",
        ),
    ],
)
async def test_what_no_flow_can_take_is_refused_before_anyone_is_called(
    contract: Contract, path: str
) -> None:
    async with host() as running:
        result = await running.run(contract)
        streamed = [chunk async for chunk in running.stream(contract)]
    assert (result.ok, result.error) == (False, "policy_refused")
    assert result.refusal is not None
    assert result.refusal["path"] == path
    assert not result.trace.decision_path
    assert streamed[-1].result == result


async def test_a_response_format_is_for_the_node_that_answers() -> None:
    seen: list[Any] = []
    flow = ["flow", {**AUDIT[1], "end": {"kind": "output", "inputs": ["check"]}}]
    async with host() as running:
        driver = running._rim().driver
        original = driver.run

        async def run(contract: Contract) -> Any:
            seen.append(contract)
            return await original(contract)

        driver.run = run  # type: ignore[method-assign]
        form = {"type": "json_object"}
        await running.run(
            Contract(prompt="q", flow_ir=flow, response_format=form, params={"top_p": 0.5}, seed=3)
        )
    # nobody here has `json_mode`, but the policies do not ask for it
    assert [contract.response_format for contract in seen] == [None, form]
    assert [dict(contract.params) for contract in seen] == [{"top_p": 0.5}] * 2
    assert [contract.seed for contract in seen] == [3, 3]
    assert seen[0].messages[0] == {"role": "system", "content": "be brief"}


async def test_behind_a_template_no_node_is_asked_for_the_callers_format() -> None:
    seen: list[Any] = []
    async with host() as running:
        driver = running._rim().driver
        original = driver.run

        async def run(contract: Contract) -> Any:
            seen.append(contract.response_format)
            return await original(contract)

        driver.run = run  # type: ignore[method-assign]
        await running.run(ask(response_format={"type": "json_object"}))
    assert seen == [None, None]


async def test_cost_and_waiting_are_of_all_nodes() -> None:
    usage = {"input": 1_000_000, "output": 0}
    slow = {name: [{"answer": "x", "latency_ms": 70, "usage": usage}] for name in ("a", "b")}
    flow = ["flow", {**AUDIT[1], "check": {**AUDIT[1]["check"], "policy": term("a")}}]
    async with host(slow) as running:
        known = await running.run(Contract(prompt="q", flow_ir=flow))
        unknown = await running.run(ask())
    assert (known.cost.usd, known.cost.basis) == (2, "computed")
    assert known.upstream_ms == 140
    assert (unknown.cost.usd, unknown.cost.basis) == (None, "unknown")  # what `b` takes nobody knows


def test_a_named_flow_is_checked_with_the_config() -> None:
    with pytest.raises(ConfigError) as caught:
        host(gateway={"flows": {"audit": ["flow", {"x": {"kind": "input"}}]}})
    (problem,) = caught.value.problems
    assert problem.path == "$.host.gateway.flows.audit"
    assert "one output" in problem.detail
    host(gateway={"flows": {"audit": AUDIT}})


def test_a_conversation_is_one_text() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "U"}]},
    ]
    assert text_of(Contract(messages=turns)) == "system: S\n\nuser: U"
    assert text_of(Contract(messages=turns[1:])) == "U"
    assert text_of(Contract(prompt="P")) == "P"


VM = Vm()
LUA_ASSEMBLE = VM.load(
    b"local face, template, texts = ... return face.flow.assemble({template = template}, texts)"
)


@given(
    st.none() | st.text(st.sampled_from("$0129 a%")) | st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.text(st.sampled_from("$1%ab")), min_size=1, max_size=4),
)
def test_inputs_are_joined_as_the_core_joins_them(template: str | None, texts: list[str]) -> None:
    told = VM.call(LUA_ASSEMBLE, VM.face, VM.to_lua(template), VM.to_lua(texts))
    assert assemble(template, texts) == VM.from_lua(told)


def test_a_place_beyond_every_number_stays_as_it_is() -> None:
    assert assemble("$" + "9" * 5000, ["x"]) == "$" + "9" * 5000
    assert assemble("$01 $0", ["x"]) == "x $0"
