"""Keys once more, as naively as spec 5.4 says it: text, the standard library's slow ways, a rule a caveat."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

LEVELS = ["none", "digest", "sealed", "plain"]


@dataclass(frozen=True)
class Ask:
    """One use of a key: a moment, and what for."""

    now_ms: int
    models: str
    providers: str
    profiles: str
    policies: str
    rights: str
    content: str
    audience: str


def write(root: bytes, key_id: str, caveats: list[tuple[str, Any]]) -> str:
    """Make a key."""
    signature = hmac.new(root, key_id.encode(), hashlib.sha256).digest()
    lines = [json.dumps(list(caveat), separators=(",", ":"), ensure_ascii=False) for caveat in caveats]
    for line in lines:
        signature = hmac.new(signature, line.encode(), hashlib.sha256).digest()
    return f"lpk_{key_id}.{_text(chr(10).join(lines).encode())}.{_text(signature)}"


def allows(caveats: list[tuple[str, Any]], ask: Ask) -> bool:
    """Whether every caveat, each for itself, allows a use."""
    return all(_allows_one(name, value, ask) for name, value in caveats)


def _allows_one(name: str, value: Any, ask: Ask) -> bool:
    if name == "expires_ms":
        return bool(ask.now_ms < value)
    if name == "not_before_ms":
        return bool(ask.now_ms >= value)
    if name == "content":
        return LEVELS.index(ask.content) <= LEVELS.index(value)
    if name in ("usd_micro", "tokens", "calls", "calls_per_minute"):
        return True
    return getattr(ask, name) in value


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
