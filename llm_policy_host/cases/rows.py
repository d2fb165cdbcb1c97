"""What a case file may say: a row per key, from which files are checked and the reference is written."""

from __future__ import annotations

from typing import Final, get_args

from llm_policy_host.config import kinds
from llm_policy_host.config.kinds import (
    AMOUNT,
    FLAG,
    NAME,
    RECORD,
    Kind,
    Schema,
    list_of,
    record_of,
    text,
)
from llm_policy_host.config.setting import Setting
from llm_policy_host.values import FailureKind

ANSWERED = "ok"
"""How an attempt that answered ends, where a failed one has its kind."""

NOBODY = "nobody"
"""Who is chosen where nobody answers."""

REST = "..."
"""At the end of an order: whoever else, in any order."""


def _is_order(value: list[str]) -> bool:
    return REST not in value[:-1]


_ROUTE: Final[Schema] = {"type": "string", "pattern": "@"}
_ENDS: Final[Schema] = {"enum": [ANSWERED, *get_args(FailureKind)]}
_ATTEMPT: Final[Schema] = {
    "type": "object",
    "propertyNames": _ROUTE,
    "additionalProperties": _ENDS,
    "minProperties": 1,
    "maxProperties": 1,
}
_TEXT: Final = text("a text")
_WHOLE: Final = Kind("a whole number", {"type": "integer"})
_ORDER: Final = Kind(
    "a list of routes", {"type": "array", "items": {"anyOf": [{"enum": [REST]}, _ROUTE]}}, _is_order
)
_ROUTES: Final = record_of("a record of `MODEL @ PROVIDER` to record", RECORD.schema, propertyNames=_ROUTE)


CATALOG: Final = (
    Setting(
        "providers",
        record_of("a record of name to record", RECORD.schema),
        "keys of providers, over the config's",
    ),
    Setting(
        "models",
        record_of("a record of family to record", RECORD.schema),
        "keys of models, over the config's",
    ),
    Setting(
        "routes",
        _ROUTES,
        "keys of routes, over the config's; `null` takes a key away, and a route that is none is added",
    ),
)

STATE: Final = (
    Setting(
        "prices",
        _ROUTES,
        "`price_in` and `price_out` that the host learned, for routes whose config names none",
    ),
    Setting("credits", record_of("a record of provider to number", AMOUNT.schema), "USD that are left"),
    Setting(
        "breakers",
        record_of("a record of provider or `MODEL @ PROVIDER` to number", AMOUNT.schema),
        "open breakers, and for how many milliseconds yet",
    ),
    Setting(
        "disabled",
        record_of("a record of provider to number", AMOUNT.schema),
        "disabled providers, and for how many milliseconds yet",
    ),
    Setting(
        "observed",
        _ROUTES,
        "`latency_ms`, `tok_s`, `success_rate` and declared fields as measured",
    ),
    Setting(
        "multipliers",
        record_of("a record of source or provider to number", AMOUNT.schema),
        "by how much prices count in rankings",
    ),
    Setting("offers", Kind("a record of discovery to offers", RECORD.schema), "what marketplaces offer"),
)

REQUIREMENTS: Final = (
    Setting("needs", list_of("a list of names", NAME.schema), "`tools`, `vision`, `json_mode`, `seed`"),
    Setting("min_context", AMOUNT, "the least context window, in tokens"),
    Setting("model_family", NAME, "only this family"),
    Setting("tier", NAME, "only this tier"),
    Setting("privacy", text("`tee_required`, `no_log` or `none`"), "who may see the messages"),
    Setting("min_tok_s", AMOUNT, "the least speed, in tokens per second"),
    Setting("max_latency_ms", AMOUNT, "the longest latency"),
    Setting(
        "pin", Kind("a record of `provider`, `model`", RECORD.schema), "only this provider, or model, or both"
    ),
)

REQUEST: Final = (
    *REQUIREMENTS,
    Setting("params", RECORD, "sampling parameters"),
    Setting("tools", FLAG, "whether tools are given"),
    Setting("images", FLAG, "whether images are given"),
    Setting("response_format", text("a type's name"), "`json_object` or `json_schema`"),
    Setting("scope", NAME, "its scope"),
    Setting("chain", _ORDER, "the chain that the contract brings"),
    Setting("prompt", _TEXT, "the caller's message"),
    Setting("stream", FLAG, "whether the answer is to come in pieces"),
    Setting("timeout_ms", AMOUNT, "how long an attempt may take"),
    Setting("deadline_ms", AMOUNT, "how long the run may take"),
)

EXPECT: Final = (
    Setting(
        "order",
        _ORDER,
        f"who would serve, first to last; `{REST}` at the end stands for the rest",
    ),
    Setting(
        "rejected",
        record_of("a record of route to reason", NAME.schema, propertyNames=_ROUTE),
        "who is rejected, and the reason as `rank` prints it",
    ),
    Setting(
        "chosen",
        Kind(f"a route or `{NOBODY}`", {"anyOf": [{"enum": [NOBODY]}, _ROUTE]}),
        "who answers in the end",
    ),
    Setting(
        "attempts",
        list_of(f"a list of `{{ROUTE: {ANSWERED} or failure kind}}`", _ATTEMPT),
        "every call of the run and how it ended",
    ),
    Setting(
        "params",
        RECORD,
        "parameters of the last call: a value, `null` where there is none, or `{from, to}`",
    ),
    Setting(
        "error",
        _TEXT,
        "how a run without answer ended: `no_candidates`, `exhausted: KIND`, a kind",
    ),
    Setting("text", _TEXT, "the answer"),
    Setting("took_ms", AMOUNT, "how long the run took, by the virtual clock"),
    Setting("within_ms", AMOUNT, "how long it took at most"),
)

_WHERE = (
    Setting("profile", text("a profile's name"), "the profile that decides"),
    Setting(
        "policy",
        kinds.FILE,
        "in place of a profile: a policy in Lua or JSON, beside this file",
    ),
    Setting("now_ms", _WHOLE, "the time at the start, in milliseconds since 1970"),
    Setting("seed", _WHOLE, "what draws and jitter follow from (default 0)"),
    Setting("catalog", RECORD, "what differs from the config's catalog", CATALOG),
    Setting("state", RECORD, "what the host knows besides", STATE),
)

CASE: Final = (
    Setting("name", _TEXT, "what is claimed"),
    *_WHERE,
    Setting("request", RECORD, "what is asked for", REQUEST),
    Setting("body", RECORD, "in place of `request`: a body of `/v1/chat/completions`"),
    Setting(
        "script",
        Kind("a record of provider to turns", RECORD.schema),
        "what providers do, in the words of scripted providers; who has none answers at once",
    ),
    Setting("expect", RECORD, "what must come of it", EXPECT),
)

FILE: Final = (
    Setting(
        "config",
        kinds.FILE,
        "the config, beside this file (default: `NAME.yaml` of `NAME.test.yaml`, else `policy.yaml`)",
    ),
    *_WHERE,
    Setting("cases", Kind("a list of cases", {"type": "array"}), "the cases"),
)
