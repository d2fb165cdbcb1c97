"""Gates: what each names is judged alike in every runtime, and a run that was put off decides as it would have."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.gates import GATE_FIELDS, Gate, Judge, create_judge
from llm_policy_host.core.vm import Vm, available_runtimes
from llm_policy_host.errors import LedgerError
from llm_policy_host.hindsight.deciding import Decider
from llm_policy_host.hindsight.history import past_runs
from llm_policy_host.ledger.approvals import decided
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.sessions import opening
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Contract, Origin
from tests.ledger import drafts
from tests.ledger.setting import HELLO, Setting

if TYPE_CHECKING:
    from llm_policy_host.values import Result

YES = {"answer": "yes", "usage": {"input_tokens": 7, "output_tokens": 2}}
LIMITED = {"failure": "rate_limit", "http_status": 429}
SLOW = {"failure": "timeout"}
TOOL = {"type": "function", "function": {"name": "ls", "parameters": {}}}
ALWAYS = {"all": {"when": ["top"]}}

# Judged in every runtime -------------------------------------------------------------------------------

NUMBERS = (None, 0, 0.1, 1, 1.0000000000000002, 2**53)
RELATIONS = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
}
CANDIDATE = {"provider_id": "a", "model_family": "m", "price_in": 1.5, "no_log": True, "tier": "partner"}


def naive(when: list[Any], facts: dict[str, Any]) -> bool:
    """Say what a gate means, as the guide does: an unknown number is higher than every number."""
    op, *rest = when
    if op == "is":
        return bool({**CANDIDATE, **facts}.get(rest[0], False))
    if op == "cmp":
        value = {**CANDIDATE, **facts}.get(rest[0])
        return bool(RELATIONS[rest[1]](float("inf") if value is None else value, rest[2]))
    if op == "not":
        return not naive(rest[0], facts)
    return (all if op == "and" else any)(naive(part, facts) for part in rest)


def whens() -> list[list[Any]]:
    """Give a gate for each field and relation, and some made of two."""
    single: list[list[Any]] = []
    for name, (sort, _) in GATE_FIELDS.items():
        if sort == "Bool":
            single.append(["is", name])
        else:
            single.extend(["cmp", name, relation, bound] for relation in RELATIONS for bound in (0, 0.1, 1))
    single += [["is", "no_log"], ["cmp", "price_in", "gt", 1]]
    pairs = [
        [op, one, ["not", other]] for op in ("and", "or") for one, other in itertools.pairwise(single[::7])
    ]
    return single + pairs


def facts_of() -> list[dict[str, Any]]:
    names = list(GATE_FIELDS)
    made: list[dict[str, Any]] = []
    for shift, number in itertools.product(range(3), NUMBERS):
        made.append(
            {
                name: (place + shift) % 3 == 0 if GATE_FIELDS[name][0] == "Bool" else number
                for place, name in enumerate(names)
            }
        )
    return made


@pytest.mark.parametrize("runtime", available_runtimes())
def test_every_runtime_judges_as_the_guide_says(runtime: str) -> None:
    vm, count = Vm(runtime), 0
    for when in whens():
        judge = create_judge(vm, [Gate("never", ["bot"], "n"), Gate("this", when, "t")], {})
        assert isinstance(judge, Judge)
        for facts in facts_of():
            held = judge.held(CANDIDATE, {}, facts)
            assert (held is not None) == naive(when, facts), (when, facts)
            assert held is None or held.name == "this"
            count += held is not None
    assert count > 500


def test_a_field_of_a_gate_is_not_the_candidates() -> None:
    judge = create_judge(Vm(), [Gate("g", ["is", "tools"], "g")], {"fields": {"tools": {"sort": "Bool"}}})
    assert isinstance(judge, Judge)
    assert judge.held({**CANDIDATE, "tools": True}, {}, {"tools": False}) is None


# Put off, and gone on ----------------------------------------------------------------------------------


def again(result: Result, contract: Contract = HELLO) -> Contract:
    assert result.approval is not None, result.error
    return dataclasses.replace(
        contract, origin=dataclasses.replace(contract.origin, approval=result.approval.id)
    )


def decide(setting: Setting, result: Result, decision: str, target: str | None = None) -> None:
    assert result.approval is not None
    asking = setting.ledger.folds.approvals.find(result.approval.id)
    assert asking is not None
    for draft in decided(asking, decision, "operator", target=target):
        setting.ledger.log.append(draft)


async def through(
    setting: Setting, contract: Contract = HELLO, *, is_stream: bool = False
) -> tuple[Result, int]:
    """Ask, and let every attempt be made that waits; give the end, and how often somebody was asked."""
    result, count = await setting.ask(contract, is_stream=is_stream), 0
    while result.approval is not None:
        count += 1
        decide(setting, result, "approve")
        result = await setting.ask(again(result, contract), is_stream=is_stream)
    return result, count


SCRIPTS: tuple[dict[str, Any], ...] = (
    {"a": [YES]},
    {"a": [LIMITED], "b": [YES]},
    {"a": [SLOW, YES]},
    {"a": [SLOW, SLOW], "b": [LIMITED], "c": [YES]},
    {"a": [LIMITED], "b": [LIMITED]},
    {"a": [{"failure": "auth_error"}], "b": [YES]},
)


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("scripts", SCRIPTS)
async def test_a_run_that_waits_decides_as_one_that_does_not(
    scripts: dict[str, Any], *, is_stream: bool
) -> None:
    """Every route is asked for: the same attempts, the same end, the same digests; once for each route."""
    async with Setting(scripts) as free, Setting(scripts, gates=ALWAYS) as gated:
        contract = dataclasses.replace(HELLO, seed=7)
        plain = await free.ask(contract, is_stream=is_stream)
        late, count = await through(gated, contract, is_stream=is_stream)
    free.check()
    gated.check()
    assert (late.ok, late.error, late.chosen) == (plain.ok, plain.error, plain.chosen)
    paths = [
        [(step["event"], step.get("attempt"), step.get("provider_id")) for step in result.trace.decision_path]
        for result in (plain, late)
    ]
    assert paths[0] == paths[1]
    assert [failure.kind for failure in late.failures] == [failure.kind for failure in plain.failures]
    ends = [setting.events()[-1].core for setting in (free, gated)]
    assert ends[0] == ends[1]
    assert count == len(
        {event.core["provider_id"] for event in gated.events() if event.type == "AttemptProposed"}
    )


@pytest.mark.parametrize("is_shared", [False, True], ids=["own", "shared"])
async def test_it_goes_on_over_the_ledger_that_another_left(*, is_shared: bool) -> None:
    """Each step by a host of its own, which knows nothing but what the store holds; meanwhile its hold stands."""
    store = MemoryStore(is_shared=is_shared)
    scripts = {"a": [LIMITED], "b": [YES]}
    root = {"keys_root": {"env": "ROOT"}, "ledger": {"file": "-", "account": "team"}}
    more: dict[str, Any] = {**root, "accounts": {"team": {"calls": 5}}, "gates": ALWAYS}

    async def step(contract: Contract, decision: str | None) -> Result:
        async with Setting(scripts, store=store, **more) as setting:
            result = await setting.ask(contract)
            balance = setting.ledger.folds.accounts.balance("team", setting.clock.now_ms())
            held.append((balance.held["calls"], balance.used["calls"]))
            if decision is not None:
                assert result.approval is not None
                asking = setting.ledger.folds.approvals.find(result.approval.id)
                assert asking is not None
                for draft in decided(asking, decision, "operator"):
                    await setting.ledger.log.accept(draft)
            if decision != "approve":
                setting.check()
        return result

    held: list[tuple[int, int]] = []
    first = await step(HELLO, "approve")
    second = await step(again(first), "approve")
    last = await step(again(second), None)
    assert (last.ok, last.chosen and last.chosen["provider_id"]) == (True, "b")
    assert [failure.kind for failure in last.failures] == ["rate_limit"]
    assert (await step(again(second), None)).error == "approval_used"
    assert held == [(1, 0), (1, 1), (0, 2), (0, 2)]
    denied = await step(HELLO, "deny")
    assert (await step(again(denied), None)).error == "approval_denied"
    assert held[-2:] == [(1, 2), (0, 2)]


async def test_a_run_that_waits_may_still_take_what_it_had_left() -> None:
    async with Setting({"a": [{"hang": True}]}, gates=ALWAYS) as setting:
        contract = dataclasses.replace(HELLO, deadline_ms=5000)
        waits = await setting.ask(contract)
        await setting.clock.sleep_ms(3_600_000)
        decide(setting, waits, "approve")
        begun_ms = setting.clock.now_ms()
        late = await setting.ask(again(waits, contract))
        assert (late.error, setting.clock.now_ms() - begun_ms) == ("timeout", 5000)


@pytest.mark.parametrize("is_shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["here", "after a restart"])
async def test_what_was_let_and_nobody_comes_for_gives_its_reservation_back(
    *, is_shared: bool, is_restarted: bool
) -> None:
    """From its decision on it has as long as it had to be decided; then its run is over, and says so."""
    store = MemoryStore(is_shared=is_shared)
    more: dict[str, Any] = {
        "keys_root": {"env": "ROOT"},
        "ledger": {"file": "-", "account": "team"},
        "accounts": {"team": {"calls": 1}},
        "approvals": {"ttl_ms": 1000},
        "gates": {"first": {"when": ["is", "tools"]}},
    }
    tooled = dataclasses.replace(HELLO, tools=(TOOL,))
    setting = Setting({"a": [YES]}, store=store, **more)
    clock = setting.clock
    await setting.host.prepare()
    waits = await setting.ask(tooled)
    await clock.sleep_ms(900)
    assert waits.approval is not None
    asking = setting.ledger.folds.approvals.find(waits.approval.id)
    assert asking is not None
    for draft in decided(asking, "approve", "operator"):
        await setting.ledger.log.accept(draft)
    await clock.sleep_ms(999)
    assert (await setting.ask()).error == "budget_exceeded"
    await clock.sleep_ms(1)
    if is_restarted:
        await setting.host.close()
        setting = Setting({"a": [YES]}, store=store, clock=clock, **more)
    # over a shared ledger who comes next has it expire, and who comes then finds it free
    late = await setting.ask(again(waits, tooled))
    assert late.error == "approval_expired"
    assert (await setting.ask()).ok
    assert (await setting.ask(again(waits, tooled))).error == "approval_expired"
    assert setting.ledger.folds.approvals.due(10**15) == []
    await setting.host.close()
    setting.check()
    ends = [event for event in setting.events() if event.type == "RunFailed" and event.run == waits.run_id]
    assert [(event.by, event.core) for event in ends] == [
        ("host", {"attempts": 0, "error": "approval_expired"})
    ]


async def test_what_waited_too_long_is_expired_once_however_many_come() -> None:
    """Over a shared ledger what came meanwhile finds that somebody is at it."""
    store = MemoryStore(is_shared=True)
    async with Setting({"a": [YES]}, store=store, gates=ALWAYS, approvals={"ttl_ms": 10}) as setting:
        await setting.ask()
        await setting.clock.sleep_ms(10)
        count, accept = 0, setting.ledger.log.accept

        async def counted(draft: Draft) -> Any:
            nonlocal count
            count += draft.type == "ApprovalDecided"
            return await accept(draft)

        setting.ledger.log.accept = counted  # type: ignore[method-assign]
        await asyncio.gather(*(setting.ask() for _ in range(5)))
        assert count == 1


async def test_an_approval_whose_state_cannot_be_read_is_not_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Setting({"a": [YES]}, gates=ALWAYS) as setting:
        waits = await setting.ask()
        decide(setting, waits, "approve")
        with monkeypatch.context() as patch:
            patch.setattr(setting.store, "blob_get", lambda _digest: None)
            with pytest.raises(LedgerError, match="is no parked run"):
                await setting.ask(again(waits))
        assert (await setting.ask(again(waits))).ok
    setting.check()


async def test_two_who_ask_again_at_once_are_one_call() -> None:
    async with Setting({"a": [YES]}, gates=ALWAYS) as setting:
        waits = await setting.ask()
        decide(setting, waits, "approve")
        lives = [setting.host.live(again(waits)) for _ in range(2)]
        ends = [[batch[-1].result async for batch in live.batches()][-1] for live in lives]
        assert [end and end.error for end in ends] == [None, "approval_used"]
    setting.check()


POLICY = ["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", {"action": "next_candidate"}]]
FLOW = [
    "flow",
    {
        "in": {"kind": "input"},
        "say": {"kind": "llm", "inputs": ["in"], "policy": POLICY},
        "out": {"kind": "output", "inputs": ["say"]},
    },
]


async def test_a_part_of_a_flow_is_not_put_off() -> None:
    async with Setting({"a": [YES]}, gates=ALWAYS) as setting:
        result = await setting.ask(dataclasses.replace(HELLO, flow_ir=FLOW))
        assert (result.ok, result.error, result.approval) == (False, "approval_required", None)
    setting.check()


@pytest.mark.parametrize("is_shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(
    "more",
    [{}, {"flow_ir": FLOW}, {"policy_ir": ["policy", ["bot"], *POLICY[2:]]}, {"policy_ir": ["none"]}],
    ids=["run", "flow", "nobody is eligible", "no policy"],
)
async def test_a_session_without_turns_takes_nothing(more: dict[str, Any], *, is_shared: bool) -> None:
    contract = dataclasses.replace(HELLO, origin=Origin(session="s"), **more)
    async with Setting({"a": [YES]}, store=MemoryStore(is_shared=is_shared)) as setting:
        for draft in opening("s", "operator", "local", max_turns=0):
            await setting.ledger.log.accept(draft)
        result = await setting.ask(contract)
        assert not result.ok
        if not more or "flow_ir" in more:
            assert (result.error, (result.refusal or {})["code"]) == ("budget_exceeded", "turns_exceeded")
    setting.check()
    assert not [event for event in setting.events() if event.run is not None]


async def test_a_gate_holds_also_after_a_commit_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk asks the ledger as it is, not as it was."""
    store = MemoryStore(is_shared=True)
    tooled = dataclasses.replace(HELLO, tools=(TOOL,), origin=Origin(session="s"))
    async with Setting({"a": [YES]}, store=store) as setting:
        waits = dataclasses.replace(tooled, origin=Origin(session="old"))
        for draft in opening("old", "operator", "local", mode="steward"):
            await setting.ledger.log.accept(draft)
        held = await setting.ask(waits)

        def full(*_: object) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr("llm_policy_host.store.memory.MemoryTransaction.insert", full)
            with pytest.raises(LedgerError, match="no space left"):
                await setting.ask()
        for draft in opening("s", "operator", "local", mode="steward", max_usd_micro=1_000_000):
            await setting.ledger.log.accept(draft)
        asked = await setting.ask(tooled)
        assert asked.approval is not None, asked.error
        assert setting.ledger.folds.accounts.balance("session:s", 0).held["calls"] == 1
        decide_all = [found.id for found in setting.ledger.folds.approvals.waiting()]
        assert decide_all == [held.approval and held.approval.id, asked.approval.id]
        assert (await setting.ask(again(held, waits))).error == "approval_required"


