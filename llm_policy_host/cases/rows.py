"""What a case file may say: a row per key, from which files are checked and the reference is written."""

from __future__ import annotations

from typing import Any, Final, get_args

from llm_policy_host.config.settings import Setting
from llm_policy_host.values import FailureKind

ANSWERED = "ok"
"""How an attempt that answered ends, where a failed one has its kind."""

NOBODY = "nobody"
"""Who is chosen where nobody answers."""

REST = "..."
"""At the end of an order: whoever else, in any order."""


def _is_text(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and bool(value)


def _is_texts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _is_record(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict)


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, int) and not isinstance(value, bool)


def _is_amount(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_flag(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, bool)


def _is_route(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and "@" in value


def _is_chosen(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return value == NOBODY or _is_route(value)


def _is_order(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, list) and all(
        _is_route(item) or (item == REST and place == len(value)) for place, item in enumerate(value, 1)
    )


def _is_amounts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(_is_amount(item) for item in value.values())


def _is_records(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(isinstance(item, dict) for item in value.values())


def _is_routes(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return _is_records(value) and all(map(_is_route, value))


def _is_reasons(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, dict) and all(_is_route(k) and _is_text(v) for k, v in value.items())


def _is_attempts(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, list) and all(
        isinstance(item, dict) and len(item) == 1 and all(map(_is_attempt, item.items())) for item in value
    )


def _is_attempt(item: tuple[str, Any]) -> bool:
    return _is_route(item[0]) and item[1] in (ANSWERED, *get_args(FailureKind))


CATALOG: Final = (
    Setting("providers", "a record of name to record", _is_records, "keys of providers, over the config's"),
    Setting("models", "a record of family to record", _is_records, "keys of models, over the config's"),
    Setting(
        "routes",
        "a record of `MODEL @ PROVIDER` to record",
        _is_routes,
        "keys of routes, over the config's; `null` takes a key away, and a route that is none is added",
    ),
)

STATE: Final = (
    Setting(
        "prices",
        "a record of `MODEL @ PROVIDER` to record",
        _is_routes,
        "`price_in` and `price_out` that the host learned, for routes whose config names none",
    ),
    Setting("credits", "a record of provider to number", _is_amounts, "USD that are left"),
    Setting(
        "breakers",
        "a record of provider or `MODEL @ PROVIDER` to number",
        _is_amounts,
        "open breakers, and for how many milliseconds yet",
    ),
    Setting(
        "disabled",
        "a record of provider to number",
        _is_amounts,
        "disabled providers, and for how many milliseconds yet",
    ),
    Setting(
        "observed",
        "a record of `MODEL @ PROVIDER` to record",
        _is_routes,
        "`latency_ms`, `tok_s`, `success_rate` and declared fields as measured",
    ),
    Setting(
        "multipliers",
        "a record of source or provider to number",
        _is_amounts,
        "by how much prices count in rankings",
    ),
    Setting("offers", "a record of discovery to offers", _is_record, "what marketplaces offer"),
)

REQUIREMENTS: Final = (
    Setting("needs", "a list of names", _is_texts, "`tools`, `vision`, `json_mode`, `seed`"),
    Setting("min_context", "a number of at least 0", _is_amount, "the least context window, in tokens"),
    Setting("model_family", "a name", _is_text, "only this family"),
    Setting("tier", "a name", _is_text, "only this tier"),
    Setting("privacy", "`tee_required`, `no_log` or `none`", _is_text, "who may see the messages"),
    Setting("min_tok_s", "a number of at least 0", _is_amount, "the least speed, in tokens per second"),
    Setting("max_latency_ms", "a number of at least 0", _is_amount, "the longest latency"),
    Setting("pin", "a record of `provider`, `model`", _is_record, "only this provider, or model, or both"),
)

REQUEST: Final = (
    *REQUIREMENTS,
    Setting("params", "a record", _is_record, "sampling parameters"),
    Setting("tools", "true or false", _is_flag, "whether tools are given"),
    Setting("images", "true or false", _is_flag, "whether images are given"),
    Setting("response_format", "a type's name", _is_text, "`json_object` or `json_schema`"),
    Setting("scope", "a name", _is_text, "its scope"),
    Setting("chain", "a list of routes", _is_order, "the chain that the contract brings"),
    Setting("prompt", "a text", _is_text, "the caller's message"),
    Setting("stream", "true or false", _is_flag, "whether the answer is to come in pieces"),
    Setting("timeout_ms", "a number of at least 0", _is_amount, "how long an attempt may take"),
    Setting("deadline_ms", "a number of at least 0", _is_amount, "how long the run may take"),
)

EXPECT: Final = (
    Setting(
        "order",
        "a list of routes",
        _is_order,
        f"who would serve, first to last; `{REST}` at the end stands for the rest",
    ),
    Setting(
        "rejected",
        "a record of route to reason",
        _is_reasons,
        "who is rejected, and the reason as `rank` prints it",
    ),
    Setting("chosen", f"a route or `{NOBODY}`", _is_chosen, "who answers in the end"),
    Setting(
        "attempts",
        f"a list of `{{ROUTE: {ANSWERED} or failure kind}}`",
        _is_attempts,
        "every call of the run and how it ended",
    ),
    Setting(
        "params",
        "a record",
        _is_record,
        "parameters of the last call: a value, `null` where there is none, or `{from, to}`",
    ),
    Setting(
        "error",
        "a text",
        _is_text,
        "how a run without answer ended: `no_candidates`, `exhausted: KIND`, a kind",
    ),
    Setting("text", "a text", _is_text, "the answer"),
    Setting("took_ms", "a number of at least 0", _is_amount, "how long the run took, by the virtual clock"),
    Setting("within_ms", "a number of at least 0", _is_amount, "how long it took at most"),
)

_WHERE = (
    Setting("profile", "a profile's name", _is_text, "the profile that decides"),
    Setting(
        "policy",
        "a file's name",
        _is_text,
        "in place of a profile: a policy in Lua or JSON, beside this file",
    ),
    Setting("now_ms", "a whole number", _is_whole, "the time at the start, in milliseconds since 1970"),
    Setting("seed", "a whole number", _is_whole, "what draws and jitter follow from (default 0)"),
    Setting("catalog", "a record", _is_record, "what differs from the config's catalog", CATALOG),
    Setting("state", "a record", _is_record, "what the host knows besides", STATE),
)

CASE: Final = (
    Setting("name", "a text", _is_text, "what is claimed"),
    *_WHERE,
    Setting("request", "a record", _is_record, "what is asked for", REQUEST),
    Setting("body", "a record", _is_record, "in place of `request`: a body of `/v1/chat/completions`"),
    Setting(
        "script",
        "a record of provider to turns",
        _is_record,
        "what providers do, in the words of scripted providers; who has none answers at once",
    ),
    Setting("expect", "a record", _is_record, "what must come of it", EXPECT),
)

FILE: Final = (
    Setting(
        "config",
        "a file's name",
        _is_text,
        "the config, beside this file (default: `NAME.yaml` of `NAME.test.yaml`, else `policy.yaml`)",
    ),
    *_WHERE,
    Setting("cases", "a list of cases", lambda value: isinstance(value, list), "the cases"),
)
