"""One choke point: nothing is sent that was not proposed, and what a run says is one of a few stories (spec 5.1)."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import keep_accounts
from llm_policy_host.ledger.sessions import opening
from llm_policy_host.run.driver import Driver, Surroundings
from llm_policy_host.run.lanes import LaneBounds, Lanes
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.values import Contract, Credential, Failure, Origin, Response, Secret, StreamChunk
from tests.ledger.setting import HELLO, PROMPT, Setting, cancelled_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from llm_policy_host.values import Call

YES = {"answer": "yes", "usage": {"input": 7, "output": 2}}
LIMITED = {"failure": "rate_limit", "http_status": 429}
SLOW = {"failure": "timeout"}
HANG = {"hang": True}
BROKEN = {"answer": "a long answer", "chunks": 3, "cut_after": 1, "usage": {"output_tokens": 2}}
BEGUN = "received admitted"
ANYONE = ["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", {"action": "next_candidate"}]]


@dataclass
class Story:
    """What a setting is asked, and what it tells of it."""

    name: str
    scripts: dict[str, Any]
    told: str
    contract: Contract = HELLO
    host: dict[str, Any] = field(default_factory=dict)
    streamed: str | None = None


def asked(**other: Any) -> Contract:
    return dataclasses.replace(HELLO, **other)


POOR: dict[str, Any] = {"ledger": {"file": "-", "account": "team"}, "accounts": {"team": {"calls": 0}}}
ONCE: dict[str, Any] = {"ledger": {"file": "-", "account": "team"}, "accounts": {"team": {"calls": 1}}}

# Written by hand: each end that a run can have, and the events before it.
STORIES = (
    Story("answered", {"a": [YES]}, f"{BEGUN} proposed:a outcome:ok/1 completed"),
    Story(
        "the second answers",
        {"a": [LIMITED], "b": [YES]},
        f"{BEGUN} proposed:a outcome:rate_limit/1 proposed:b outcome:ok/1 completed",
    ),
    Story(
        "waits and asks again",
        {"a": [SLOW, YES]},
        f"{BEGUN} proposed:a outcome:timeout/1 wait proposed:a outcome:ok/1 completed",
    ),
    Story(
        "nobody is left",
        {"a": [LIMITED], "b": [LIMITED]},
        f"{BEGUN} proposed:a outcome:rate_limit/1 proposed:b outcome:rate_limit/1 failed:exhausted_rate_limit",
    ),
    Story(
        "its plan gives up",
        {"a": [{"failure": "auth_error"}], "b": [YES]},
        f"{BEGUN} proposed:a outcome:auth_error/1 failed:auth_error",
    ),
    Story(
        "nobody is eligible",
        {"a": [YES]},
        f"{BEGUN} failed:no_candidates",
        asked(requirements={"min_context": 10_000}),
    ),
    Story("no such policy", {"a": [YES]}, "received rejected:unknown_profile", asked(profile="nobody's")),
    Story("no policy", {"a": [YES]}, "received rejected:arity", asked(policy_ir=["policy"])),
    Story(
        "its deadline cuts a call",
        {"a": [HANG]},
        f"{BEGUN} proposed:a outcome:cancelled/1 failed:timeout",
        asked(deadline_ms=50),
    ),
    Story(
        "its deadline comes before the wait's end",
        {"a": [SLOW]},
        f"{BEGUN} proposed:a outcome:timeout/1 wait failed:timeout",
        asked(deadline_ms=50),
    ),
    Story(
        "its deadline comes with the end of a call",
        {"a": [HANG], "b": [YES]},
        f"{BEGUN} proposed:a outcome:timeout/1 failed:timeout",
        asked(timeout_ms=50, deadline_ms=50, policy_ir=ANYONE),
    ),
    Story(
        "a call takes too long",
        {"a": [HANG, HANG], "b": [YES]},
        f"{BEGUN} proposed:a outcome:timeout/1 wait proposed:a outcome:timeout/1 proposed:b outcome:ok/1 completed",
        asked(timeout_ms=20),
    ),
    Story("nobody pays", {"a": [YES]}, f"{BEGUN} failed:budget_exceeded", host=POOR),
    Story(
        "nobody pays for the second",
        {"a": [LIMITED], "b": [YES]},
        f"{BEGUN} proposed:a outcome:rate_limit/1 failed:budget_exceeded",
        host=ONCE,
    ),
    Story(
        "nobody pays after the wait",
        {"a": [SLOW, YES]},
        f"{BEGUN} proposed:a outcome:timeout/1 wait failed:budget_exceeded",
        host=ONCE,
    ),
    Story(
        "a filter that is not here",
        {"a": [YES]},
        f"{BEGUN} proposed:a outcome:bad_request/0 failed:exhausted_bad_request",
        asked(policy_ir=[*ANYONE[:4], ["filter_text", ["Leetspeak"]], ANYONE[5]]),
    ),
    Story(
        "it breaks off",
        {"a": [BROKEN], "b": [YES]},
        f"{BEGUN} proposed:a outcome:ok/1 completed",
        streamed=f"{BEGUN} proposed:a outcome:stream_interrupted/1 failed:stream_interrupted",
    ),
)


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_each_end_of_a_run_has_its_story(story: Story, *, is_stream: bool, is_shared: bool) -> None:
    store = MemoryStore(is_shared=is_shared)
    async with Setting(story.scripts, store=store, **story.host) as setting:
        result = await setting.ask(story.contract, is_stream=is_stream)
    expected = story.streamed if is_stream and story.streamed is not None else story.told
    assert setting.told() == [expected]
    setting.check()
    run = next(event for event in setting.events() if event.type == "RequestReceived")
    assert (result.run_id, run.core["is_stream"]) == (run.run, is_stream)


# Before anything is sent -----------------------------------------------------------------------------


class Watching:
    """A provider that answers after a while, and what the ledger held when it was asked."""

    def __init__(self, setting: Setting, took_ms: float = 10) -> None:
        self._setting = setting
        self._took_ms = took_ms
        self.seen: list[str] = []

    async def send(self, call: Call, credential: Credential) -> Response | Failure:
        del call, credential
        self.seen.append(self._setting.told()[-1])
        await self._setting.clock.sleep_ms(self._took_ms)
        return Response(text="yes")

    async def stream(
        self, call: Call, credential: Credential
    ) -> AsyncIterator[Sequence[StreamChunk] | Failure]:
        whole = await self.send(call, credential)
        assert isinstance(whole, Response)
        yield (StreamChunk(text="y"),)
        await self._setting.clock.sleep_ms(self._took_ms)
        yield (StreamChunk(text="es", finish_reason="stop"),)

    def unsaid(self, call: Call) -> Sequence[str]:
        del call
        return ()

    async def close(self) -> None:
        """Nothing is held."""


class SlowKeys:
    """Gives credentials after a while."""

    def __init__(self, setting: Setting, answer: Credential | Failure | None = None) -> None:
        self._setting = setting
        self._answer = answer or Credential(Secret("CANARY-secret-77aa"))

    def at_once(self, provider_id: str) -> Credential | None:
        del provider_id
        return None

    async def credential(self, provider_id: str) -> Credential | Failure:
        del provider_id
        await self._setting.clock.sleep_ms(5)
        return self._answer

    def refused(self, provider_id: str, credential: Credential) -> None:
        """Nothing is kept."""


def drive(
    setting: Setting, provider: Watching, *, keys: SlowKeys | None = None, lanes: Lanes | None = None
) -> Driver:
    """Give a driver of the setting's engine and books over a provider of ours."""
    around = Surroundings(new_seed=lambda: 7)
    auth = keys or SlowKeys(setting)
    engine = setting.host.engine
    return Driver(engine, {"scripted": provider}, auth, setting.clock, around, lanes, setting.host.books)


