"""What a provider's `auth` may say: the host's part of a provider, which the core only carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .kinds import NAME, PATH, Kind, list_of, word
from .names import nearest
from .setting import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .document import Document
    from .settings import At

_NONE: Mapping[str, Any] = {"kind": "none"}
SOURCES = ("env", "file", "keyring")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NEEDED = ("token_url", "client_id")


def _is_address(value: str) -> bool:
    """Whether tokens may be sent there: over TLS, or not beyond this machine."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


_ADDRESS = Kind("an https address", {"type": "string"}, _is_address)

BEARER = (
    Setting("env", NAME, "the environment variable that holds the secret; read once"),
    Setting("file", PATH, "a file that holds it; read again when it changes"),
    Setting(
        "keyring",
        Kind("`service/name`", {"type": "string", "pattern": "^[\\s\\S]+/[^/]+$"}),
        "an entry of the system's keyring; read once",
    ),
)
"""Of `kind: bearer`, exactly one of them."""

OAUTH = (
    Setting("token_url", _ADDRESS, "where tokens are refreshed"),
    Setting("client_id", NAME, "who this host is to that server"),
    Setting("device_url", _ADDRESS, "where `providers login` asks for a code"),
    Setting(
        "device_flow",
        word("rfc8628", "chatgpt"),
        "how it asks (default `rfc8628`; of `openai_codex`, `chatgpt`)",
    ),
    Setting("scope", Kind("a text", {"type": "string"}), "what it asks for"),
    Setting("store", PATH, "the file of tokens, of mode 600 (default `~/.llm-policy/tokens.json`)"),
    Setting(
        "accounts",
        list_of("a list of names", NAME.schema, minItems=1, uniqueItems=True),
        "whose tokens may be used (default `[default]`)",
    ),
)
"""Of `kind: oauth`; `token_url` and `client_id` are needed where the dialect has none of its own."""

_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "openai_codex": {
        "token_url": "https://auth.openai.com/oauth/token",
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "device_url": "https://auth.openai.com/api/accounts/deviceauth",
        "device_flow": "chatgpt",
    }
}
"""What the dialects that have one server of their own fill in: its client is the vendor's public one."""

_STORE = "~/.llm-policy/tokens.json"
KINDS: Mapping[str, tuple[Setting, ...]] = {"none": (), "bearer": BEARER, "oauth": OAUTH}


def read_auths(document: Document) -> dict[str, dict[str, Any]]:
    """Collect each provider's `auth` in one shape; an absent one is `{kind: none}`."""
    providers = document.data.get("providers")
    if not isinstance(providers, dict):
        return {}
    return {
        name: _read_auth(document, ("providers", name), provider)
        for name, provider in providers.items()
        if isinstance(provider, dict)
    }


def _read_auth(document: Document, at: At, provider: dict[str, Any]) -> dict[str, Any]:
    auth, name = provider.get("auth"), provider.get("auth_env")
    if auth is not None and name is not None:
        document.report((*at, "auth_env"), "both `auth` and `auth_env` are given", key=True)
    if name is not None:
        if not NAME.is_good(name):
            document.report((*at, "auth_env"), "must be a name")
            return dict(_NONE)
        return {"kind": "bearer", "env": name}
    if auth is None:
        return dict(_NONE)
    if not isinstance(auth, dict):
        document.report((*at, "auth"), "must be a record with a `kind`")
        return dict(_NONE)
    return _read_record(document, (*at, "auth"), auth, provider.get("api_kind"))


def _read_record(document: Document, at: At, auth: dict[str, Any], api_kind: Any) -> dict[str, Any]:  # noqa: ANN401
    kind = auth.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(kind, KINDS) if isinstance(kind, str) else None
        document.report((*at, "kind"), f"must be one of {', '.join(KINDS)}", near=near)
        return dict(_NONE)
    known = {setting.key: setting for setting in KINDS[kind]}
    is_good = True
    for key, value in auth.items():
        if key != "kind":
            is_good = _read_key(document, (*at, key), known, value) and is_good
    if kind == "oauth":
        auth = {"store": _STORE, **_DEFAULTS.get(str(api_kind), {}), **auth}
        is_good = is_good and _is_whole(document, at, auth)
    if kind == "bearer":
        is_good = is_good and _is_one(document, at, auth)
    return auth if is_good else dict(_NONE)


def _read_key(document: Document, at: At, known: Mapping[str, Setting], value: Any) -> bool:  # noqa: ANN401
    key = str(at[-1])
    setting = known.get(key)
    if setting is None:
        document.report(at, f"unknown key `{key}`", near=nearest(key, known), key=True)
        return False
    if not setting.kind.is_good(value):
        document.report(at, f"must be {setting.kind.accepts}")
        return False
    return True


def _is_whole(document: Document, at: At, auth: Mapping[str, Any]) -> bool:
    lacking = [key for key in _NEEDED if key not in auth]
    for key in lacking:
        document.report((*at, key), "is wanted of `oauth`")
    return not lacking


def _is_one(document: Document, at: At, auth: Mapping[str, Any]) -> bool:
    if sum(source in auth for source in SOURCES) == 1:
        return True
    document.report(at, "a bearer needs exactly one of `env`, `file` and `keyring`")
    return False
