"""Many callers at once, and very many one after the other: each gets his own, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.providers._http import HttpClient
from llm_policy_host.run.state import Run
from tests.contracts.vendor import Asked, Reply, flow, whole

from .caller import get
from .crowd import Caller, crowd
from .gateway import running
from .process import serving
from .vendor import chat_pieces, echo, kept, said, selling, until

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = ("429", "500", "cut", "cut late", "stall", "stall late")
"""What the first route may do; the second one echoes."""


def config(origin: str, **more: Any) -> dict[str, Any]:
    return {
        "providers": {"acme": {"base_url": f"{origin}/acme/v1"}, "spare": {"base_url": f"{origin}/spare/v1"}},
        "models": {
            "m": {"served_by": [{"provider": "acme", "price_in": 1}, {"provider": "spare", "price_in": 2}]}
        },
        "retry_policies": {"next": {"unknown": {"action": "next_candidate"}}},
        "profiles": {
            "p": {
                "scorer": ["neg", ["normalize", ["field", "price_in"]]],
                "retry_policy": "next",
                "mutate": [
                    "when",
                    ["provider_eq", "acme"],
                    [
                        "seq",
                        ["set_param", "ttft_ms", 150],
                        ["set_param", "idle_ms", 150],
                        ["set_param", "timeout_ms", 5000],
                    ],
                ],
            }
        },
        # breakers that nobody trips, so that each fault is met
        "defaults": {"profile": "p", "circuit_breaker_threshold": 1_000_000},
        "host": {"lanes": {"acme": {"max_in_flight": 256}, "spare": {"max_in_flight": 256}}},
        **more,
    }


def sell(asked: Asked) -> Reply:
    """Do what the prompt says before its `#`, if this is the first route."""
    fault, is_stream = said(asked).partition("#")[0], asked.data.get("stream")
    begun = chat_pieces([f"you said {said(asked)}"[:6], "never"])[:2]
    if asked.path.startswith("/spare") or fault in ("", "leave"):
        return echo(asked)
    if fault in ("429", "500"):
        return kept(whole(int(fault), b'{"error": {"message": "no"}}', headers={"retry-after": "1"}))
    if not is_stream or not fault.endswith("late"):
        return Reply(b"", then="cut" if fault.startswith("cut") else "hang", is_chunked=False)
    return flow(begun, then="cut" if fault == "cut late" else "hang")


def test_64_callers_at_once_each_get_their_own_answer() -> None:
    said: dict[int, list[str]] = {}

    async def work(caller: Caller, job: int) -> None:
        told = await caller.ask(f"#{job} {'x' * (job % 7)}", stream=job % 2 == 1)
        assert told.status == 200
        said.setdefault(job, []).append(told.text)

    with selling(sell, keeps=False) as vendor, running(config(vendor.origin)) as gateway:
        crowd(gateway.port, range(640), work)
    assert said == {job: [f"you said #{job} {'x' * (job % 7)}"] for job in range(640)}


async def test_what_a_caller_left_unread_is_not_the_next_ones_answer() -> None:
    client = HttpClient()
    with selling(sell, keeps=False) as vendor:

        def exchange(text: str) -> Any:
            body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            return client.post(f"{vendor.origin}/acme/v1/chat/completions", {}, body)

        async with exchange("#one") as answer:
            while not answer._connection.is_over:  # noqa: ASYNC110 - nobody reads, so nobody is told
                await asyncio.sleep(0.01)
        async with exchange("#two") as answer:
            body = json.loads(await answer.read())
        assert body["choices"][0]["message"]["content"] == "you said #two"
        await client.close()


@dataclass(frozen=True, slots=True)
class Job:
    text: str
    fault: str
    is_stream: bool


def _jobs(count: int, seed: int) -> Iterator[Job]:
    """Make requests of every kind; a stalled one is rare: it takes its time."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    kinds = ["", "leave", *FAULTS]
    weights = [60, 8, 8, 8, 6, 6, 0.5, 1]
    for place in range(count):
        (fault,) = draw.choices(kinds, weights)
        is_stream = fault.startswith("stall") or draw.random() < 0.5
        yield Job(f"{fault}#{place}", fault, is_stream)


async def _do(caller: Caller, job: Job) -> None:
    if job.fault == "leave":
        await caller.abandon(job.text, 0.001 * (len(job.text) % 5), stream=job.is_stream)
        return
    told = await caller.ask(job.text, stream=job.is_stream)
    assert told.status == 200, told
    wanted = f"you said {job.text}"
    if job.is_stream and job.fault.endswith("late"):
        assert wanted.startswith(told.text)
        assert told.events[-1]["error"]["code"] == "stream_interrupted"
    else:
        assert told.text == wanted


def _gauges(url: str) -> dict[str, float]:
    """Give what is under way or waiting, anywhere."""
    lines = get(f"{url}/metrics").text.splitlines()
    names = ("llm_policy_in_flight", "llm_policy_queued", "llm_policy_lane")
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith(names))
    }


def _descriptors() -> int:
    """Count what is open; what only waits for the collector, late in a long suite, is no leak."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_short_soak_leaves_nothing_behind() -> None:
    with selling(sell, keeps=False) as vendor, running(config(vendor.origin)) as gateway:
        crowd(gateway.port, _jobs(200, 1), _do)
        assert until(lambda: not any(_gauges(gateway.url).values()))
        time.sleep(0.2)
        tasks, descriptors = _tasks(gateway.url), _descriptors()
        crowd(gateway.port, _jobs(600, 2), _do)
        assert until(lambda: not any(_gauges(gateway.url).values()))
        assert until(lambda: _tasks(gateway.url) <= tasks)
        assert until(lambda: _descriptors() <= descriptors + 40, 30)
        gc.collect()
        assert not [run for run in gc.get_objects() if isinstance(run, Run)]


@pytest.mark.heavy
def test_a_soak_of_20_000_requests_with_faults_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        selling(sell, keeps=False) as vendor,
        serving(tmp_path / "policy.yaml", config(vendor.origin)) as served,
    ):
        proc = Path(f"/proc/{served.process.pid}")

        def rss_mib() -> float:
            return int((proc / "statm").read_text().split()[1]) * 4096 / 2**20

        def descriptors() -> int:
            return len(list((proc / "fd").iterdir()))

        crowd(served.port, _jobs(3000, 1), _do)
        assert until(lambda: not any(_gauges(served.url).values()))
        before = rss_mib(), descriptors(), _tasks(served.url)
        began = time.monotonic()
        crowd(served.port, _jobs(20_000, 2), _do)
        took_s = time.monotonic() - began
        assert until(lambda: not any(_gauges(served.url).values()))
        until(lambda: descriptors() <= before[1])
        after = rss_mib(), descriptors(), _tasks(served.url)
        with capsys.disabled():
            print(f"\n20000 requests in {took_s:.0f} s; RSS MiB, descriptors, tasks: {before} -> {after}")  # noqa: T201
        assert after[0] < before[0] + 15
        assert after[1] <= before[1] + 70
        assert after[2] <= before[2]
    assert served.process.returncode == 0


def _tasks(url: str) -> float:
    lines = get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("llm_policy_tasks"))
