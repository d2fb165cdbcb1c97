"""What a conformance case shows: one observation, by kind, and its canonical text.

A term that is not admitted, or of another sort than its kind asks, is observed as its refusal.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from .config import observe_config
from .flow import check_flow, encode_flow
from .language import Refusal, check, e_number, e_value, encode, fingerprint, identity, normal_form
from .meaning import classify, draws, integer_seed, plan, transform, verdict
from .run import observe_run, observe_runs
from .signature import Schema, number, part, record
from .sugar import SugarError, lower
from .transport import Data, decode

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_JSON_DEPTH = 64
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def observe_case(case: Data) -> Data:
    """Answer what a case must show; the escapes of its values are read first."""
    kind = case["kind"]
    case = {key: decode(value) for key, value in case.items()}
    schema = Schema.read(record(case.get("schema")))
    if kind in _SORTS:
        answer = check(case.get("term"), schema, _SORTS[kind])
        if isinstance(answer, Refusal):
            return _refused(answer)
        return _OF_TERMS[kind](case, schema)
    return _OTHERS[kind](case, schema)


def text(observation: Data) -> str:
    """Write an observation in the canonical encoding of 1.4."""
    return e_value(observation)


def _refused(refusal: Refusal) -> dict[str, Data]:
    return {"refusal": {"code": refusal.code, "path": refusal.path}}


def _ids(encoding: str) -> dict[str, str]:
    return {"fingerprint": fingerprint(encoding), "identity": identity(encoding)}


def _term(case: Data, schema: Schema) -> Data:
    encoding = encode(normal_form(case["term"]))
    return {"sort": check(case["term"], schema), "normal_form": encoding, **_ids(encoding)}


def _pred(case: Data, schema: Schema) -> Data:
    form, verdicts = normal_form(case["term"]), []
    for each in case["cases"]:
        reason = verdict(form, each.get("candidate"), each.get("ctx"), schema)
        verdicts.append({"ok": False, "reason": reason} if reason else {"ok": True})
    return {"verdicts": verdicts}


def _xform(case: Data, schema: Schema) -> Data:
    form = normal_form(case["term"])
    return {
        "requests": [
            transform(form, each.get("request"), each.get("candidate"), each.get("ctx"), schema)
            for each in case["cases"]
        ]
    }


def _failplan(case: Data, _schema: Schema) -> Data:
    form = normal_form(case["term"])
    return {"actions": [classify(form, kind) for kind in case["kinds"]]}


def _policy(case: Data, schema: Schema) -> Data:
    answer = plan(case["term"], case["candidates"], case.get("ctx"), schema)

    def named(candidate: Data) -> dict[str, Data]:
        provider, model = part(candidate, "provider_id"), part(candidate, "model_family")
        return {"provider": provider, "model": model}

    return {
        "ordered": [{**named(each), "score": score} for each, score in answer.ordered],
        "rejected": [{**named(each), "reason": reason} for each, reason in answer.rejected],
    }


def _random(case: Data, _schema: Schema) -> Data:
    seed = integer_seed(case["seed"])
    if seed is None:
        return {"refused": True}
    return {"draws": draws(seed, case.get("stream", ""), int(case["draws"]))}


def _number(case: Data, _schema: Schema) -> Data:
    def read(word: Data) -> str:
        is_number = isinstance(word, str) and _NUMBER.fullmatch(word)
        value = number(float(word)) if is_number else None
        return "refused" if value is None else e_number(value)

    return {"numbers": [read(word) for word in case["texts"]]}


def _json(case: Data, _schema: Schema) -> Data:
    try:
        value = json.loads(case["text"], parse_int=float, parse_constant=_bad, object_pairs_hook=_pairs)
        return {"value": _plain(value, 0)}
    except (ValueError, RecursionError):
        return {"refused": True}


def _bad(_: str) -> Data:
    raise ValueError


def _pairs(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _plain(value: Data, depth: int) -> Data:
    """Drop the keys of nulls; a null elsewhere, an overflow, a lone surrogate, depth 65 fail."""
    if isinstance(value, list | dict) and depth == MAX_JSON_DEPTH:
        raise ValueError
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, dict):
        for key in value:
            _plain(key, depth)
        kept = {key: each for key, each in value.items() if each is not None}
        return {key: _plain(each, depth + 1) for key, each in kept.items()}
    if isinstance(value, float):
        return _found(number(value))
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return _found(value)


def _found(value: Data) -> Data:
    if value is None:
        raise ValueError
    return value


def _profile(case: Data, _schema: Schema) -> Data:
    config = case["config"]
    if part(observe_config({"kind": "config", "config": config}), "errors"):
        return {"refused": True}
    try:
        term = lower(case["profile"], config, part(case, "contract", "chain"))
    except SugarError:
        return {"refused": True}
    if isinstance(check(term, Schema.read(config), "Policy"), Refusal):
        return {"refused": True}
    encoding = encode(normal_form(term))
    return {"term": encoding, "identity": identity(encoding)}


def _flow(case: Data, schema: Schema) -> Data:
    answer = check_flow(case["flow"], schema)
    if isinstance(answer, Refusal):
        return _refused(answer)
    encoding = encode_flow(case["flow"])
    return {"encoding": encoding, **_ids(encoding)}


_SORTS = {"term": "", "pred": "Pred", "xform": "Xform", "failplan": "FailPlan", "policy": "Policy"}
_OF_TERMS: dict[str, Callable[[Data, Schema], Data]] = {
    "term": _term,
    "pred": _pred,
    "xform": _xform,
    "failplan": _failplan,
    "policy": _policy,
}
_OTHERS: dict[str, Callable[[Data, Schema], Data]] = {
    "random": _random,
    "number": _number,
    "json": _json,
    "profile": _profile,
    "flow": _flow,
    "config": lambda case, _: observe_config(case),
    "run": lambda case, _: observe_run(case),
    "runs": lambda case, _: observe_runs(case),
}
KINDS = (*_OF_TERMS, *_OTHERS)
