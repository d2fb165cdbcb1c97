"""What enters a digest and what does not; one spelling of plain data, the core's; a ctx found again (spec 5.3)."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.clock import VirtualClock
from llm_policy_host.core.digest import Digest
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import LedgerError
from llm_policy_host.ledger.contexts import Contexts, resolve
from llm_policy_host.ledger.digests import Memo, params_digest, plain_shape, restored, texts_by_digest
from llm_policy_host.ledger.encoding import digest, encode, read
from llm_policy_host.ledger.event import blob_digest
from llm_policy_host.values import Contract
from tests.ledger.setting import HELLO, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

VM = Vm()
SCALARS = (
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
DATA = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=8), each, max_size=4),
    max_leaves=20,
)
LIMITED = {"failure": "rate_limit"}
YES = {"answer": "yes", "usage": {"input": 7, "output": 2}}


@given(DATA)
def test_plain_data_is_spelled_as_the_core_spells_it(value: Any) -> None:
    assert f"sha256:{digest(value)}" == Digest(VM).identity(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0, b"0"),
        (2**53, b"9007199254740992"),
        (1e22, b"1e+22"),
        (0.1, b"0.10000000000000001"),
        (1e-7, b"9.9999999999999995e-08"),
        (math.inf, b'"inf"'),
        (-math.inf, b'"-inf"'),
        (10**400, b'"inf"'),
        ({}, b"[]"),
        ({"é": 1, "e": None, "a\n": True}, b'{"a\\n":true,"\xc3\xa9":1}'),
        ("\x01\udcff", b'"\x01\xff"'),
    ],
)
def test_a_spelling_is_by_hand(value: Any, text: bytes) -> None:
    assert encode(value) == text


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(LedgerError, match="NaN"):
        encode([math.nan])


@given(DATA)
def test_what_is_encoded_reads_back_to_the_same_bytes(value: Any) -> None:
    data = encode(value)
    assert encode(read(data)) == data


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)), max_size=30))
def test_what_comes_again_is_made_once_and_the_same(values: list[dict[str, int]]) -> None:
    made: list[Any] = []

    def make(value: Any) -> str:
        made.append(value)
        return digest(value)

    memo = Memo(make)
    assert [memo(value) for value in values] == [digest(value) for value in values]
    assert len(made) <= len({str(value) for value in values})


def test_what_a_quick_spelling_takes_for_the_same_is_made_apart() -> None:
    memo = Memo(digest)
    values = [None, math.inf, -math.inf, "null", 1, True, 1.0]
    for _ in range(2):
        made = [memo({"a": value, "b": 1}) for value in values]
        assert made == [digest({"a": value, "b": 1}) for value in values]
    with pytest.raises(LedgerError, match="NaN"):
        memo({"a": math.nan, "b": 1})


# What does not enter -----------------------------------------------------------------------------------


async def _digests(
    scripts: dict[str, Any], contract: Contract, before_ms: int = 0, **host: Any
) -> tuple[str, str]:
    async with Setting(scripts, **host) as setting:
        setting.clock.advance(before_ms)
        await setting.ask(dataclasses.replace(contract, seed=7))
        end = setting.events()[-1].core
        return end["decision_digest"], end["trace_digest"]


SAME: dict[str, tuple[dict[str, Any], Contract, int]] = {
    "another moment": ({"a": [LIMITED], "b": [YES]}, HELLO, 86_400_000),
    "latencies": ({"a": [{**LIMITED, "latency_ms": 900}], "b": [{**YES, "latency_ms": 77}]}, HELLO, 0),
    "tokens and costs": ({"a": [LIMITED], "b": [{"answer": "yes", "usage": {"input": 9}}]}, HELLO, 0),
    "a status": ({"a": [{**LIMITED, "http_status": 429}], "b": [YES]}, HELLO, 0),
    "the texts": (
        {"a": [LIMITED], "b": [{"answer": "another"}]},
        Contract(prompt="another", params=HELLO.params),
        0,
    ),
}


@pytest.mark.parametrize("name", SAME)
async def test_neither_time_nor_text_nor_money_enters_a_digest(name: str) -> None:
    scripts, contract, before_ms = SAME[name]
    assert await _digests(scripts, contract, before_ms) == await _digests({"a": [LIMITED], "b": [YES]}, HELLO)


OTHER: dict[str, tuple[dict[str, Any], Contract]] = {
    "parameters": ({"a": [YES], "b": [YES]}, dataclasses.replace(HELLO, params={"max_tokens": 11})),
    "requirements": ({"a": [YES], "b": [YES]}, dataclasses.replace(HELLO, requirements={"min_context": 5})),
    "the policy": (
        {"a": [YES], "b": [YES]},
        dataclasses.replace(
            HELLO,
            policy_ir=["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", {"action": "abort"}]],
        ),
    ),
    "the catalog": ({"a": [YES], "b": [YES], "c": [YES]}, HELLO),
}


@pytest.mark.parametrize("name", OTHER)
async def test_what_a_decision_rests_on_enters_its_digest(name: str) -> None:
    there, here = await _digests(*OTHER[name]), await _digests({"a": [YES], "b": [YES]}, HELLO)
    assert there[0] != here[0]


async def test_an_outcome_enters_the_traces_digest_alone() -> None:
    """Two failures that lead to the same candidate: the decision is the same, what came of it is not."""
    one = await _digests({"a": [LIMITED], "b": [YES]}, HELLO)
    two = await _digests({"a": [{"failure": "server_error"}], "b": [YES]}, HELLO)
    assert (one[0] == two[0], one[1] == two[1]) == (True, False)


async def test_how_much_of_the_trace_is_listed_enters_no_digest() -> None:
    assert await _digests({"a": [LIMITED], "b": [YES]}, HELLO, trace="full") == await _digests(
        {"a": [LIMITED], "b": [YES]}, HELLO
    )


class Backwards(VirtualClock):
    """A clock that goes back a little at each look."""

    def __init__(self) -> None:
        super().__init__(10**12)
        self._looks = itertools.count(10**12, -1_000)

    def now_ms(self) -> int:
        return next(self._looks)


async def test_a_clock_that_runs_backwards_changes_no_decision() -> None:
    told = []
    for clock in (VirtualClock(10**12), Backwards()):
        setting = Setting({"a": [LIMITED], "b": [YES]}, clock=clock)
        async with setting:
            contract = dataclasses.replace(HELLO, seed=7, deadline_ms=10**9)
            results = [await setting.host.run(contract) for _ in range(3)]
            assert all(result.ok for result in results)
        setting.check()
        ends = [event.core for event in setting.events() if event.type == "RunCompleted"]
        told.append([(end["decision_digest"], end["trace_digest"]) for end in ends])
    assert told[0] == told[1]


def test_a_text_that_is_no_word_is_in_no_shape() -> None:
    shape = plain_shape({"verbosity": "tell me all", "reasoning_effort": "low", "stop": ["x"], "seed": 3})
    assert shape["reasoning_effort"] == "low"
    assert shape["seed"] is True
    assert shape["verbosity"].startswith("sha256:")
    assert shape["stop"].startswith("sha256:")
    assert params_digest({"verbosity": "tell me all"}) == params_digest({"verbosity": shape["verbosity"]})


def test_whatever_a_caller_writes_only_names_and_words_are_in_a_shape() -> None:
    words, family = "my own words", "my family"
    candidate = {
        "provider_id": "the shop",
        "model_family": family,
        "capabilities": {"context": 9, words: words, "region": "eu", "many": [words, {words: True}]},
        "offer": {"peer_id": "p 1", "words": words},
        "base_url": "https://my.own/words",
        "remark": words,
        words: None,
        "tier": "local",
    }
    shape: Any = plain_shape(
        {
            "scope": words,
            "requirements": {
                "needs": [words, "tools"],
                "pin": {"provider": words, "model": "m", words: words},
                "model_family": family,
                "tier": words,
                "privacy": words,
                "min_context": 3,
            },
            "extra_candidates": [candidate],
            words: 1,
        }
    )
    assert words not in json.dumps(shape)
    hidden = f"sha256:{hashlib.sha256(words.encode()).hexdigest()}"
    assert shape["scope"] == shape["requirements"]["pin"]["provider"] == hidden
    assert shape["requirements"]["needs"] == [hidden, "tools"]
    assert shape["requirements"]["min_context"] == 3
    (told,) = shape["extra_candidates"]
    # who is asked is in the events by his name too
    assert (told["provider_id"], told["model_family"], told["offer"]["peer_id"]) == (
        "the shop",
        family,
        "p 1",
    )
    assert (told["tier"], told["capabilities"]["region"], told[hidden]) == ("local", "eu", None)
    assert "base_url" not in told
    known = texts_by_digest([{words: ["x"]}, family])
    assert restored(shape, known)["requirements"] == {
        "needs": [words, "tools"],
        "pin": {"provider": words, "model": "m"},
        "model_family": family,
        "tier": words,
        "privacy": words,
        "min_context": 3,
    }
    assert plain_shape(restored(shape, known)) == shape


# Contexts -----------------------------------------------------------------------------------------------


class Shelf:
    """Blobs by their names, and how many bytes each new one took."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.sizes: list[int] = []

    def put(self, data: bytes) -> str:
        self.sizes.append(len(data))
        self.blobs[blob_digest(data)] = data
        return blob_digest(data)


