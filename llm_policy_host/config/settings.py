"""The host's own keys of a config: `runtime` and `host`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .kinds import (
    COUNT,
    DURATION,
    FILE,
    FLAG,
    NAME,
    PATH,
    POSITIVE,
    RECORD,
    TEXTS,
    Kind,
    list_of,
    record_of,
    text,
    word,
)
from .ledger_settings import LEDGER_SETTINGS
from .names import nearest
from .setting import Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    prices: str | None = None
    gateway: Mapping[str, Any] = field(default_factory=dict)
    keys_root: Mapping[str, Any] = field(default_factory=dict)
    audience: str | None = None
    ledger: Mapping[str, Any] = field(default_factory=dict)
    accounts: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    approvals: Mapping[str, Any] = field(default_factory=dict)


SOURCE_KINDS = ("json", "openrouter", "antseed")
"""The shapes of feeds that a source may have."""

_SOURCE = (
    Setting(
        "kind",
        word(*SOURCE_KINDS),
        "the shape of what is read",
    ),
    Setting("discovery_id", NAME, "whom it feeds (default: the source's own name)"),
    Setting("url", text("an address"), "where it is asked (openrouter: `https://openrouter.ai/api/v1`)"),
    Setting("file", FILE, "or: a file that something else writes"),
    Setting(
        "command",
        TEXTS,
        "or: a program and its arguments, without a shell; what it prints is read"
        " (antseed: `antseed network browse --services --json`)",
    ),
    Setting("auth_env", NAME, "the environment variable of the token that `url` wants"),
    Setting("every_ms", DURATION, "how often it is asked (default 60000)"),
    Setting("timeout_ms", DURATION, "how long an answer may take (default 10000)"),
    Setting(
        "ttl_ms",
        DURATION,
        "how long an offer is good that names no end (default: three times `every_ms`)",
    ),
    Setting("items", text("dotted keys"), "json: what leads to the list (default: `offers` or `data`)"),
    Setting(
        "fields",
        record_of("a record of name to dotted keys", NAME.schema),
        "json: where an offer's words stand in an item (default: under their own names)",
    ),
    Setting(
        "price_unit",
        word("usd_per_mtok", "usd_per_token"),
        "json: what prices are in (default `usd_per_mtok`)",
    ),
    Setting(
        "families",
        record_of("a record of family to name", NAME.schema),
        "what the feed calls a family (known anyway: its own name, each `provider_model_id`)",
    ),
    Setting(
        "endpoints",
        Kind("`any` or a list of addresses", {"anyOf": [{"enum": ["any"]}, TEXTS.schema]}),
        "origins that an offer's `seller_endpoint` may name: a provider's key goes there (default: none)",
    ),
    Setting(
        "each_endpoint",
        FLAG,
        "openrouter: whether each endpoint of a model is a peer (default: the model is the one offer)",
    ),
    Setting(
        "pin",
        text("a header's name or `provider.only`"),
        "how a call names the peer it is for (antseed: `x-antseed-pin-peer`)",
    ),
    Setting(
        "max_offers_per_family",
        POSITIVE,
        "how many of a family's offers are looked at, healthy ones first, then the cheapest (default 64)",
    ),
)

RIGHTS = ("policy", "metadata", "extra_candidates", "auth_override", "approve", "session", "admin")
"""What a key of the gateway may besides asking."""

_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$", "maxLength": 64}
_SOURCES_OF_KEYS = [{"required": [key]} for key in ("env", "file", "sha256")]
_KEYS = record_of(
    "a record of name to key, each with exactly one of `env`, `file` and `sha256`",
    # what is no record is told of below
    {"anyOf": [{"type": ["string", "number", "boolean", "array"]}, {"oneOf": _SOURCES_OF_KEYS}]},
)

_KEY = (
    Setting("env", NAME, "the environment variable that holds the key"),
    Setting("file", PATH, "or: a file that holds it, read when the gateway starts"),
    Setting("sha256", Kind("64 hex digits", _DIGEST), "or: its digest, so that it is nowhere here"),
    Setting(
        "profiles",
        list_of("a list of profiles", {"type": "string"}, minItems=1),
        "the only ones it may use; one alone is its default (absent: all)",
    ),
    Setting(
        "may",
        list_of("a list of " + " ".join(f"`{right}`" for right in RIGHTS), {"enum": list(RIGHTS)}),
        "what its caller may besides: give a policy of his own, see how an answer came about, bring"
        " candidates, call a provider with a key of his own, decide what waits for approval, open"
        " sessions, administrate",
    ),
)


SETTINGS = (
    Setting(
        "deadline_ms",
        DURATION,
        "how long a whole run may take (default 50000: below usual load balancers' 60 s)",
    ),
    Setting(
        "trace",
        word("used", "full"),
        "how much of the ranking a trace lists: as far as used (default), or every candidate",
    ),
    Setting(
        "credits",
        record_of("a record of provider to USD", {"type": "number"}),
        "what is left at each provider, observed by policies as `credits`",
    ),
    Setting(
        "scripts",
        record_of(
            "a record of provider to a script or a file of one", {"type": ["string", "array", "object"]}
        ),
        "what the providers of `api_kind: scripted` answer",
    ),
    Setting(
        "sources",
        Kind("a record of name to source", RECORD.schema),
        "where the offers of marketplace providers come from",
        parts=_SOURCE,
        is_each=True,
    ),
    Setting(
        "prices",
        FILE,
        "vendors' prices in place of the packaged ones, as `llm-policy models prices --update` writes them",
    ),
    Setting(
        "limits",
        RECORD,
        "how much the gateway takes on",
        parts=(
            Setting("max_in_flight", POSITIVE, "requests under way (default 1024)"),
            Setting("max_queue", COUNT, "requests that may wait for a place (default 1024)"),
            Setting("queue_ms", POSITIVE, "how long one may wait, then 503 (default 5000)"),
            Setting("max_body_bytes", POSITIVE, "a larger body is a 413 (default 32 MiB)"),
            Setting("drain_ms", POSITIVE, "how long a stop waits for those under way (default 30000)"),
            Setting(
                "kept_ms",
                POSITIVE,
                "how long an answer is kept for a repeat of its Idempotency-Key (default 86400000)",
            ),
            Setting("max_kept_bytes", COUNT, "how much of such answers, the newest (default 64 MiB)"),
        ),
    ),
    Setting(
        "lanes",
        Kind("a record of provider to bounds", RECORD.schema),
        "how many calls a provider gets at once; one whose line is full is passed over",
        parts=(
            Setting("max_in_flight", POSITIVE, "calls under way (default 64)"),
            Setting("max_queue", COUNT, "calls that may wait in line (default 64)"),
        ),
        is_each=True,
    ),
    Setting(
        "keys",
        _KEYS,
        "who may call the gateway; without any, whoever is on this machine",
        parts=_KEY,
        is_each=True,
    ),
    *LEDGER_SETTINGS,
    Setting(
        "gateway",
        RECORD,
        "what `llm-policy serve` does",
        parts=(
            Setting(
                "metadata",
                FLAG,
                "whether every answer has `x_router` (default: for callers who ask)",
            ),
            Setting(
                "flows",
                Kind("a record of name to flow", RECORD.schema),
                "flows that callers ask for as `flow:NAME`: terms `[flow, {id: {kind, inputs, …}}]`, whose"
                " llm nodes may be `independent_of` inputs, or `{audit: {draft, audit, revise}}`",
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
    if "keys_root" in good and "ledger" not in good:
        document.report(("host", "keys_root"), "minted keys need a `host.ledger` that knows them")
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
        if name.startswith(("key:", "session:")):
            detail = f"`{name.partition(':')[0]}:` begins the names of accounts that are not the config's"
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


def _check_content(document: Document, content: Mapping[str, Any], ledger: Mapping[str, Any] | None) -> None:
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
    elif not setting.kind.is_good(value):
        document.report((*at, key), f"must be {setting.kind.accepts}")
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
