"""Tokens: what an OAuth server gave an account, as a value and as the store's plain data."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from llm_policy_host.values import Secret, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENAI_CLAIM = "https://api.openai.com/auth"
_CHATGPT_ACCOUNT = "chatgpt_account_id"
_MAX_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tokens:
    """An account's tokens; no `expires_at_ms` means that only a refusal shows their end."""

    access: Secret
    refresh: Secret | None = None
    expires_at_ms: int | None = None
    extras: Mapping[str, str] = field(default_factory=nothing)

    def is_same(self, other: Tokens | None) -> bool:
        """Whether both would be sent alike."""
        return other is not None and (self.access.reveal(), _text(self.refresh)) == (
            other.access.reveal(),
            _text(other.refresh),
        )


def read_answer(data: Mapping[str, Any], now_ms: int, before: Tokens | None = None) -> Tokens | None:
    """Read a token endpoint's answer (RFC 6749, 5.1); what it leaves out stays as it was before."""
    access = usable(data.get("access_token"))
    if access is None:
        return None
    refresh = usable(data.get("refresh_token")) or (before.refresh if before else None)
    claims = {**_claims(data.get("access_token")), **_claims(data.get("id_token"))}
    account = _record(claims.get(_OPENAI_CLAIM)).get(_CHATGPT_ACCOUNT)
    extras = before.extras if before else nothing()
    if _is_printable(account):
        extras = {_CHATGPT_ACCOUNT: account}
    return Tokens(access, refresh, _expiry(data, now_ms), extras)


def to_plain(tokens: Tokens) -> dict[str, Any]:
    """Write tokens for the store: the one place where they are revealed to a file."""
    return {
        "access_token": tokens.access.reveal(),
        "refresh_token": _text(tokens.refresh),
        "expires_at_ms": tokens.expires_at_ms,
        "extras": dict(tokens.extras),
    }


def from_plain(data: Mapping[str, Any]) -> Tokens | None:
    """Read what `to_plain` wrote; None for what it cannot have written."""
    access = usable(data.get("access_token"))
    if access is None:
        return None
    expires = data.get("expires_at_ms")
    extras = {str(key): value for key, value in _record(data.get("extras")).items() if _is_printable(value)}
    return Tokens(access, usable(data.get("refresh_token")), expires if _is_count(expires) else None, extras)


def usable(value: Any) -> Secret | None:  # noqa: ANN401 - whatever a server sent
    """Take a token that a header can carry."""
    return Secret(value) if _is_printable(value) else None


def _is_printable(value: object) -> TypeGuard[str]:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TOKEN:
        return False
    return value.isascii() and value.isprintable() and " " not in value


def _expiry(data: Mapping[str, Any], now_ms: int) -> int | None:
    """Read when the access token ends: as told, or as it says itself."""
    lasts = data.get("expires_in")
    if isinstance(lasts, str) and lasts.isdecimal():
        lasts = int(lasts[:12])
    if _is_count(lasts):
        return now_ms + lasts * 1000
    ends = _claims(data.get("access_token")).get("exp")
    return ends * 1000 if _is_count(ends) else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _claims(token: Any) -> dict[str, Any]:  # noqa: ANN401
    """Read a JWT's claims, unverified: it came from its issuer over the same connection."""
    parts = token.split(".") if isinstance(token, str) and len(token) <= _MAX_TOKEN else []
    if len(parts) != 3:
        return {}
    try:
        return _record(json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))))
    except (ValueError, binascii.Error, RecursionError):
        return {}


def _record(value: Any) -> dict[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
