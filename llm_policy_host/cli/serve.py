"""`llm-policy serve`: the gateway, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from llm_policy_host.errors import HostError

from . import reels
from .output import OK, add_json, print_json

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.wiring import Host

    from .output import Commands


HOST, PORT = "127.0.0.1", 8484
"""Where the gateway listens unless it is told otherwise."""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("serve", help="serve the OpenAI and Anthropic APIs")
    parser.add_argument("config", metavar="CONFIG", help="a YAML or Lua config")
    parser.add_argument("--host", default=HOST, help=f"the address to listen on (default {HOST})")
    parser.add_argument("--port", type=int, default=PORT, help=f"the port, 0 for any (default {PORT})")
    reels.add_options(parser)
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Serve."""
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        raise HostError("`serve` needs more packages: pip install 'llm-policy[serve]'")
    from llm_policy_host.serving import Reloads, check_address, create_app  # noqa: PLC0415 - needs those packages
    from llm_policy_host.web.server import Server, listen  # noqa: PLC0415 - as above

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    host = reels.lasting_host(arguments, logging.getLogger("llm_policy.replay").warning)
    check_address(arguments.host, host)
    reloads = Reloads(Path(arguments.config), lambda host: check_address(arguments.host, host))
    app = create_app(host, reloads)
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        where = f"{arguments.host}:{arguments.port}"
        raise HostError(f"cannot listen on {where}: {(error.strerror or 'unknown reason').lower()}") from None
    address, port = listener.getsockname()[:2]
    server = Server(
        app, app.gateway.parts.limits.drain_ms, lambda: _announce(arguments, host, f"http://{address}:{port}")
    )
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve([listener]))
    return OK


def _announce(arguments: argparse.Namespace, host: Host, url: str) -> None:
    if arguments.json:
        print_json({"ok": True, "url": url, "disabled": dict(host.disabled)})
        return
    print(f"listening on {url} (OpenAI: {url}/v1, Anthropic: {url})", flush=True)
    for name, reason in host.disabled.items():
        print(f"provider `{name}` is disabled: {reason}", file=sys.stderr, flush=True)
