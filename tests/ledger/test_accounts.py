"""The tree of accounts: it agrees with a naive recount, and nothing is ever overspent."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.account import Refusal
from llm_policy_host.ledger.accounts import MAX_DEPTH, Accounts
from llm_policy_host.ledger.chain import Chain
from llm_policy_host.ledger.event import Draft, Event
from llm_policy_host.ledger.folds import AccountRefusedError, Folds
from llm_policy_host.ledger.log import Log
from llm_policy_host.ledger.statistics import Statistics
from llm_policy_host.ledger.usage import Usage
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.memory import MemoryStore

from . import accounts_oracle
from .drafts import draft, whole_run

HOUR, DAY = 3_600_000, 86_400_000
RUNS = ("one", "two", "three")
NAMES = ("a", "b", "c", "d", "key:k:1")
AMOUNT = st.one_of(st.none(), st.integers(0, 6))
LIMITS = st.fixed_dictionaries(
    {}, optional={name: st.one_of(st.none(), st.integers(0, 12)) for name in accounts_oracle.RESOURCES}
)
HOLD = st.fixed_dictionaries({"usd_micro": AMOUNT, "tokens": AMOUNT, "calls": st.integers(0, 2)})
WINDOW = st.sampled_from(["lifetime", "day", "hour", "minute"])
FLAG = st.booleans()


def event(
    type_: str, core: dict[str, Any], ts: int, *, run: str | None = None, by: str = "driver", obs: Any = None
) -> Event:
    return Event(1, run, type_, "local", None, b"", by, None, None, core, obs or {}, {}, ts, "", "")


def opened(
    name: str,
    parent: str | None = None,
    ts: int = 0,
    *,
    window: str = "lifetime",
    is_shadow: bool = False,
    **limits: Any,
) -> Event:
    core = {"account": name, "parent": parent, "limits": limits, "window": window, "is_shadow": is_shadow}
    return event("AccountOpened", core, ts, by="keyholder" if name.startswith("key:") else "operator")


def proposed(run: str, path: list[str], ts: int = 0, attempt: int = 1, **hold: Any) -> Event:
    return event(
        "AttemptProposed",
        {"attempt": attempt, "accounts": path, "hold": {"tokens": 0, "calls": 1, **hold}},
        ts,
        run=run,
    )


def settled(run: str, ts: int = 0, attempt: int = 1, **amounts: Any) -> Event:
    return event("AttemptOutcome", {"attempt": attempt}, ts, run=run, obs={"settled": amounts})


def tree(*events: Event) -> Accounts:
    accounts = Accounts()
    for each in events:
        assert accounts.check(each, each.ts) is None
        accounts.apply(each)
    return accounts


@st.composite
def walks(draw: st.DrawFn) -> list[Event]:
    """Draw events that mostly make sense, at times that mostly rise."""
    ts, events = draw(st.integers(0, 3)) * DAY, list[Event]()
    parents: dict[str, str | None] = {}
    core: dict[str, Any]
    for _ in range(draw(st.integers(1, 25))):
        ts = max(0, ts + draw(st.sampled_from([0, 1, 70_000, HOUR, DAY, -HOUR, -DAY])))
        kind = draw(
            st.sampled_from(
                [
                    "open",
                    "propose",
                    "propose",
                    "propose",
                    "settle",
                    "settle",
                    "ask",
                    "decide",
                    "end",
                    "adjust",
                ]
            )
        )
        name, run = draw(st.sampled_from(NAMES)), draw(st.sampled_from(RUNS))
        if kind == "open":
            parent = draw(st.one_of(st.none(), st.sampled_from(NAMES)))
            events.append(opened(name, parent, ts, window=draw(WINDOW), is_shadow=draw(FLAG), **draw(LIMITS)))
            if name not in parents and (parent is None or parent in parents):
                parents[name] = parent
        elif kind == "adjust":
            core = {
                "account": name,
                "limits": draw(LIMITS),
                "window": draw(st.one_of(st.none(), WINDOW)),
                "is_shadow": draw(st.one_of(st.none(), FLAG)),
            }
            events.append(event("AccountAdjusted", core, ts, by="operator"))
        elif kind in ("propose", "ask"):
            path = [name]
            while parents.get(path[-1]) is not None and draw(st.integers(0, 20)) > 0:
                path.append(parents[path[-1]])  # type: ignore[arg-type] # not None, says the line above
            core = {"attempt": draw(st.integers(1, 3)), "hold": draw(HOLD), "accounts": path}
            events.append(
                event("AttemptProposed" if kind == "propose" else "ApprovalRequested", core, ts, run=run)
            )
        elif kind == "settle":
            amounts = draw(st.one_of(st.just({}), HOLD))
            events.append(settled(run, ts, draw(st.integers(1, 3)), **amounts))
        elif kind == "decide":
            events.append(
                event(
                    "ApprovalDecided", {"decision": draw(st.sampled_from(["approve", "deny"]))}, ts, run=run
                )
            )
        else:
            events.append(
                event(draw(st.sampled_from(["RunCompleted", "RunFailed", "RunCancelled"])), {}, ts, run=run)
            )
    return events


def same_attempt_is_held(happened: list[Event], each: Event) -> bool:
    """Whether the lineage would refuse an event: the attempt is under way already."""
    held = [place for account in accounts_oracle.count(happened).values() for place in account.holds]
    return each.type == "AttemptProposed" and (each.run, each.core["attempt"]) in held


@settings(max_examples=400, deadline=None)
@given(walks())
def test_the_fold_agrees_with_a_recount_after_every_step(walk: list[Event]) -> None:
    accounts, happened = Accounts(), list[Event]()
    for each in walk:
        if same_attempt_is_held(happened, each):
            continue
        found = accounts.check(each, each.ts)
        expected = accounts_oracle.refusal(happened, each)
        assert (found is None) == (expected is None), (found, expected)
        if found is not None and expected is not None:
            assert found.code == expected[0] or "not_a_path" in (found.code, expected[0])
            assert (
                expected[0] == "not_a_path"
                or found.code == "not_a_path"
                or (found.account, found.resource) == expected[1:]
            )
            continue
        happened.append(each)
        accounts.apply(each)
        agree(accounts, happened, each.ts)
        agree(accounts, happened, each.ts + HOUR)


def agree(accounts: Accounts, happened: list[Event], now_ms: int) -> None:
    counted = accounts_oracle.count(happened)
    assert [each.account for each in accounts.balances(now_ms)] == list(counted)
    for each in counted.values():
        each.look(now_ms)
    for balance in accounts.balances(now_ms):
        one = counted[balance.account]
        for resource in accounts_oracle.RESOURCES:
            assert balance.used[resource] == sum(charge[resource] for charge in one.charges)
            assert balance.held[resource] == sum(hold[resource] for hold in one.holds.values())
        assert (balance.parent, balance.window, balance.is_shadow) == (one.parent, one.window, one.is_shadow)
        assert balance.exceeded == one.exceeded
        path = accounts_oracle.above(counted, balance.account)
        left = {
            resource: min(
                max(0, counted[name].limits[resource] - counted[name].total(resource)) for name in limited
            )
            for resource in accounts_oracle.RESOURCES
            if (
                limited := [
                    n
                    for n in path
                    if not counted[n].is_shadow and counted[n].limits.get(resource) is not None
                ]
            )
        }
        assert accounts.remaining(balance.account, now_ms) == left


TREE = (
    opened("root", usd_micro=100),
    opened("team", "root", usd_micro=60),
    opened("alice", "team", usd_micro=50),
)
PATH = ["alice", "team", "root"]


def test_a_request_must_fit_every_ancestor_or_nothing_happens() -> None:
    accounts = tree(*TREE, proposed("r1", PATH[1:], usd_micro=20))
    before = accounts.balances(0)
    assert accounts.check(proposed("r2", PATH, usd_micro=41), 0) == Refusal(
        "budget_exceeded", "team", "usd_micro"
    )
    assert accounts.check(proposed("r2", PATH, usd_micro=51), 0) == Refusal(
        "budget_exceeded", "alice", "usd_micro"
    )
    assert accounts.check(proposed("r2", PATH, usd_micro=40), 0) is None
    assert accounts.balances(0) == before
    assert accounts.remaining("alice", 0) == {"usd_micro": 40}
    assert accounts.path("alice") == tuple(PATH)


def test_settling_replaces_what_was_held_and_missing_amounts_cost_all_of_it() -> None:
    accounts = tree(*TREE, proposed("r1", PATH, usd_micro=30), settled("r1", usd_micro=7, tokens=0, calls=1))
    assert accounts.remaining("alice", 0) == {"usd_micro": 43}
    accounts = tree(*TREE, proposed("r1", PATH, usd_micro=30, tokens=9), settled("r1", tokens=2))
    assert accounts.balance("root", 0).used == {"usd_micro": 30, "tokens": 2, "calls": 1}
    assert accounts.balance("root", 0).held == {"usd_micro": 0, "tokens": 0, "calls": 0}


@pytest.mark.parametrize("unknown", [{"calls": 1}, {"usd_micro": None, "tokens": None, "calls": 1}])
def test_balances_usage_and_statistics_count_what_was_held_for_what_is_not_known(unknown: Any) -> None:
    chain = Chain(Folds())
    usage, statistics = Usage("account"), Statistics()
    drafts = [draft("AccountOpened", core={"limits": {"usd_micro": 1000}}), *whole_run(1, failures=1)]
    drafts[4] = drafts[4]._replace(obs={"settled": unknown})
    for each in drafts:
        made = chain.accept(each, 0)
        usage.take([made.line])
        statistics.take(made)
    found = {"usd_micro": 112, "tokens": 2030, "calls": 2}
    assert isinstance(chain.fold, Folds)
    assert chain.fold.accounts.balance("team", 0).used == found
    assert {name: getattr(usage.total, name) for name in found} == found
    assert {name: getattr(statistics, name) for name in found} == found


@pytest.mark.parametrize("hold", [{}, {"hold": None}])
def test_a_request_for_approval_that_names_accounts_holds_something_of_them(hold: Any) -> None:
    begun = [draft("AccountOpened"), draft("RequestReceived", 1), draft("PolicyAdmitted", 1)]
    drafts = [*begun, draft("ApprovalRequested", 1, core={"accounts": ["team"], **hold})]
    chain, blind = Chain(Folds()), Chain()
    for each in begun:
        chain.accept(each, 0)
    with pytest.raises(AccountRefusedError, match="hold_missing: `team`"):
        chain.accept(drafts[-1], 0)
    fault = verify([blind.accept(each, 0).line for each in drafts], fold=Folds()).fault
    assert fault is not None
    assert (fault.line, fault.code) == (4, "hold_missing")


def test_an_unknown_price_under_a_usd_limit_and_an_unbounded_call_under_a_limit_of_tokens_are_refused() -> (
    None
):
    accounts = tree(opened("root", tokens=5), opened("team", "root"), opened("usd", "team", usd_micro=9))
    assert accounts.check(proposed("r", ["usd", "team", "root"]), 0) == Refusal(
        "unpriced", "usd", "usd_micro"
    )
    assert accounts.check(proposed("r", ["team", "root"], tokens=None), 0) == Refusal(
        "unbounded", "root", "tokens"
    )
    assert accounts.check(proposed("r", ["team", "root"]), 0) is None


def test_a_shadow_counts_and_never_refuses_and_can_be_made_to() -> None:
    accounts = tree(opened("root", is_shadow=True, usd_micro=10))
    for run in RUNS:
        accounts = accounts if accounts.check(proposed(run, ["root"], usd_micro=6), 0) is None else tree()
        accounts.apply(proposed(run, ["root"], usd_micro=6))
    assert accounts.balance("root", 0).exceeded == 2
    assert accounts.remaining("root", 0) == {}
    accounts.apply(
        event(
            "AccountAdjusted",
            {"account": "root", "limits": {"usd_micro": 20}, "is_shadow": False},
            0,
            by="operator",
        )
    )
    assert accounts.check(proposed("x", ["root"], usd_micro=3), 0) is not None
    assert accounts.check(proposed("x", ["root"], usd_micro=2), 0) is None


def test_a_window_turns_at_its_hour_and_what_is_held_is_charged_to_the_new_one() -> None:
    accounts = tree(
        opened("root", window="hour", calls=2),
        proposed("r1", ["root"]),
        settled("r1", calls=1),
        proposed("r2", ["root"]),
    )
    assert accounts.check(proposed("r3", ["root"]), HOUR - 1) == Refusal(
        "budget_exceeded", "root", "calls", HOUR
    )
    assert accounts.check(proposed("r3", ["root"]), HOUR) is None
    assert accounts.remaining("root", HOUR) == {"calls": 1}
    accounts.apply(settled("r2", HOUR, calls=1))
    assert accounts.remaining("root", HOUR) == {"calls": 1}


def test_a_clock_that_runs_backwards_gives_no_budget_back() -> None:
    accounts = tree(
        opened("root", ts=5 * HOUR, window="hour", calls=1),
        proposed("r1", ["root"], 5 * HOUR),
        settled("r1", 5 * HOUR, calls=1),
    )
    for now_ms in (5 * HOUR, 4 * HOUR, 0):
        assert accounts.check(proposed("r2", ["root"], now_ms), now_ms) == Refusal(
            "budget_exceeded", "root", "calls", 6 * HOUR
        )
    accounts.apply(proposed("r2", ["root"], 6 * HOUR))
    accounts.apply(settled("r2", 2 * HOUR, calls=1))
    assert accounts.remaining("root", 2 * HOUR) == accounts.remaining("root", 6 * HOUR) == {"calls": 0}


def test_another_window_begins_with_what_the_last_one_has_used_so_far() -> None:
    adjusted = {"account": "root", "limits": {"calls": 2}, "window": "hour", "is_shadow": None}
    used = (opened("root", window="day", calls=2), proposed("r1", ["root"]), settled("r1", calls=1))
    same_day = tree(*used, event("AccountAdjusted", adjusted, HOUR, by="operator"))
    assert same_day.remaining("root", HOUR) == {"calls": 1}
    assert same_day.remaining("root", 2 * HOUR) == {"calls": 2}
    next_day = tree(*used, event("AccountAdjusted", adjusted, DAY, by="operator"))
    assert next_day.remaining("root", DAY) == {"calls": 2}


def test_a_paused_run_holds_its_reservation_until_it_is_decided() -> None:
    asking = event(
        "ApprovalRequested",
        {"attempt": 1, "hold": {"usd_micro": 40, "tokens": 0, "calls": 1}, "accounts": PATH},
        0,
        run="r1",
    )
    accounts = tree(*TREE, asking)
    assert accounts.check(proposed("r2", PATH, usd_micro=11), 0) is not None
    assert accounts.check(proposed("r1", PATH, usd_micro=50), 0) is None
    accounts.apply(event("ApprovalDecided", {"decision": "approve"}, 0, run="r1"))
    accounts.apply(proposed("r1", PATH, usd_micro=45))
    assert accounts.remaining("alice", 0) == {"usd_micro": 5}
    beside = tree(
        *TREE,
        opened("bob", "team", usd_micro=15),
        asking,
        proposed("r2", ["bob", "team", "root"], usd_micro=10),
    )
    assert beside.check(proposed("r1", ["bob", "team", "root"], usd_micro=6), 0) == Refusal(
        "budget_exceeded", "bob", "usd_micro"
    )
    denied = tree(*TREE, asking, event("ApprovalDecided", {"decision": "deny"}, 0, run="r1"))
    ended = tree(*TREE, asking, event("RunCancelled", {}, 0, run="r1"))
    assert denied.remaining("alice", 0) == ended.remaining("alice", 0) == {"usd_micro": 50}


@pytest.mark.parametrize(
    "path", [["alice"], ["alice", "team"], ["team", "alice", "root"], ["alice", "root"], [*PATH, "root"]]
)
def test_a_path_that_is_none_of_the_tree_is_refused(path: list[str]) -> None:
    refusal = tree(*TREE).check(proposed("r", path, usd_micro=0), 0)
    assert refusal is not None
    assert refusal.code == "not_a_path"


def test_accounts_are_opened_once_below_what_is_there_and_not_too_deep() -> None:
    accounts = tree(opened("0"), *(opened(str(depth), str(depth - 1)) for depth in range(1, MAX_DEPTH)))
    assert accounts.check(opened("deep", str(MAX_DEPTH - 1)), 0) == Refusal("too_deep", "deep")
    assert accounts.check(opened("0"), 0) == Refusal("account_exists", "0")
    assert accounts.check(opened("x", "nobody"), 0) == Refusal("unknown_account", "nobody")
    assert accounts.check(opened("key:x")._replace(by="operator"), 0) == Refusal("reserved_name", "key:x")
    assert accounts.check(event("KeyMinted", {"key_id": "k", "account": "nobody"}, 0), 0) == Refusal(
        "unknown_account", "nobody"
    )


def _run_id(number: int) -> str:
    digits = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits += "abcdefghijklmnopqrstuvwxyz234567"[digit]
    return f"run-{digits}"


class Caller:
    """One of many who spend from the same tree, through the log."""

    def __init__(self, log: Log, number: int) -> None:
        self.log, self.number = log, number
        self.run = _run_id(number)
        self.random = random.Random(number)  # noqa: S311 - a caller draws amounts, no secrets
        self.spent = 0
        self.path = ["acme"]
        if number % 10:
            self.path = [f"team{number % 7}", *self.path]
        if number % 3:
            self.path = [f"team{number % 7}/{number % 21}", f"team{number % 7}", "acme"]

    async def say(self, type_: str, core: dict[str, Any], obs: Any = None, by: str = "driver") -> Event:
        return await self.log.accept(
            Draft(type_, by, "acme", self.run, None, None, None, core, obs or {}, {})
        )

    async def __call__(self) -> None:
        await self.say("RequestReceived", {"api": "test", "kind": "chat", "is_stream": False})
        await self.say("PolicyAdmitted", {})
        attempts = 0
        for attempt in range(1, 30):
            hold = {
                "usd_micro": self.random.randrange(1, 2_000),
                "tokens": self.random.randrange(100),
                "calls": 1,
            }
            core = {
                "attempt": attempt,
                "provider_id": "p",
                "model_family": "m",
                "hold": hold,
                "accounts": self.path,
            }
            await asyncio.sleep(0)
            try:
                await self.say("AttemptProposed", core)
            except AccountRefusedError:
                break
            attempts = attempt
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(0)
            spent = {**hold, "usd_micro": self.random.randrange(hold["usd_micro"] + 1)}
            await self.say("AttemptOutcome", {"attempt": attempt, "kind": "timeout"}, {"settled": spent})
            self.spent += spent["usd_micro"]
        await self.say("RunFailed", {"attempts": attempts, "error": "timeout"})


async def test_a_thousand_concurrent_callers_never_overspend_by_one_micro_usd() -> None:
    folds, store = Folds(), MemoryStore()
    log = Log(store, VirtualClock(), lambda: folds)
    limits: dict[str, tuple[str | None, int]] = {"acme": (None, 3_000_000)}
    limits |= {f"team{team}": ("acme", 600_000) for team in range(7)}
    limits |= {f"team{number % 7}/{number}": (f"team{number % 7}", 250_000) for number in range(21)}
    for name, (parent, limit) in limits.items():
        core = {
            "account": name,
            "parent": parent,
            "limits": {"usd_micro": limit},
            "window": "lifetime",
            "is_shadow": False,
        }
        log.append(Draft("AccountOpened", "operator", "acme", core=core))
    callers = [Caller(log, number) for number in range(1_000)]
    peak: dict[str, int] = dict.fromkeys(limits, 0)
    put = store.put

    def watched(row: Any) -> None:
        put(row)
        if row[2] == "AttemptProposed":
            for each in folds.accounts.balances(0):
                peak[each.account] = max(peak[each.account], each.used["usd_micro"] + each.held["usd_micro"])

    store.put = watched
    await asyncio.gather(*(caller() for caller in callers))
    spent = {name: sum(caller.spent for caller in callers if name in caller.path) for name in limits}
    for each in folds.accounts.balances(0):
        assert peak[each.account] <= limits[each.account][1]
        assert each.used["usd_micro"] == spent[each.account]
        assert each.held == {"usd_micro": 0, "tokens": 0, "calls": 0}
    assert peak["acme"] > 0.99 * limits["acme"][1]
    again = Folds()
    Log(MemoryStore(), VirtualClock(), lambda: again).follow(store.lines())
    assert again.accounts.balances(0) == folds.accounts.balances(0)


def test_a_ledger_that_overspends_is_found_when_it_is_read() -> None:
    unwatched, lines = Chain(), []
    drafts = [
        Draft(
            "AccountOpened",
            "operator",
            "t",
            core={"account": "a", "limits": {"calls": 1}, "window": "lifetime", "is_shadow": False},
        ),
        *(
            Draft(
                "RequestReceived",
                "driver",
                "t",
                _run_id(run),
                core={"api": "x", "kind": "chat", "is_stream": False},
            )
            for run in (1, 2)
        ),
        *(Draft("PolicyAdmitted", "driver", "t", _run_id(run)) for run in (1, 2)),
        *(
            Draft(
                "AttemptProposed",
                "driver",
                "t",
                _run_id(run),
                core={
                    "attempt": 1,
                    "provider_id": "p",
                    "model_family": "m",
                    "hold": {"tokens": 0, "calls": 1},
                    "accounts": ["a"],
                },
            )
            for run in (1, 2)
        ),
    ]
    lines = [unwatched.accept(draft, 0).line for draft in drafts]
    reading = Chain(Folds())
    for line in lines[:-1]:
        reading.follow(line)
    with pytest.raises(LedgerError, match="budget_exceeded: `a`"):
        reading.follow(lines[-1])
