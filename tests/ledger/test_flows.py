"""Flows over the driver and the ledger: nodes at once, fail-stop, and what is refused (spec 2.6, 5)."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host, UsageError
from llm_policy_host.bookkeeping import Ledger, memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.kept import answer_bytes, flow_bytes, read_answer, read_flow
from llm_policy_host.ledger.pasts import past_runs
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.ledger.verify import verify
from llm_policy_host.providers.recording import Recorder
from llm_policy_host.providers.replaying import Replayer, read_recording
from llm_policy_host.run.resumption import open_flows
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Call, Cost, Origin, Response, Secret, ToolCall, Usage
from tests.ledger.flow_rig import FORK, flow, llm, term

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.ledger.event import Event


def virtual_host(scripts: Mapping[str, Any], flows: Any = None, **more: Any) -> Host:
    """A host of scripted providers in virtual time, whose ledger lies in memory."""
    clock = VirtualClock(1_000_000)
    count = iter(range(10_000))
    ids = lambda: f"run-{next(count):026d}".translate(str.maketrans("0123456789", "abcdefghij"))  # noqa: E731
    data = {
        "providers": {name: {"api_kind": "scripted"} for name in scripts},
        "models": {
            "m": {"served_by": [{"provider": name, "price_in": 1, "price_out": 1} for name in scripts]}
        },
        "profiles": {"default": {}},
        "host": {"scripts": dict(scripts), "gateway": {"flows": flows or {}}, **more},
    }
    return Host.from_data(data, clock=clock, environment={}, ledger=memory_ledger(clock, ids))


def ask(term_: Any, **more: Any) -> Contract:
    return Contract(prompt="q", flow_ir=term_, params={"max_tokens": 10}, **more)


def events(host: Host) -> list[Event]:
    assert host.bookkeeping.ledger is not None
    return [read(line) for line in host.bookkeeping.ledger.log.store.lines()]


def in_runs(found: list[Event]) -> list[tuple[int, str, str]]:
    """When each event of a run came, from the first, its type and its node."""
    nodes = {event.run: event.core.get("node", "flow") for event in found if event.type == "RequestReceived"}
    told = [event for event in found if event.run]
    return [(event.ts - told[0].ts, event.type, nodes[event.run]) for event in told]


def script(answer: str, latency_ms: int) -> list[dict[str, Any]]:
    return [{"answer": answer, "latency_ms": latency_ms}]


# Nodes at once -----------------------------------------------------------------------------------


async def test_nodes_that_are_ready_run_at_once_and_a_node_waits_for_its_inputs() -> None:
    scripts = {"a": script("A", 700), "b": script("B", 400), "c": script("C({prompt})", 100)}
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = in_runs(events(host))
    assert result.response is not None
    assert result.response.text == "C([input 1]\nA\n\n[input 2]\nB)"
    proposed = [(at, node) for at, kind, node in found if kind == "AttemptProposed"]
    assert sorted(at for at, _ in proposed) == [0, 0, 700]
    assert found[-1] == (800, "RunCompleted", "flow")
    # the longest way, not the sum: what stood beside it happened meanwhile
    assert (result.upstream_ms, result.trace.total_latency_ms) == (800, 800)


async def test_each_node_is_a_run_whose_parent_is_the_flow() -> None:
    scripts = {"a": script("A", 1), "b": script("B", 2), "c": script("C", 3)}
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = [event for event in events(host) if event.run]
    starts = [event for event in found if event.type == "RequestReceived"]
    assert starts[0].run == result.run_id
    assert starts[0].core["is_flow"]
    assert [event.parent for event in starts[1:]] == [result.run_id] * 3
    assert sorted(event.core["node"] for event in starts[1:]) == ["n1", "n2", "n3"]
    admitted = next(event for event in found if event.run == result.run_id and event.type == "PolicyAdmitted")
    assert {event.cause for event in starts[1:]} == {admitted.seq}
    assert [node["run"] for node in result.trace.raw["nodes"]] == [event.run for event in starts[1:]]


@pytest.mark.parametrize("latencies", [(700, 400), (400, 700), (500, 500)])
async def test_who_ends_first_changes_no_decision_and_no_nodes_own_events(latencies: tuple[int, int]) -> None:
    """All that a node's run says but its times is what it says where nodes run one by one."""

    async def told(left_ms: int, right_ms: int) -> tuple[Any, Any]:
        scripts = {"a": script("A", left_ms), "b": script("B", right_ms), "c": script("C", 5)}
        async with virtual_host(scripts) as host:
            result = await host.run(ask(FORK, seed=7))
            own: dict[str, list[Any]] = {}
            names: dict[str, str] = {}
            for event in events(host):
                if event.run is None:
                    continue
                if event.type == "RequestReceived":
                    names[event.run] = str(event.core.get("node"))
                core = {key: value for key, value in event.core.items() if key not in ("ctx", "deadline_ms")}
                is_end = "decision_digest" in core
                own.setdefault(names[event.run], []).append((event.type, *([] if is_end else [core])))
        assert result.response is not None
        return result.response.text, own

    assert await told(*latencies) == await told(1, 1)


