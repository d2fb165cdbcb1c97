"""The worst case of an attempt: what it really took is never more, and what nothing bounds is said (spec 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_policy_host.clock import VirtualClock
from llm_policy_host.ledger.amounts import micro_usd, settled
from llm_policy_host.providers.prices import Prices
from llm_policy_host.providers.scripted import Scripted
from llm_policy_host.run.estimate import Estimator
from llm_policy_host.values import Call, Cost, Estimate, Failure, Response, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

PRICED = {"price_in": 3, "price_out": 15, "capabilities": {"context": 8000}}
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]
QUOTED = [{"role": "user", "content": '{"type":"image_url"}'}]


class Adapter(Scripted):
    """An adapter, as far as an estimate asks it."""

    def __init__(self, *unsaid: str) -> None:
        super().__init__({}, VirtualClock())
        self._unsaid = unsaid

    def unsaid(self, call: Call) -> Sequence[str]:
        del call
        return self._unsaid


def estimate(candidate: dict[str, Any], adapter: Adapter | None = None, **call: Any) -> Estimate:
    given_call = Call("p", "m", "served", **{"prompt": "hi", "params": {"max_tokens": 10}, **call})
    prices = Prices({}, VirtualClock())
    return Estimator(prices).estimate(given_call, candidate, adapter or Adapter())


def sent(prompt: str) -> int:
    """Count what is sent beside nothing: `[[],[],null,"…",[]]`."""
    return len(f'[[],[],null,"{prompt}",[]]'.encode())


def test_bytes_bound_what_is_read_and_the_parameter_what_is_written() -> None:
    assert estimate(PRICED) == Estimate(sent("hi") + 10, sent("hi") * 3 + 10 * 15)
    assert estimate(PRICED, prompt="é" * 9).tokens == sent("é" * 9) + 10
    assert estimate(PRICED, params={"max_tokens": 10, "n": 3}).tokens == sent("hi") + 30


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ({"best_of": 20}, 20),
        ({"best_of": 20, "n": 3}, 20),
        ({"best_of": 2, "n": 3}, 3),
        ({"best_of": None, "n": 0}, 1),
        ({"best_of": "20"}, None),
        ({"n": [20]}, None),
    ],
)
def test_answers_of_which_only_the_best_are_given_are_written_all_the_same(
    asked: dict[str, Any], answers: int | None
) -> None:
    wanted = None if answers is None else sent("hi") + len(orjson.dumps(asked)) + 10 * answers
    assert estimate(PRICED, passthrough=asked).tokens == wanted


def test_without_a_bound_of_the_callers_the_model_bounds_the_answer() -> None:
    assert estimate(PRICED, params={}).tokens == sent("hi") + 8000
    most = {**PRICED, "capabilities": {"context": 8000, "max_output": 500}}
    assert estimate(most, params={}).tokens == sent("hi") + 500
    assert estimate(PRICED, Adapter("max_tokens")).tokens == sent("hi") + 8000
    assert estimate({"price_in": 3, "price_out": 15}, params={}) == Estimate(None, None, "unbounded")


@pytest.mark.parametrize(
    "call",
    [
        {"messages": IMAGE},
        {"passthrough": {"previous_response_id": "r"}},
        {"tools": [{"type": "web_search"}]},
        {"dialect": "anthropic", "passthrough": {"messages": [{"content": [{"type": "document"}]}]}},
    ],
)
def test_where_bytes_do_not_tell_the_context_bounds(call: dict[str, Any]) -> None:
    assert estimate(PRICED, **call).tokens == 8000 + 10
    assert estimate({"price_in": 3, "price_out": 15}, **call).why == "unbounded"


def test_a_text_that_speaks_of_images_is_a_text() -> None:
    assert estimate(PRICED, messages=QUOTED).tokens != 8000 + 10


def test_a_whole_body_of_ones_own_dialect_is_not_counted_twice() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 100}]}
    both = estimate(PRICED, messages=body["messages"], prompt=None, dialect="anthropic", passthrough=body)
    assert both.tokens is not None
    assert both.tokens < 250


def test_what_a_caller_writes_besides_is_sent_too() -> None:
    plain, more = estimate(PRICED), estimate(PRICED, passthrough={"user": "x" * 50})
    assert (more.tokens or 0) - (plain.tokens or 0) == len('{"user":"' + "x" * 50 + '"}')


class Tiered:
    """A vendor that charges ten times as much for the tokens of a long request."""

    def cost(self, response: Response, chosen: Any, api_kind: str) -> Cost:
        del chosen, api_kind
        usage = response.usage
        assert usage is not None
        count = usage.total_tokens
        return Cost(count * (10 if count > 1000 else 1) / 1_000_000, "computed")


def test_a_dearer_tier_bounds_a_short_request_too() -> None:
    call = Call("p", "m", "served", prompt="hi", params={"max_tokens": 10})
    found = Estimator(Tiered()).estimate(call, PRICED, Adapter())
    assert found.usd_micro == 10 * (found.tokens or 0)


def test_a_price_that_is_not_known_is_said() -> None:
    assert estimate({"capabilities": {"context": 8000}}) == Estimate(sent("hi") + 10, None, "unpriced")
    assert estimate({"price_in": 3, "capabilities": {"context": 8000}}).why == "unpriced"
    assert estimate({"price_in": 3}, kind="embeddings", embed=["hi"], prompt=None).why is None


def test_a_subscription_costs_nothing() -> None:
    assert estimate({"capabilities": {"context": 8}}, api_kind="openai_codex").usd_micro == 0


def test_without_an_adapter_nothing_is_sent() -> None:
    call = Call("p", "m", "served", prompt="hi")
    assert Estimator(None).estimate(call, PRICED, None) == Estimate(0, 0)


@given(
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.text(max_size=50),
    st.integers(1, 10_000),
    st.data(),
)
def test_no_answer_within_its_bounds_costs_more_than_was_held(
    price_in: float, price_out: float, prompt: str, most: int, data: st.DataObject
) -> None:
    """Whatever classes the tokens fall into: at most a token a byte, and as many as were asked for."""
    candidate = {"price_in": price_in, "price_out": price_out, "capabilities": {"context": 100_000}}
    held = estimate(candidate, prompt=prompt, params={"max_tokens": most})
    assert held.usd_micro is not None
    assert held.tokens is not None
    size = len(prompt.encode(errors="surrogatepass"))
    taken = data.draw(st.integers(0, size))
    cached, written = data.draw(st.integers(0, taken)), data.draw(st.integers(0, most))
    usage = Usage(taken - cached, cached, 0, written)
    chosen = {"raw_price_in": price_in, "raw_price_out": price_out}
    cost = Prices({}, VirtualClock()).cost(Response(usage=usage), chosen, "openai_compatible")
    charge = settled(Response(usage=usage), cost, is_sent=True)
    assert charge["tokens"] <= held.tokens
    assert charge.get("usd_micro", 0) <= held.usd_micro


@pytest.mark.parametrize(
    ("outcome", "cost", "charge"),
    [
        (
            Response(usage=Usage(3, output_tokens=4)),
            Cost(0.5),
            {"calls": 1, "tokens": 7, "usd_micro": 500_000},
        ),
        (Response(usage=Usage(-5)), Cost(0.5), {"calls": 1, "tokens": 0, "usd_micro": 500_000}),
        (Response(), Cost(), {"calls": 1}),
        (Failure("rate_limit"), None, {"calls": 1, "tokens": 0, "usd_micro": 0}),
        (Failure("timeout"), None, {"calls": 1}),
        (Failure("network_error"), None, {"calls": 1}),
        (Failure("network_error", is_unsent=True), None, {"calls": 1, "tokens": 0, "usd_micro": 0}),
        (Failure("timeout", is_unsent=True), None, {"calls": 1, "tokens": 0, "usd_micro": 0}),
        (Failure("stream_interrupted"), None, {"calls": 1}),
        (None, None, {"calls": 1}),
    ],
)
def test_what_is_not_known_is_charged_as_held(
    outcome: Any, cost: Cost | None, charge: dict[str, int]
) -> None:
    """An amount that is absent is all that was held."""
    assert settled(outcome, cost, is_sent=True) == charge
    assert settled(outcome, cost, is_sent=False) == {"calls": 0, "tokens": 0, "usd_micro": 0}


def test_an_amount_is_rounded_up_but_not_for_a_doubles_noise() -> None:
    assert [micro_usd(usd) for usd in (0.000003, 0.0000031, 1.1, 0.0)] == [3, 4, 1_100_000, 0]
