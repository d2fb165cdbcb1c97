"""What is recorded of a vendor replays without one: the same pieces, the same failures, no time of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.providers.recording import Recorder
from llm_policy_host.providers.registry import Adapters
from llm_policy_host.providers.replaying import Replayer, read_recording
from llm_policy_host.values import Call, Credential, Failure, Secret

from .dialect import CANARY
from .dialects import dialects
from .scenarios import CALLS, MODEL
from .vendor import Reply, Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from llm_policy_host.ports import Clock, Provider
    from llm_policy_host.providers.reel import Reel

    from .dialect import Dialect

DIALECTS = dialects()
EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
BOUND_S = 0.3


def _call(dialect: Dialect, origin: str, attempt: int, **fields: Any) -> Call:
    target = {"provider_id": "p", "model_family": "f", "served_model_id": MODEL, "run": 1, "attempt": attempt}
    return Call(**{**target, "base_url": origin + dialect.base_path, **dialect.call, **fields})


async def _heard(adapter: Provider, call: Call, credential: Credential, *, is_stream: bool) -> list[Any]:
    """Everything an adapter gives, batch by batch; a hang ends by the listener's own patience."""
    if not is_stream:
        return [await adapter.send(call, credential)]
    heard: list[Any] = []
    stream = cast("AsyncGenerator[Any, None]", adapter.stream(call, credential))
    try:
        async with asyncio.timeout(BOUND_S), aclosing(stream) as items:
            async for item in items:
                heard += [item if isinstance(item, Failure) else list(item)]
    except TimeoutError:
        heard.append("hang")
    return heard


async def _told(dialect: Dialect, reel: Reel, clock: Clock, calls: Sequence[tuple[Call, bool]]) -> list[Any]:
    adapters = Adapters(clock, {}, wrap=reel.wrap)
    reel.open_run(7, {}, is_given=False)
    adapter = adapters.by_kind[dialect.adapter]
    told = [await _heard(adapter, call, dialect.credential, is_stream=is_stream) for call, is_stream in calls]
    await adapters.close()
    reel.close()
    return told


async def _both(
    dialect: Dialect, file: Path, replies: Sequence[tuple[Reply, bool, dict[str, Any]]]
) -> list[Any]:
    """Record real calls, replay them without their vendor, and give what both heard."""
    clock = SystemClock()
    async with Vendor([reply for reply, _, _ in replies]) as vendor:
        calls = [
            (_call(dialect, vendor.origin, attempt, **fields), is_stream)
            for attempt, (_, is_stream, fields) in enumerate(replies, 1)
        ]
        live = await _told(dialect, Recorder(file, clock), clock, calls)
        assert len(vendor.asked) == len(replies)
    replayer = Replayer(read_recording(file), VirtualClock())
    # a hang is waited for in real time by the listener, so that the clock has to stand still
    patient = SystemClock() if any(reply.then == "hang" for reply, _, _ in replies) else VirtualClock()
    replayed = await _told(dialect, replayer, patient, calls)
    assert replayer.mismatches == []
    assert replayed == live
    assert CANARY not in await asyncio.to_thread(file.read_text)
    return live


@EVERY_DIALECT
async def test_answers_replay_whole_and_piece_by_piece(dialect: Dialect, tmp_path: Path) -> None:
    replies: list[tuple[Reply, bool, dict[str, Any]]] = []
    for name, tell in dialect.told.items():
        fields = CALLS["embeddings"] if name == "embeddings" else CALLS["prompt"]
        if dialect.adapter == "openai_codex":  # its server gives nothing but streams
            replies.append((flow(tell.pieces or (), dialect.stream_kind), False, fields))
        else:
            replies.append((whole(200, tell.whole), False, fields))
        if tell.pieces is not None:
            replies.append((flow(tell.pieces, dialect.stream_kind, gap_s=0.002), True, fields))
    heard = await _both(dialect, tmp_path / "tape.jsonl", replies)
    assert not any(isinstance(item, Failure) for items in heard for item in items)
    assert max(len(items) for items in heard) > 1, "no stream came in pieces"


@EVERY_DIALECT
async def test_failures_replay_with_their_details(dialect: Dialect, tmp_path: Path) -> None:
    replies: list[tuple[Reply, bool, dict[str, Any]]] = []
    for refuse in dialect.refused.values():
        if refuse.pieces is None:
            reply = whole(refuse.status, refuse.body, headers=refuse.headers)
            replies += [(reply, False, CALLS["prompt"]), (reply, True, CALLS["prompt"])]
        else:
            replies.append((flow(refuse.pieces, dialect.stream_kind), True, CALLS["prompt"]))
    heard = await _both(dialect, tmp_path / "tape.jsonl", replies)
    assert all(isinstance(items[-1], Failure) for items in heard)