async def hear(driver: Driver, contract: Contract, *, is_stream: bool) -> None:
    """Take a contract to its end, either way."""
    if not is_stream:
        await driver.run(contract)
        return
    async with aclosing(driver.stream(contract)) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_provider_is_asked_after_its_attempt_is_in_the_ledger(*, is_stream: bool) -> None:
    async with Setting({"a": [YES]}) as setting:
        provider = Watching(setting)
        await hear(drive(setting, provider), HELLO, is_stream=is_stream)
        assert provider.seen == [f"{BEGUN} proposed:a"]


class Unsynced(MemoryStore):
    """A store whose lines reach the disk only when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.synced = asyncio.Event()

    async def durable(self, seq: int) -> None:
        self.asked.append(seq)
        await self.synced.wait()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_nothing_leaves_before_its_attempt_is_durable_under_strict(*, is_stream: bool) -> None:
    store = Unsynced()
    async with Setting({"a": [YES]}, store=store, durability="strict") as setting:
        provider = Watching(setting)
        hearing = asyncio.ensure_future(hear(drive(setting, provider), HELLO, is_stream=is_stream))
        for _ in range(50):
            await asyncio.sleep(0)
        proposed = [event.seq for event in setting.events() if event.type == "AttemptProposed"]
        assert (provider.seen, store.asked) == ([], proposed)
        store.synced.set()
        await hearing
        assert provider.seen == [f"{BEGUN} proposed:a"]
    setting.check()


@pytest.mark.parametrize("durability", ["off", "batch"])
async def test_nobody_waits_for_the_disk_unless_it_is_strict(durability: str) -> None:
    store = Unsynced()
    async with Setting({"a": [YES]}, store=store, durability=durability) as setting:
        assert (await setting.ask()).ok
        assert store.asked == []


@pytest.mark.parametrize("is_stream", [False, True])
async def test_an_attempt_is_proposed_before_it_waits_in_its_lane(*, is_stream: bool) -> None:
    async with Setting({"a": [YES]}) as setting:
        driver = drive(setting, Watching(setting, 1000), lanes=Lanes({"a": LaneBounds(1, 5)}))
        first = asyncio.ensure_future(hear(driver, HELLO, is_stream=is_stream))
        while not setting.told():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        late = dataclasses.replace(HELLO, deadline_ms=100)
        await hear(driver, late, is_stream=is_stream)
        await first
    assert f"{BEGUN} proposed:a outcome:cancelled/0 failed:timeout" in setting.told()
    setting.check()


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_missing_credential_costs_nothing(*, is_stream: bool) -> None:
    async with Setting({"a": [YES]}) as setting:
        keys = SlowKeys(setting, Failure("auth_error", detail="no secret"))
        await hear(drive(setting, Watching(setting), keys=keys), HELLO, is_stream=is_stream)
    assert setting.told() == [f"{BEGUN} proposed:a outcome:auth_error/0 failed:auth_error"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_refused_budget_calls_nobody_and_blames_nobody(*, is_stream: bool) -> None:
    async with Setting({"a": [YES]}, **POOR) as setting:
        provider = Watching(setting)
        driver = drive(setting, provider)
        for _ in range(5):
            await hear(driver, HELLO, is_stream=is_stream)
        result = await driver.run(HELLO)
        assert (result.ok, result.error, provider.seen) == (False, "budget_exceeded", [])
        assert result.refusal == {
            "code": "budget_exceeded",
            "resource": "calls",
            "account": "team",
            "until_ms": None,
        }
        assert setting.host.open_until_ms() == {}
        assert setting.host.observed.routes() == {}


# Whoever leaves, and whenever --------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["own", "shared"])
async def test_every_proposal_has_one_outcome_wherever_its_caller_leaves(
    *, is_stream: bool, is_shared: bool
) -> None:
    """The caller leaves at the first place where his run waits for anything, at the second, and so on."""
    place, has_come = 0, True
    store = MemoryStore(is_shared=is_shared)
    async with Setting({"a": [YES]}, store=store, durability="strict") as setting:
        lanes = Lanes({"a": LaneBounds(1, 5)})
        driver = drive(setting, Watching(setting, 1), lanes=lanes)
        while has_come:
            place += 1
            ahead = asyncio.ensure_future(hear(driver, HELLO, is_stream=False))
            while not any(count for count, _ in lanes.counts().values()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            has_come = await cancelled_at(place, hear(driver, HELLO, is_stream=is_stream))
            await ahead
    setting.check()
    cut = {f"{BEGUN} proposed:a outcome:cancelled/{sent} cancelled:cancelled" for sent in (0, 1)}
    done = f"{BEGUN} proposed:a outcome:ok/1 completed"
    told = setting.told()
    assert set(told) == {*cut, done}
    assert len(told) == 2 * place
    assert place >= 4


async def test_who_leaves_a_wait_cancels_the_run() -> None:
    async with Setting({"a": [SLOW, YES]}) as setting:
        asking = asyncio.ensure_future(setting.ask())
        while not setting.told() or "wait" not in setting.told()[0]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    assert setting.told() == [f"{BEGUN} proposed:a outcome:timeout/1 wait cancelled:cancelled"]
    setting.check()


async def test_who_stops_listening_cancels_the_run() -> None:
    async with Setting({"a": [{"answer": "a long answer", "chunks": 5, "gap_ms": 10}]}) as setting:
        stream = setting.host.stream(HELLO)
        await anext(stream)
        await stream.aclose()
    assert setting.told() == [f"{BEGUN} proposed:a outcome:cancelled/1 cancelled:cancelled"]
    setting.check()


async def test_a_stream_that_nobody_begins_to_read_says_nothing() -> None:
    async with Setting({"a": [YES]}) as setting:
        setting.host.live(HELLO)
    assert setting.told() == []
    setting.check()


# What is in it -----------------------------------------------------------------------------------------


async def test_no_prompt_no_answer_and_no_secret_is_in_it() -> None:
    """Marked texts go in everywhere that a caller and a provider can write; no line and no blob holds one."""
    scripts = {
        "a": [{"failure": "bad_request", "http_status": 400}, {"answer": "CANARY-answer-5520", "usage": {}}],
        "b": [{"answer": "CANARY-answer-5520"}],
    }
    contract = Contract(
        messages=[
            {"role": "system", "content": PROMPT},
            {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
        ],
        tools=[{"type": "function", "function": {"name": "CANARY-tool", "description": PROMPT}}],
        response_format={"type": "json_schema", "json_schema": {"name": "CANARY-form"}},
        params={"max_tokens": 5, "verbosity": f"{PROMPT} with a space", "stop": [PROMPT]},
        passthrough={"user": "CANARY-user"},
        auth_override={"a": Secret("CANARY-secret-77aa")},
        requirements={"note": PROMPT},
    )
    flow = Contract(
        messages=contract.messages,
        flow_ir=[
            "flow",
            {
                "q": {"kind": "input"},
                "n": {"kind": "llm", "inputs": ["q"], "system": PROMPT, "policy": ANYONE},
                "e": {"kind": "output", "inputs": ["n"]},
            },
        ],
    )
    async with Setting(scripts) as setting:
        for each in (contract, dataclasses.replace(contract, profile=PROMPT), flow):
            await setting.ask(each)
            await setting.ask(each, is_stream=True)
    written = b"\n".join([*setting.store.lines(), *setting.store.blobs.values()])
    assert len(written) > 5000
    assert b"CANARY" not in written
    setting.check()


async def test_a_flow_is_the_parent_of_its_nodes_runs() -> None:
    nodes = {
        "q": {"kind": "input"},
        "n": {"kind": "llm", "inputs": ["q"], "policy": ANYONE},
        "m": {"kind": "llm", "inputs": ["n"], "policy": ANYONE},
        "e": {"kind": "output", "inputs": ["m"]},
    }
    contract = Contract(prompt="hi", flow_ir=["flow", nodes], origin=Origin(api="chat", key_id="k1"))
    async with Setting({"a": [YES]}) as setting:
        result = await setting.ask(contract)
    assert result.ok
    node = f"{BEGUN} proposed:a outcome:ok/1 completed"
    assert setting.told() == ["received admitted completed", node, node]
    begun = [event for event in setting.events() if event.type == "RequestReceived"]
    assert [event.parent for event in begun] == [None, result.run_id, result.run_id]
    assert [event.core.get("node") for event in begun] == [None, "n1", "n2"]
    assert {event.core["key_id"] for event in begun} == {"k1"}
    setting.check()


async def test_a_policy_is_published_by_the_first_run_that_is_taken() -> None:
    async with Setting({"a": [YES]}) as setting:
        for each in opening("s1", "operator", "local", max_turns=0):
            setting.ledger.log.append(each)
        turned = await setting.ask(asked(policy_ir=ANYONE, origin=Origin(session="s1")))
        assert turned.refusal is not None
        assert turned.refusal["code"] == "turns_exceeded"
        assert [(await setting.ask(asked(policy_ir=ANYONE))).ok for _ in range(2)] == [True, True]
    admitted = {each.core["policy_id"] for each in setting.events() if each.type == "PolicyAdmitted"}
    published = [each.core["policy_id"] for each in setting.events() if each.type == "PolicyPublished"]
    assert len(admitted) == 1
    assert [each for each in published if each in admitted] == list(admitted)


async def test_the_cost_of_a_run_is_what_its_accounts_were_charged() -> None:
    async with Setting({"a": [SLOW, SLOW], "b": [YES]}) as setting:
        keep_accounts(setting.ledger, {"team": {}}, setting.clock)
        assert (await setting.ask(asked(origin=Origin(accounts=("team",))))).ok
        used = setting.ledger.folds.accounts.balance("team", 0).used
    end = setting.events()[-1]
    assert end.core["attempts"] == used["calls"] == 3
    assert used["usd_micro"] > 20
    assert end.obs == {"ms": 100, "tokens": used["tokens"], "usd_micro": used["usd_micro"]}


async def test_the_cost_of_a_run_is_not_told_where_nobody_knows_it() -> None:
    async with Setting({"a": [SLOW, SLOW], "b": [YES]}) as setting:
        assert (await setting.ask()).ok
    *_, outcome, end = setting.events()
    assert outcome.obs["usd_micro"] == 20
    assert end.obs == {"ms": 100}


async def test_an_outcome_tells_what_was_taken_and_what_it_cost() -> None:
    async with Setting({"a": [{**YES, "latency_ms": 30}]}) as setting:
        await setting.ask()
    outcome = next(event for event in setting.events() if event.type == "AttemptOutcome")
    assert outcome.obs == {
        "ms": 30,
        "tokens": {"input": 7, "output": 2},
        "usd_micro": 11,  # 7 at 1 USD and 2 at 2 USD a million
        "basis": "computed",
        "settled": {"calls": 1, "tokens": 9, "usd_micro": 11},
    }
    end = setting.events()[-1]
    assert (end.obs, end.core["attempts"]) == ({"ms": 30, "tokens": 9, "usd_micro": 11}, 1)
