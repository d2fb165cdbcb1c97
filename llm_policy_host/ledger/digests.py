"""The two digests of a run: what was decided, and what came of it (spec 5.3).

Ids, times, latencies, tokens, costs and text never enter: equal decisions have equal digests.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import orjson

from llm_policy_host import spelling

from .encoding import digest, encode, quoted, text_of
from .kinds import NAME, expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llm_policy_host.values import Plain

T = TypeVar("T")
_MAX_KNOWN = 1024

ADDRESSES: Final = frozenset({"base_url", "auth", "auth_env", "aws_region", "notes", "seller_endpoint"})
"""What says where a call goes and who pays, or is free text: no decision reads it, and no blob holds it."""

_STEERING: Final = frozenset({"profile", "policy_ir", "chain"})
_RECORDS: Final = frozenset({"requirements", "extra_candidates", "response_format"})
_REQUIREMENTS: Final = (
    *("max_latency_ms", "min_context", "min_tok_s", "model_family"),
    *("needs", "pin", "privacy", "tier"),
)
_WHO: Final = frozenset({"provider_id", "model_family", "served_model_id", "peer_id"})
_is_name = expression(NAME)
_WORD = re.compile(r"[\w.:/@+-]{1,80}\Z")


def plain_shape(shape: Mapping[str, Plain]) -> dict[str, Plain]:
    """Give what of a contract's shape a decision rests on; text that is no word is there by its digest alone.

    The policy and whatever names one are written down apart; of a seed, that the caller gave it. Who may be
    asked is there by his name, as in the events.
    """
    made: dict[str, Plain] = {}
    for name, value in shape.items():
        if name in _STEERING or value is None:
            continue
        if name == "seed":
            made[name] = True
        else:
            made[_scalar(name)] = _part(name, value) if name in _RECORDS else _scalar(value)
    return made


def _part(name: str, value: Any) -> Plain:  # noqa: ANN401 - as the contract has it
    if name == "requirements":
        made = {key: _worded(value[key]) for key in _REQUIREMENTS if key in value}
        if isinstance(made.get("pin"), dict):
            made["pin"] = {key: made["pin"][key] for key in ("provider", "model") if key in made["pin"]}
        return made
    if name == "extra_candidates":
        return _worded(without_addresses(value))
    return {key: _scalar(item) for key, item in value.items() if key == "type"}


def _worded(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Give plain data whose texts are words or digests, but for the names of who may be asked."""
    if isinstance(value, list | tuple):
        return [_worded(item) for item in value]
    if hasattr(value, "items"):
        return {
            _scalar(key): item if key in _WHO and isinstance(item, str) and _is_name(item) else _worded(item)
            for key, item in value.items()
        }
    return None if value is None else _scalar(value)


def texts_by_digest(value: Any) -> dict[str, str]:  # noqa: ANN401 - plain data
    """Find the texts in plain data that a shape has by their digests, also among its keys."""
    found: dict[str, str] = {}

    def look(part: Any) -> None:  # noqa: ANN401
        if isinstance(part, str):
            if _WORD.match(part) is None:
                found[_scalar(part)] = part
        elif hasattr(part, "items"):
            for key, item in part.items():
                look(key)
                look(item)
        elif isinstance(part, list | tuple):
            for item in part:
                look(item)

    look(value)
    return found


def restored(value: Any, texts: Mapping[str, str]) -> Any:  # noqa: ANN401 - plain data
    """Put texts that are known from elsewhere in the place of their digests."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list | tuple):
        return [restored(item, texts) for item in value]
    if hasattr(value, "items"):
        return {texts.get(key, key): restored(item, texts) for key, item in value.items()}
    return value


def without_addresses(value: Any) -> Plain:  # noqa: ANN401 - plain data
    """Give plain data without what names an address or an account, however deep."""
    if isinstance(value, list | tuple):
        return [without_addresses(item) for item in value]
    if hasattr(value, "items"):
        return {key: without_addresses(item) for key, item in value.items() if key not in ADDRESSES}
    return value


def _scalar(value: Any) -> Any:  # noqa: ANN401 - a parameter, or its name
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and _WORD.match(value) is not None:
        return value
    return f"sha256:{sha256(spelling.encode(value if isinstance(value, str) else repr(value))).hexdigest()}"


def shape_digest(shape: Mapping[str, Plain]) -> tuple[str, bytes]:
    """Identify a contract's shape; with the blob that holds it."""
    text = encode(plain_shape(shape))
    return sha256(text).hexdigest(), text


def params_digest(params: Mapping[str, Plain]) -> str:
    """Identify an attempt's parameters, but for the seed, which is the decision's."""
    given = {name: value for name, value in params.items() if value is not None and name != "seed"}
    return digest({_scalar(name): _scalar(value) for name, value in given.items()})


def decision_digest(policy: str | None, catalog: str, ctx: str, seed: Plain, shape: str, used: str) -> str:
    """Identify a decision: what it rested on, and the part of the shortlist that was used, encoded."""
    named = f'"policy":{quoted(policy)},' if policy is not None else ""
    seeded = f'"seed":{text_of(seed)},' if seed is not None else ""
    text = f'{{"catalog":"{catalog}","ctx":"{ctx}",{named}{seeded}"shape":"{shape}","used":{used}}}'
    return sha256(spelling.encode(text)).hexdigest()


def trace_digest(decision: str, path: Iterable[Mapping[str, Any]], error: str | None) -> str:
    """Identify a decision with the path of its outcomes: who was asked, and how that and all of it ended."""
    asked = ",".join([_ended(step) for step in path if step["event"] == "attempted"])
    text = f'{{"decision":"{decision}","end":{quoted(error or "ok")},"path":[{asked}]}}'
    return sha256(spelling.encode(text)).hexdigest()


def _ended(step: Mapping[str, Any]) -> str:
    kind = quoted(step.get("error_kind") or "ok")
    return f"[{quoted(step['provider_id'])},{quoted(step['model_family'])},{kind}]"


class Memo(Generic[T]):
    """Makes something of plain data, once: what comes again is found by a spelling that is cheaper."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._known: dict[bytes | str, T] = {}

    def __call__(self, value: Any) -> T:  # noqa: ANN401 - plain data
        """Give what is made of a value."""
        key: bytes | str
        try:
            key = orjson.dumps(value, default=dict)
        except TypeError:
            return self._make(value)
        if b"null" in key:
            key = repr(value)  # `null` may be an absent entry, NaN or an infinity
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = self._make(value)
        return found


def skips(path: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name who was passed by after each attempt, as `ATTEMPT|provider`: no input of the plan says it."""
    made, attempt = [], 0
    for step in path:
        if step["event"] == "attempted":
            attempt += 1
        elif step["event"] == "skipped" and attempt:
            made.append(f"{attempt}|{step['provider_id']}")
    return made
