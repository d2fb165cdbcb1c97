"""A gate over HTTP: a request waits, a person decides, the caller asks again; nobody decides on his own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.keys import narrow
from llm_policy_host.ledger.sessions import opening
from llm_policy_host.web.approvals import write_drafts
from llm_policy_host.web.till import Till

from .caller import CHAT, HI, ask, get
from .ledgered import ALL, Bank, bearer
from .vendor import echo, selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .caller import Answer
    from .gateway import Running
    from .vendor import Vendor

TOOL = {"type": "function", "function": {"name": "ls", "parameters": {"type": "object", "properties": {}}}}
ASKING = {"messages": HI, "tools": [TOOL], "max_tokens": 5}
GATES = {"tools": {"when": {"is": "tools"}, "reason": "has_tools"}}
APPROVERS = ("approve",)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with selling(echo) as vendor:
        yield vendor


@pytest.fixture
def bank(tmp_path: Path, vendor: Vendor) -> Bank:
    routes = [{"provider": name, "price_in": 1, "price_out": 2} for name in ("acme", "spare")]
    small = {"capabilities": {"context": 1000, "supports_tools": True}, "served_by": routes}
    policy = {"filter": ["requirements", ["not", ["provider_eq", "banned"]]], "selector": "ordered"}
    more = {"models": {"small": small}, "profiles": {"default": policy}}
    host = {"accounts": {"team": {}, "other": {}}, "gates": GATES}
    return Bank(tmp_path, vendor.origin, host, more)


@pytest.fixture
def asker(bank: Bank) -> str:
    return bank.mint("team")


@pytest.fixture
def approver(bank: Bank) -> str:
    return bank.mint("team", APPROVERS)


def chat(
    gateway: Running, key: str, approval: str | None = None, *more: dict[str, str], **other: Any
) -> Answer:
    headers = bearer(key)
    for each in more:
        headers |= each
    if approval is not None:
        headers["x-llm-policy-approval"] = approval
    return ask(gateway.url + CHAT, {**ASKING, **other}, headers=headers)


def wait_for(gateway: Running, key: str, *more: dict[str, str], **other: Any) -> str:
    """Ask for what a gate holds; give the approval's id."""
    answer = chat(gateway, key, None, *more, **other)
    assert answer.status == 202, answer.text
    assert answer.data["state"] == "waiting"
    assert answer.headers["location"] == answer.data["status_url"] == f"/x/approvals/{answer.data['id']}"
    assert answer.own["run-id"] == answer.data["run_id"]
    found: str = answer.data["id"]
    return found


def decide(
    gateway: Running, key: str, approval: str, decision: str, *more: dict[str, str], **other: Any
) -> Answer:
    headers = bearer(key)
    for each in more:
        headers |= each
    body = {"decision": decision, **other}
    return ask(f"{gateway.url}/x/approvals/{approval}", body, headers=headers)


def state(gateway: Running, key: str, approval: str) -> str:
    found: str = get(f"{gateway.url}/x/approvals/{approval}", headers=bearer(key)).data["state"]
    return found


def told(bank: Bank, run: str) -> list[str]:
    return [event["type"] for event in bank.events() if event["run"] == run]


@pytest.mark.parametrize(
    "named",
    [
        {"functions": [{"name": "ls", "parameters": {}}]},
        {"functions": [{"name": "ls", "parameters": {}}], "function_call": "auto"},
        {"web_search_options": {}},
    ],
)
def test_tools_by_another_name_are_tools_to_a_gate(
    bank: Bank, vendor: Vendor, asker: str, named: dict[str, Any]
) -> None:
    with bank.serving() as gateway:
        calls = len(vendor.asked)
        wait_for(gateway, asker, tools=None, **named)
        assert len(vendor.asked) == calls
        none = dict.fromkeys(named)
        assert chat(gateway, asker, tools=None, **none).status == 200


