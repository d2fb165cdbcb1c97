"""OpenRouter's routing fields mean what OpenRouter says, judged by a naive reading of its words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_policy_host.core.language import Identified, Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.web.errors import RefusedError

from .aiming import Core, aim, providers, ranked

PROVIDERS = ("p1", "p2", "p3", "p4")
FAMILIES = ("f1", "f2", "f3")
WORDS = ("fp8", "fp32")
VM = Vm()

# The naive reading ---------------------------------------------------------------------------------


def naive(catalog: list[dict[str, Any]], is_scored: bool, body: dict[str, Any]) -> list[tuple[str, str]]:  # noqa: FBT001, C901
    """Filter and sort rows as the documentation of the fields says, one sentence after the other."""
    wants = body.get("provider") or {}
    models = body.get("models") or []
    primary = body["model"] if body["model"] in FAMILIES else None
    listed = ([primary] if primary else []) + [name for name in models if name != primary]

    def may_serve(row: dict[str, Any]) -> bool:  # noqa: PLR0911
        if listed and row["family"] not in listed:
            return False
        if "only" in wants and row["provider"] not in wants["only"]:
            return False
        if row["provider"] in (wants.get("ignore") or []):
            return False
        if (
            wants.get("order")
            and wants.get("allow_fallbacks") is False
            and row["provider"] not in wants["order"]
        ):
            return False
        ceilings = wants.get("max_price") or {}
        for word, price in (("prompt", row["price_in"]), ("completion", row["price_out"])):
            if word in ceilings and (price is None or price > ceilings[word]):
                return False
        if (wants.get("zdr") or wants.get("data_collection") == "deny") and not (row["no_log"] or row["tee"]):
            return False
        if wants.get("require_parameters") and body.get("tools") and not row["tools"]:
            return False
        accepted = wants.get("quantizations")
        return not accepted or (row["quantization"] or "unknown") in accepted

    def rest_of_order(row: dict[str, Any]) -> float:
        if wants.get("sort") == "price":
            known = row["price_in"] is not None and row["price_out"] is not None
            return row["price_in"] + row["price_out"] if known else float("inf")
        if wants.get("sort") == "throughput":
            return -(row["tok_s"] or 0)
        if wants.get("sort") == "latency":
            return float("inf") if row["latency_ms"] is None else float(row["latency_ms"])
        return -(row["tok_s"] or 0) if is_scored and not row["is_open"] else 0

    def place(names: list[str], name: str) -> int:
        return names.index(name) if name in names else len(names)

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        is_reordered = bool(wants.get("order") or wants.get("sort") or len(listed) > 1)
        return (
            row["is_open"] if is_reordered else False,  # outages first
            place(listed, row["family"]) if len(listed) > 1 else 0,  # then the models' order
            place(wants.get("order") or [], row["provider"]),  # then the providers'
            rest_of_order(row),
        )

    found = sorted(
        (row for row in catalog if may_serve(row)), key=lambda row: (row["family"], row["provider"])
    )
    found.sort(key=key)
    if wants.get("allow_fallbacks") is False and not wants.get("order"):
        found = found[:1]
    return [(row["family"], row["provider"]) for row in found]


# Catalogs and bodies -------------------------------------------------------------------------------

prices = st.sampled_from([0, 0.5, 1, 3]) | st.none()
rows = st.fixed_dictionaries(
    {
        "price_in": prices,
        "price_out": prices,
        "tok_s": st.none() | st.sampled_from([1, 20, 300]),
        "latency_ms": st.none() | st.sampled_from([5, 80]),
        "no_log": st.booleans(),
        "tee": st.booleans(),
        "tools": st.booleans(),
        "quantization": st.none() | st.sampled_from(WORDS),
    }
)
names = st.lists(st.sampled_from(PROVIDERS), unique=True, max_size=4)
ceilings = st.fixed_dictionaries(
    {}, optional={word: st.sampled_from([0, 0.5, 2]) for word in ("prompt", "completion")}
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "order": names,
    "only": names.filter(bool),
    "ignore": names,
    "allow_fallbacks": st.booleans(),
    "sort": st.sampled_from(["price", "throughput", "latency"]),
    "max_price": ceilings,
    "data_collection": st.sampled_from(["allow", "deny"]),
    "zdr": st.booleans(),
    "require_parameters": st.booleans(),
    "quantizations": st.lists(st.sampled_from([*WORDS, "unknown"]), unique=True, min_size=1),
}
# few at a time: all of them together leave nobody
preferences = st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries({key: FIELDS[key] for key in keys})
)
bodies = st.fixed_dictionaries(
    {"model": st.sampled_from(["", *FAMILIES])},
    optional={
        "models": st.lists(st.sampled_from(FAMILIES), unique=True),
        "provider": preferences,
        "tools": st.just([{"type": "function"}]),
    },
)


@st.composite
def catalogs(draw: st.DrawFn) -> list[dict[str, Any]]:
    routes = draw(
        st.lists(st.tuples(st.sampled_from(FAMILIES), st.sampled_from(PROVIDERS)), unique=True, min_size=5)
    )
    open_ones = draw(st.sets(st.sampled_from(PROVIDERS), max_size=2))
    return [
        {**draw(rows), "family": family, "provider": provider, "is_open": provider in open_ones}
        for family, provider in routes
    ]


def core_of(catalog: list[dict[str, Any]], *, is_scored: bool = False, **more: Any) -> Core:
    """Make the engine of a catalog; `more` goes to its profile."""
    models: dict[str, Any] = {family: {"served_by": []} for family in FAMILIES}
    for row in catalog:
        route = {
            key: row[key]
            for key in ("price_in", "price_out", "tok_s", "latency_ms")
            if row.get(key) is not None
        }
        capabilities = {"supports_tools": row.get("tools", False)}
        if row.get("quantization"):
            capabilities[row["quantization"]] = True
        route |= {
            "provider": row["provider"],
            "no_log": row.get("no_log", False),
            "has_tee": row.get("tee", False),
        }
        models[row["family"]]["served_by"].append({**route, "capabilities": capabilities})
    profile = {"filter": "not_disabled", **({"scorer": ["field", "tok_s"]} if is_scored else {}), **more}
    core = Core.of(
        {
            "providers": {name: {"api_kind": "scripted"} for name in PROVIDERS},
            "models": models,
            "profiles": {"default": profile},
        },
        VM,
    )
    shut = {row["provider"]: {"failures": 3, "until_ms": 10_000} for row in catalog if row.get("is_open")}
    core.engine.restore_state({"v": 1, "health": {"breakers": shut, "disabled": {}}})
    return core


def is_contradictory(body: dict[str, Any]) -> bool:
    """Whether several models are wanted without fallbacks and without saying of whom."""
    wants = body.get("provider") or {}
    listed = {*(body.get("models") or []), body["model"]} - {""}
    asks = "models" in body and len(listed) > 1
    return bool(asks and wants.get("allow_fallbacks") is False and not wants.get("order"))


@settings(max_examples=400, deadline=None)
@given(catalog=catalogs(), body=bodies, is_scored=st.booleans())
def test_the_lowered_term_orders_as_the_fields_say(
    catalog: list[dict[str, Any]],
    body: dict[str, Any],
    is_scored: bool,  # noqa: FBT001
) -> None:
    core = core_of(catalog, is_scored=is_scored)
    if is_contradictory(body):
        with pytest.raises(RefusedError):
            aim(core, body, model=body["model"])
        return
    assert ranked(core, aim(core, body, model=body["model"])) == naive(catalog, is_scored, body)


selectors = st.sampled_from(
    [
        {"selector": "ordered"},
        {"selector": "sample"},
        {"selector": "top_k", "selector_opts": {"k": 2}},
        {
            "selector": "chain",
            "chain": [{"provider": "p2", "model": "f1"}, {"provider": "p1", "model": "f2"}],
        },
        {"selector": ["prefer", ["provider_eq", "p3"], ["argmax"]]},
        {"filter": {"provider_not_in": ["p1"]}},
    ]
)


@settings(max_examples=150, deadline=None)
@given(catalog=catalogs(), body=bodies, profile=selectors)
def test_a_caller_narrows_and_never_widens(
    catalog: list[dict[str, Any]], body: dict[str, Any], profile: dict[str, Any]
) -> None:
    if is_contradictory(body):
        return
    # a bound on how many are tried picks others when the order is another: it bounds the count alone
    core = core_of(catalog, **profile)
    own = ranked(core, aim(core, {}, model=""))
    found = ranked(core, aim(core, body, model=body["model"]))
    if profile.get("selector") == "top_k":
        assert len(found) <= 2
    else:
        assert set(found) <= set(own)


# Named cases ---------------------------------------------------------------------------------------

THREE = [
    {"family": "f1", "provider": "p1", "price_in": 3, "price_out": 1, "tok_s": 10},
    {"family": "f1", "provider": "p2", "price_in": 1, "price_out": 1, "tok_s": 20},
    {"family": "f1", "provider": "p3", "price_in": 2, "price_out": 1, "tok_s": 90},
    {"family": "f2", "provider": "p3", "price_in": 5, "price_out": 5, "tok_s": 1},
]


def order_of(body: dict[str, Any] | None = None, model: str = "f1", **more: Any) -> list[str]:
    core = core_of(THREE, **more)
    return providers(ranked(core, aim(core, body or {}, model=model)))


def test_floor_is_the_cheapest_first_and_nitro_the_fastest() -> None:
    assert order_of(model="f1:floor") == ["p2", "p3", "p1"]
    assert order_of(model="f1:nitro") == ["p3", "p2", "p1"]
    assert order_of(model="profile:default:floor") == ["p2", "p3", "p1", "p3"]
    assert order_of(model="gpt-4o:floor") == ["p2", "p3", "p1", "p3"]


def test_what_is_not_known_comes_last_also_after_the_dearest() -> None:
    rows: list[dict[str, Any]] = [
        {"family": "f1", "provider": "p1"},
        {**THREE[0], "provider": "p2"},
        {**THREE[1], "provider": "p3"},
    ]
    rows[2]["latency_ms"] = 7
    core = core_of(rows)
    assert providers(ranked(core, aim(core, model="f1:floor"))) == ["p3", "p2", "p1"]
    assert providers(ranked(core, aim(core, {"provider": {"sort": "latency"}}))) == ["p3", "p1", "p2"]


def test_a_ceiling_admits_what_costs_exactly_that() -> None:
    assert order_of({"provider": {"max_price": {"prompt": 2}}}) == ["p2", "p3"]
    assert order_of({"provider": {"max_price": {"completion": 0.5}}}) == []


def test_without_fallbacks_only_the_order_serves() -> None:
    assert order_of({"provider": {"order": ["p3", "p1"], "allow_fallbacks": False}}) == ["p3", "p1"]
    assert order_of({"provider": {"allow_fallbacks": False, "sort": "price"}}) == ["p2"]


def test_a_model_that_is_none_here_before_models_that_are_is_passed_over() -> None:
    core = core_of(THREE)
    assert ranked(core, aim(core, {"models": ["f2", "f1"]}, model="gpt-4o"))[0] == ("f2", "p3")
    assert ranked(core, aim(core, {"models": ["pin:p2/f1", "f2"]}))[:2] == [("f1", "p2"), ("f2", "p3")]


def test_a_bound_on_attempts_counts_after_the_callers_order() -> None:
    bound: dict[str, Any] = {"selector": "top_k", "selector_opts": {"k": 1}}
    assert order_of({"provider": {"order": ["p3"]}}, **bound) == ["p3"]


def test_a_sort_orders_by_score_whatever_the_profile_does() -> None:
    for selector in ("ordered", "sample"):
        assert order_of({"provider": {"sort": "price"}}, selector=selector) == ["p2", "p3", "p1"]
    chain = [{"provider": "p1", "model": "f1"}, {"provider_id": "p2", "model_family": "f1"}]
    assert order_of({"provider": {"sort": "price"}}, selector="chain", chain=chain) == ["p2", "p1"]


def test_the_identity_that_is_reported_is_that_of_the_one_lowered_term() -> None:
    from llm_policy_host.web.sugar import Wishes, lower  # noqa: PLC0415 - of this claim alone

    core = core_of(THREE)
    pieces = aim(core, {"provider": {"order": ["p3"], "max_price": {"prompt": "2.5"}}})
    term = lower(
        core.engine.profile_term("default", is_bare=True),
        Wishes(order=("p3",), ceilings=(("price_in", 2.5),)),
    )
    told = Language(VM).identify(term, {})
    assert isinstance(told, Identified)
    assert told.sort == "Policy"
    assert pieces["policy_ir"] == told.identity


def test_wishes_that_ask_nothing_leave_the_profile_as_it_is() -> None:
    core = core_of(THREE)
    wishes: list[dict[str, Any]] = [
        {},
        {"allow_fallbacks": True},
        {"data_collection": "allow", "zdr": False},
        {"order": []},
    ]
    for provider in wishes:
        assert aim(core, {"provider": provider}) == {"profile": "default"}


@pytest.mark.parametrize(
    ("body", "param", "near"),
    [
        ({"provider": []}, "provider", "record"),
        ({"provider": {"ordr": ["p1"]}}, "provider.ordr", "`order`"),
        ({"provider": {"order": "p1"}}, "provider.order", "list"),
        ({"provider": {"order": [1]}}, "provider.order", "list"),
        ({"provider": {"order": ["p"]}}, "provider.order", "`p"),
        ({"provider": {"order": ["x" * 300]}}, "provider.order", "list of names"),
        ({"provider": {"only": ["nobody"]}}, "provider.only", "no provider"),
        ({"provider": {"only": []}}, "provider.only", "at least"),
        ({"provider": {"ignore": {}}}, "provider.ignore", "list"),
        ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks", "true or false"),
        ({"provider": {"sort": "prize"}}, "provider.sort", "`price`"),
        ({"provider": {"sort": {"by": "price"}}}, "provider.sort", "one of"),
        ({"provider": {"max_price": 3}}, "provider.max_price", "record"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt", "USD"),
        ({"provider": {"max_price": {"prompt": "1e3"}}}, "provider.max_price.prompt", "USD"),
        ({"provider": {"max_price": {"prompt": True}}}, "provider.max_price.prompt", "USD"),
        ({"provider": {"max_price": {"prompt": 2**60}}}, "provider.max_price.prompt", "USD"),
        ({"provider": {"max_price": {"image": 1}}}, "provider.max_price.image", "per image"),
        ({"provider": {"data_collection": "denny"}}, "provider.data_collection", "`deny`"),
        ({"provider": {"zdr": 1}}, "provider.zdr", "true or false"),
        ({"provider": {"require_parameters": "yes"}}, "provider.require_parameters", "true or false"),
        ({"provider": {"quantizations": ["fp9"]}}, "provider.quantizations", "`fp"),
        ({"models": "f1"}, "models", "list"),
        ({"models": ["f9"]}, "models", "`f"),
        ({"models": ["profile:default"]}, "models", "no model"),
        ({"models": [f"f{n}" for n in range(30)]}, "models", "at most"),
        ({"models": ["f1:nitro", "f2:floor"]}, "provider.sort", "price and throughput"),
        (
            {"models": ["f1", "f2"], "provider": {"allow_fallbacks": False}},
            "provider.allow_fallbacks",
            "order",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_path(body: dict[str, Any], param: str, near: str) -> None:
    with pytest.raises(RefusedError) as caught:
        aim(core_of(THREE), body)
    problem = caught.value.problem
    assert problem.status in (400, 404)
    assert problem.param == param
    assert near in problem.message


def test_the_longest_lists_that_are_taken_still_make_a_term() -> None:
    many = [f"p{number:02}" for number in range(24)]
    core = Core.of(
        {
            "providers": {name: {"api_kind": "scripted"} for name in many},
            "models": {f"f{name}": {"served_by": [{"provider": name}]} for name in many},
            "profiles": {"default": {}},
        }
    )
    body = {"models": [f"f{name}" for name in reversed(many)], "provider": {"order": many, "sort": "price"}}
    assert providers(ranked(core, aim(core, body))) == list(reversed(many))
