"""A host's books as its config has them: accounts opened and adjusted, the file claimed late, one ledger in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import Ledger, keep_accounts
from llm_policy_host.clock import VirtualClock
from llm_policy_host.errors import ConfigError, LedgerError
from llm_policy_host.ledger.chain import read
from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.recovery import open_log
from llm_policy_host.store.memory import MemoryStore
from llm_policy_host.store.opening import open_file
from llm_policy_host.wiring import Host
from tests.ledger.setting import HELLO, config

if TYPE_CHECKING:
    from pathlib import Path

YES = {"answer": "yes", "usage": {"input": 7, "output": 2}}


def host_of(directory: Path, accounts: dict[str, Any] | None = None, **ledger: Any) -> Host:
    more = {"accounts": accounts} if accounts else {}
    data = config({"a": [YES]}, ledger={"file": "ledger.db", **ledger}, **more)
    return Host.from_data(data, directory=directory, clock=VirtualClock(10**12), environment={})


async def asked(host: Host) -> Any:
    async with host:
        return await host.run(HELLO)


def told(directory: Path, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
    store = open_file(directory / "ledger.db")
    try:
        events = [read(line) for line in store.lines()]
    finally:
        store.close()
    return [(event.type, event.core) for event in events if event.type in kinds]


async def test_accounts_are_opened_from_the_root_down_and_adjusted_where_they_changed(tmp_path: Path) -> None:
    accounts = {"a": {"parent": "z", "calls": 5}, "z": {"usd": 12.5, "window": "day"}}
    await asked(host_of(tmp_path, accounts))
    await asked(host_of(tmp_path, accounts))
    await asked(host_of(tmp_path, {**accounts, "a": {"parent": "z", "calls": 6, "shadow": True}}))
    assert told(tmp_path, "AccountOpened", "AccountAdjusted") == [
        (
            "AccountOpened",
            {"account": "z", "is_shadow": False, "limits": {"usd_micro": 12_500_000}, "window": "day"},
        ),
        (
            "AccountOpened",
            {"account": "a", "is_shadow": False, "limits": {"calls": 5}, "parent": "z", "window": "lifetime"},
        ),
        (
            "AccountAdjusted",
            {"account": "a", "is_shadow": True, "limits": {"calls": 6}, "window": "lifetime"},
        ),
    ]


async def test_what_was_spent_outlives_a_host(tmp_path: Path) -> None:
    accounts = {"a": {"calls": 2}}
    results = [await asked(host_of(tmp_path, accounts, account="a")) for _ in range(3)]
    assert [result.error for result in results] == [None, None, "budget_exceeded"]


async def test_an_account_stays_where_it_is(tmp_path: Path) -> None:
    await asked(host_of(tmp_path, {"a": {"calls": 1}}))
    with pytest.raises(LedgerError, match=r"host\.accounts\.a: the ledger has it below"):
        await asked(host_of(tmp_path, {"a": {"calls": 1, "parent": "b"}, "b": {}}))
    await asked(host_of(tmp_path, {"a": {"calls": 1}}))


def test_hosts_that_share_a_ledger_may_open_their_accounts_at_once() -> None:
    store, clock = MemoryStore(is_shared=True), VirtualClock(1)
    one, two, three = (Ledger(*open_log(store, clock, Folds)) for _ in range(3))
    wanted: dict[str, dict[str, Any]] = {"z": {"calls": 5}, "a": {"parent": "z"}}
    keep_accounts(one, wanted, clock)
    # its folds are those of before
    keep_accounts(two, {**wanted, "z": {"calls": 6}}, clock)
    kinds = [read(line).type for line in store.lines()]
    assert kinds == ["AccountOpened", "AccountOpened", "AccountAdjusted"]
    assert two.folds.accounts.balance("z", 1).limits == {"calls": 6}
    with pytest.raises(LedgerError, match=r"host\.accounts\.a: the ledger has it below `z`"):
        keep_accounts(three, {"a": {}}, clock)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ({"accounts": {"a": {}}}, "budgets need a `host.ledger`"),
        (
            {"ledger": {"file": "x"}, "accounts": {"a": {"parent": "bb"}, "b": {}}},
            "no account `bb` (did you mean `b`?)",
        ),
        ({"ledger": {"file": "x"}, "accounts": {"a": {"parent": "a"}}}, "`a` is below itself"),
        (
            {"ledger": {"file": "x"}, "accounts": {"a": {"parent": "b"}, "b": {"parent": "a"}}},
            "`b` is below itself",
        ),
        ({"ledger": {"file": "x", "account": "teem"}, "accounts": {"team": {}}}, "did you mean `team`?"),
        ({"ledger": {"file": "x", "url_env": "Y"}}, "exactly one of `file` and `url_env`"),
    ],
)
def test_a_mistake_in_accounts_is_told(host: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        Host.from_data(config({"a": [YES]}, **host), directory=tmp_path, environment={})
    assert said in str(error.value)


async def test_a_host_that_drives_nothing_claims_nothing(tmp_path: Path) -> None:
    """Who only plans is in nobody's way, and leaves no file."""
    host_of(tmp_path).rank(HELLO)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a test
    async with host_of(tmp_path) as serving:
        assert (await serving.run(HELLO)).ok
        assert host_of(tmp_path).rank(HELLO).ordered
        with pytest.raises(LedgerError, match="process"):
            await asked(host_of(tmp_path))


