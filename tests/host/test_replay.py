"""Runs of a whole host, recorded and replayed: decisions, waits, breakers, deadlines and what guards them."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import os
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_policy_host import Contract, Host
from llm_policy_host.bookkeeping import counted_ids, memory_ledger
from llm_policy_host.cli.output import plain
from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.providers._recorded import RecordingError, masked
from llm_policy_host.providers.recording import Recorder
from llm_policy_host.providers.replaying import Replayer, ReplayMismatchError, read_recording
from llm_policy_host.values import Credential, Failure, Result, StreamChunk
from tests.contracts.vendor import Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llm_policy_host.ports import Clock
    from llm_policy_host.providers.reel import Reel

KEY = "sk-canary-r3c0rd1ng"
PROMPT = "prompt-canary-numbat"
TIMED = {"started_at_ms", "total_latency_ms", "latency_ms", "upstream_ms", "at_ms", "until_ms"}
_OK = json.dumps(
    {
        "model": "served",
        "choices": [{"message": {"content": "an answer"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
).encode()
_PIECES = [
    b'data: {"choices":[{"delta":{"content":"an "}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"first"}}]}\n\ndata: {"choices":[{"delta":{"content":" piece"}}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
]


def _config(origin: str) -> dict[str, Any]:
    provider = {"base_url": origin + "/v1", "auth_env": "VENDOR_KEY"}
    return {
        "providers": {"one": provider, "two": provider, "keyless": {**provider, "auth_env": "NO_KEY"}},
        "models": {
            "m": {
                "capabilities": {"supports_tools": True, "supports_json_mode": True},
                "served_by": [
                    {"provider": "keyless", "price_in": 0.1, "price_out": 0.1},
                    {"provider": "one", "price_in": 1, "price_out": 2},
                    {"provider": "two", "price_in": 2, "price_out": 4},
                ],
            }
        },
        "retry_policies": {
            "patient": {
                "rate_limit": {"action": "retry_same", "backoff_ms": 20, "attempts": 2},
                "unknown": {"action": "next_candidate"},
            }
        },
        "profiles": {
            "default": {
                "filter": ["requirements", "breaker_closed"],
                "scorer": ["neg", ["normalize", ["field", "price_in"]]],
                "retry_policy": "patient",
            }
        },
        "defaults": {"circuit_breaker_threshold": 2},
    }


def _host(config: dict[str, Any], reel: Reel | None, clock: Clock, **environment: str) -> Host:
    return Host.from_data(config, clock=clock, environment=environment, reel=reel)


def _replayed(file: Path, config: dict[str, Any]) -> tuple[Host, Replayer]:
    recording = read_recording(file)
    clock = VirtualClock(recording.started_ms)
    replayer = Replayer(recording, clock)
    return _host(config, replayer, clock), replayer


async def _run(host: Host, contracts: Sequence[Contract]) -> list[Result]:
    async with host:
        results = [await host.run(contract) for contract in contracts]
    host.reel.close()
    return results


async def _stream(host: Host, contract: Contract) -> list[StreamChunk]:
    async with host:
        chunks = [chunk async for chunk in host.stream(contract)]
    host.reel.close()
    return chunks


def _timeless(value: Any) -> Any:
    """A result as plain data, without what time it took."""
    if isinstance(value, Result | StreamChunk):
        value = {**plain(value), "raw": None if isinstance(value, StreamChunk) else plain(value.trace.raw)}
    if isinstance(value, dict):
        return {
            name: _timeless(item) for name, item in value.items() if name not in TIMED and name != "run_id"
        }
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _asking(text: str = PROMPT, **fields: Any) -> Contract:
    return Contract(messages=[{"role": "user", "content": text}], **fields)


async def test_a_live_recording_replays_to_the_same_decisions_without_a_server_or_a_key(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tape.jsonl"
    quoting = json.dumps({"error": {"message": f"no quota for {KEY}"}}).encode()
    replies = [
        whole(429, quoting),
        whole(500, b"{}"),
        whole(200, _OK),
        whole(500, b"{}"),
        whole(200, _OK),
        whole(200, _OK),
    ]
    contracts = [_asking(), _asking("second"), _asking("third")]
    async with Vendor(replies) as vendor:
        config = _config(vendor.origin)
        clock = SystemClock()
        live = await _run(_host(config, Recorder(file, clock), clock, VENDOR_KEY=KEY), contracts)
        assert len(vendor.asked) == sum(len(result.failures) + result.ok for result in live)
    path = [step["event"] for result in live for step in result.trace.decision_path]
    assert {"retry_scheduled", "breaker_opened"} <= {*path}
    assert live[0].ok

    host, replayer = _replayed(file, config)
    replayed = await _run(host, contracts)
    assert replayer.mismatches == []
    assert _timeless([*map(_timeless, replayed)]) == _timeless([*map(_timeless, live)])
    assert [result.failures for result in replayed] == [result.failures for result in live]
    assert [result.seed for result in replayed] == [result.seed for result in live]
    assert [result.response for result in replayed] == [result.response for result in live]
    text = file.read_text()
    assert KEY not in text
    assert PROMPT not in text
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_full_disk_ends_a_recording_behind_a_whole_line_and_fails_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = [1500], os.write
    warned: list[str] = []

    def narrow(file: int, data: memoryview) -> int:
        """Write a few bytes at a time, while there is room."""
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, data[: min(7, room[0])])
        room[0] -= done
        return done

    file = tmp_path / "tape.jsonl"
    async with Vendor([whole(200, _OK)] * 4) as vendor:
        config, clock = _config(vendor.origin), SystemClock()
        monkeypatch.setattr(os, "write", narrow)
        recorder = Recorder(file, clock, warned.append)
        results = await _run(_host(config, recorder, clock, VENDOR_KEY=KEY), [_asking()] * 4)
        monkeypatch.undo()
    assert [result.ok for result in results] == [True] * 4
    with pytest.raises(RecordingError, match="ends early: no space left on device"):
        recorder.check()
    assert len(warned) == 1
    assert file.read_text().endswith("}\n")
    host, replayer = _replayed(file, config)
    assert (await _run(host, [_asking()]))[0].response == results[0].response
    assert replayer.mismatches == []
    monkeypatch.setattr(os, "write", narrow)
    with pytest.raises(RecordingError, match="no space left"):
        Recorder(tmp_path / "none.jsonl", clock)
    assert not (tmp_path / "none.jsonl").exists()


async def test_two_replays_are_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    replies = [whole(429, b"{}", headers={"retry-after": "3"}), whole(200, _OK)]
    async with Vendor(replies) as vendor:
        config, clock = _config(vendor.origin), SystemClock()
        await _run(_host(config, Recorder(file, clock), clock, VENDOR_KEY=KEY), [_asking()])
    replays = [await _run(_replayed(file, config)[0], [_asking()]) for _ in range(2)]
    first, second = (json.dumps(plain(results)).encode() for results in replays)
    assert first == second
    assert replays[0][0].trace.total_latency_ms == pytest.approx(3000, abs=1000), "the wait took virtual time"


@pytest.mark.parametrize("then", ["end", "cut"])
async def test_a_stream_replays_chunk_by_chunk(then: str, tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    pieces = _PIECES if then == "end" else _PIECES[:2]
    async with Vendor([flow(pieces, then=then, gap_s=0.01)]) as vendor:  # type: ignore[arg-type]
        config, clock = _config(vendor.origin), SystemClock()
        live = await _stream(_host(config, Recorder(file, clock), clock, VENDOR_KEY=KEY), _asking())
    host, replayer = _replayed(file, config)
    replayed = await _stream(host, _asking())
    assert [chunk.text for chunk in replayed[:3]] == ["an ", "first", " piece"]
    assert [_timeless(chunk) for chunk in replayed] == [_timeless(chunk) for chunk in live]
    assert replayed[-1].error == live[-1].error
    assert (replayed[-1].error is None) is (then == "end")
    assert replayer.mismatches == []


@pytest.mark.parametrize(
    ("contract", "names"),
    [
        (_asking("another"), "`messages`"),
        (_asking(params={"temperature": 0.5}), "`params.temperature`"),
        (_asking("x", tools=[{"type": "function", "function": {"name": "f"}}]), "`messages`, `tools`"),
        (_asking(response_format={"type": "json_object"}), "`response_format`"),
        (_asking(passthrough={"user": "u"}), "`passthrough`"),
    ],
)
async def test_a_mismatch_names_what_differs_and_blames_no_provider(
    contract: Contract, names: str, tmp_path: Path
) -> None:
    file = tmp_path / "tape.jsonl"
    async with Vendor([whole(200, _OK)]) as vendor:
        config, clock = _config(vendor.origin), SystemClock()
        await _run(_host(config, Recorder(file, clock), clock, VENDOR_KEY=KEY), [_asking(), _asking()])
    host, replayer = _replayed(file, config)
    async with host:
        results = [await host.run(contract) for _ in range(3)]
        breakers = [entry["breaker"] for entry in host.status()["providers"].values()]
    assert replayer.mismatches[0] == f"replay_mismatch: run 1, attempt 1: not as recorded: {names}"
    assert "replay_mismatch: run 3, attempt 1: the recording ends with run 2" in replayer.mismatches
    assert {failure.kind for result in results for failure in result.failures} == {"bad_request"}
    assert {breaker["consecutive_failures"] for breaker in breakers} == {0}
    with pytest.raises(ReplayMismatchError, match="not as recorded"):
        replayer.check()


async def test_an_attempt_that_was_not_made_then_is_a_mismatch(tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    async with Vendor([whole(500, b"{}"), whole(200, _OK)]) as vendor:
        config, clock = _config(vendor.origin), SystemClock()
        await _run(_host(config, Recorder(file, clock), clock, VENDOR_KEY=KEY), [_asking()])
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if '"attempt":2' not in line))
    host, replayer = _replayed(file, config)
    await _run(host, [_asking()])
    assert replayer.mismatches == [
        "replay_mismatch: run 1, attempt 2: the recording has 1 attempt of this run"
    ]


async def test_a_credential_that_could_not_be_had_is_lost_again(tmp_path: Path) -> None:
    """Only the ports: an account that is used up at its second asking."""

    class Keeper:
        asked = 0

        def at_once(self, provider_id: str) -> Credential | None:
            del provider_id
            self.asked += 1
            return Credential() if self.asked != 2 else None

        async def credential(self, provider_id: str) -> Credential | Failure:
            await clock.sleep_ms(40)
            return Failure("rate_limit", retry_after_ms=5000, detail=f"{provider_id} is used up")

        def refused(self, provider_id: str, credential: Credential) -> None:
            """Nothing is kept here."""

    clock = VirtualClock(1)
    file = tmp_path / "tape.jsonl"
    recorder = Recorder(file, clock)
    keys = recorder.keys(Keeper())
    assert keys.at_once("p") is not None
    assert keys.at_once("p") is None
    live = await keys.credential("p")
    recorder.close()
    virtual = VirtualClock(1)
    replayed = Replayer(read_recording(file), virtual).keys(Keeper())
    assert replayed.at_once("p") is not None
    assert replayed.at_once("p") is None
    assert await replayed.credential("p") == live
    assert replayed.at_once("p") is not None
    assert virtual.elapsed_ms() == clock.elapsed_ms() == 41


# Virtual time -----------------------------------------------------------------------------------

_TURNS = st.one_of(
    st.fixed_dictionaries(
        {"answer": st.sampled_from(["short", "a longer answer of {prompt}"])},
        optional={
            "latency_ms": st.integers(0, 40_000),
            "chunks": st.integers(1, 4),
            "gap_ms": st.integers(0, 9_000),
            "cut_after": st.integers(0, 3),
            "usage": st.just({"input": 3, "output": 2}),
            "tool_calls": st.just([{"id": "c", "name": "n", "arguments": "{}"}]),
        },
    ),
    st.fixed_dictionaries(
        {
            "failure": st.sampled_from(
                ["rate_limit", "server_error", "timeout", "bad_request", "content_filter"]
            )
        },
        optional={"latency_ms": st.integers(0, 9_000), "retry_after_ms": st.integers(0, 20_000)},
    ),
    st.just({"hang": True}),
)


def _scripted(scripts: dict[str, Any]) -> dict[str, Any]:
    config = _config("scripted:")
    providers = {name: {"api_kind": "scripted"} for name in config["providers"]}
    return {**config, "providers": providers, "host": {"scripts": scripts}}


async def _everything(host: Host, contracts: Sequence[tuple[Contract, bool]]) -> bytes:
    """Every result and chunk of some runs, with its times, and the health after them."""
    told: list[Any] = []
    async with host:
        for contract, is_stream in contracts:
            if is_stream:
                told.append([plain(chunk) async for chunk in host.stream(contract)])
            else:
                told.append(plain(await host.run(contract)))
        told.append(host.status())
        told.append(host.clock.elapsed_ms())
    host.reel.close()
    return json.dumps([_without_run_id(each) for each in told]).encode()


def _without_run_id(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_run_id(item) for name, item in value.items() if name != "run_id"}
    return [_without_run_id(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scripts=st.fixed_dictionaries(
        {name: st.lists(_TURNS, min_size=1, max_size=3) for name in ("one", "two")}
    ),
    streams=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_faults_and_backoffs_replay_byte_for_byte_in_virtual_time(
    scripts: dict[str, Any], streams: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tapes")
    config = _scripted(scripts)
    contracts = [(_asking(str(place)), is_stream) for place, is_stream in enumerate(streams)]
    told, seeded = [], [(dataclasses.replace(c, seed=7), is_stream) for c, is_stream in contracts]
    for name in ("first", "second"):
        clock = VirtualClock(1_000_000)
        told.append(asyncio.run(_everything(_host(config, Recorder(directory / name, clock), clock), seeded)))
    assert told[0] == told[1]
    assert (directory / "first").read_bytes() == (directory / "second").read_bytes()
    host, replayer = _replayed(directory / "first", _scripted({"one": [{"hang": True}]}))
    assert asyncio.run(_everything(host, contracts)) == told[0]
    assert replayer.mismatches == []


async def test_backoff_breaker_and_deadline_go_by_the_virtual_clock() -> None:
    scripts: dict[str, list[dict[str, Any]]] = {
        "keyless": [{"failure": "server_error"}],
        "one": [{"failure": "rate_limit", "retry_after_ms": 30_000}],
        "two": [{"answer": "late", "latency_ms": 7_000}],
    }
    started, clock = time.monotonic(), VirtualClock(0)
    async with _host(_scripted(scripts), None, clock) as host:
        result = await host.run(_asking(deadline_ms=200_000))
        assert result.ok
        # three tries of `one`, each of the two waits as long as it wanted, then the answer of `two`
        assert clock.now_ms() == 67_000
        await host.run(_asking(deadline_ms=200_000))
        until_ms = host.open_until_ms()["keyless"]
        assert until_ms > clock.now_ms()
        passed_by = await host.run(_asking(deadline_ms=200_000))
        assert "keyless" not in [step.get("provider_id") for step in passed_by.trace.decision_path]
        clock.advance(until_ms - clock.now_ms() + 1)
        again = await host.run(_asking(deadline_ms=200_000))
        assert again.trace.decision_path[0]["provider_id"] == "keyless"
        late_ms = clock.now_ms()
        cut = await host.run(_asking(deadline_ms=3_000))
        assert cut.error == "timeout"
        assert clock.now_ms() - late_ms <= 3_000
    assert time.monotonic() - started < 5


# The ledger -------------------------------------------------------------------------------------


async def test_a_replay_exports_the_same_ledger_each_time_and_the_digests_of_its_recording(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tape.jsonl"
    contracts = [_asking(), _asking("second"), _asking("third", deadline_ms=300)]
    replies = [whole(429, b"{}"), whole(500, b"{}"), whole(200, _OK), whole(200, _OK), flow([], then="hang")]
    async with Vendor(replies) as vendor:
        config, clock = _config(vendor.origin), SystemClock()
        ledger = memory_ledger(clock)
        host = Host.from_data(
            config,
            clock=clock,
            environment={"VENDOR_KEY": KEY},
            reel=Recorder(file, clock),
            ledger=ledger,
        )
        live = await _run(host, contracts)
        recorded = [json.loads(line) for line in ledger.log.store.lines(0)]
    exports = []
    for _ in range(2):
        recording = read_recording(file)
        virtual = VirtualClock(recording.started_ms)
        ledger = memory_ledger(virtual, counted_ids())
        replayer = Replayer(recording, virtual)
        host = Host.from_data(config, clock=virtual, environment={}, reel=replayer, ledger=ledger)
        assert [result.error for result in await _run(host, contracts)] == [result.error for result in live]
        assert replayer.mismatches == []
        exports.append(list(ledger.log.store.lines(0)))
    assert exports[0] == exports[1]
    replayed = [json.loads(line) for line in exports[0]]
    assert [event["type"] for event in replayed] == [event["type"] for event in recorded]
    ends = [
        [event["core"] for event in events if event["type"] in ("RunCompleted", "RunFailed")]
        for events in (recorded, replayed)
    ]
    assert ends[0] == ends[1]
    assert {"decision_digest", "trace_digest"} <= {*ends[0][0]}


# The market -------------------------------------------------------------------------------------


async def test_a_replay_knows_the_offers_of_the_recording_and_polls_nobody(tmp_path: Path) -> None:
    market = {"discovery": "marketplace", "discovery_id": "bazaar"}
    offer = {"peer_id": "alice", "model_family": "m", "price_in_usd_per_mtok": 0.1}
    feed, file = tmp_path / "offers.json", tmp_path / "tape.jsonl"
    feed.write_text(json.dumps([offer, {**offer, "peer_id": "bob", "price_in_usd_per_mtok": 0.3}]))
    async with Vendor([whole(200, _OK)]) as vendor:
        config = {
            "providers": {"bazaar": {**market, "base_url": vendor.origin + "/v1"}},
            "models": {"m": {"served_by": [{"provider": "bazaar"}]}},
            "profiles": {"default": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}},
            "host": {"sources": {"bazaar": {"kind": "json", "file": str(feed)}}},
        }
        clock = SystemClock()
        live = await _run(_host(config, Recorder(file, clock), clock), [_asking(), _asking()])
    assert [result.trace.ranked[0].served_by for result in live] == ["alice"] * 2
    feed.write_text("[]")
    host, replayer = _replayed(file, config)
    replayed = await _run(host, [_asking(), _asking()])
    assert replayer.mismatches == []
    assert [_timeless(result) for result in replayed] == [_timeless(result) for result in live]
    offers = [json.loads(line)["others"] for line in file.read_text().splitlines() if '"others"' in line]
    assert "offers" in offers[0]
    assert "offers" not in offers[1], "what did not change is not written again"


# The file ---------------------------------------------------------------------------------------

_HEAD = '{"started_ms":0,"type":"recording","v":1}\n'
_RUN = '{"gone":[],"others":{},"run":1,"seed":7,"type":"run"}\n'
_ATTEMPT: dict[str, Any] = {
    "type": "attempt",
    "run": 1,
    "attempt": 1,
    "request": {},
    "account": None,
    "quota": [],
    "items": [],
    "exchanges": [],
}
_EXCHANGE: dict[str, Any] = {
    "status": 200,
    "headers": {},
    "head_us": 0,
    "pieces": [[0, "x"]],
    "end": "end",
    "end_us": 0,
}


def _line(**fields: Any) -> str:
    return _HEAD + _RUN + json.dumps({**_ATTEMPT, **fields}) + "\n"


def _exchange(**fields: Any) -> str:
    return _line(exchanges=[{**_EXCHANGE, **fields}])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: no recording: it is empty"),
        ("{}\n", ":1: $: a line is a record with a `type`"),
        (_RUN, ":1: $.type: the first line, and no other, is of the type `recording`"),
        (_HEAD + _HEAD, ":2: $.type: the first line"),
        (_HEAD.replace('"v":1', '"v":2'), ":1: $.v: this program reads version 1, not `2`"),
        (_HEAD + "{\n", ":2: no JSON"),
        (
            _HEAD + _RUN.replace('"type":"run"', '"type":"runs"'),
            ":2: $.type: unknown `runs` (did you mean `run`?)",
        ),
        (_HEAD + _RUN.replace("seed", "sed"), ":2: $: unknown `sed` (did you mean `seed`?)"),
        (_HEAD + _RUN.replace('"seed":7,', ""), ":2: $.seed: missing"),
        (_HEAD + _RUN.replace('"seed":7', '"seed":true'), ":2: $.seed: not what"),
        (_HEAD + _RUN + _RUN, ":3: $.run: run 2 is the next one, not `1`"),
        (_line() + json.dumps(_ATTEMPT) + "\n", ":4: $.attempt: attempt 1 of run 1 is here twice"),
        (_line(quota=[1]), ":3: $.quota: not what"),
        (_line(items=[[0, {"answer": {}}]]), ":3: $.items[0]: not what"),
        (_line(items=[[0, {"response": {"txt": ""}}]]), ":3: $.items[0]: not what"),
        (_line(exchanges=[7]), ":3: $.exchanges[0]: not what"),
        (_exchange(pieces=[[0, {"base64": "!"}]]), ":3: $.exchanges[0].pieces: not what"),
        (_exchange(end={"kind": "sadness", "detail": ""}), ":3: $.exchanges[0].end: not what"),
        (_exchange(headers={"a": 1}), ":3: $.exchanges[0].headers: not what"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_by_line_and_path(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "tape.jsonl"
    file.write_text(text)
    with pytest.raises(RecordingError) as caught:
        read_recording(file)
    assert f"{file}{complaint}" in str(caught.value)


def test_a_line_that_was_not_written_to_its_end_counts_as_not_written(tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    file.write_text(_line()[:-9])
    recording = read_recording(file)
    assert (list(recording.runs), list(recording.attempts)) == ([1], [])


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "tape.jsonl"
    file.write_text("precious")
    with pytest.raises(RecordingError, match="cannot be made: file exists"):
        Recorder(file, VirtualClock())
    assert file.read_text() == "precious"


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5), st.integers(0, 60))
def test_a_secret_is_masked_however_an_answer_is_cut(around: bytes, cuts: list[int], place: int) -> None:
    secret = b"sk-\xc3\xa4-secret"
    said = around[:place] + secret + around[place:]
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    pieces = [said[start:end] for start, end in pairwise(edges)]
    kept = masked(pieces, [secret])
    assert len(kept) == len(pieces)
    assert b"".join(kept) == said.replace(secret, "…".encode())