async def test_a_flow_in_virtual_time_exports_byte_for_byte_the_same() -> None:
    async def export() -> list[bytes]:
        async with virtual_host({"a": script("A", 9), "b": script("B", 3), "c": script("C", 1)}) as host:
            await host.run(ask(FORK, seed=1))
            return [event.line for event in events(host)]

    assert await export() == await export()


# Fail-stop ---------------------------------------------------------------------------------------


async def test_the_first_failure_ends_the_flow_and_cancels_who_is_under_way() -> None:
    scripts = {
        "a": script("A", 900),
        "b": [{"failure": "server_error", "latency_ms": 300}],
        "c": script("C", 1),
    }
    async with virtual_host(scripts) as host:
        result = await host.run(ask(FORK))
        found = in_runs(events(host))
        assert host.clock.now_ms() == 1_000_300
    assert (result.ok, result.error) == (False, "exhausted: server_error")
    ends = {node: (at, kind) for at, kind, node in found if kind.startswith("Run")}
    nodes = {node for _, _, node in found}
    assert len(nodes) == 3, "the node behind them never began"
    assert sorted(kind for _, kind in ends.values()) == ["RunCancelled", "RunFailed", "RunFailed"]
    assert found[-1] == (300, "RunFailed", "flow")


async def test_of_two_failures_in_one_moment_the_first_in_canonical_order_is_told() -> None:
    scripts = {
        "a": [{"failure": "server_error", "latency_ms": 300}],
        "b": [{"failure": "timeout", "latency_ms": 300}],
        "c": script("C", 1),
    }
    told = set()
    for one, other in (("a", "b"), ("b", "a")):
        term_ = flow(
            left=llm(term(one), "q"), right=llm(term(other), "q"), join=llm(term("c"), "left", "right")
        )
        async with virtual_host(scripts) as host:
            told.add((await host.run(ask(term_))).error)
    assert told == {"exhausted: server_error"}