async def test_a_ledger_that_could_not_be_opened_is_opened_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise LedgerError("store", "content", "cannot be used")

    host = host_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("llm_policy_host.bookkeeping.open_keep", locked)
        for _ in range(2):
            with pytest.raises(LedgerError, match="content: cannot be used"):
                await host.run(HELLO)
        # nor does it keep others out
        patch.undo()
        await asked(host_of(tmp_path))
    assert (await host.run(HELLO)).ok
    await host.close()


async def test_a_ledger_is_let_go_of_whatever_fails_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LedgerError("store", "ledger", "no space left")

    content = {"level": "digest", "key": {"env": "SEAL"}}
    data = config({"a": [YES]}, ledger={"file": "ledger.db"}, content=content)
    host = Host.from_data(data, directory=tmp_path, clock=VirtualClock(1), environment={"SEAL": 40 * "s"})
    assert (await host.run(HELLO)).ok
    with monkeypatch.context() as patch:
        patch.setattr("llm_policy_host.ledger.books.LedgerBooks.note", full)
        with pytest.raises(LedgerError, match="no space left"):
            await host.close()
    assert (await asked(host_of(tmp_path))).ok


async def test_a_host_that_takes_anothers_place_writes_on(tmp_path: Path) -> None:
    """The ledger is closed when the last of them lets go, and says once that a host started."""
    async with host_of(tmp_path) as first:
        await first.run(HELLO)
        data = config({"a": [YES], "b": [YES]}, ledger={"file": "ledger.db"})
        second = Host.from_data(
            data, directory=tmp_path, clock=first.clock, environment={}, ledger=first.bookkeeping.ledger
        )
        async with second:
            await second.run(HELLO)
            await first.close()
            assert (await second.run(HELLO)).ok
    kinds = [kind for kind, _ in told(tmp_path, "HostStarted", "CatalogPublished", "RunCompleted")]
    expected = [
        "HostStarted",
        "CatalogPublished",
        "RunCompleted",
        "CatalogPublished",
        "RunCompleted",
        "RunCompleted",
    ]
    assert kinds == expected


def test_callers_without_a_loop_are_in_the_ledger_too(tmp_path: Path) -> None:
    with host_of(tmp_path) as host:
        assert host.run_sync(HELLO).ok
    assert len(told(tmp_path, "RunCompleted")) == 1