async def test_as_a_steward_a_session_asks_before_calls_with_tools() -> None:
    tooled = dataclasses.replace(HELLO, tools=(TOOL,), origin=Origin(session="s"))
    async with Setting({"a": [YES]}) as setting:
        for draft in opening("s", "operator", "local", mode="steward"):
            setting.ledger.log.append(draft)
        assert (await setting.ask(dataclasses.replace(HELLO, origin=Origin(session="s")))).ok
        held = await setting.ask(tooled)
        assert held.approval is not None
        assert (held.approval.gate, held.approval.reason) == ("steward", "steward")
        decide(setting, held, "approve")
        setting.ledger.log.append(
            Draft("ModeChanged", "operator", "local", core={"session": "s", "mode": "work"})
        )
        assert (await setting.ask(again(held, tooled))).ok
        assert (await setting.ask(tooled)).ok
    setting.check()


async def test_who_asked_does_not_decide_whatever_writes_it_down() -> None:
    origin = Origin(key_id="k", session="s")
    async with Setting({"a": [YES]}, gates=ALWAYS) as setting:
        for draft in opening("s", "operator", "local"):
            setting.ledger.log.append(draft)
        held = await setting.ask(dataclasses.replace(HELLO, origin=origin))
        assert held.approval is not None
        asking = setting.ledger.folds.approvals.find(held.approval.id)
        assert asking is not None
        for who in ({"key_id": "k"}, {"session": "s"}, {"key_id": "other", "session": "s"}):
            with pytest.raises(LedgerError, match="own request"):
                setting.ledger.log.append(decided(asking, "approve", "keyholder", **who)[0])
        setting.ledger.log.append(decided(asking, "approve", "keyholder", key_id="other", session="t")[0])


