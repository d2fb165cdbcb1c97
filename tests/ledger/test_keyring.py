"""The ring of keys, and that a key's own budgets hold through the log, whoever narrows it how often."""

from __future__ import annotations

from typing import Any

import pytest

from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.folds import AccountRefusedError, Folds
from llm_policy_host.ledger.keyring import rights_of, spending
from llm_policy_host.ledger.keys import Grant, mint, narrow, root_digest, verify
from llm_policy_host.ledger.log import Log
from llm_policy_host.store.memory import MemoryStore

ROOT = b"r" * 32
MINUTE = 60_000


class House:
    """A log, and what it takes to spend with a key."""

    def __init__(self) -> None:
        self.folds, self.clock, self.runs = Folds(), VirtualClock(), 0
        self.log = Log(MemoryStore(), self.clock, lambda: self.folds)
        self.log.append(Draft("AccountOpened", "operator", "acme", core=_account("acme", usd_micro=1_000)))
        self.log.append(
            Draft(
                "KeyMinted",
                "operator",
                "acme",
                core={
                    "key_id": "k",
                    "account": "acme",
                    "rights": ["call", "flow"],
                    "root_digest": root_digest(ROOT),
                },
            )
        )

    def grant(self, key: str) -> Grant:
        grant = verify(key, (ROOT,), self.clock.now_ms(), self.folds.ring.revoked)
        assert isinstance(grant, Grant)
        return grant

    def spend(self, key: str, usd_micro: int, payer: str | None = "acme") -> None:
        grant = self.grant(key)
        path, openings = spending(grant, payer, self.folds.accounts)
        for core in openings:
            self.log.append(Draft("AccountOpened", "keyholder", "acme", core=core))
        self.runs += 1
        run = "run-" + "".join("abcdefghij"[int(digit)] for digit in f"{self.runs:026d}")
        amounts = {"usd_micro": usd_micro, "tokens": 1, "calls": 1}
        core = {
            "attempt": 1,
            "provider_id": "p",
            "model_family": "m",
            "hold": amounts,
            "accounts": list(path),
        }
        for type_, core_, obs in (
            ("RequestReceived", {"api": "x", "kind": "chat", "is_stream": False}, {}),
            ("PolicyAdmitted", {}, {}),
            ("AttemptProposed", core, {}),
            ("AttemptOutcome", {"attempt": 1}, {"settled": amounts}),
        ):
            self.log.append(Draft(type_, "driver", "acme", run, core=core_, obs=obs))


def _account(name: str, **limits: int) -> dict[str, Any]:
    return {"account": name, "limits": limits, "window": "lifetime", "is_shadow": False}


def refused(house: House, key: str, usd_micro: int) -> tuple[str, str]:
    with pytest.raises(AccountRefusedError) as caught:
        house.spend(key, usd_micro)
    return caught.value.refusal.account, caught.value.refusal.resource or ""


def test_a_keys_budget_holds_for_it_and_for_all_that_are_made_of_it() -> None:
    house = House()
    key = mint(ROOT, "k", ["call"], [("usd_micro", 100)])
    narrowed = [narrow(key, [("models", [name])]) for name in ("a", "b", "c")]
    for each in narrowed:
        house.spend(each, 30)
    budget = house.grant(key).budgets[0].account
    assert refused(house, narrowed[0], 11) == refused(house, key, 11) == (budget, "usd_micro")
    generous = narrow(key, [("usd_micro", 10**9), ("usd_micro", 10**9)])
    assert refused(house, generous, 11) == (budget, "usd_micro")
    house.spend(generous, 10)
    assert house.folds.accounts.balance("acme", 0).used["usd_micro"] == 100


def test_keys_narrowed_beside_each_other_have_budgets_of_their_own_below_the_first() -> None:
    house = House()
    key = mint(ROOT, "k", ["call"], [("usd_micro", 100)])
    left, right = (narrow(key, [("models", [name]), ("usd_micro", 60)]) for name in ("a", "b"))
    house.spend(left, 60)
    assert refused(house, left, 1)[0] == house.grant(left).budgets[1].account
    assert refused(house, right, 41)[0] == house.grant(key).budgets[0].account
    house.spend(right, 40)


def test_where_another_pays_a_keys_budgets_are_below_him() -> None:
    house = House()
    for name in ("club", "acme/lab"):
        core = {**_account(name, usd_micro=200), "parent": name.rpartition("/")[0] or None}
        house.log.append(Draft("AccountOpened", "operator", "local", core=core))
    key = narrow(mint(ROOT, "k", ["call"], [("usd_micro", 100)]), [("calls", 5)])
    house.spend(key, 40)
    payers = ("club", None, "acme/lab")
    for payer in payers:
        # each pays from the beginning, whoever paid before him
        house.spend(key, 99, payer)
        with pytest.raises(AccountRefusedError, match="usd_micro"):
            house.spend(key, 2, payer)
    with pytest.raises(AccountRefusedError, match="usd_micro"):
        house.spend(key, 61)
    house.spend(key, 60)
    accounts = house.folds.accounts
    used = [accounts.balance(name, 0).used["usd_micro"] for name in ("club", "acme/lab", "acme")]
    assert used == [99, 99, 199]
    assert len(accounts.names()) == 3 + 2 * 4


def test_the_account_above_a_key_holds_too_and_calls_have_a_rate() -> None:
    house = House()
    assert refused(house, mint(ROOT, "k", ["call"], [("usd_micro", 5_000)]), 1_001) == ("acme", "usd_micro")
    key = mint(ROOT, "k", ["call"], [("calls_per_minute", 2)])
    house.spend(key, 1)
    house.spend(key, 1)
    assert refused(house, key, 1)[1] == "calls"
    house.clock.advance(MINUTE)
    house.spend(key, 1)


def test_a_keys_holder_opens_no_account_but_a_keys() -> None:
    house = House()
    with pytest.raises(AccountRefusedError, match="reserved_name"):
        house.log.append(Draft("AccountOpened", "keyholder", "acme", core=_account("rich")))
    with pytest.raises(AccountRefusedError, match="unknown_account"):
        house.log.append(
            Draft(
                "KeyMinted",
                "operator",
                "acme",
                core={"key_id": "z", "account": "nobody", "rights": [], "root_digest": root_digest(ROOT)},
            )
        )


def test_the_ring_knows_who_pays_what_for_and_until_when() -> None:
    house = House()
    minted = house.folds.ring.find("k")
    assert minted is not None
    assert (minted.account, minted.revoked_ms) == ("acme", None)
    assert rights_of(house.grant(mint(ROOT, "k", ["admin", "call"])), minted) == {"call"}
    house.clock.advance(5)
    house.log.append(Draft("KeyRevoked", "operator", "acme", core={"key_id": "k"}))
    assert [key.revoked_ms for key in house.folds.ring.minted()] == [5]
    assert verify(mint(ROOT, "k", ["call"]), (ROOT,), 5, house.folds.ring.revoked) == "revoked"
    with pytest.raises(LedgerError):
        house.log.append(Draft("KeyRevoked", "operator", "acme", core={"key_id": "other"}))
    again = Folds()
    Log(MemoryStore(), house.clock, lambda: again).follow(house.log.store.lines())
    assert again.ring.minted() == house.folds.ring.minted()
