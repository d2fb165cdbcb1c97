"""The host's own keys of a config: `runtime` and `host`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .document import Document

At = tuple[str | int, ...]

_COUNT = "a whole number of at least 0"


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


def _is_count(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_record(value: Any) -> bool:  # noqa: ANN401 - any plain value
    """Whether a setting is a record with text keys."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


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
    Setting(
        "limits",
        "a record",
        _is_record,
        "how much the gateway takes on",
        parts=(
            Setting("max_in_flight", _COUNT, _is_duration, "requests under way (default 1024)"),
            Setting("max_queue", _COUNT, _is_count, "requests that may wait for a place (default 1024)"),
            Setting("queue_ms", _COUNT, _is_duration, "how long one may wait, then 503 (default 5000)"),
            Setting("max_body_bytes", _COUNT, _is_duration, "a larger body is a 413 (default 32 MiB)"),
            Setting(
                "drain_ms", _COUNT, _is_duration, "how long a stop waits for those under way (default 30000)"
            ),
        ),
    ),
    Setting(
        "lanes",
        "a record of provider to bounds",
        _is_record,
        "how many calls a provider gets at once; one whose line is full is passed over",
        parts=(
            Setting("max_in_flight", _COUNT, _is_duration, "calls under way (default 64)"),
            Setting("max_queue", _COUNT, _is_count, "calls that may wait in line (default 64)"),
        ),
        is_each=True,
    ),
    Setting(
        "gateway",
        "a record",
        _is_record,
        "what `llm-policy serve` does",
        parts=(
            Setting(
                "metadata",
                "true or false",
                lambda value: isinstance(value, bool),
                "whether every answer has `x_router` (default: for callers who ask)",
            ),
        ),
    ),
)

HOST_KEYS = ("runtime", "host")
"""Top-level keys that are the host's; the core never sees them."""


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