def test_redirects_are_decided_again_on_every_runtime() -> None:
    async def play() -> Setting:
        scripts = {"a": [YES], "b": [LIMITED], "c": [YES], "d": [YES]}
        async with Setting(scripts, gates=ALWAYS) as setting:
            for target in ("b|m", "c|m", "d|m", None):
                result = await setting.ask()
                decide(setting, result, "redirect" if target else "approve", target)
                result = await setting.ask(again(result))
                if result.approval is not None:
                    decide(setting, result, "redirect", "d|m")
                    result = await setting.ask(again(result))
                assert result.ok
            denied = await setting.ask()
            decide(setting, denied, "deny")
        setting.check()
        return setting

    setting = asyncio.run(play())
    runs = list(past_runs(setting.events()))
    assert [[tried.provider_id for tried in past.tried] for past in runs] == [
        ["b", "d"],
        ["c"],
        ["d"],
        ["a"],
        [],
    ]
    for runtime in available_runtimes():
        decider = Decider(setting.store.blob_get, runtime)
        for past in runs[:4]:
            assert decider.again(past).difference is None, (runtime, past.run)


@pytest.mark.parametrize(
    ("end", "core", "state"),
    [
        ("AttemptProposed", {"attempt": 1}, "used"),
        ("RunFailed", {"attempts": 0}, "ended"),
        ("RunFailed", {"attempts": 0, "error": "approval_expired"}, "expired"),
        ("RunCancelled", {"attempts": 0}, "ended"),
        ("ApprovalRequested", {"approval": "a2", "attempt": 1}, "ended"),
    ],
)
@pytest.mark.parametrize("is_granted", [False, True])
def test_nothing_waits_once_its_run_has_gone_on(
    end: str, core: dict[str, Any], state: str, *, is_granted: bool
) -> None:
    clock, until = VirtualClock(1), {"ApprovalRequested": {"until_ms": 1000}}
    log = Log(MemoryStore(), clock, Folds)
    approvals = log.chain.fold.approvals  # type: ignore[union-attr]
    log.append(drafts.draft("AccountOpened", core={"limits": {}}))
    for kind in ("RequestReceived", "PolicyAdmitted", "ApprovalRequested"):
        log.append(drafts.draft(kind, 1, obs=until.get(kind, {})))
    if is_granted:
        log.append(drafts.draft("ApprovalDecided", 1))
    elif end in ("AttemptProposed", "ApprovalRequested"):
        with pytest.raises(LedgerError):
            log.append(drafts.draft(end, 1, core=core))
        return
    log.append(drafts.draft(end, 1, core=core))
    found = approvals.find("a1")
    assert found is not None
    assert found.state == state
    assert found not in approvals.due(10**15)
