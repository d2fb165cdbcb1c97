"""A gateway over a ledger takes a new config: one ledger for both hosts, also under way and when it is shared."""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .caller import CHAT, HI, ask
from .ledgered import Bank, bearer
from .process import Process
from .vendor import echo, selling, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_reload_under_traffic_goes_on_in_the_same_ledger(tmp_path: Path, mode: str) -> None:
    with selling(echo, keeps=False) as vendor:
        bank = Bank(tmp_path, vendor.origin, {"accounts": {"team": {"calls": 100_000}}})
        (tmp_path / "root.secret").write_text(bank.environment["KEYS_ROOT"])
        bank.host["keys_root"] = {"file": "root.secret"}
        key = bank.mint("team")
        bank.host["ledger"] = {"file": "ledger.db", "mode": mode}
        path = tmp_path / "policy.yaml"
        path.write_text(json.dumps(bank.config))
        process = Process(path)
        ends = time.monotonic() + 6

        def ask_on(_: int) -> list[int]:
            told = []
            while time.monotonic() < ends:
                answer = ask(process.url + CHAT, {"messages": HI}, headers=bearer(key), timeout_s=10)
                told.append(answer.status)
            return told

        try:
            with ThreadPoolExecutor(9) as threads:
                asking = threads.map(ask_on, range(8))
                for calls in (90_000, 80_000):
                    time.sleep(1.5)
                    bank.host["accounts"]["team"]["calls"] = calls
                    path.write_text(json.dumps(bank.config))
                    process.process.send_signal(signal.SIGHUP)
                statuses = [status for told in asking for status in told]
            assert {*statuses} == {200}
            answer = ask(process.url + CHAT, {"messages": HI}, headers=bearer(key))
            assert until(lambda: int(answer.own["remaining-calls"]) < 80_000)
        finally:
            process.stop()
    assert len(bank.events("HostStarted")) == 1
    limits = [event["core"]["limits"]["calls"] for event in bank.events("AccountAdjusted")]
    assert limits == [90_000, 80_000]
    assert len(bank.events("RunCompleted")) == len(statuses) + 1