def _state(**parts: Any) -> Callable[[], bytes]:
    return lambda: encode({"breakers": {}, "disabled": {}, "prices": {}, **parts})


OBSERVED = st.dictionaries(
    st.sampled_from([f"p{number}|m" for number in range(8)]),
    st.dictionaries(st.sampled_from(["latency_ms", "tok_s"]), st.floats(0, 1e6), max_size=2),
)
MOMENT = st.tuples(OBSERVED, st.dictionaries(st.sampled_from("ab"), st.just(value=True)))


@given(st.lists(MOMENT, min_size=1, max_size=12))
def test_every_ctx_reads_back_as_it_was(moments: list[tuple[dict[str, Any], dict[str, bool]]]) -> None:
    """Whatever was written before, the identity of a ctx is that of its parts."""
    shelf = Shelf()
    contexts = Contexts(shelf.put)
    for version, (observed, breakers) in enumerate(moments):
        state = _state(breakers=breakers)
        kept = contexts.keep(version, state, {"observed": observed}, 0)
        whole = {"observed": observed or None, "state": read(state())}
        assert kept.identity == digest(whole)
        identity, parts = resolve(kept.blob, shelf.blobs.get)
        assert (identity, encode(parts)) == (kept.identity, encode(whole))


ALIKE = st.sampled_from([None, 0, 1, True, False, 1.0, -0.0, {}, {"x": None}, {"x": 1}, {"x": True}, [1]])
ENTRIES = st.dictionaries(st.sampled_from("abc"), ALIKE, max_size=3)
FILL = {f"p{number}|m": {"latency_ms": number} for number in range(40)}
"""So much that a difference is worth it."""