def test_tools_that_only_the_vendors_own_words_name_are_tools_to_a_gate(bank: Bank, asker: str) -> None:
    hosted = [{"type": "function", "name": "ls", "parameters": {}}, {"type": "web_search"}]
    of_none = {"type": "allowed_tools", "mode": "auto", "tools": []}
    servers = [{"type": "url", "url": "https://tools.test", "name": "ls"}]
    with bank.serving() as gateway:
        for path, body in (
            ("/v1/responses", {"input": "hi", "tools": hosted, "tool_choice": of_none}),
            ("/v1/messages", {"messages": HI, "max_tokens": 5, "mcp_servers": servers}),
        ):
            assert ask(gateway.url + path, body, headers=bearer(asker)).status == 202


GONE_ON = [
    "RequestReceived",
    "PolicyAdmitted",
    "ApprovalRequested",
    "ApprovalDecided",
    "AttemptProposed",
    "AttemptOutcome",
    "RunCompleted",
]


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
def test_a_request_waits_is_approved_and_answered(
    bank: Bank, vendor: Vendor, asker: str, approver: str, *, is_stream: bool
) -> None:
    with bank.serving() as gateway:
        assert chat(gateway, asker, tools=[]).status == 200
        approval = wait_for(gateway, asker, stream=is_stream)
        calls = len(vendor.asked)
        assert chat(gateway, asker, approval, stream=is_stream).status == 202
        assert state(gateway, asker, approval) == "waiting"
        listed = get(f"{gateway.url}/x/approvals", headers=bearer(approver)).data["data"]
        assert [(one["id"], one["gate"], one["reason"], one["target"]) for one in listed] == [
            (approval, "tools", "has_tools", "acme|small")
        ]
        assert len(vendor.asked) == calls
        assert decide(gateway, approver, approval, "approve").data["state"] == "approved"
        answer = chat(gateway, asker, approval, stream=is_stream)
        assert answer.status == 200, answer.text
        assert "you said" in answer.text
        assert len(vendor.asked) == calls + 1
        again = chat(gateway, asker, approval, stream=is_stream)
        assert (again.status, again.error["code"]) == (409, "approval_used")
        assert again.headers["x-should-retry"] == "false"
        late = decide(gateway, approver, approval, "deny")
        assert (late.status, late.error["code"]) == (409, "approval_decided")
        assert len(vendor.asked) == calls + 1
    assert told(bank, answer.own["run-id"]) == GONE_ON


