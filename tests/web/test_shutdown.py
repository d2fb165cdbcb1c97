"""Callers that leave and gateways that stop: nothing goes on for nobody, and nothing is cut short."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.contracts.vendor import Asked, Reply, flow

from .caller import CHAT, chat, get, text_of
from .gateway import Running, running
from .process import Process, serving
from .vendor import Vendor, answer, chat_pieces, echo, selling, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def config(origin: str, **host: Any) -> dict[str, Any]:
    return {
        "providers": {"acme": {"base_url": f"{origin}/acme/v1"}, "spare": {"base_url": f"{origin}/spare/v1"}},
        "models": {
            "m": {"served_by": [{"provider": "acme", "price_in": 1}, {"provider": "spare", "price_in": 2}]}
        },
        "profiles": {
            "p": {
                "scorer": ["neg", ["normalize", ["field", "price_in"]]],
                "filter": ["breaker_closed", "not_disabled"],
            }
        },
        "defaults": {"profile": "p", "circuit_breaker_threshold": 1},
        "host": host,
    }


def _slow(asked: Asked) -> Reply:
    """Hang where told, answer after a while where told, else at once."""
    text = asked.data["messages"][-1]["content"]
    if text == "hang":
        return Reply(b"", then="hang", is_chunked=False)
    if text == "stall":
        return flow(chat_pieces(["one"])[:2], then="hang")
    if text == "endless":
        return flow(chat_pieces(["x"] * 2000), gap_s=0.01)
    if text == "slow":
        return Reply(answer("done").head, answer("done").pieces, is_chunked=False, gap_s=0.7)
    if text == "paced":
        return flow(chat_pieces(["a", "b", "c", "d"]), gap_s=0.15)
    return echo(asked)


@contextmanager
def _asking(port: int, text: str, *, stream: bool) -> Iterator[socket.socket]:
    body = json.dumps({"messages": [{"role": "user", "content": text}], "stream": stream}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(head.encode() + body)
        yield wire


def _count(gateway: Running, name: str) -> float:
    told = get(f"{gateway.url}/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in told.splitlines() if line.startswith(name))


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with selling(_slow) as vendor:
        yield vendor


# Callers who leave --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stream"), [("hang", False), ("hang", True), ("stall", True), ("endless", True)]
)
def test_who_leaves_cancels_the_call_upstream_and_nobody_is_blamed(
    vendor: Vendor,
    text: str,
    stream: bool,  # noqa: FBT001 - parametrised
) -> None:
    with running(config(vendor.origin)) as gateway:
        with _asking(gateway.port, text, stream=stream) as wire:
            assert until(lambda: vendor.asks("/acme"))
            if text != "hang":
                assert b"HTTP/1.1 200" in wire.recv(100)
        assert until(lambda: vendor.left == ["/acme/v1/chat/completions"])
        gate = gateway.server._app.gateway.gate
        assert until(lambda: gate.in_flight == 0)
        assert until(
            lambda: _count(gateway, 'llm_policy_requests_total{path="/chat/completions",status="499"}') == 1
        )
        cancelled = 'gen_ai_client_operation_duration_seconds_count{error_type="cancelled"'
        assert _count(gateway, cancelled) == 1
        assert not gateway.host.open_until_ms()
        assert len(vendor.asked) == 1, "nobody else was asked"
        assert chat(gateway.url).own["provider"] == "acme"


def test_who_leaves_the_line_gives_up_its_place(vendor: Vendor) -> None:
    with (
        running(config(vendor.origin, limits={"max_in_flight": 1, "max_queue": 1})) as gateway,
        _asking(gateway.port, "hang", stream=False),
    ):
        gate = gateway.server._app.gateway.gate
        assert until(lambda: gate.in_flight == 1)
        with _asking(gateway.port, "hi", stream=False):
            assert until(lambda: gate.waiting == 1)
        assert until(lambda: gate.waiting == 0, 2.0)


def test_who_leaves_a_lane_gives_up_its_place(vendor: Vendor) -> None:
    lanes = {"acme": {"max_in_flight": 1, "max_queue": 5}}
    with running(config(vendor.origin, lanes=lanes)) as gateway:
        with _asking(gateway.port, "hang", stream=True), _asking(gateway.port, "hang", stream=True):
            assert until(lambda: _count(gateway, 'llm_policy_lane_queued{provider="acme"}') == 1)
            assert _count(gateway, 'llm_policy_lane_in_flight{provider="acme"}') == 1
        assert until(lambda: _count(gateway, "llm_policy_lane_in_flight") == 0)
        assert _count(gateway, "llm_policy_lane_queued") == 0
        assert chat(gateway.url).own["provider"] == "acme"


def test_who_leaves_in_the_middle_of_a_body_is_noted(vendor: Vendor) -> None:
    with running(config(vendor.origin)) as gateway:
        with socket.create_connection(("127.0.0.1", gateway.port)) as wire:
            wire.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
            time.sleep(0.05)
        assert until(
            lambda: _count(gateway, 'llm_policy_requests_total{path="/chat/completions",status="499"}') == 1
        )
        assert not vendor.asked


# Gateways that stop -------------------------------------------------------------------------------


@pytest.fixture
def served(vendor: Vendor, tmp_path: Path) -> Iterator[Process]:
    with serving(tmp_path / "policy.yaml", config(vendor.origin)) as process:
        yield process


def test_a_stop_waits_for_those_under_way_and_a_second_one_harms_nobody(
    served: Process, vendor: Vendor
) -> None:
    with ThreadPoolExecutor(4) as pool:
        whole = pool.submit(chat, served.url, "slow")
        streamed = pool.submit(chat, served.url, "paced", stream=True)
        assert until(lambda: len(vendor.asked) == 2)
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        served.process.send_signal(signal.SIGTERM)
        assert whole.result().data["choices"][0]["message"]["content"] == "done"
        assert text_of(streamed.result().events) == "abcd"
        assert streamed.result().events[-1] == "[DONE]"
    assert served.process.wait(10) == 0
    assert served.stop() == ""


def test_while_it_drains_it_says_so_and_takes_nobody_new(served: Process, vendor: Vendor) -> None:
    kept = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    with kept, ThreadPoolExecutor(1) as pool:
        kept.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b'{"status":"ready"}' in _until_body(kept)
        whole = pool.submit(chat, served.url, "slow")
        assert until(lambda: vendor.asked)
        served.process.send_signal(signal.SIGTERM)
        assert until(lambda: _is_draining(kept, served.port)), "neither refused nor said"
        assert whole.result().status == 200
    assert served.process.wait(10) == 0


def _until_body(wire: socket.socket) -> bytes:
    data = b""
    while b"}" not in data:
        piece = wire.recv(4096)
        if not piece:
            break
        data += piece
    return data


def _is_draining(kept: socket.socket, port: int) -> bool:
    """Whether a new connection is refused, and a kept one closed or told `draining`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as wire:
            wire.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            fresh = _until_body(wire)
    except OSError:
        fresh = b""
    try:
        kept.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        old = _until_body(kept)
    except OSError:
        old = b""
    return all(told == b"" or b"draining" in told for told in (fresh, old))


def test_a_stop_does_not_wait_for_ever(vendor: Vendor, tmp_path: Path) -> None:
    data = config(vendor.origin, limits={"drain_ms": 1000})
    with serving(tmp_path / "policy.yaml", data) as served, _asking(served.port, "hang", stream=False):
        assert until(lambda: vendor.asked)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(10)
        assert 0.5 < time.monotonic() - began < 5
        assert until(lambda: vendor.left)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_its_port_is_free_again_at_once(vendor: Vendor, tmp_path: Path, which: signal.Signals) -> None:
    with serving(tmp_path / "policy.yaml", config(vendor.origin)) as served:
        assert chat(served.url).status == 200
        served.process.send_signal(which)
        assert served.process.wait(10) == 0
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", served.port))
            again.listen()


def test_closing_a_host_twice_is_one_close(vendor: Vendor) -> None:
    with running(config(vendor.origin)) as gateway:
        assert chat(gateway.url).status == 200
    assert threading.active_count() < 10
    with gateway.host:
        pass
