"""A caller of the gateway: what was answered, over a bare client."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
CHAT = "/v1/chat/completions"

APIS: Mapping[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "messages": {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
}
"""The APIs that answer in words, and a body that each takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.data["error"]
        return error

    @property
    def events(self) -> list[Any]:
        """Give the data of a stream's events; `[DONE]` stays a text."""
        return [
            line[6:] if line == "data: [DONE]" else json.loads(line[6:])
            for line in self.text.split("\n")
            if line.startswith("data: ")
        ]

    @property
    def own(self) -> dict[str, str]:
        """Give the headers that are ours, without their prefix."""
        prefix = "x-llm-policy-"
        return {name[len(prefix) :]: text for name, text in self.headers.items() if name.startswith(prefix)}


def ask(
    url: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    content: Any = None,
    timeout_s: float = 30,
) -> Answer:
    """Ask once, and read the answer whole."""
    data = json.dumps(body).encode() if body is not None else content
    to = urlsplit(url)
    path = f"{to.path}?{to.query}" if to.query else to.path
    with closing(HTTPConnection(to.hostname or "", to.port, timeout=timeout_s)) as wire:
        wire.request(method, path, data, dict(headers or {}))
        answer = wire.getresponse()
        told = {name.lower(): text for name, text in answer.getheaders()}
        return Answer(answer.status, told, answer.read().decode())


class Line:
    """Asks over one connection that stays, where many are asked for."""

    def __init__(self, port: int) -> None:
        self._wire = HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, path: str, body: Any) -> Answer:
        self._wire.request("POST", path, json.dumps(body).encode())
        answer = self._wire.getresponse()
        return Answer(answer.status, {}, answer.read().decode())

    def close(self) -> None:
        self._wire.close()


def get(url: str, **more: Any) -> Answer:
    return ask(url, method="GET", **more)


def chat(url: str, content: str = "hi", path: str = CHAT, *, full: bool = False, **more: Any) -> Answer:
    """Ask for a chat completion."""
    headers = {"x-llm-policy-metadata": "full"} if full else None
    return ask(url + path, {"messages": [{"role": "user", "content": content}], **more}, headers=headers)


def text_of(events: list[Any]) -> str:
    """Join the text of a chat's stream."""
    choices = [choice for event in events if isinstance(event, dict) for choice in event.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
