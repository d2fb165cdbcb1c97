"""`serve --record` and `serve --replay`: a gateway that needs its vendors once, and keeps none of its keys."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import Contract, Host
from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.providers.recording import Recorder
from llm_policy_host.providers.replaying import Replayer, read_recording
from llm_policy_host.values import Failure, Secret

from .caller import CHAT, Answer, ask
from .process import Process
from .shops import shop
from .test_canaries import DIALECTS, ENV_KEY, FAULTS, FILE_KEY, OWN_KEY, PROMPT, _config, _tell
from .vendor import selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llm_policy_host.ports import Clock
    from llm_policy_host.providers.reel import Reel

CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": text}], "stream": is_stream}
    for text in ("hello", "fail 400", "cut me")
    for is_stream in (False, True)
]


@contextmanager
def _gateway(config: Path, *more: str, **env: str) -> Iterator[Process]:
    process = Process(config, *more, env={**os.environ, **env})
    try:
        yield process
    finally:
        process.stop()


def _said(answer: Answer) -> tuple[int, Any]:
    """An answer without what is new each time: ids, times and the like."""
    data = answer.events if answer.text.startswith("data:") else answer.data
    return answer.status, _timeless(data)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if name not in ("id", "created")}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def test_a_gateway_replays_what_it_recorded(tmp_path: Path) -> None:
    config, tape = tmp_path / "config.json", tmp_path / "tape.jsonl"
    with selling(shop) as vendor:
        data = {
            "providers": {"shop": {"base_url": vendor.origin + "/openai/v1", "auth_env": "SHOP_KEY"}},
            "models": {"m": {"served_by": [{"provider": "shop"}]}},
            "profiles": {"default": {"filter": ["requirements"]}},
        }
        config.write_text(json.dumps(data))
        with _gateway(config, "--record", str(tape), SHOP_KEY=ENV_KEY) as gateway:
            live = [_said(ask(gateway.url + CHAT, {"model": "m", **body})) for body in CHATS]
    assert ENV_KEY not in tape.read_text()
    assert {status for status, _ in live} >= {200, 400}
    with _gateway(config, "--replay", str(tape)) as gateway:
        replayed = [_said(ask(gateway.url + CHAT, {"model": "m", **body})) for body in CHATS]
        beyond = ask(gateway.url + CHAT, {"model": "m", **CHATS[0]})
        told = gateway.stop()
    assert replayed == live
    assert beyond.status == 400
    assert f"the recording ends with run {len(CHATS)}" in told


def _shown(failure: Failure | None) -> tuple[Any, ...]:
    """A failure, with its words up to the key: those are cut at a length, and a masked key is shorter."""
    if failure is None:
        return ()
    return (failure.kind, failure.http_status, failure.retry_after_ms, failure.detail.partition("…")[0])


async def _outcomes(host: Host, profiles: list[str]) -> list[Any]:
    told: list[Any] = []
    async with host:
        for profile in profiles:
            own = {profile: OWN_KEY} if profile.endswith("500") else {}
            override = {name: Secret(text) for name, text in own.items()}
            messages = [{"role": "user", "content": PROMPT}]
            contract = Contract(messages=messages, profile=profile, auth_override=override)
            result = await host.run(contract)
            told.append((profile, result.response, [_shown(failure) for failure in result.failures]))
            told.append([(chunk.text, _shown(chunk.error)) async for chunk in host.stream(contract)])
    host.reel.close()
    return told


def _host(config: dict[str, Any], reel: Reel, clock: Clock, **environment: str) -> Host:
    return Host.from_data(config, clock=clock, environment=environment, reel=reel)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_key_is_in_a_recording_of_vendors_that_show_all_they_were_sent(
    dialect: str, tmp_path: Path
) -> None:
    key_file, tape = tmp_path / "key", tmp_path / "tape.jsonl"
    key_file.write_text(FILE_KEY)
    profiles = [f"{dialect}-{fault}".replace(" ", "-") for fault in FAULTS]
    with selling(_tell) as vendor:
        config = _config(vendor.origin, key_file)
        del config["host"]["keys"]
        clock = SystemClock()
        live = await _outcomes(_host(config, Recorder(tape, clock), clock, CANARY=ENV_KEY), profiles)
    text = tape.read_text()
    for secret in (ENV_KEY, FILE_KEY, OWN_KEY):
        assert secret[:-1] not in text
    key_file.unlink()
    recording = read_recording(tape)
    virtual = VirtualClock(recording.started_ms)
    replayer = Replayer(recording, virtual)
    assert await _outcomes(_host(config, replayer, virtual), profiles) == live
    assert replayer.mismatches == []