@given(st.lists(ENTRIES, min_size=2, max_size=5))
def test_what_python_takes_for_the_same_is_not_the_same_in_a_ctx(moments: list[dict[str, Any]]) -> None:
    shelf = Shelf()
    contexts = Contexts(shelf.put)
    for version, entries in enumerate(moments):
        others = {"observed": {**FILL, **entries}, "price_multipliers": entries}
        kept = contexts.keep(version, _state(), others, 0)
        identity, _ = resolve(kept.blob, shelf.blobs.get)
        given = {name: part for name, part in others.items() if part}
        assert identity == kept.identity == digest({**given, "state": read(_state()())})


def test_a_ctx_that_did_not_change_is_neither_read_nor_written() -> None:
    shelf, asked = Shelf(), []

    def state() -> bytes:
        asked.append(1)
        return _state()()

    contexts = Contexts(shelf.put)
    others = {"observed": {"a|m": {"latency_ms": 5}}}
    kept = {contexts.keep(1, state, {**others}, moment) for moment in range(100)}
    assert (len(kept), len(asked), len(shelf.sizes)) == (1, 1, 1)


def test_a_small_change_is_written_as_a_difference() -> None:
    shelf = Shelf()
    contexts = Contexts(shelf.put)
    for number in range(10):
        observed = {f"p{route}|m": {"latency_ms": 5 + number * (route == 3)} for route in range(500)}
        del observed[f"p{number + 10}|m"]
        others = {"observed": observed} | ({"price_multipliers": {"p1": 2}} if number in (0, 5) else {})
        kept = contexts.keep(number // 5, _state(breakers={"b": True} if number > 7 else {}), others, 0)
        _, parts = resolve(kept.blob, shelf.blobs.get)
        assert parts["observed"] == observed
        assert ("price_multipliers" in parts) == (number in (0, 5))
    assert len(shelf.sizes) == 10
    assert max(shelf.sizes[1:]) < shelf.sizes[0] / 20


def test_an_offer_is_in_the_ctx_until_it_ends_and_its_end_is_not() -> None:
    shelf = Shelf()
    contexts = Contexts(shelf.put)
    offers = {
        "market": [
            {"peer_id": "p", "expires_at_ms": 100, "seller_endpoint": "http://secret.invalid"},
            {"peer_id": "q"},
        ]
    }
    before = contexts.keep(1, _state(), {"offers": offers}, 99)
    after = contexts.keep(1, _state(), {"offers": offers}, 100)
    lists = [resolve(kept.blob, shelf.blobs.get)[1]["offers"] for kept in (before, after)]
    assert lists == [{"market": [{"peer_id": "p"}, {"peer_id": "q"}]}, {"market": [{"peer_id": "q"}]}]


def test_a_blob_that_is_not_what_it_names_is_told() -> None:
    shelf = Shelf()
    kept = Contexts(shelf.put).keep(1, _state(), {"observed": {"a|m": {"tok_s": 5}}}, 0)
    shelf.blobs[kept.blob] = shelf.blobs[kept.blob].replace(b'"tok_s":5', b'"tok_s":6')
    with pytest.raises(LedgerError, match="not the one"):
        resolve(kept.blob, shelf.blobs.get)


async def test_runs_at_once_share_their_ctx_until_something_is_learned() -> None:
    async with Setting({"a": [LIMITED, YES], "b": [YES]}) as setting:
        await asyncio.gather(*(setting.ask() for _ in range(5)))
        contexts = {event.core["ctx"] for event in setting.events() if event.type == "PolicyAdmitted"}
        assert len(contexts) == 1