@EVERY_DIALECT
async def test_cut_and_hanging_streams_replay_as_such(dialect: Dialect, tmp_path: Path) -> None:
    pieces = list(dialect.told["text"].pieces or ())[: dialect.opening + 1]
    full = whole(200, dialect.told["text"].whole)
    cut = Reply(full.head, [full.pieces[0][:-5]], "cut", is_chunked=False)
    replies = [
        (flow(pieces, dialect.stream_kind, "cut"), True, CALLS["prompt"]),
        (flow(pieces, dialect.stream_kind, "end"), True, CALLS["prompt"]),
        (cut, False, CALLS["prompt"]),
        (Reply(b"garbage\r\n\r\n", is_chunked=False), False, CALLS["prompt"]),
        (flow(pieces, dialect.stream_kind, "hang"), True, CALLS["prompt"]),
    ]
    heard = await _both(dialect, tmp_path / "tape.jsonl", replies)
    assert [items[-1] if items[-1] == "hang" else items[-1].kind for items in heard[:2]] == [
        "network_error"
    ] * 2
    assert heard[-1][-1] == "hang"


@EVERY_DIALECT
async def test_a_server_that_was_not_there_is_not_there_again(dialect: Dialect, tmp_path: Path) -> None:
    file, clock = tmp_path / "tape.jsonl", SystemClock()
    async with Vendor([]) as vendor:
        calls = [
            (_call(dialect, vendor.origin, attempt, **CALLS["prompt"]), is_stream)
            for attempt, is_stream in ((1, False), (2, True))
        ]
    live = await _told(dialect, Recorder(file, clock), clock, calls)
    assert all(isinstance(items[-1], Failure) and items[-1].is_unsent for items in live)
    virtual = VirtualClock()
    assert await _told(dialect, Replayer(read_recording(file), virtual), virtual, calls) == live


@EVERY_DIALECT
async def test_gaps_replay_in_virtual_time(dialect: Dialect, tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    clock, virtual = SystemClock(), VirtualClock()
    reply = flow(list(dialect.told["text"].pieces or ()), dialect.stream_kind, gap_s=0.02)
    async with Vendor([reply]) as vendor:
        calls = [(_call(dialect, vendor.origin, 1, **CALLS["prompt"]), True)]
        await _told(dialect, Recorder(file, clock), clock, calls)
    await _told(dialect, Replayer(read_recording(file), virtual), virtual, calls)
    (exchange,) = read_recording(file).attempts[1, 1].exchanges
    waited_ms = sum(gap for gap, _ in exchange.pieces) / 1000
    assert waited_ms > 15 * (len(reply.pieces) - 1)
    assert waited_ms <= virtual.elapsed_ms() < waited_ms + 500


async def test_what_was_said_of_an_accounts_quota_is_said_again(tmp_path: Path) -> None:
    """Where another account serves, a used-up one is nothing to wait for: the adapter must hear it again."""
    dialect = DIALECTS["openai_codex"]
    file, clock, noted = tmp_path / "tape.jsonl", SystemClock(), []

    def note_quota(
        provider_id: str, account: str, used: float, resets_ms: float, *, is_closed: bool = False
    ) -> bool:
        noted.append((provider_id, account, used, is_closed, resets_ms > 0))
        return len(noted) < 4

    used_up = {"x-codex-primary-used-percent": "100", "x-codex-primary-reset-after-seconds": "90"}
    reply = whole(429, b'{"error": {"resets_in_seconds": 90}}', headers=used_up)
    credential = Credential(Secret(CANARY), account="work")
    async with Vendor([reply]) as vendor:
        recorder = Recorder(file, clock)
        adapters = Adapters(clock, {}, note_quota, wrap=recorder.wrap)
        calls = [_call(dialect, vendor.origin, attempt, **CALLS["prompt"]) for attempt in (1, 2)]
        live = [await adapters.by_kind["openai_codex"].send(call, credential) for call in calls]
        await adapters.close()
    assert noted == [("p", "work", 100.0, False, True), ("p", "work", 100.0, True, True)] * 2
    replayer = Replayer(read_recording(file), VirtualClock())
    replayed = Adapters(VirtualClock(), {}, wrap=replayer.wrap).by_kind["openai_codex"]
    assert [await replayed.send(call, Credential()) for call in calls] == live
    assert [outcome.retry_after_ms for outcome in live if isinstance(outcome, Failure)] == [None, 90_000]


async def test_a_key_that_a_vendor_quotes_is_masked_across_pieces(tmp_path: Path) -> None:
    dialect = DIALECTS["openai_compatible"]
    secret = 'sk-"quoted"/and-5l45h3d'
    said = json.dumps({"error": {"message": f"bad key {secret}!"}}).encode()
    middle = said.index(b"quoted") + 2
    file, clock = tmp_path / "tape.jsonl", SystemClock()
    wrapped = dataclasses.replace(dialect, credential=Credential(Secret(secret)))
    async with Vendor([flow([b"data: " + said[:middle], said[middle:] + b"\n\n"], gap_s=0.01)]) as vendor:
        calls = [(_call(dialect, vendor.origin, 1, **CALLS["prompt"]), True)]
        live = await _told(wrapped, Recorder(file, clock), clock, calls)
    text = file.read_text()
    assert "and-5l45h3d" not in text
    assert len(read_recording(file).attempts[1, 1].exchanges[0].pieces) == 2
    replayed = await _told(wrapped, Replayer(read_recording(file), VirtualClock()), VirtualClock(), calls)
    assert replayed == live
    assert live[0][-1].detail == "bad key …!"
