"""The host's own keys of a config: `runtime`, `host`, and what `auth` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .document import Document

At = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The host's settings, defaults filled in."""

    runtime: str | None = None
    deadline_ms: int = 50_000
    trace: str = "used"
    credits: Mapping[str, float] = field(default_factory=dict)
    scripts: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    lanes: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)
    gateway: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table of settings: its key under `host`, what it accepts, what it means.

    `parts` are the keys of a record; `is_each` says that it is a record of such records, by name.
    """

    key: str
    accepts: str
    is_good: Callable[[Any], bool]
    about: str
    parts: tuple[Setting, ...] = ()
    is_each: bool = False


def _is_duration(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_credits(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(
        isinstance(amount, int | float) and not isinstance(amount, bool) for amount in value.values()
    )


def _is_scripts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(isinstance(script, str | list | dict) for script in value.values())


SETTINGS = (
    Setting(
        "deadline_ms",
        "a whole number of milliseconds above 0",
        _is_duration,
        "how long a whole run may take (default 50000: below usual load balancers' 60 s)",
    ),
    Setting(
        "trace",
        "`used` or `full`",
        lambda value: value in ("used", "full"),
        "how much of the ranking a trace lists: as far as used (default), or every candidate",
    ),
    Setting(
        "credits",
        "a record of provider to USD",
        _is_credits,
        "what is left at each provider, observed by policies as `credits`",
    ),
    Setting(
        "scripts",
        "a record of provider to a script or a file of one",
        _is_scripts,
        "what the providers of `api_kind: scripted` answer",
    ),
)

HOST_KEYS = ("runtime", "host")
"""Top-level keys that are the host's; the core never sees them."""

_AUTH_KEYS = {"none": (), "bearer": ("env", "file"), "oauth": None}
_AUTH_SOURCES = ("env", "file")


def read_settings(document: Document, runtimes: Iterable[str]) -> Settings:
    """Check the host's keys, noting mistakes in the document; what is wrong keeps its default."""
    data = document.data
    good: dict[str, Any] = {}
    runtime = data.get("runtime")
    names = tuple(runtimes)
    if runtime in names:
        good["runtime"] = runtime
    elif runtime is not None:
        near = nearest(runtime, names) if isinstance(runtime, str) else None
        document.report(("runtime",), f"`{runtime}` is no runtime of this platform", near=near)
    host = data.get("host", {})
    if not isinstance(host, dict):
        document.report(("host",), "must be a record")
        return Settings(**good)
    for key, value in host.items():
        _read_setting(document, key, value, good)
    return Settings(**good)


def _read_setting(document: Document, key: str, value: Any, good: dict[str, Any]) -> None:  # noqa: ANN401
    _read_part(document, ("host",), {setting.key: setting for setting in SETTINGS}, (key, value), good)


def _read_part(
    document: Document, at: At, known: Mapping[str, Setting], item: tuple[str, Any], good: dict[str, Any]
) -> None:
    """Check one key of a record; what is good of it goes to `good`."""
    key, value = item
    setting = known.get(key)
    if setting is None:
        document.report((*at, key), f"unknown key `{key}`", near=nearest(key, known), key=True)
    elif value is None:
        return
    elif not setting.is_good(value):
        document.report((*at, key), f"must be {setting.accepts}")
    elif setting.parts and setting.is_each:
        good[key] = {
            name: _read_parts(document, (*at, key, name), setting, part) for name, part in value.items()
        }
    elif setting.parts:
        good[key] = _read_parts(document, (*at, key), setting, value)
    else:
        good[key] = value


def _read_parts(document: Document, at: At, setting: Setting, value: Any) -> dict[str, Any]:  # noqa: ANN401
    good: dict[str, Any] = {}
    if not isinstance(value, dict):
        document.report(at, "must be a record")
        return good
    known = {part.key: part for part in setting.parts}
    for item in value.items():
        _read_part(document, at, known, item, good)
    return good


def is_record(value: Any) -> bool:  # noqa: ANN401 - any plain value
    """Whether a setting is a record with text keys."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


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
        return _named(document, (*at, "auth_env"), {"kind": "bearer", "env": name}, name)
    if auth is None:
        return {"kind": "none"}
    if not isinstance(auth, dict):
        document.report((*at, "auth"), "must be a record with a `kind`")
        return {"kind": "none"}
    return _read_auth_record(document, (*at, "auth"), auth)


def _read_auth_record(document: Document, at: At, auth: dict[str, Any]) -> dict[str, Any]:
    kind = auth.get("kind")
    if kind not in _AUTH_KEYS:
        near = nearest(kind, _AUTH_KEYS) if isinstance(kind, str) else None
        document.report((*at, "kind"), f"must be one of {', '.join(_AUTH_KEYS)}", near=near)
        return {"kind": "none"}
    allowed = _AUTH_KEYS[kind]
    if allowed is not None:
        for key in auth:
            if key not in ("kind", *allowed):
                document.report((*at, key), f"unknown key `{key}`", near=nearest(key, allowed), key=True)
    if kind == "bearer":
        return _read_bearer(document, at, auth)
    return auth


def _read_bearer(document: Document, at: At, auth: dict[str, Any]) -> dict[str, Any]:
    given = [key for key in _AUTH_SOURCES if key in auth]
    if len(given) != 1:
        document.report(at, "a bearer needs exactly one of `env` and `file`")
        return {"kind": "none"}
    return _named(document, (*at, given[0]), auth, auth[given[0]])


def _named(document: Document, at: At, auth: dict[str, Any], name: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(name, str) and name:
        return auth
    document.report(at, "must be a name")
    return {"kind": "none"}
