"""A token endpoint in memory: answers in turn, remembers what it was asked, takes virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from llm_policy_host.auth.oauth import OAuthProvider, OAuthTools
from llm_policy_host.values import HttpAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.clock import VirtualClock

URL = "https://auth.example/token"
AUTH: dict[str, Any] = {"kind": "oauth", "token_url": URL, "client_id": "me", "store": "tokens.json"}


@dataclass(slots=True)
class Server:
    clock: VirtualClock
    answers: list[tuple[int, Any] | OSError]
    takes_ms: float = 100
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_open: int = 0
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    def connect(self) -> Wire:
        self.is_open += 1
        return Wire(self)


@dataclass(slots=True)
class Wire:
    server: Server

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpAnswer:
        assert method == "POST"
        text = (body or b"").decode()
        is_json = headers["content-type"] == "application/json"
        form = json.loads(text) if is_json else dict(parse_qsl(text))
        server = self.server
        server.asked.append({"url": url, **form})
        server.was_asked.set()
        answer = server.answers[min(len(server.asked), len(server.answers)) - 1]
        await server.clock.sleep_ms(server.takes_ms)
        if isinstance(answer, OSError):
            raise answer
        status, data = answer
        return HttpAnswer(status, server.headers, json.dumps(data).encode())

    async def close(self) -> None:
        self.server.is_open -= 1


def granted(access: str, refresh: str | None = None, expires_in: int | None = 3600) -> tuple[int, Any]:
    data = {"access_token": access, "refresh_token": refresh, "expires_in": expires_in}
    return 200, {name: value for name, value in data.items() if value is not None}


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def stored(directory: Path, ends_ms: int | None = None, **accounts: str) -> Path:
    """Write a store of accounts, each with its access token and the refresh token `r-NAME`."""
    client = {"token_url": URL, "client_id": "me"}
    own = {
        name: {**client, "access_token": access, "refresh_token": f"r-{name}", "expires_at_ms": ends_ms}
        for name, access in accounts.items()
    }
    path = directory / "tokens.json"
    path.touch(0o600)
    path.write_text(json.dumps({"version": 1, "accounts": {"p": own}}))
    return path


def provider(directory: Path, server: Server, **more: Any) -> OAuthProvider:
    return OAuthProvider("p", AUTH | more, OAuthTools(server.clock, directory, server.connect))
