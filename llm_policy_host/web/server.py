"""The listener: uvicorn over the application, drained when it is told to stop."""

from __future__ import annotations

import gc
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from llm_policy_host.quick import collect_less

from .joining import JoiningProtocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .app import App

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Take the address; an `OSError` says that it cannot be had. Port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(_BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Server(uvicorn.Server):
    """Serves until it is told to stop; then no new request is taken and those under way end."""

    def __init__(self, app: App, drain_ms: int, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=JoiningProtocol,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=max(1, drain_ms // 1000),
            h11_max_incomplete_event_size=64 * 1024,
        )
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for business."""
        await super().startup(sockets)
        if self.started:
            collect_less()
            gc.freeze()  # what is there by now stays: no collection need look at it again
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; told again is told once, but for an impatient ctrl-c. Who stops as told ends well."""
        del frame
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those under way end; `/readyz` says so meanwhile."""
        self._app.gateway.is_draining = True
        await super().shutdown(sockets)
