"""Sessions over HTTP: whose they are, how many turns, how much money, and when a steward asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.ledger.keys import narrow

from .caller import CHAT, HI, ask, get
from .ledgered import ALL, Bank, bearer
from .test_approvals import ASKING, decide
from .vendor import echo, selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .caller import Answer
    from .gateway import Running
    from .vendor import Vendor


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with selling(echo) as vendor:
        yield vendor


@pytest.fixture
def bank(tmp_path: Path, vendor: Vendor) -> Bank:
    routes = [{"provider": name, "price_in": 1, "price_out": 2} for name in ("acme", "spare")]
    small = {"capabilities": {"context": 1000, "supports_tools": True}, "served_by": routes}
    return Bank(tmp_path, vendor.origin, {"accounts": {"team": {"usd": 1}}}, {"models": {"small": small}})


@pytest.fixture
def key(bank: Bank) -> str:
    return bank.mint("team", (*ALL, "session"))


def chat(gateway: Running, key: str, session: str, **other: Any) -> Answer:
    headers = {**bearer(key), "x-llm-policy-session": session}
    return ask(gateway.url + CHAT, {"messages": HI, "max_tokens": 5, **other}, headers=headers)


def manage(gateway: Running, key: str, session: str = "", **body: Any) -> Answer:
    below = f"/{session}" if session else ""
    return ask(f"{gateway.url}/x/sessions{below}", body, headers=bearer(key))


def test_a_session_has_its_turns(bank: Bank, vendor: Vendor, key: str) -> None:
    with bank.serving() as gateway:
        session = manage(gateway, key, max_turns=2).data["id"]
        assert [chat(gateway, key, session).status for _ in range(2)] == [200, 200]
        refused = chat(gateway, key, session)
        assert (refused.status, refused.error["code"]) == (403, "turns_exceeded")
        told = get(f"{gateway.url}/x/sessions/{session}", headers=bearer(key)).data
        assert (told["turns"], told["max_turns"], told["mode"]) == (2, 2, "work")
    assert len(vendor.asked) == 2
    assert [event["core"]["session"] for event in bank.events("RequestReceived")] == [session] * 2


def test_a_repeat_of_the_last_turn_is_no_turn(bank: Bank, vendor: Vendor, key: str) -> None:
    with bank.serving() as gateway:
        session = manage(gateway, key, max_turns=1).data["id"]
        headers = {**bearer(key), "x-llm-policy-session": session, "idempotency-key": "once"}
        body = {"messages": HI, "max_tokens": 5}
        told = [ask(gateway.url + CHAT, body, headers=headers) for _ in range(2)]
        assert [each.status for each in told] == [200, 200]
        assert told[1].own["replayed"] == "true"
        headers["idempotency-key"] = "twice"
        assert ask(gateway.url + CHAT, body, headers=headers).error["code"] == "turns_exceeded"
    assert len(vendor.asked) == 1


def test_the_last_turn_goes_on_once_it_is_approved(bank: Bank, vendor: Vendor, key: str) -> None:
    approver = bank.mint("team", ("approve",))
    with bank.serving() as gateway:
        session = manage(gateway, key, mode="steward", max_turns=1).data["id"]
        held = chat(gateway, key, session, **ASKING)
        assert chat(gateway, key, session, **ASKING).error["code"] == "turns_exceeded"
        assert decide(gateway, approver, held.data["id"], "approve").status == 200
        headers = {"x-llm-policy-session": session, "x-llm-policy-approval": held.data["id"]}
        assert ask(gateway.url + CHAT, ASKING, headers={**bearer(key), **headers}).status == 200
    assert len(vendor.asked) == 1


def test_a_flow_is_one_turn_however_many_nodes_it_has(bank: Bank, vendor: Vendor, key: str) -> None:
    policy = ["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", {"action": "abort"}]]
    nodes = {
        "in": {"kind": "input"},
        "a": {"kind": "llm", "inputs": ["in"], "policy": policy},
        "b": {"kind": "llm", "inputs": ["a"], "policy": policy},
        "out": {"kind": "output", "inputs": ["b"]},
    }
    with bank.serving() as gateway:
        session = manage(gateway, key, max_turns=2).data["id"]
        told = [chat(gateway, key, session, flow_ir=["flow", nodes]) for _ in range(3)]
        assert [each.status for each in told] == [200, 200, 403], told[0].text
        assert told[2].error["code"] == "turns_exceeded"
        assert get(f"{gateway.url}/x/sessions/{session}", headers=bearer(key)).data["turns"] == 2
    assert len(vendor.asked) == 4


def test_a_session_has_its_money_beside_the_keys_own(bank: Bank, key: str) -> None:
    with bank.serving() as gateway:
        session = manage(gateway, key, max_usd=0.00012).data["id"]
        assert chat(gateway, key, session).status == 200
        answers = [chat(gateway, key, session) for _ in range(6)]
        refused = answers[-1]
        assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
        assert refused.error["metadata"]["account"] == f"session:{session}"
        assert chat(gateway, key, manage(gateway, key).data["id"]).status == 200
    paid = {tuple(event["core"]["accounts"]) for event in bank.events("AttemptProposed")}
    assert paid == {(f"session:{session}", "team"), ("team",)}


def test_a_session_is_its_keys_alone(bank: Bank, key: str) -> None:
    other, plain = bank.mint("team", (*ALL, "session")), bank.mint("team")
    with bank.serving() as gateway:
        assert manage(gateway, plain).error["code"] == "not_allowed"
        session = manage(gateway, key).data["id"]
        assert chat(gateway, narrow(key, [("rights", ["call"])]), session).status == 200
        for stranger, name in ((other, session), (plain, session), (key, "none")):
            assert chat(gateway, stranger, name).error["code"] == "unknown_session"
            assert manage(gateway, stranger, name, closed=True).status in (403, 404)
        assert manage(gateway, key, session, closed=True).data["closed"]
        assert chat(gateway, key, session).error["code"] == "unknown_session"


def test_as_a_steward_it_asks_and_does_not_free_itself(bank: Bank, vendor: Vendor, key: str) -> None:
    approver = bank.mint("team", ("approve",))
    with bank.serving() as gateway:
        session = manage(gateway, key, mode="steward").data["id"]
        assert manage(gateway, key, session, mode="work").error["code"] == "not_allowed"
        assert chat(gateway, key, session).status == 200
        held = chat(gateway, key, session, **ASKING)
        assert (held.status, held.data["gate"]) == (202, "steward")
        headers = {"x-llm-policy-session": session}
        assert decide(gateway, approver, held.data["id"], "approve", headers).error["code"] == "own_request"
        assert decide(gateway, approver, held.data["id"], "approve").status == 200
        headers |= {**bearer(key), "x-llm-policy-approval": held.data["id"]}
        assert ask(gateway.url + CHAT, ASKING, headers=headers).status == 200
    assert len(vendor.asked) == 2


@pytest.mark.parametrize(
    "body", [{"mode": "play"}, {"max_turns": -1}, {"max_turns": 1.5}, {"max_usd": "1"}, {"turns": 2}]
)
def test_what_no_session_can_be_is_refused(bank: Bank, key: str, body: dict[str, Any]) -> None:
    with bank.serving() as gateway:
        refused = manage(gateway, key, **body)
        assert (refused.status, refused.error["param"]) == (400, next(iter(body)))
