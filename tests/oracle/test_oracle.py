"""The oracle against expectations written by hand from the text of the spec."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from . import decode, encode, observe_case, text
from .language import Refusal, check, e_number, fingerprint, normal_form
from .language import encode as encode_term
from .meaning import T, bound, classify, draws, enveloped, scores, select, transform, verdict
from .signature import SIGNATURE, SORTS, Schema
from .sugar import SugarError, lower
from .transport import CYCLE, FUNCTION, HOLE

if TYPE_CHECKING:
    from .transport import Data

TOP, BOT, ZERO, ID = ["top"], ["bot"], ["zero"], ["id"]
HAS_TEE, NO_LOG = ["is", "has_tee"], ["is", "no_log"]
NEXT = {"action": "next_candidate"}
POLICY = ["policy", TOP, ZERO, ["argmax"], ID, ["always", NEXT]]
SCHEMA = Schema.read(
    {
        "fields": {"rank": {"sort": "Num", "default": 7}, "bare": {"sort": "Num"}, "fast": {"sort": "Bool"}},
        "params": ["mood", "base_url"],
        "customs": ["shout"],
    }
)


# 1.1 and 1.2 Admission -------------------------------------------------------------------------


def test_the_signature_has_every_op_of_the_page() -> None:
    assert len(SIGNATURE) == 43
    assert {row.sort for row in SIGNATURE.values()} == set(SORTS)


@pytest.mark.parametrize(
    ("term", "code", "path"),
    [
        ("top", "not_a_term", "$"),
        (HOLE, "not_a_term", "$"),
        (FUNCTION, "not_a_term", "$"),
        ([], "not_a_term", "$"),
        ({"op": "top"}, "not_a_term", "$"),
        ([1], "not_a_term", "$"),
        (["and", TOP, HOLE, BOT], "not_a_term", "$"),
        (["and", TOP, 3], "not_a_term", "$.and[2]"),
        (["nope"], "unknown_op", "$"),
        (["not", ["nope"]], "unknown_op", "$.not[1]"),
        (["not", ZERO], "sort_mismatch", "$.not[1]"),
        (["not", ["lit"]], "sort_mismatch", "$.not[1]"),
        (["and"], "arity", "$"),
        (["top", 1], "arity", "$"),
        (["lit", math.nan], "bad_number", "$.lit[1]"),
        (["lit", -math.inf], "bad_number", "$.lit[1]"),
        (["lit", True], "bad_number", "$.lit[1]"),
        (["lit", "1"], "bad_number", "$.lit[1]"),
        (["lit", 10**400], "bad_number", "$.lit[1]"),
        (["top_k", 0, ["argmax"]], "bad_count", "$.top_k[1]"),
        (["top_k", 1.5, ["argmax"]], "bad_count", "$.top_k[1]"),
        (["top_k", 2**54, ["argmax"]], "bad_count", "$.top_k[1]"),
        (["cmp", "price_in", "=", 1], "bad_rel", "$.cmp[2]"),
        (["cmp", "nope", "=", 1], "undeclared_field", "$.cmp[1]"),
        (["cmp", "has_tee", "le", 1], "field_sort", "$.cmp[1]"),
        (["is", "price_in"], "field_sort", "$.is[1]"),
        (["is", ""], "bad_name", "$.is[1]"),
        (["tier_eq", "gold"], "unknown_tier", "$.tier_eq[1]"),
        (["family_eq", "é" * 129], "bad_name", "$.family_eq[1]"),
        (["custom", "nope"], "unknown_custom", "$.custom[1]"),
        (["inject_seed", "base_url"], "undeclared_param", "$.inject_seed[1]"),
        (["set_param", "mood", []], "bad_scalar", "$.set_param[2]"),
        (["set_param", "mood", math.nan], "bad_scalar", "$.set_param[2]"),
        (["always", {}], "bad_action", "$.always[1]"),
        (["always", {"action": "explode"}], "bad_action", "$.always[1]"),
        (["always", {**NEXT, "attempts": -1}], "bad_action", "$.always[1]"),
        (["always", {**NEXT, "backoff_ms": []}], "bad_action", "$.always[1]"),
        (["always", {**NEXT, "note": "x"}], "bad_action", "$.always[1]"),
        (["always", {**NEXT, **{str(k): k for k in range(64)}}], "bad_action", "$.always[1]"),
        (["filter_text", ["a", {}]], "bad_recipe", "$.filter_text[1]"),
        (["filter_text", {"a": 1}], "bad_recipe", "$.filter_text[1]"),
        (["filter_text", ["a"] * 1025], "bad_recipe", "$.filter_text[1]"),
        (["chain", [{"provider": "p"}]], "bad_chain", "$.chain[1]"),
        (["chain", [{"provider": "p", "provider_id": "p"}]], "bad_chain", "$.chain[1]"),
        (["chain", [{"provider": "p", "model": "m", "x": 1}]], "bad_chain", "$.chain[1]"),
        (["and"] + [TOP] * 4096, "too_large", "$.and[4096]"),
        (["or", ["custom", "x"], TOP], "sort_mismatch", "$.or[1]"),
        (["seq", ["set_param", "mood", "x" * 262144]], "too_large", "$"),
    ],
)
def test_admission_names_code_and_path(term: Data, code: str, path: str) -> None:
    assert check(term, SCHEMA) == Refusal(code, path)


def test_depth_64_is_admitted_and_65_refused() -> None:
    term: Data = TOP
    for _ in range(63):
        term = ["not", term]
    assert check(term, SCHEMA) == "Pred"
    assert check(["not", term], SCHEMA) == Refusal("too_deep", "$" + ".not[1]" * 64)


def test_a_cycle_ends_too_deep() -> None:
    term = decode({"t": ["and", {"$": "cycle"}]})["t"]
    assert check(decode(["and", {"$": "cycle"}]), SCHEMA) == Refusal("too_deep", "$" + ".and[1]" * 64)
    assert isinstance(check(term, SCHEMA), Refusal)


def test_admission_takes_both_spellings_and_whole_doubles() -> None:
    chain = ["chain", [{"provider_id": "p", "model_family": "m"}, {"provider": "q", "model": "m"}]]
    assert check(chain, SCHEMA) == "Selector"
    assert check(["top_k", 3.0, chain], SCHEMA) == "Selector"
    assert check(["set_param", "mood", ""], SCHEMA) == "Xform"
    assert check(["always", {**NEXT, "backoff_ms": [1, 2.5], "mine": -3}], SCHEMA) == "FailPlan"


def test_the_page_order_decides_which_refusal_is_first() -> None:
    assert check(["policy", BOT, BOT, 1, 2, 3], SCHEMA) == Refusal("sort_mismatch", "$.policy[2]")
    term = ["and", ["not", ["cmp", "price_in", "le", math.inf]], ["nope"]]
    assert check(term, SCHEMA) == Refusal("bad_number", "$.and[1].not[1].cmp[3]")


# 1.3 Normal form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "form"),
    [
        (["and", TOP, TOP], TOP),
        (["and", HAS_TEE, BOT], BOT),
        (["and", HAS_TEE, TOP], HAS_TEE),
        (["and", NO_LOG, ["and", HAS_TEE, NO_LOG]], ["and", HAS_TEE, NO_LOG, NO_LOG]),
        (["or", BOT, BOT], BOT),
        (["or", HAS_TEE, TOP], TOP),
        (["not", ["not", HAS_TEE]], HAS_TEE),
        (["not", ["and", TOP]], BOT),
        (["not", ["not", ["not", BOT]]], TOP),
        (["add", ZERO, ["lit", 1], ["add", ["lit", 0]]], ["add", ["lit", 0], ["lit", 1]]),
        (["scale", 1.0, ["field", "tok_s"]], ["field", "tok_s"]),
        (["scale", -0.0, ["field", "tok_s"]], ZERO),
        (["scale", 2, ["add", ZERO]], ZERO),
        (["scale", 2, ["scale", 3, ["lit", 1]]], ["scale", 2, ["scale", 3, ["lit", 1]]]),
        (["gate", TOP, ["lit", 1]], ["lit", 1]),
        (["gate", BOT, ["lit", 1]], ZERO),
        (["gate", HAS_TEE, ["add", ZERO, ZERO]], ZERO),
        (["normalize", ["normalize", ["normalize", ["lit", 1]]]], ["normalize", ["lit", 1]]),
        (["neg", ["neg", ["lit", 1]]], ["neg", ["neg", ["lit", 1]]]),
        (
            ["seq", ID, ["seq", ["custom", "b"], ID], ["custom", "a"]],
            ["seq", ["custom", "b"], ["custom", "a"]],
        ),
        (["seq", ID], ID),
        (["when", ["and", TOP], ["seq", ["custom", "a"]]], ["when", TOP, ["custom", "a"]]),
    ],
)
def test_laws(term: Data, form: Data) -> None:
    assert normal_form(term) == form
    assert normal_form(form) == form


def test_a_failure_plan_is_its_table() -> None:
    abort, off = {"action": "abort"}, {"action": "disable_provider"}
    plan = ["override", ["override", ["override", ["always", NEXT], "b", off], "a", abort], "b", abort]
    assert normal_form(plan) == ["override", ["override", ["always", NEXT], "a", abort], "b", abort]
    rebased = ["override", ["override", ["always", NEXT], "a", abort], "unknown", abort]
    assert normal_form(rebased) == ["always", abort]
    assert classify(plan, "b") == abort
    assert classify(plan, "timeout") == NEXT
    assert classify(rebased, 3) == abort


# 1.4 Encoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (-0.0, "0"),
        (3.0, "3"),
        (2**53, "9007199254740992"),
        (2**53 + 2, "9007199254740994"),
        (2**60, "1.152921504606847e+18"),
        (0.1, "0.10000000000000001"),
        (1e22, "1e+22"),
        (-1.5e-7, "-1.4999999999999999e-07"),
        (5e-324, "4.9406564584124654e-324"),
        (1e300, "1.0000000000000001e+300"),
    ],
)
def test_numbers_are_written_one_way(value: float, written: str) -> None:
    assert e_number(value) == written


def test_values_are_written_one_way() -> None:
    assert text({"z": [], "é": {}, "a": [True, '\\"\n\r\t\x00é']}) == (
        '{"a":[true,"\\\\\\"\\n\\r\\t\x00é"],"z":[],"é":[]}'
    )
    link = [{"model_family": "m", "provider_id": "p"}]
    assert encode_term(["chain", link]) == 'sigma-pol/v2:(chain [{"model":"m","provider":"p"}])'


def test_the_fingerprint_folds_bytes() -> None:
    assert fingerprint("") == "5381-52711"
    assert fingerprint("a") == f"{5381 * 31 + 97}-{52711 * 37 + 97}"
    assert fingerprint("é") == f"{(5381 * 31 + 0xC3) * 31 + 0xA9}-{(52711 * 37 + 0xC3) * 37 + 0xA9}"


def test_identity_is_sha256_of_the_normal_form() -> None:
    first, second = (observe_case({"kind": "term", "term": t}) for t in (["and", TOP], ["not", BOT]))
    assert first == second
    assert first["identity"].startswith("sha256:")
    assert len(first["identity"]) == 71


# 1.5 and 1.6 Preds -----------------------------------------------------------------------------


def fails(pred: Data, candidate: Data = None, ctx: Data = None) -> str:
    return verdict(normal_form(pred), candidate or {}, ctx or {}, SCHEMA)


P1 = {"provider_id": "p1", "model_family": "m1"}


@pytest.mark.parametrize("literal", [-1e308, 0, 1e308])
@pytest.mark.parametrize("rel", ["lt", "le", "eq", "ne", "ge", "gt"])
def test_absent_high_is_greater_than_every_number(rel: str, literal: float) -> None:
    for candidate in ({}, {"price_in": math.nan}, {"price_in": math.inf}, {"price_in": "3"}):
        expected = "" if rel in ("gt", "ge", "ne") else f"cmp:price_in:{rel}"
        assert fails(["cmp", "price_in", rel, literal], candidate) == expected


@pytest.mark.parametrize(
    ("name", "candidate", "ctx", "value"),
    [
        ("price_in", {**P1, "price_in": 4}, {"state": {"ema": {"p1|m1": {"price_in": 3}}}}, 4),
        ("price_in", P1, {"state": {"ema": {"p1|m1": {"price_in": 3}}}}, 3),
        ("price_out", {**P1, "price_out": math.nan}, {"state": {"ema": {"p1|m1": {"price_out": 3}}}}, 3),
        ("tok_s", {}, {}, 0),
        ("success_rate", {}, {}, 1),
        ("credits", {**P1, "credits": 9}, {"state": {"credits": {"p1": 2}}}, 2),
        ("context", {"context": 9, "capabilities": {"context": 8}}, {}, 8),
        ("rank", {}, {}, 7),
        ("rank", {"rank": -2}, {}, -2),
    ],
)
def test_observed_numbers(name: str, candidate: Data, ctx: Data, value: float) -> None:
    assert fails(["cmp", name, "eq", value], candidate, ctx) == ""


def test_observed_booleans() -> None:
    assert fails(["is", "has_tee"], {"has_tee": 1}) == "is:has_tee"
    assert fails(["is", "fast"], {"fast": True}) == ""
    for key in ("p1", "p1|m1"):
        assert fails(["is", "breaker_open"], P1, {"state": {"breakers": {key: True}}}) == ""
        assert fails(["is", "breaker_open"], P1, {"state": {"breakers": {key: 1}}}) == "is:breaker_open"
    assert fails(["is", "disabled"], P1, {"state": {"disabled": {"p1": False}}}) == ""
    assert fails(["is", "disabled"], P1, {"state": {"disabled": {"p1|m1": 1}}}) == "is:disabled"


def test_reasons() -> None:
    assert fails(BOT) == "bot"
    assert fails(["or", HAS_TEE, NO_LOG]) == "or"
    assert fails(["not", ["is", "fast"]], {"fast": True}) == "not"
    assert fails(["and", NO_LOG, HAS_TEE]) == "is:has_tee"
    assert fails(["tier_eq", "partner"]) == "tier"
    assert fails(["tier_eq", "fallback"]) == ""
    assert fails(["min_tier", "marketplace"], {"tier": "partner"}) == ""
    assert fails(["min_tier", "fallback"], {"tier": "gold"}) == "min_tier"
    assert fails(["family_eq", "m2"], P1) == "model_family"
    assert fails(["provider_eq", "p2"], P1) == "provider_id"
    assert fails(["served_by_eq", "p1"], P1) == ""
    assert fails(["served_by_eq", "p1"], {**P1, "offer": {"peer_id": "x"}}) == "served_by"
    assert fails(["has_cap", "vision"], P1) == "missing_capability:vision"
    assert fails(["has_cap", "vision"], {"capabilities": {"supports_vision": True}}) == ""
    assert fails(["scope_matches"], {"scope": "a"}, {"request": {"scope": "b"}}) == "scope"
    assert fails(["scope_matches"], {"scope": "a"}, {"request": {"scope": "a"}}) == ""
    assert fails(["scope_matches"], {}, {"request": {"scope": "b"}}) == ""


FULL = {
    **P1,
    "capabilities": {"context": 100, "supports_tools": True, "supports_seed": True},
    "tok_s": 5,
    "no_log": True,
}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, ""),
        ({"images": ["i"], "response_format": {"type": "json_schema"}}, "missing_capability:vision"),
        ({"images": []}, ""),
        ({"images": False}, ""),
        ({"tools": "any"}, ""),
        ({"response_format": {"type": "text"}}, ""),
        ({"response_format": {"type": "json_object"}}, "missing_capability:json_mode"),
        ({"requirements": {"needs": ["json_mode", "vision", "magic"]}}, "missing_capability:vision"),
        ({"requirements": {"needs": ["seed", "magic"]}}, ""),
        ({"requirements": {"min_context": 101, "model_family": "m2"}}, "min_context"),
        ({"requirements": {"min_context": 100, "model_family": "m2", "tier": "partner"}}, "model_family"),
        ({"requirements": {"tier": "partner", "privacy": "tee_required"}}, "tier"),
        ({"requirements": {"tier": "fallback", "privacy": "tee_required"}}, "tee_required"),
        ({"requirements": {"privacy": "no_log", "min_tok_s": 6}}, "min_tok_s"),
        ({"requirements": {"privacy": "no_log", "min_tok_s": 5}}, ""),
        ({"requirements": []}, ""),
    ],
)
def test_meets_req_answers_the_first_failure(request_: Data, reason: str) -> None:
    assert fails(["meets_req"], FULL, {"request": request_}) == reason


def test_no_log_is_met_by_either_flag() -> None:
    ctx = {"request": {"requirements": {"privacy": "no_log"}}}
    assert fails(["meets_req"], {"has_tee": True}, ctx) == ""
    assert fails(["meets_req"], {}, ctx) == "no_log"


# 1.6 Scorers -----------------------------------------------------------------------------------


def score(scorer: Data, *survivors: Data) -> list[float]:
    return scores(normal_form(scorer), survivors, {}, SCHEMA)


def test_bounds() -> None:
    assert T == 2.0**500
    assert [bound(x) for x in (math.inf, -1e300, 2.0**-501, -(2.0**-500))] == [T, -T, 0, -(2.0**-500)]
    assert score(["scale", 1e300, ["lit", 1e300]], {}) == [T]
    assert score(["scale", -1e-300, ["lit", 1e-300]], {}) == [0]
    assert score(["add", ["lit", T], ["lit", T], ["neg", ["lit", T]]], {}) == [T]


def test_an_unpriced_candidate_scores_t_and_cancels() -> None:
    assert score(["field", "price_in"], {}) == [T]
    assert score(["add", ["field", "price_in"], ["neg", ["field", "price_in"]]], {}) == [0]


def test_clamp_takes_lo_first() -> None:
    assert score(["clamp", 5, 2, ["lit", 1]], {}) == [2]
    assert score(["clamp", 2, 5, ["lit", 1]], {}) == [2]


def test_gate_and_neg() -> None:
    assert score(["gate", HAS_TEE, ["lit", 4]], {}, {"has_tee": True}) == [0, 4]
    assert score(["neg", ["lit", 4]], {}) == [-3]


def test_normalize_keeps_the_absent_from_flattening_the_others() -> None:
    cheapest = ["neg", ["normalize", ["field", "price_in"]]]
    prices: list[Data] = [{"price_in": 50}, {"price_in": 1}, {}]
    assert score(cheapest, *prices) == [0, 1, 0]
    assert score(["normalize", ["lit", 3]], {}, {}) == [0, 0]
    assert score(["normalize", ["neg", ["field", "price_in"]]], *prices) == [0, 1, 0]


# 1.6 Selectors ---------------------------------------------------------------------------------


def order(selector: Data, values: Data, seed: Data = None) -> list[tuple[str, float]]:
    scored = [({"provider_id": name, "model_family": "m"}, x) for name, x in values]
    chosen = select(normal_form(selector), scored, {"seed": seed}, SCHEMA)
    return [(candidate["provider_id"], x) for candidate, x in chosen]


VALUES = [("a", 1.0), ("b", 3.0), ("c", 1.0), ("d", 2.0)]


def test_selectors() -> None:
    assert [name for name, _ in order(["argmax"], VALUES)] == ["b", "d", "a", "c"]
    assert order(["ordered"], VALUES) == VALUES
    assert order(["top_k", 2, ["argmax"]], VALUES) == [("b", 3.0), ("d", 2.0)]
    prefer = ["prefer", ["or", ["provider_eq", "c"], ["provider_eq", "a"]], ["argmax"]]
    assert [name for name, _ in order(prefer, VALUES)] == ["a", "c", "b", "d"]
    links = [{"provider": each, "model": "m"} for each in ("d", "x", "a", "d")]
    assert order(["chain", links], VALUES) == [("d", -1.0), ("a", -3.0)]
    assert order(["chain", []], VALUES) == []


def test_sample_is_greedy_at_zero_and_draws_by_hand() -> None:
    for temperature in (0, -3):
        assert [name for name, _ in order(["sample", temperature], VALUES, 9)] == ["b", "d", "a", "c"]
    first, second = draws(5, "", 2)
    one, two = (0 if first * 1.5 <= 1 else 1), 0
    names = ["b", "a"] if (one, two) == (0, 0) else ["a", "b"]
    pair = [("a", 1.0), ("b", 3.0)]
    assert 0 <= second < 1
    assert [name for name, _ in order(["sample", 1], pair, 5)] == names


# 1.6 Randomness --------------------------------------------------------------------------------


def minstd(s: int) -> float:
    for _ in range(5):
        s = s * 16807 % 2147483647
    return s / 2147483647


def test_random_numbers_are_minstd() -> None:
    assert draws(1, "", 1) == [minstd(1)]
    assert draws(0, "", 1) == [minstd(2147483646)] == draws(-1, "", 1) == draws(2147483647, "", 1)
    assert draws(42, "ab", 1) == [minstd(42 + 97 * 31 + 98)]
    assert draws(-97, "a", 1) == [minstd(2147483646)]


@pytest.mark.parametrize("seed", [1.5, "3", 2**53, -(2**53), math.nan, True, HOLE])
def test_a_seed_is_an_exact_integer(seed: Data) -> None:
    assert observe_case({"kind": "random", "seed": encode(seed), "draws": 1}) == {"refused": True}
    assert apply(["inject_seed", "seed"], {}, seed=seed) == {}


# 1.6 Xforms ------------------------------------------------------------------------------------


def apply(xform: Data, request: Data, **ctx: Data) -> Data:
    before = json.dumps(request)
    after = transform(normal_form(xform), request, {}, ctx, SCHEMA)
    assert json.dumps(request) == before
    return after


def test_xforms_set_clamp_and_inject() -> None:
    assert apply(ID, {"n": 1}) == {"n": 1}
    assert apply(["set_param", "mood", False], {}) == {"mood": False}
    assert apply(["inject_seed", "n"], {}, seed=-4) == {"n": -4}
    assert apply(["clamp_param", "n", 5, 2], {"n": 1}) == {"n": 2}
    assert apply(["clamp_param", "n", 0, 2], {"n": "9"}) == {"n": "9"}
    assert apply(["clamp_param", "n", 0, 2], {}) == {}
    assert apply(["when", BOT, ["set_param", "n", 1]], {}) == {}
    assert apply(["seq", ["set_param", "n", 9], ["clamp_param", "n", 0, 2]], {}) == {"n": 2}
    assert apply(["custom", "shout"], {"n": 1}) == {"n": 1}


def test_jitter_streams() -> None:
    jitter = ["jitter", "top_p", 0.5]
    assert apply(jitter, {"top_p": 1}) == {"top_p": 1}
    assert apply(jitter, {"top_p": "x"}, seed=3) == {"top_p": "x"}
    assert apply(jitter, {}, seed=3) == {"top_p": (draws(3, "jitter:top_p", 1)[0] * 2 - 1) * 0.5}
    again = apply(jitter, {"top_p": 1}, seed=3, attempt=2)
    assert again == {"top_p": 1 + (draws(3, "jitter:top_p#2", 1)[0] * 2 - 1) * 0.5}


def test_filters_append() -> None:
    twice = ["seq", ["filter_text", ["a"]], ["filter_text", [{"b": 1}]], ["filter_image", []]]
    assert apply(twice, {}, seed=-1) == {
        "_filters": {
            "text": {"recipe": ["a", {"b": 1}], "seed": 2147483646},
            "image": {"recipe": [], "seed": 2147483646},
        }
    }
    assert apply(["filter_text", ["a"]], {}) == {"_filters": {"text": {"recipe": ["a"]}}}


# 1.7 and 1.8 -----------------------------------------------------------------------------------


def test_routing_targets_are_never_parameters() -> None:
    assert check(["set_param", "mood", 1], SCHEMA) == "Xform"
    assert check(["set_param", "base_url", "x"], SCHEMA) == Refusal("undeclared_param", "$.set_param[1]")


def test_an_envelope_narrows() -> None:
    assert normal_form(enveloped(POLICY, HAS_TEE))[1] == HAS_TEE
    assert normal_form(enveloped(POLICY, BOT))[1] == BOT


CLOSED = ["not", ["is", "breaker_open"]]


def lowered(profile: Data, **config: Data) -> Data:
    return lower(profile, config)


def test_an_empty_profile() -> None:
    assert lowered({}) == [
        "policy",
        ["and", ["meets_req"], ["not", ["is", "disabled"]]],
        ["gate", CLOSED, ZERO],
        ["argmax"],
        ID,
        ["always", NEXT],
    ]


@pytest.mark.parametrize(
    ("given", "pred"),
    [
        ("requirements", ["meets_req"]),
        ({"scope_matches": True, "breaker_closed": True}, ["and", CLOSED, ["scope_matches"]]),
        (["not_disabled", {"is": "has_tee"}], ["and", ["not", ["is", "disabled"]], HAS_TEE]),
        (
            {"any_of": [{"tier_in": ["partner"]}, "requirements"]},
            ["or", ["tier_eq", "partner"], ["meets_req"]],
        ),
        ({"none_of": [{"is": "has_tee"}, {"is": "no_log"}]}, ["not", ["or", HAS_TEE, NO_LOG]]),
        ({"provider_not_in": ["a", "b"]}, ["not", ["or", ["provider_eq", "a"], ["provider_eq", "b"]]]),
        ({"served_by_in": ["x"], "family_in": []}, ["and", BOT, ["served_by_eq", "x"]]),
        ({"price_max": {}}, TOP),
        (
            {"price_max": {"output": 2, "input": 1}},
            ["and", ["cmp", "price_in", "le", 1], ["cmp", "price_out", "le", 2]],
        ),
        ({"cmp": ["tok_s", "ge", 9]}, ["cmp", "tok_s", "ge", 9]),
    ],
)
def test_filters_lower(given: Data, pred: Data) -> None:
    assert lowered({"filter": given})[1] == pred


@pytest.mark.parametrize(
    ("profile", "selector"),
    [
        ({"selector": "ordered"}, ["ordered"]),
        ({"selector": "softmax_sample"}, ["sample", 1.0]),
        ({"selector": "sample", "selector_opts": {"temp": 2}}, ["sample", 2]),
        ({"selector": "top_k"}, ["top_k", 3, ["argmax"]]),
        (
            {"selector": "chain", "chain": [{"provider": "p", "model": "m"}]},
            ["chain", [{"provider": "p", "model": "m"}]],
        ),
    ],
)
def test_selectors_lower(profile: Data, selector: Data) -> None:
    assert lowered(profile)[3] == selector


def test_a_contract_chain_comes_before_the_profiles() -> None:
    link = {"provider": "q", "model": "m"}
    assert lower({"selector": "chain", "chain": []}, {}, [link])[3] == ["chain", [link]]


def test_mutates_lower() -> None:
    mutate = {
        "set_param": {"seed": "from_ctx", "n": 2},
        "jitter": {"top_p": 0.1},
        "clamp": {"temperature": 1},
    }
    assert lowered({"mutate": [mutate, "identity"]})[4] == [
        "seq",
        [
            "seq",
            ["clamp_param", "temperature", 0, 1],
            ["jitter", "top_p", 0.1],
            ["seq", ["set_param", "n", 2], ["inject_seed", "seed"]],
        ],
        ID,
    ]
    assert lowered({"mutate": {"pipe": [{"filter_text": ["NFKC"]}]}})[4] == ["filter_text", ["NFKC"]]


def test_retry_policies_lower() -> None:
    abort = {"action": "abort"}
    term = lowered({"retry_policy": "r"}, retry_policies={"r": {"timeout": abort, "auth_error": abort}})[5]
    assert term == ["override", ["override", ["always", NEXT], "auth_error", abort], "timeout", abort]


def test_extends_merges_one_level_and_refuses_a_cycle() -> None:
    base = {"filter": {"is": "has_tee", "price_max": {"input": 1}}, "selector": "ordered"}
    child = {"extends": "base", "filter": {"price_max": {"output": 2}}}
    term = lowered("child", profiles={"base": base, "child": child})
    assert term[1] == ["and", HAS_TEE, ["cmp", "price_out", "le", 2]]
    assert term[3] == ["ordered"]
    with pytest.raises(SugarError):
        lowered("a", profiles={"a": {"extends": "b"}, "b": {"extends": "a"}})
    assert lowered({"policy_ir": POLICY, "selector": "nope"}) == POLICY


# Cases -----------------------------------------------------------------------------------------


def test_json_texts() -> None:
    good = ('{"a":null,"b":[1e2,-0]}', {"b": [100.0, 0.0]})
    assert observe_case({"kind": "json", "text": good[0]}) == {"value": good[1]}
    deep = "[" * 64 + "]" * 64
    assert "value" in observe_case({"kind": "json", "text": deep})
    for bad in (
        "null",
        "[null]",
        '{"a":1,"a":1}',
        "1 2",
        '"\\ud800"',
        "[1e999]",
        "NaN",
        f"[{deep}]",
        "01",
        "",
    ):
        assert observe_case({"kind": "json", "text": bad}) == {"refused": True}, bad


def test_number_texts() -> None:
    texts = ["-0", "1e-400", "0.1", "1e309", "+1", "1.", "9007199254740993", "1E2"]
    assert observe_case({"kind": "number", "texts": texts})["numbers"] == [
        "0", "0", "0.10000000000000001", "refused", "refused", "refused", "9007199254740992", "100",
    ]  # fmt: skip


def test_escapes_come_back() -> None:
    value = {"a": [math.inf, -math.inf, -0.0, HOLE, CYCLE, FUNCTION, 1]}
    again = json.loads(json.dumps(encode(value), allow_nan=False))
    assert again["a"][0] == {"$": "inf"}
    seen = decode(again)
    assert seen["a"][4] is seen
    assert seen["a"][3] is HOLE
    assert math.copysign(1, seen["a"][2]) == -1


# 2.6 Flows -------------------------------------------------------------------------------------


def flow(**nodes: Data) -> Data:
    return observe_case({"kind": "flow", "flow": ["flow", nodes]})


IN, ASK = {"kind": "input"}, {"kind": "llm", "policy": POLICY, "inputs": ["i"]}
OUT = {"kind": "output", "inputs": ["a"]}


def test_a_flow_is_encoded_in_canonical_order() -> None:
    policy = encode_term(normal_form(POLICY))
    system = {**ASK, "system": "be brief"}
    assert flow(i=IN, a=system, o=OUT)["encoding"] == (
        f'sigma-flow/v1:((input n0) (llm n1 system="be brief" policy={policy} inputs=[n0])'
        " (output n2 inputs=[n1]))"
    )


def test_names_of_nodes_never_matter() -> None:
    out = {"kind": "output", "inputs": ["a", "b"]}
    assert flow(i=IN, a=ASK, b=ASK, o=out) == flow(i=IN, a=ASK, b=ASK, o={**out, "inputs": ["b", "a"]})
    assert "inputs=[n1,n2]))" in flow(i=IN, a=ASK, b=ASK, o=out)["encoding"]


@pytest.mark.parametrize(
    ("nodes", "code", "path"),
    [
        ([1], "not_a_term", "$.nodes"),
        ({}, "arity", "$.nodes"),
        ({"": IN}, "bad_name", "$.nodes"),
        ({"i": IN, "a": {**ASK, "extra": 1}}, "not_a_term", "$.nodes.a"),
        ({"i": {"kind": "tool"}}, "unknown_op", "$.nodes.i.kind"),
        ({"i": IN, "a": {**ASK, "inputs": {"x": 1}}}, "not_a_term", "$.nodes.a.inputs"),
        ({"i": IN, "a": {**ASK, "inputs": ["i"] * 33}}, "too_large", "$.nodes.a.inputs"),
        ({"i": IN, "a": {**ASK, "inputs": ["i", "x"]}}, "bad_name", "$.nodes.a.inputs[2]"),
        ({"i": IN, "a": {**ASK, "inputs": ["o"]}, "o": OUT}, "sort_mismatch", "$.nodes.a.inputs[1]"),
        ({"i": IN, "a": {**ASK, "inputs": []}}, "arity", "$.nodes.a.inputs"),
        ({"i": {**IN, "system": "x"}}, "arity", "$.nodes.i.system"),
        ({"i": IN, "a": {**ASK, "template": 1}}, "bad_scalar", "$.nodes.a.template"),
        ({"i": IN, "a": {"kind": "llm", "inputs": ["i"]}}, "arity", "$.nodes.a.policy"),
        ({"i": IN, "a": {**ASK, "policy": TOP}}, "sort_mismatch", "$.nodes.a.policy"),
        ({"i": IN, "a": ASK}, "arity", "$.nodes"),
        ({"i": IN, "a": {**ASK, "inputs": ["i", "a"]}, "o": OUT}, "too_deep", "$.nodes"),
        ({"i": IN, "a": ASK, "b": ASK, "o": OUT}, "arity", "$.nodes.b"),
    ],
)
def test_flows_are_refused_with_code_and_path(nodes: Data, code: str, path: str) -> None:
    seen = observe_case({"kind": "flow", "flow": ["flow", nodes]})
    assert seen == {"refusal": {"code": code, "path": path}}