async def test_a_caller_who_leaves_cancels_every_node() -> None:
    scripts = {"a": script("A", 900), "b": script("B", 900), "c": script("C", 1)}
    async with virtual_host(scripts) as host:
        task = asyncio.ensure_future(host.run(ask(FORK)))
        await host.clock.sleep_ms(100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = in_runs(events(host))
    assert [kind for _, kind, _ in found if kind.startswith("Run")] == ["RunCancelled"] * 3


# The form `audit` --------------------------------------------------------------------------------


def audited(**roles: Any) -> dict[str, Any]:
    return {"checked": {"audit": roles}}


async def test_an_audit_is_by_another_provider_than_the_draft_and_its_policy_is_told() -> None:
    scripts = {name: script(f"{name.upper()}", 1) for name in ("a", "b")}
    async with virtual_host(scripts, audited(draft=term("a", "b"))) as host:
        plan = host.flows["checked"]
        result = await host.run(ask(plan.term))
        found = events(host)
    asked = [event.core["provider_id"] for event in found if event.type == "AttemptProposed"]
    assert asked == ["a", "b", "a"]
    assert result.ok
    # the auditor's policy is the one that was lowered: without the drafter
    nodes = {event.run: event.core.get("node") for event in found if event.type == "RequestReceived"}
    ids = {nodes[event.run]: event.core["policy_id"] for event in found if event.type == "PolicyAdmitted"}
    first = term("a", "b")
    lowered = ["policy", ["and", ["not", ["provider_eq", "a"]], first[1]], *first[2:]]
    assert ids["n2"] == host._identity(lowered)
    assert ids["n1"] == host._identity(first)
    assert ids[None] == plan.identity


async def test_an_audit_follows_who_answered_and_not_who_was_asked_first() -> None:
    scripts = {"a": [{"failure": "server_error"}, {"answer": "A"}], "b": script("B", 1)}
    async with virtual_host(scripts, audited(draft=term("a", "b"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
        asked = [event.core["provider_id"] for event in events(host) if event.type == "AttemptProposed"]
    assert result.ok
    assert asked[:3] == ["a", "b", "a"]


async def test_where_nobody_else_is_there_to_audit_the_flow_fails() -> None:
    async with virtual_host({"a": script("A", 1)}, audited(draft=term("a"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
    assert (result.ok, result.error) == (False, "no_candidates")


async def test_an_audit_takes_profiles_by_name_and_independence_is_a_part_of_the_identity() -> None:
    scripts = {name: script(name, 1) for name in ("a", "b")}
    async with virtual_host(scripts, audited(draft="default", audit=term("b"))) as host:
        result = await host.run(ask(host.flows["checked"].term))
        plain = flow(draft=llm(term("a"), "q"), audit=llm(term("b"), "draft"))
        bound = flow(draft=llm(term("a"), "q"), audit=llm(term("b"), "draft", independent_of="draft"))
        other = virtual_host(scripts, {"plain": plain, "bound": bound})
    assert result.ok
    assert other.flows["plain"].identity != other.flows["bound"].identity


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"audit": {}}, "has a `draft`"),
        ({"audit": {"draft": "defualt"}}, "no profile `defualt`"),
        ({"audit": {"draft": "default", "revize": "default"}}, "may have `audit` and `revise`"),
        (flow(x=llm(term("a"), "q", independent_of="q")), "nobody answers this input"),
        (
            flow(x=llm(term("a"), "q"), y=llm(term("a"), "q", independent_of="x")),
            "is none of the node's inputs",
        ),
        (flow(x=llm(term("a"), "q"), y=llm(term("a"), "x", independent_of=7)), "the id of an input"),
        (
            flow(x=llm(term("a"), "q"), y=llm(["top"], "x", independent_of="x")),
            "only a node with inputs and a policy",
        ),
    ],
)
def test_a_form_that_is_none_is_refused_with_its_place(form: Any, words: str) -> None:
    with pytest.raises(Exception, match=r"host\.gateway\.flows\.checked") as caught:
        virtual_host({"a": script("A", 1)}, {"checked": form})
    assert words in str(caught.value)


# What is refused, and what is kept nowhere -------------------------------------------------------


async def test_nothing_goes_on_without_a_ledger_or_a_flow() -> None:
    host = virtual_host({"a": script("A", 1)})
    async with host:
        done = await host.run(ask(flow(x=llm(term("a"), "q"))))
        assert done.run_id is not None
        with pytest.raises(UsageError, match="no flow `run-x` is in the ledger"):
            await host.resume("run-x")
        with pytest.raises(UsageError, match=r"has ended \(RunCompleted\)"):
            await host.resume(done.run_id)
    bare = Host.from_data(
        {"providers": {"a": {"api_kind": "scripted"}}, "models": {"m": {"served_by": [{"provider": "a"}]}}}
    )
    async with bare:
        with pytest.raises(UsageError, match="nothing to go on from"):
            await bare.resume("run-x")


def test_a_flow_that_came_with_a_callers_key_is_kept_nowhere() -> None:
    asked = ask(FORK)
    assert flow_bytes(asked, FORK) is not None
    assert flow_bytes(dataclasses.replace(asked, auth_override={"a": Secret("k")}), FORK) is None


def test_what_is_kept_of_a_flow_and_an_answer_is_what_it_was() -> None:
    origin = Origin(tenant="team", content="sealed")
    hard: dict[str, Any] = {"requirements": {"privacy": "no_log"}, "extra_candidates": [{"provider_id": "x"}]}
    asked = ask(FORK, seed=3, passthrough={"user": "u"}, deadline_ms=5, origin=origin, **hard)
    data = flow_bytes(asked, FORK)
    assert data is not None
    assert read_flow(data, Origin(tenant="team")) == dataclasses.replace(asked, messages=[])
    response = Response(text="t", finish_reason="stop", model="m", usage=Usage(1, 2, 3, 4, 5, 16))
    asked_for = Response(reasoning="so", tool_calls=(ToolCall("1", "look", '{"at": 1}'),), cost_usd=0.5)
    refused = Response(refusal="no", embeddings=([0.5, 1.0], "AAAA"))
    call = Call("a", "m", "m-1")
    for each in (response, asked_for, refused):
        result = read_answer(answer_bytes(each, call, Cost(0.25, "computed")), "run-1")
        assert (result.response, result.cost, result.run_id) == (each, Cost(0.25, "computed"), "run-1")
        assert result.chosen == {"provider_id": "a", "model_family": "m"}


def drafted(host: Host, kind: str, core: dict[str, Any], run: str | None = None, by: str = "driver") -> None:
    assert host.bookkeeping.ledger is not None
    host.bookkeeping.ledger.log.append(Draft(kind, by, "local", run, core=core))


async def test_a_flow_of_a_revoked_key_and_one_that_is_under_way_are_left_as_they_are() -> None:
    run = "run-" + "z" * 26
    async with virtual_host({"a": script("A", 500)}, {"one": flow(x=llm(term("a"), "q"))}) as host:
        digest = "0" * 64
        drafted(host, "KeyMinted", {"key_id": "k", "rights": ["flow"], "root_digest": digest}, by="operator")
        drafted(host, "RequestReceived", {**_REQUEST, "is_flow": True, "key_id": "k"}, run)
        drafted(host, "PolicyAdmitted", {"policy_id": "sha256:x"}, run)
        drafted(host, "KeyRevoked", {"key_id": "k"}, by="operator")
        with pytest.raises(UsageError, match="the key `k`, which is revoked"):
            await host.resume(run)
        task = asyncio.ensure_future(host.run(ask(host.flows["one"].term)))
        await host.clock.sleep_ms(100)
        (other,) = [each for each in open_flows(past_runs(events(host))) if each.run != run]
        with pytest.raises(UsageError, match="is under way: its node `n1`"):
            await host.resume(other.run)
        assert (await task).ok
        assert [each.run for each in open_flows(past_runs(events(host)))] == [run]


_REQUEST = {"api": "python", "is_stream": False, "kind": "chat"}


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([], "not_resumable"),
        ([("AttemptOutcome", {"attempt": 1})], "not_resumable"),
        ([("AttemptOutcome", {"attempt": 1, "kind": "in_doubt"})], "in_doubt"),
        ([("AttemptOutcome", {"attempt": 1, "kind": "timeout"})], "timeout"),
    ],
)
async def test_without_what_was_kept_a_flow_ends_with_what_its_nodes_say(last: list[Any], error: str) -> None:
    flow_run, node = "run-" + "a" * 26, "run-" + "b" * 26
    async with virtual_host({"a": script("A", 1)}) as host:
        drafted(host, "RequestReceived", {**_REQUEST, "is_flow": True}, flow_run)
        drafted(host, "PolicyAdmitted", {"policy_id": "sha256:x"}, flow_run)
        if last:
            assert host.bookkeeping.ledger is not None
            hold = {"calls": 1}
            proposal = {"attempt": 1, "provider_id": "a", "model_family": "m", "hold": hold, "accounts": []}
            end = ("RunFailed", {"attempts": 1, "error": error}) if error != "not_resumable" else None
            for kind, core in [
                ("RequestReceived", {**_REQUEST, "node": "n1"}),
                ("PolicyAdmitted", {}),
                ("AttemptProposed", proposal),
                *last,
                end or ("RunCompleted", {"attempts": 1}),
            ]:
                obs = {"settled": hold} if kind == "AttemptOutcome" else {}
                by = "host" if error == "in_doubt" and kind == "AttemptOutcome" else "driver"
                draft = Draft(kind, by, "local", node, flow_run, core=core, obs=obs)
                host.bookkeeping.ledger.log.append(draft)
        result = await host.resume(flow_run)
        assert (result.ok, result.error, result.run_id) == (False, error, flow_run)
        assert in_runs(events(host))[-1][1:] == ("RunFailed", "flow")


async def test_a_recording_of_a_flow_has_its_nodes_one_by_one_and_is_played_again(tmp_path: Path) -> None:
    data = {
        "providers": {name: {"api_kind": "scripted"} for name in "abc"},
        "models": {"m": {"served_by": [{"provider": name} for name in "abc"]}},
        "host": {"scripts": {"a": script("A", 700), "b": script("B", 400), "c": script("C({prompt})", 1)}},
    }
    clock = VirtualClock(5)
    recorder = Recorder(tmp_path / "calls.jsonl", clock)
    async with Host.from_data(data, clock=clock, environment={}, reel=recorder) as host:
        first = await host.run(ask(FORK))
        assert clock.now_ms() == 5 + 1101
    recorder.close()
    clock = VirtualClock(5)
    replayer = Replayer(read_recording(tmp_path / "calls.jsonl"), clock)
    async with Host.from_data(data, clock=clock, environment={}, reel=replayer) as host:
        again = await host.run(ask(FORK))
    replayer.check()
    assert first.response is not None
    assert first.response == again.response
    assert clock.now_ms() == 5 + 1101


async def test_over_a_ledger_that_others_write_too_nodes_run_at_once_as_well() -> None:
    clock = VirtualClock(1_000_000)
    log, recovery = open_log(MemoryStore(is_shared=True), clock, Folds)
    data = {
        "providers": {name: {"api_kind": "scripted"} for name in "abc"},
        "models": {"m": {"served_by": [{"provider": name} for name in "abc"]}},
        "host": {"scripts": {"a": script("A", 700), "b": script("B", 400), "c": script("C", 100)}},
    }
    ledger = Ledger(log, recovery)
    async with Host.from_data(data, clock=clock, environment={}, ledger=ledger) as host:
        assert (await host.run(ask(FORK))).ok
        assert clock.now_ms() == 1_000_800
        verdict = verify(log.store.lines(), log.store.blob_get, Folds())
    assert (verdict.fault, verdict.open_runs) == (None, 0)


async def test_a_flow_that_is_left_while_its_nodes_ask_ends_after_them() -> None:
    clock = VirtualClock(1_000_000)
    log, recovery = open_log(MemoryStore(is_shared=True), clock, Folds)
    accept, has_asked, may_go = log.accept, asyncio.Event(), asyncio.Event()

    async def slowly(draft: Draft) -> Event:
        if draft.type == "AttemptProposed":
            has_asked.set()
            await may_go.wait()
        return await accept(draft)

    log.accept = slowly  # type: ignore[method-assign]
    data = {
        "providers": {name: {"api_kind": "scripted"} for name in "abc"},
        "models": {"m": {"served_by": [{"provider": name} for name in "abc"]}},
        "host": {"scripts": {name: script(name, 100) for name in "abc"}},
    }
    async with Host.from_data(data, clock=clock, environment={}, ledger=Ledger(log, recovery)) as host:
        asking = asyncio.create_task(host.run(ask(FORK)))
        await has_asked.wait()
        for _ in range(2):
            asking.cancel()
            await asyncio.sleep(0)
        may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
    lines = list(log.store.lines())
    verdict = verify(lines, log.store.blob_get, Folds())
    assert (verdict.fault, verdict.open_runs) == (None, 0)
    last = read(lines[-1])
    assert (last.type, last.parent, last.core["error"]) == ("RunCancelled", None, "cancelled")
