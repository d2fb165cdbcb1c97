"""The host's keys about the ledger: where calls are written, who pays, what is kept of what they say."""

from __future__ import annotations

from llm_policy_host.ledger.account import WINDOWS_MS
from llm_policy_host.ledger.caveats import CONTENT_LEVELS

from .kinds import COUNT, DURATION, FLAG, NAME, PATH, POSITIVE, RECORD, Kind, text, word
from .setting import Setting

_MOST_USD = 1_000_000_000
_USD = Kind("USD", {"type": "number", "minimum": 0, "maximum": _MOST_USD})
_ACCOUNT_NAME = text("an account")


def _one_of(*keys: str) -> Kind:
    """Take a record with exactly one of some keys."""
    *others, last = (f"`{key}`" for key in keys)
    return Kind(
        f"a record with exactly one of {', '.join(others)} and {last}",
        {**RECORD.schema, "oneOf": [{"required": [key]} for key in keys]},
    )


_ENV = Setting("env", NAME, "the environment variable that holds it")
_FILE = Setting("file", PATH, "or: a file that does")

_LEDGER = (
    Setting("file", PATH, "its SQLite file, made if there is none"),
    Setting("url_env", NAME, "or: the environment variable that holds the address of a PostgreSQL database"),
    Setting(
        "durability",
        word("off", "batch", "strict"),
        "`off`: the system writes when it likes; `batch`: events are synced in groups (default); `strict`:"
        " and no byte of a call leaves before its event is synced",
    ),
    Setting(
        "mode",
        word("exclusive", "shared"),
        "whether this host writes alone (default), or several take turns",
    ),
    Setting("archive", PATH, "the folder for what is archived (default: beside the file)"),
    Setting("retain_days", COUNT, "archive at the start what is older than so many days (default: none)"),
    Setting("account", _ACCOUNT_NAME, "who pays for calls of callers that name none"),
)

_ACCOUNT = (
    Setting("parent", _ACCOUNT_NAME, "the account above it, whose limits hold too"),
    Setting("usd", _USD, "the most that may be spent; a call without a known price is refused"),
    Setting("tokens", COUNT, "the most tokens, both ways"),
    Setting("calls", COUNT, "the most calls of providers"),
    Setting(
        "window",
        word(*WINDOWS_MS),
        "what the limits are of (default `lifetime`); days and hours are UTC's",
    ),
    Setting("shadow", FLAG, "whether it only counts what it would have refused"),
)

_CONTENT = (
    Setting(
        "level",
        word(*CONTENT_LEVELS),
        "`none` (default); `digest`: a keyed digest in events; `sealed`: and the text, sealed with its"
        " tenant's key; `plain`: and the text as it is",
    ),
    Setting("file", PATH, "its SQLite file, made if there is none (default `content.db`)"),
    Setting(
        "key",
        _one_of("env", "file", "keyring"),
        "the deployment's key, of at least 32 characters: it makes the digests and wraps the tenants' keys",
        parts=(
            _ENV,
            _FILE,
            Setting("keyring", text("`SERVICE/NAME`"), "or: the entry of the system's keyring"),
        ),
    ),
    Setting("retain_days", POSITIVE, "how long it is kept (absent: until purged)"),
)

_GATE = (
    Setting(
        "when",
        Kind(
            "a filter as a profile has it, or a term of it",
            {"type": ["string", "array", "object"]},
        ),
        "what it holds for: a predicate over the candidate and what is known of the attempt",
    ),
    Setting("reason", NAME, "the word that an approver reads (default: its name)"),
)

LEDGER_SETTINGS = (
    Setting(
        "gates",
        Kind("a record of name to gate", RECORD.schema),
        "attempts that a person has to approve before they are made; they need a `ledger`",
        parts=_GATE,
        is_each=True,
    ),
    Setting(
        "approvals",
        RECORD,
        "how what a gate holds waits",
        parts=(Setting("ttl_ms", DURATION, "how long, then it is denied (default 86400000, a day)"),),
    ),
    Setting(
        "keys_root",
        _one_of("env", "file"),
        "the secret that `llm-policy keys mint` makes keys with, of at least 32 characters",
        parts=(_ENV, _FILE),
    ),
    Setting("audience", NAME, "what keys with the caveat `audience` must name to be good here"),
    Setting(
        "ledger",
        _one_of("file", "url_env"),
        "where every call is written down (absent: nowhere)",
        parts=_LEDGER,
    ),
    Setting(
        "accounts",
        Kind("a record of name to account", RECORD.schema),
        "budgets, each below its parent; they need a `ledger`",
        parts=_ACCOUNT,
        is_each=True,
    ),
    Setting(
        "content",
        RECORD,
        "what is kept of prompts, answers and providers' error texts; it needs a `ledger`",
        parts=_CONTENT,
    ),
)
"""Rows of the table of settings."""
