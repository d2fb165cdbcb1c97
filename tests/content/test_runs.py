"""Content through a host: an answer is given whatever becomes of it, and what was lost is in the ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from llm_policy_host.ledger.folds import Folds
from llm_policy_host.ledger.said import request_bytes
from llm_policy_host.ledger.verify import verify
from llm_policy_host.store.contents import ContentFile
from llm_policy_host.store.database import StoreError
from llm_policy_host.store.sqlite import open_sqlite
from llm_policy_host.values import Contract, Origin, Secret
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llm_policy_host.ports import ContentRow

SEAL = "k" * 32
HELLO = [{"role": "user", "content": "hello"}]


def config(**host: Any) -> dict[str, Any]:
    return {
        "providers": {"acme": {"api_kind": "scripted"}},
        "models": {"m": {"served_by": [{"provider": "acme"}]}},
        "profiles": {"default": {}},
        "host": {"ledger": {"file": "ledger.db"}, **host},
    }


def kept(level: str) -> dict[str, Any]:
    return config(content={"level": level, "key": {"env": "SEAL"}})


async def runs(data: dict[str, Any], folder: Path, contracts: Sequence[Contract]) -> list[Any]:
    async with Host.from_data(data, directory=folder, environment={"SEAL": SEAL}) as host:
        return [await host.run(contract) for contract in contracts]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    store = open_sqlite(folder / "ledger.db", mode="read")
    try:
        lines = list(store.lines())
    finally:
        store.close()
    assert verify(lines, fold=Folds()).fault is None
    return [event for event in map(orjson.loads, lines) if event["type"] == kind]


@pytest.mark.parametrize("level", ["none", "digest", "sealed", "plain"])
def test_the_caller_always_gets_his_answer(tmp_path: Path, level: str) -> None:
    asked = [Contract(messages=HELLO, origin=Origin(content=each)) for each in (None, "none", "plain")]
    for result in asyncio.run(runs(kept(level), tmp_path, asked)):
        assert result.response.text == "a scripted answer to: hello"
    received = events(tmp_path, "RequestReceived")
    assert [bool(event["refs"]) for event in received] == [level != "none", False, level != "none"]
    assert [event["core"].get("has_content", False) for event in received] == [
        bool(e["refs"]) for e in received
    ]


def test_what_cannot_be_written_is_told_in_the_ledger_and_no_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_store: ContentFile, _rows: Sequence[ContentRow]) -> None:
        raise StoreError("content.db", "database or disk is full")

    monkeypatch.setattr(ContentFile, "put", full)
    results = asyncio.run(runs(kept("sealed"), tmp_path, [Contract(messages=HELLO)] * 3))
    assert all(result.ok for result in results)
    found = [event["core"] for event in events(tmp_path, "BackgroundFault")]
    assert {(core["part"], core["code"]) for core in found} == {("content", "store")}
    assert sum(core["count"] for core in found) == 6


def test_a_run_ends_at_the_same_digests_whatever_is_kept(tmp_path: Path) -> None:
    ends = []
    for level in ("none", "digest", "sealed", "plain"):
        folder = tmp_path / level
        folder.mkdir()
        asyncio.run(runs(kept(level), folder, [Contract(messages=HELLO, seed=1)]))
        core = events(folder, "RunCompleted")[0]["core"]
        ends.append((core["decision_digest"], core["trace_digest"]))
    assert len(set(ends)) == 1


def test_a_request_is_written_without_keys_and_whatever_is_in_it() -> None:
    odd = {"a": {1: "x"}, "b": (1, 2), "c": 10**40, "d": "\ud800", "e": b"raw", "f": float("inf")}
    contract = Contract(
        messages=[{"role": "user", "content": "hello", "odd": odd}],
        auth_override={"acme": Secret("sk-callers-own")},
        passthrough={"secret": Secret("sk-in-a-wrong-place")},
    )
    data = request_bytes(contract)
    assert b"sk-" not in data
    assert b"hello" in data
    assert b"auth_override" not in data
