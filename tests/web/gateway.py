"""A real gateway on loopback, in a thread of its own, for clients of any kind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.serving import create_app
from llm_policy_host.web.server import Server, listen
from llm_policy_host.wiring import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that listens; `url` has no path."""

    url: str
    port: int
    host: Host
    server: Server


@contextmanager
def running(
    config: Mapping[str, Any] | Path, environment: Mapping[str, str] | None = None, **more: Any
) -> Iterator[Running]:
    """Serve a config until the block ends; then the server has stopped and its thread is gone."""
    if not isinstance(config, Path):
        host = Host.from_data(config, environment=environment or {}, **more)
    else:
        host = Host.from_config(config, environment=environment or {}, **more)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    ready = threading.Event()
    server = Server(create_app(host), 5000, ready.set)
    thread = threading.Thread(target=_serve, args=(server, listener), name="gateway")
    thread.start()
    try:
        assert ready.wait(10), "the gateway did not start"
        yield Running(f"http://127.0.0.1:{port}", port, host, server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the gateway did not stop"


def _serve(server: Server, listener: Any) -> None:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve([listener]))
