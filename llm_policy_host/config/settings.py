"""The host's own keys of a config: `runtime` and `host`."""

from __future__ import annotations

import re
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
    prices: str | None = None
    gateway: Mapping[str, Any] = field(default_factory=dict)
    keys_root: Mapping[str, Any] = field(default_factory=dict)
    audience: str | None = None
    ledger: Mapping[str, Any] = field(default_factory=dict)
    accounts: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)


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


def _is_text(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and bool(value)


def _is_texts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _is_named_texts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(_is_text(item) for item in value.values())


SOURCE_KINDS = ("json", "openrouter", "antseed")
"""The shapes of feeds that a source may have."""

_DURATION = "a whole number of milliseconds above 0"

_SOURCE = (
    Setting(
        "kind",
        "`json`, `openrouter` or `antseed`",
        lambda value: value in SOURCE_KINDS,
        "the shape of what is read",
    ),
    Setting("discovery_id", "a name", _is_text, "whom it feeds (default: the source's own name)"),
    Setting("url", "an address", _is_text, "where it is asked (openrouter: `https://openrouter.ai/api/v1`)"),
    Setting("file", "a file's name", _is_text, "or: a file that something else writes"),
    Setting(
        "command",
        "a list of texts",
        _is_texts,
        "or: a program and its arguments, without a shell; what it prints is read"
        " (antseed: `antseed network browse --services --json`)",
    ),
    Setting("auth_env", "a name", _is_text, "the environment variable of the token that `url` wants"),
    Setting("every_ms", _DURATION, _is_duration, "how often it is asked (default 60000)"),
    Setting("timeout_ms", _DURATION, _is_duration, "how long an answer may take (default 10000)"),
    Setting(
        "ttl_ms",
        _DURATION,
        _is_duration,
        "how long an offer is good that names no end (default: three times `every_ms`)",
    ),
    Setting("items", "dotted keys", _is_text, "json: what leads to the list (default: `offers` or `data`)"),
    Setting(
        "fields",
        "a record of name to dotted keys",
        _is_named_texts,
        "json: where an offer's words stand in an item (default: under their own names)",
    ),
    Setting(
        "price_unit",
        "`usd_per_mtok` or `usd_per_token`",
        lambda value: value in ("usd_per_mtok", "usd_per_token"),
        "json: what prices are in (default `usd_per_mtok`)",
    ),
    Setting(
        "families",
        "a record of family to name",
        _is_named_texts,
        "what the feed calls a family (known anyway: its own name, each `provider_model_id`)",
    ),
    Setting(
        "endpoints",
        "`any` or a list of addresses",
        lambda value: value == "any" or _is_texts(value),
        "origins that an offer's `seller_endpoint` may name: a provider's key goes there (default: none)",
    ),
    Setting(
        "each_endpoint",
        "true or false",
        lambda value: isinstance(value, bool),
        "openrouter: whether each endpoint of a model is a peer (default: the model is the one offer)",
    ),
    Setting(
        "pin",
        "a header's name or `provider.only`",
        _is_text,
        "how a call names the peer it is for (antseed: `x-antseed-pin-peer`)",
    ),
    Setting(
        "max_offers_per_family",
        _COUNT,
        _is_duration,
        "how many of a family's offers are looked at, healthy ones first, then the cheapest (default 64)",
    ),
)

RIGHTS = ("policy", "metadata", "extra_candidates", "auth_override", "admin")
"""What a key of the gateway may besides asking."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _is_digest(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and _DIGEST.match(value) is not None


def _are_rights(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, list) and all(right in RIGHTS for right in value)


def _are_keys(value: Any) -> bool:  # noqa: ANN401 - any plain value
    """Whether each key names where it is; what is no record is told of below."""
    return _is_record(value) and all(
        not isinstance(key, dict) or len(key.keys() & {"env", "file", "sha256"}) == 1
        for key in value.values()
    )


_KEY = (
    Setting("env", "a name", _is_text, "the environment variable that holds the key"),
    Setting("file", "a path", _is_text, "or: a file that holds it, read when the gateway starts"),
    Setting("sha256", "64 hex digits", _is_digest, "or: its digest, so that it is nowhere here"),
    Setting(
        "profiles",
        "a list of profiles",
        _is_texts,
        "the only ones it may use; one alone is its default (absent: all)",
    ),
    Setting(
        "may",
        "a list of " + " ".join(f"`{right}`" for right in RIGHTS),
        _are_rights,
        "what its caller may besides: give a policy of his own, see how an answer came about, bring"
        " candidates, call a provider with a key of his own, administrate",
    ),
)


DURABILITIES = ("off", "batch", "strict")
"""How surely an event is on the disk before its call goes out."""


def _is_ledger(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return _is_record(value) and len(value.keys() & {"file", "url_env"}) == 1


_LEDGER = (
    Setting("file", "a path", _is_text, "its SQLite file, made if there is none"),
    Setting(
        "url_env",
        "a name",
        _is_text,
        "or: the environment variable that holds the address of a PostgreSQL database",
    ),
    Setting(
        "durability",
        "`off`, `batch` or `strict`",
        lambda value: value in DURABILITIES,
        "`off`: the system writes when it likes; `batch`: events are synced in groups (default); `strict`:"
        " and no byte of a call leaves before its event is synced",
    ),
    Setting(
        "mode",
        "`exclusive` or `shared`",
        lambda value: value in ("exclusive", "shared"),
        "whether this host writes alone (default), or several take turns",
    ),
    Setting("archive", "a path", _is_text, "the folder for what is archived (default: beside the file)"),
    Setting(
        "retain_days",
        _COUNT,
        _is_count,
        "archive at the start what is older than so many days (default: none)",
    ),
    Setting("account", "an account", _is_text, "who pays for calls of callers that name none"),
)


CONTENT_LEVELS = ("none", "digest", "sealed", "plain")
"""How much of content may be kept, from nothing to all (spec 5.6)."""

_CONTENT = (
    Setting(
        "level",
        "`none`, `digest`, `sealed` or `plain`",
        lambda value: value in CONTENT_LEVELS,
        "`none` (default); `digest`: a keyed digest in events; `sealed`: and the text, sealed with its tenant's"
        " key; `plain`: and the text as it is",
    ),
    Setting("file", "a path", _is_text, "its SQLite file, made if there is none (default `content.db`)"),
    Setting(
        "key",
        "a record with exactly one of `env`, `file` and `keyring`",
        lambda value: _is_record(value) and len(value.keys() & {"env", "file", "keyring"}) == 1,
        "the deployment's key, of at least 32 characters: it makes the digests and wraps the tenants' keys",
        parts=(
            Setting("env", "a name", _is_text, "the environment variable that holds it"),
            Setting("file", "a path", _is_text, "or: a file that does"),
            Setting("keyring", "`SERVICE/NAME`", _is_text, "or: the entry of the system's keyring"),
        ),
    ),
    Setting("retain_days", "a whole number above 0", _is_duration, "how long it is kept (absent: until purged)"),
)


def _is_amount(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_USD


_MOST_USD = 1_000_000_000

_WINDOWS = ("lifetime", "day", "hour", "minute")

_ACCOUNT = (
    Setting("parent", "an account", _is_text, "the account above it, whose limits hold too"),
    Setting("usd", "USD", _is_amount, "the most that may be spent; a call without a known price is refused"),
    Setting("tokens", _COUNT, _is_count, "the most tokens, both ways"),
    Setting("calls", _COUNT, _is_count, "the most calls of providers"),
    Setting(
        "window",
        " ".join(f"`{window}`" for window in _WINDOWS),
        lambda value: value in _WINDOWS,
        "what the limits are of (default `lifetime`); days and hours are UTC's",
    ),
    Setting(
        "shadow",
        "true or false",
        lambda value: isinstance(value, bool),
        "whether it only counts what it would have refused",
    ),
)


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
        "sources",
        "a record of name to source",
        _is_record,
        "where the offers of marketplace providers come from",
        parts=_SOURCE,
        is_each=True,
    ),
    Setting(
        "prices",
        "a file's name",
        _is_text,
        "vendors' prices in place of the packaged ones, as `llm-policy models prices --update` writes them",
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
        "keys",
        "a record of name to key, each with exactly one of `env`, `file` and `sha256`",
        _are_keys,
        "who may call the gateway; without any, whoever is on this machine",
        parts=_KEY,
        is_each=True,
    ),
    Setting(
        "keys_root",
        "a record with exactly one of `env` and `file`",
        lambda value: _is_record(value) and len(value.keys() & {"env", "file"}) == 1,
        "the secret that `llm-policy keys mint` makes keys with, of at least 32 characters",
        parts=(
            Setting("env", "a name", _is_text, "the environment variable that holds it"),
            Setting("file", "a path", _is_text, "or: a file that does"),
        ),
    ),
    Setting("audience", "a name", _is_text, "what keys with the caveat `audience` must name to be good here"),
    Setting(
        "ledger",
        "a record with exactly one of `file` and `url_env`",
        _is_ledger,
        "where every call is written down (absent: nowhere)",
        parts=_LEDGER,
    ),
    Setting(
        "accounts",
        "a record of name to account",
        _is_record,
        "budgets, each below its parent; they need a `ledger`",
        parts=_ACCOUNT,
        is_each=True,
    ),
    Setting(
        "content",
        "a record",
        _is_record,
        "what is kept of prompts, answers and providers' error texts; it needs a `ledger`",
        parts=_CONTENT,
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
            Setting(
                "flows",
                "a record of name to flow",
                _is_record,
                "flows that callers ask for as `flow:NAME`, as terms: `[flow, {id: {kind, inputs, …}}]`",
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
    _check_profiles(document, good.get("keys") or {})
    _check_accounts(document, good.get("accounts") or {}, good.get("ledger"))
    _check_content(document, good.get("content") or {}, good.get("ledger"))
    return Settings(**good)


def _check_accounts(
    document: Document, accounts: Mapping[str, Mapping[str, Any]], ledger: Mapping[str, Any] | None
) -> None:
    """Note accounts without a ledger, parents that are none, and circles."""
    if accounts and ledger is None:
        document.report(("host", "accounts"), "budgets need a `host.ledger` that holds what was spent")
    for name, account in accounts.items():
        if name.startswith("key:"):
            detail = "`key:` begins the names of keys' own accounts"
            document.report(("host", "accounts", name), detail, key=True)
        at, parent = ("host", "accounts", name, "parent"), account.get("parent")
        if parent is not None and parent not in accounts:
            document.report(at, f"no account `{parent}`", near=nearest(parent, accounts))
        seen = {name}
        while parent is not None and parent in accounts:
            if parent in seen:
                document.report(at, f"`{name}` is below itself")
                break
            seen.add(parent)
            parent = accounts[parent].get("parent")
    payer = (ledger or {}).get("account")
    if payer is not None and payer not in accounts:
        near = nearest(payer, accounts)
        document.report(("host", "ledger", "account"), f"no account `{payer}`", near=near)


def _check_content(
    document: Document, content: Mapping[str, Any], ledger: Mapping[str, Any] | None
) -> None:
    """Note content that is to be kept without a key, or without a ledger that says of which run it is."""
    if content.get("level", "none") == "none":
        return
    if "key" not in content:
        document.report(("host", "content"), "keeping content needs a `key`")
    if ledger is None:
        document.report(("host", "content"), "keeping content needs a `host.ledger`")


def _check_profiles(document: Document, keys: Mapping[str, Mapping[str, Any]]) -> None:
    """Note the profiles that a key may use and that are none."""
    profiles = document.data.get("profiles")
    known = profiles if isinstance(profiles, dict) else {}
    for name, key in keys.items():
        for place, profile in enumerate(key.get("profiles", ()), 1):
            if profile not in known:
                at = ("host", "keys", name, "profiles", place)
                document.report(at, f"no profile `{profile}`", near=nearest(profile, known))


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
            name: read_parts(document, (*at, key, name), setting.parts, part) for name, part in value.items()
        }
    elif setting.parts:
        good[key] = read_parts(document, (*at, key), setting.parts, value)
    else:
        good[key] = value


def read_parts(document: Document, at: At, parts: Iterable[Setting], value: Any) -> dict[str, Any]:  # noqa: ANN401
    """Check a record by the rows of its keys, noting mistakes in the document; give what is good of it."""
    good: dict[str, Any] = {}
    if not isinstance(value, dict):
        document.report(at, "must be a record")
        return good
    known = {part.key: part for part in parts}
    for item in value.items():
        _read_part(document, at, known, item, good)
    return good