def test_what_is_denied_is_no_call_and_frees_its_reservation(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    bank.host["accounts"] = {"team": {"calls": 1}}
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        # what waits is reserved
        refused = chat(gateway, asker, tools=[])
        assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
        assert decide(gateway, approver, approval, "deny").data["state"] == "denied"
        denied = chat(gateway, asker, approval)
        assert (denied.status, denied.error["code"]) == (403, "approval_denied")
        assert not vendor.asked
        assert chat(gateway, asker, tools=[]).status == 200
    run = "run-" + approval.split("-")[1]
    assert told(bank, run)[2:] == ["ApprovalRequested", "ApprovalDecided", "RunFailed"]


def test_what_nobody_decides_in_time_is_denied(bank: Bank, vendor: Vendor, asker: str, approver: str) -> None:
    bank.host |= {"accounts": {"team": {"calls": 1}}, "approvals": {"ttl_ms": 300}}
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        time.sleep(0.35)
        late = decide(gateway, approver, approval, "approve")
        assert (late.status, late.error["code"]) == (409, "approval_expired")
        # whoever comes next finds the reservation free
        assert chat(gateway, asker, tools=[]).status == 200
        expired = chat(gateway, asker, approval)
        assert (expired.status, expired.error["code"]) == (403, "approval_expired")
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_who_is_told_that_it_was_decided_already_has_ended_nothing(
    bank: Bank, vendor: Vendor, asker: str, approver: str, mode: str
) -> None:
    bank.host["ledger"] = {"file": "ledger.db", "mode": mode}
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        assert decide(gateway, approver, approval, "approve").status == 200
        late = decide(gateway, approver, approval, "deny")
        assert (late.status, late.error["code"]) == (409, "approval_decided")
        assert chat(gateway, asker, approval).status == 200
    assert len(vendor.asked) == 1


async def test_nobody_waits_for_the_ledgers_lock_while_its_holder_waits_for_the_loop() -> None:
    """Whoever then asked for the lock on the same loop would stop it for good."""
    clock = VirtualClock(1000)
    ledger = memory_ledger(clock)
    till = Till(lambda: ledger, clock, lambda: None, lambda: None)

    async def another() -> bool:
        is_free = ledger.lock.acquire(blocking=False)
        if is_free:
            ledger.lock.release()
        return is_free

    drafts = opening("s", "gateway", "local", max_usd_micro=5)
    _, is_free = await asyncio.gather(write_drafts(till, drafts), another())
    assert is_free
    assert ledger.log.seq == 2


def test_a_decision_through_what_is_no_session_is_the_callers_mistake(
    bank: Bank, asker: str, approver: str
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        for name in ("no such name!", "x" * 300, "caf\xe9", ""):
            refused = decide(gateway, approver, approval, "approve", {"x-llm-policy-session": name})
            assert (refused.status, refused.error["param"]) == (400, "x-llm-policy-session"), refused.text
        assert state(gateway, asker, approval) == "waiting"


def test_where_the_ledger_takes_no_events_a_decision_is_told_so(
    bank: Bank, asker: str, approver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LedgerError("store", "ledger", "no space left")

    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        ledger = gateway.host.bookkeeping.ledger
        assert ledger is not None
        with monkeypatch.context() as patch:
            patch.setattr(ledger.log, "append", full)
            told = decide(gateway, approver, approval, "approve")
        assert (told.status, told.error["code"]) == (503, "ledger_unavailable")


def test_a_redirect_goes_where_the_policy_lets_it(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        for target in ("banned|small", "spare|nothing", "nobody|small"):
            refused = decide(gateway, approver, approval, "redirect", target=target)
            assert (refused.status, refused.error["code"]) == (422, "not_eligible"), refused.text
        assert decide(gateway, approver, approval, "redirect").status == 400
        moved = decide(gateway, approver, approval, "redirect", target="spare|small")
        assert (moved.data["state"], moved.data["redirected_to"]) == ("redirected", "spare|small")
        answer = chat(gateway, asker, approval)
        assert (answer.status, answer.own["provider"]) == (200, "spare")
    assert [asked.path.split("/")[1] for asked in vendor.asked] == ["spare"]
    (proposed,) = bank.events("AttemptProposed")
    assert proposed["core"]["provider_id"] == "spare"


def test_nobody_decides_on_his_own_request(bank: Bank, vendor: Vendor, approver: str) -> None:
    mighty = bank.mint("team", (*ALL, "approve"))
    with bank.serving() as gateway:
        approval = wait_for(gateway, mighty)
        for key in (mighty, narrow(mighty, [("rights", ["approve"])])):
            own = decide(gateway, key, approval, "approve")
            assert (own.status, own.error["code"]) == (403, "own_request")
        assert chat(gateway, mighty, approval).status == 202
        assert decide(gateway, approver, approval, "approve").status == 200
        assert chat(gateway, mighty, approval).status == 200
        # and one that was narrowed before asks for what the whole key may not decide on
        approval = wait_for(gateway, narrow(mighty, [("rights", ["call"])]))
        assert decide(gateway, mighty, approval, "approve").error["code"] == "own_request"
    assert len(vendor.asked) == 1


def test_who_may_not_decide_learns_of_nothing(bank: Bank, asker: str) -> None:
    other, stranger = bank.mint("other", APPROVERS), bank.mint("other")
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        assert decide(gateway, asker, approval, "approve").error["code"] == "not_allowed"
        assert decide(gateway, other, approval, "approve").status == 404
        assert chat(gateway, stranger, approval).error["code"] == "approval_unknown"
        for key in (other, stranger):
            assert get(f"{gateway.url}/x/approvals/{approval}", headers=bearer(key)).status == 404
        assert get(f"{gateway.url}/x/approvals", headers=bearer(other)).data["data"] == []
        assert state(gateway, asker, approval) == "waiting"


def test_a_key_of_the_same_id_and_other_caveats_gets_no_answer(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    """A narrowed key may not have asked so itself; and where texts are kept, nothing of its own is asked."""
    bank.host["content"] = {"level": "plain", "key": {"env": "KEYS_ROOT"}}
    less = narrow(asker, [("models", ["other"])])
    least = narrow(less, [("rights", ["call"])])
    with bank.serving() as gateway:
        for key, others in ((asker, (less, least)), (narrow(asker, [("content", "plain")]), (asker, less))):
            approval = wait_for(gateway, key)
            assert decide(gateway, approver, approval, "approve").status == 200
            calls = len(vendor.asked)
            for other in others:
                headers = {**bearer(other), "x-llm-policy-approval": approval}
                for body in ({}, ASKING):
                    refused = ask(gateway.url + CHAT, body, headers=headers)
                    assert (refused.status, refused.error["code"]) == (404, "approval_unknown"), refused.text
            assert len(vendor.asked) == calls
            assert chat(gateway, key, approval).status == 200


def test_another_request_does_not_go_on_in_its_place(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        assert decide(gateway, approver, approval, "approve").status == 200
        for other in (
            {"messages": [{"role": "user", "content": "other"}]},
            {"max_tokens": 50},
            {"tools": [TOOL] * 2},
        ):
            refused = chat(gateway, asker, approval, **other)
            assert (refused.status, refused.error["code"]) == (422, "approval_mismatch")
        assert not vendor.asked
        assert chat(gateway, asker, approval).status == 200


def test_what_waits_outlives_its_gateway_and_its_decision_another(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
    with bank.serving() as gateway:
        assert chat(gateway, asker, approval).status == 202
        assert decide(gateway, approver, approval, "approve").status == 200
    assert not vendor.asked
    with bank.serving() as gateway:
        answer = chat(gateway, asker, approval)
        assert answer.status == 200, answer.text
        assert len(vendor.asked) == 1
        assert chat(gateway, asker, approval).error["code"] == "approval_used"
    run = answer.own["run-id"]
    assert told(bank, run) == GONE_ON
    assert b"you said" not in bank.data
    assert b'"hi"' not in bank.data


@pytest.mark.parametrize("change", ["route", "price"])
def test_a_run_whose_catalog_is_another_ends(
    bank: Bank, vendor: Vendor, asker: str, approver: str, change: str
) -> None:
    """What was approved is what it was estimated at."""
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        assert decide(gateway, approver, approval, "approve").status == 200
    routes = bank.more["models"]["small"]["served_by"]
    dearer = [{**routes[0], "price_in": 100}, routes[1]]
    bank.more["models"]["small"]["served_by"] = routes[1:] if change == "route" else dearer
    with bank.serving() as gateway:
        stale = chat(gateway, asker, approval)
        assert (stale.status, stale.error["code"]) == (409, "approval_stale")
    assert told(bank, "run-" + approval.split("-")[1])[-1] == "RunFailed"
    assert not vendor.asked


ONCE = {"idempotency-key": "once"}


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "streamed"])
def test_a_key_gives_what_waits_and_then_what_it_came_to(
    bank: Bank, vendor: Vendor, asker: str, approver: str, *, is_stream: bool
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker, ONCE, stream=is_stream)
        again = chat(gateway, asker, None, ONCE, stream=is_stream)
        assert (again.status, again.data["id"], again.own["replayed"]) == (202, approval, "true")
        assert decide(gateway, approver, approval, "approve").status == 200
        assert chat(gateway, asker, None, ONCE, stream=is_stream).status == 202
        # one that does not go on is not what the key stands for
        assert chat(gateway, asker, approval, seed=1, stream=is_stream).status == 422
        assert chat(gateway, asker, None, ONCE, stream=is_stream).status == 202
        answer = chat(gateway, asker, approval, stream=is_stream)
        assert answer.status == 200, answer.text
        for repeat in (
            chat(gateway, asker, None, ONCE, stream=is_stream),
            chat(gateway, asker, approval, ONCE, stream=is_stream),
        ):
            assert (repeat.status, repeat.text) == (200, answer.text)
            assert repeat.own == {**answer.own, "replayed": "true"}
        assert chat(gateway, asker, approval, stream=is_stream).error["code"] == "approval_used"
        assert chat(gateway, asker, None, ONCE, seed=1).error["code"] == "idempotency_mismatch"
    assert len(vendor.asked) == 1


def test_a_key_of_what_was_denied_has_no_answer(
    bank: Bank, vendor: Vendor, asker: str, approver: str
) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker, ONCE)
        assert decide(gateway, approver, approval, "deny").status == 200
        assert chat(gateway, asker, approval, ONCE).error["code"] == "approval_denied"
        gone = chat(gateway, asker, None, ONCE)
        assert (gone.status, gone.error["code"]) == (409, "idempotency_answer_gone")
    assert not vendor.asked


@pytest.mark.parametrize("is_kept", [False, True], ids=["without texts", "with texts"])
def test_after_a_restart_a_key_still_gives_what_it_came_to(
    bank: Bank, vendor: Vendor, asker: str, approver: str, *, is_kept: bool
) -> None:
    """Where texts are kept anybody may go on; else whoever does names the key again."""
    if is_kept:
        bank.host["content"] = {"level": "sealed", "key": {"env": "KEYS_ROOT"}}
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker, ONCE)
    with bank.serving() as gateway:
        waits = chat(gateway, asker, None, ONCE)
        assert waits.status == (202 if is_kept else 409)
        assert decide(gateway, approver, approval, "approve").status == 200
        headers = {**bearer(asker), "x-llm-policy-approval": approval}
        answer = (
            ask(gateway.url + CHAT, {}, headers=headers) if is_kept else chat(gateway, asker, approval, ONCE)
        )
        assert answer.status == 200, answer.text
        repeat = chat(gateway, asker, None, ONCE)
        assert (repeat.status, repeat.text, repeat.own.get("replayed")) == (200, answer.text, "true")
    with bank.serving() as gateway:
        last = chat(gateway, asker, None, ONCE)
        assert last.status == (200 if is_kept else 409)
        assert not is_kept or last.text == answer.text
    assert len(vendor.asked) == 1


@pytest.mark.parametrize("level", ["sealed", "plain"])
def test_where_texts_are_kept_nobody_has_to_repeat_his_request(
    bank: Bank, vendor: Vendor, asker: str, approver: str, level: str
) -> None:
    bank.host["content"] = {"level": level, "key": {"env": "KEYS_ROOT"}}
    other = bank.mint("team")

    def short(gateway: Running, key: str) -> Answer:
        headers = {**bearer(key), "x-llm-policy-approval": approval}
        return ask(gateway.url + CHAT, {}, headers=headers)

    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
    with bank.serving() as gateway:
        assert short(gateway, asker).status == 202
        assert decide(gateway, approver, approval, "approve").status == 200
        for stranger in (other, approver):
            refused = short(gateway, stranger)
            assert refused.status in (403, 404), refused.text
        assert not vendor.asked
        answer = short(gateway, asker)
        assert answer.data["choices"][0]["message"]["content"] == "you said hi"
        assert [tool["function"]["name"] for tool in vendor.asked[0].data["tools"]] == ["ls"]
        assert short(gateway, asker).error["code"] == "approval_used"
    assert len(vendor.asked) == 1
    assert told(bank, answer.own["run-id"]) == GONE_ON


def test_where_no_texts_are_kept_a_request_is_to_be_repeated(bank: Bank, asker: str, approver: str) -> None:
    with bank.serving() as gateway:
        approval = wait_for(gateway, asker)
        assert decide(gateway, approver, approval, "approve").status == 200
        headers = {**bearer(asker), "x-llm-policy-approval": approval}
        assert ask(gateway.url + CHAT, {}, headers=headers).status == 400
        assert chat(gateway, asker, approval).status == 200
