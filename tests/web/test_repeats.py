"""Idempotency-Key: a repeat gets the answer that there was, and is never a second paid call."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from llm_policy_host.bookkeeping import memory_ledger
from llm_policy_host.clock import VirtualClock
from llm_policy_host.ledger.event import Draft
from llm_policy_host.ledger.keys import narrow
from llm_policy_host.values import Failure, Origin, Result
from llm_policy_host.web.claims import Answer as Kept
from llm_policy_host.web.claims import Claim, is_free
from llm_policy_host.web.errors import RefusedError
from llm_policy_host.web.repeats import Repeats, key_of
from tests.contracts.vendor import flow, whole

from .caller import CHAT, HI, ask, get, text_of
from .ledgered import COST, Bank, bearer
from .process import Process
from .test_ledger_keys import FLOW, TERM
from .vendor import answer, kept, selling, stream, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.contracts.vendor import Asked, Reply

    from .caller import Answer
    from .vendor import Vendor


class Shop:
    """A vendor whose answers differ from call to call, and that can be told what to do."""

    def __init__(self) -> None:
        self.count = 0
        self.does: Callable[[Asked], Reply] | None = None
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, asked: Asked) -> Reply:
        self.count += 1
        if self.does is not None:
            return self.does(asked)
        texts = [f"answer {self.count}", " and", " more"]
        return stream(texts) if asked.data.get("stream") else answer("".join(texts))


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def vendor(shop: Shop) -> Iterator[Vendor]:
    with selling(shop) as vendor:
        yield vendor


@pytest.fixture
def bank(tmp_path: Path, vendor: Vendor) -> Bank:
    return Bank(tmp_path, vendor.origin, {"accounts": {"team": {"usd": 1}, "rivals": {"usd": 1}}})


def chat(url: str, key: str, named: str | None = "order-1", path: str = CHAT, **body: Any) -> Answer:
    headers = bearer(key) if named is None else {**bearer(key), "Idempotency-Key": named}
    return ask(url + path, {"messages": HI, "max_tokens": 5, **body}, headers=headers)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_repeat_gets_the_bytes_that_were_sent_and_nobody_is_asked(
    bank: Bank, shop: Shop, *, is_stream: bool
) -> None:
    key = bank.mint("team")
    with bank.serving() as gateway:
        first = chat(gateway.url, key, stream=is_stream)
        again = [chat(gateway.url, key, stream=is_stream) for _ in range(3)]
        other = chat(gateway.url, key, "order-2", stream=is_stream)
        none = chat(gateway.url, key, None, stream=is_stream)
        used = get(f"{gateway.url}/v1/usage", headers=bearer(key)).data["accounts"][0]["used"]
    assert first.status == 200
    assert "replayed" not in first.own
    for repeat in again:
        assert (repeat.status, repeat.text) == (first.status, first.text)
        assert repeat.own == {**first.own, "replayed": "true"}
        assert repeat.headers["content-type"] == first.headers["content-type"]
    if is_stream:
        assert text_of(again[0].events) == "answer 1 and more"
        assert again[0].events[-1] == "[DONE]"
    assert len({first.text, other.text, none.text}) == 3
    assert shop.count == 3
    assert used == {"usd_micro": 3 * COST, "tokens": 42, "calls": 3}
    idems = [event["idem"] for event in bank.events("RequestReceived")]
    assert [idem is None for idem in idems] == [False, False, True]
    assert b"order-1" not in bank.data


def test_the_official_clients_repeat(bank: Bank, shop: Shop) -> None:
    key, named = bank.mint("team"), {"Idempotency-Key": "k"}
    with bank.serving() as gateway:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
            said = [
                client.chat.completions.create(
                    model="small",
                    messages=[{"role": "user", "content": "a"}],
                    extra_headers=named,
                    max_tokens=5,
                )
                for _ in range(2)
            ]
            assert said[0] == said[1]
        with anthropic.Anthropic(base_url=gateway.url, api_key=key) as caller:
            texts = []
            for _ in range(2):
                with caller.messages.stream(
                    model="small",
                    max_tokens=5,
                    messages=[{"role": "user", "content": "b"}],
                    extra_headers={"Idempotency-Key": "l"},
                ) as told:
                    texts.append("".join(told.text_stream))
            assert texts[0] == texts[1] == "answer 2 and more"
    assert shop.count == 2


def test_repeats_at_once_are_one_paid_call_and_clients_that_wait_all_get_it(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")

    def slow(_asked: Asked) -> Reply:
        time.sleep(0.5)
        return answer("once")

    shop.does = slow
    with bank.serving() as gateway, ThreadPoolExecutor(16) as threads:
        told = list(threads.map(lambda _: chat(gateway.url, key), range(16)))
        assert shop.count == 1
        assert sorted(answer.status for answer in told) == [200] + [409] * 15
        refused = next(answer for answer in told if answer.status == 409)
        assert refused.error["code"] == "idempotency_in_flight"
        assert refused.headers["retry-after"] == "1"

        def patient(_: int) -> Any:
            with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=10) as client:
                return client.chat.completions.create(
                    model="small",
                    messages=[{"role": "user", "content": "a"}],
                    max_tokens=5,
                    extra_headers={"Idempotency-Key": "patient"},
                )

        assert len({answer.id for answer in threads.map(patient, range(8))}) == 1
    assert shop.count == 2


def test_a_key_means_one_request(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")
    with bank.serving() as gateway:
        first = chat(gateway.url, key, temperature=0.5)
        other = chat(gateway.url, key, temperature=0.6)
        assert (other.status, other.error["code"]) == (422, "idempotency_mismatch")
        assert chat(gateway.url, key, path=f"/other{CHAT}", temperature=0.5).status == 422
        # the order of a body's keys means nothing
        body = dict(reversed([*{"messages": HI, "max_tokens": 5, "temperature": 0.5}.items()]))
        told = ask(gateway.url + CHAT, body, headers={**bearer(key), "idempotency-key": "order-1"})
        assert told.text == first.text
        for named in ("", "x" * 256, "caf\xe9"):
            refused = chat(gateway.url, key, named)
            assert (refused.status, refused.error["param"]) == (400, "idempotency-key")
    assert shop.count == 1


def test_what_is_refused_before_it_runs_claims_no_key(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")
    with bank.serving() as gateway:
        assert chat(gateway.url, key, messages="none").status == 400
        assert chat(gateway.url, key, model="profile:none").status == 404
        assert chat(gateway.url, key).status == 200
    assert shop.count == 1


def test_keys_are_a_tenants_own(bank: Bank, shop: Shop) -> None:
    team, mate, rival, loner, stranger = map(bank.mint, ("team", "team", "rivals", None, None))
    with bank.serving() as gateway:
        answers = [chat(gateway.url, key).text for key in (team, mate, rival, loner, stranger, loner)]
    assert answers[0] == answers[1]
    assert answers[3] == answers[5]
    assert len({*answers}) == 4 == shop.count


def test_after_a_restart_a_repeat_is_told_the_run_and_nobody_is_asked(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")
    with bank.serving() as gateway:
        run = chat(gateway.url, key).own["run-id"]
    with bank.serving() as gateway:
        gone = chat(gateway.url, key)
        assert (gone.status, gone.error["code"]) == (409, "idempotency_answer_gone")
        assert gone.error["metadata"]["run_id"] == run
        began = time.monotonic()
        with (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=5) as client,
            pytest.raises(openai.ConflictError),
        ):
            client.chat.completions.create(
                model="small",
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"Idempotency-Key": "order-1"},
            )
        assert time.monotonic() - began < 2, "it was tried again"
        assert chat(gateway.url, key, "order-2").status == 200
    assert shop.count == 2


@pytest.mark.parametrize("is_stream", [False, True])
def test_where_texts_are_kept_an_answer_outlives_its_gateway(
    bank: Bank, shop: Shop, tmp_path: Path, *, is_stream: bool
) -> None:
    (tmp_path / "content.key").write_text(40 * "k")
    bank.host["content"] = {"level": "sealed", "key": {"file": "content.key"}}
    key = bank.mint("team")
    less = narrow(key, [("content", "digest")])
    with bank.serving() as gateway:
        first = chat(gateway.url, key, stream=is_stream)
        assert chat(gateway.url, less, "order-2", stream=is_stream).status == 200
    with bank.serving() as gateway:
        again = chat(gateway.url, key, stream=is_stream)
        assert (again.status, again.text) == (200, first.text)
        assert again.own == {**first.own, "replayed": "true"}
        assert chat(gateway.url, key, stream=is_stream, seed=1).status == 422
        # of whom no text may be kept, none is
        assert chat(gateway.url, less, "order-2", stream=is_stream).status == 409
    assert shop.count == 2
    assert b"answer 1" not in bank.data


def test_whoever_leaves_may_come_back_for_his_answer(bank: Bank, shop: Shop, vendor: Vendor) -> None:
    key = bank.mint("team")

    def slow(_asked: Asked) -> Reply:
        time.sleep(0.4)
        return answer("late")

    shop.does = slow
    with bank.serving() as gateway:
        wire = HTTPConnection("127.0.0.1", gateway.port)
        wire.request(
            "POST",
            CHAT,
            json.dumps({"messages": HI, "max_tokens": 5}),
            {**bearer(key), "Idempotency-Key": "order-1"},
        )
        assert until(lambda: shop.count)
        time.sleep(0.1)
        wire.close()
        assert until(lambda: chat(gateway.url, key).status == 200)
        assert "late" in chat(gateway.url, key).text
    assert (shop.count, vendor.left) == (1, [])
    assert not bank.events("RunCancelled")


def test_an_attempt_that_cost_nothing_is_no_answer_and_one_that_may_have_is(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")
    bank.more["retry_policies"] = {"never": {"unknown": {"action": "abort"}}}
    bank.more["profiles"] = {"default": {"selector": "ordered", "retry_policy": "never"}}
    with bank.serving() as gateway:
        shop.does = lambda _asked: kept(whole(500, b"{}"))
        for tries in (1, 2, 3):
            assert chat(gateway.url, key).error["code"] == "server_error"
            assert shop.count == tries
        shop.does = None
        paid = chat(gateway.url, key)
        assert paid.status == 200
        assert chat(gateway.url, key).text == paid.text
        assert shop.count == 4
        # an answer that makes no sense may have been charged
        shop.does = lambda _asked: kept(whole(200, b"not json"))
        broken = [chat(gateway.url, key, "order-2") for _ in range(2)]
        assert {told.status for told in broken} == {502}
        assert [told.own.get("replayed") for told in broken] == [None, "true"]
        assert shop.count == 5
        # nor is a cut one's end known: what was asked arrived
        shop.does = lambda _asked: flow([b"{"], "application/json", "cut")
        cut = [chat(gateway.url, key, "order-3") for _ in range(2)]
        assert {told.error["code"] for told in cut} == {"network_error"}
        assert [told.own.get("replayed") for told in cut] == [None, "true"]
        assert shop.count == 6
    settled = [event["obs"]["settled"] for event in bank.events("AttemptOutcome")]
    assert settled[-1] == {"calls": 1}
    idems = [event["idem"] for event in bank.events("RequestReceived")]
    assert len(idems) == len({*idems}) == 6


def test_what_no_account_paid_may_be_asked_again(bank: Bank, shop: Shop) -> None:
    bank.host["accounts"] = {"team": {"calls": 0}}
    key = bank.mint("team")
    with bank.serving() as gateway:
        assert [chat(gateway.url, key).status for _ in range(2)] == [402, 402]
    bank.host["accounts"] = {"team": {"calls": 5}}
    with bank.serving() as gateway:
        # another process's try is not known to have cost nothing
        assert chat(gateway.url, key).error["code"] == "idempotency_answer_gone"
        assert chat(gateway.url, key, "order-2").status == 200
    assert shop.count == 1


def test_a_flow_is_repeated_whole(bank: Bank, shop: Shop) -> None:
    key = bank.mint("team")
    with bank.serving() as gateway:
        told = [chat(gateway.url, key, flow_ir=FLOW) for _ in range(2)]
    assert told[0].text == told[1].text
    assert (told[0].status, shop.count) == (200, 1)


@pytest.mark.parametrize("sources", [["a"], ["in"]], ids=["behind it", "beside it"])
def test_a_flow_of_which_a_part_was_paid_is_not_asked_again(
    bank: Bank, shop: Shop, sources: list[str]
) -> None:
    """One node's failure is free; the other's answer is not, nor is a call that the failure cut off."""

    def only(provider: str) -> list[Any]:
        return ["policy", ["provider_eq", provider], *TERM[2:5], ["always", {"action": "abort"}]]

    nodes = {
        "in": {"kind": "input"},
        "a": {"kind": "llm", "inputs": ["in"], "policy": only("acme")},
        "b": {"kind": "llm", "inputs": sources, "policy": only("spare")},
        "out": {"kind": "output", "inputs": ["a", "b"], "template": "{1} {2}"},
    }
    is_paid, is_over = threading.Event(), threading.Event()

    def does(asked: Asked) -> Reply:
        if asked.path.startswith("/spare"):
            is_paid.wait(5)
            return kept(whole(429, b"{}"))
        is_paid.set()
        if sources == ["in"]:
            is_over.wait(5)
        return answer("paid")

    shop.does = does
    key = bank.mint("team")
    with bank.serving() as gateway:
        told = [chat(gateway.url, key, flow_ir=["flow", nodes])]
        is_over.set()
        told.append(chat(gateway.url, key, flow_ir=["flow", nodes]))
    assert [each.status for each in told] == [429, 429], told[0].text
    assert told[1].own.get("replayed") == "true"
    assert shop.count == 2


def test_a_killed_gateway_leaves_its_keys_claimed(bank: Bank, shop: Shop, tmp_path: Path) -> None:
    key = bank.mint("team")
    (tmp_path / "root.secret").write_text(bank.environment["KEYS_ROOT"])
    bank.host["keys_root"] = {"file": "root.secret"}
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(bank.config))

    def slow(_asked: Asked) -> Reply:
        time.sleep(1.5)
        return answer("never read")

    shop.does = slow
    process = Process(path)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(chat, process.url, key)
        assert until(lambda: shop.count)
        time.sleep(0.2)
        process.process.kill()
        process.process.communicate()
        assert asking.exception() is not None
    shop.does = None
    process = Process(path)
    try:
        assert chat(process.url, key).error["code"] == "idempotency_answer_gone"
        assert chat(process.url, key, "order-2").status == 200
    finally:
        process.stop()
    assert shop.count == 2
    assert [event["core"].get("error") for event in bank.events("RunFailed")] == ["in_doubt"]


def test_gateways_that_share_a_ledger_make_one_paid_call(bank: Bank, shop: Shop, tmp_path: Path) -> None:
    key = bank.mint("team")
    (tmp_path / "root.secret").write_text(bank.environment["KEYS_ROOT"])
    bank.host["keys_root"] = {"file": "root.secret"}
    bank.host["ledger"] = {"file": "ledger.db", "mode": "shared"}
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps(bank.config))

    def slow(_asked: Asked) -> Reply:
        time.sleep(0.5)
        return answer("once")

    shop.does = slow
    with ThreadPoolExecutor(16) as threads:
        gateways = list(threads.map(lambda _: Process(path), range(8)))
        try:
            told = list(threads.map(lambda place: chat(gateways[place % 8].url, key), range(16)))
            paid = sum(answer.status == 200 for answer in told)
            assert (paid, shop.count) == (1, 1)
            assert {answer.status for answer in told} == {200, 409}
            later = [chat(gateway.url, key) for gateway in gateways]
            assert sorted(answer.status for answer in later) == [200, *[409] * 7]
            gone = {answer.error["code"] for answer in later if answer.status == 409}
            assert gone == {"idempotency_answer_gone"}
            assert shop.count == 1
        finally:
            for gateway in gateways:
                gateway.stop()
    bank.events()


# The answers that are kept -------------------------------------------------------------------------------


PAID = Result(ok=False, error="exhausted: timeout", failures=(Failure("timeout"),))
ORIGIN = Origin(by="gateway", tenant="team", accounts=("team",))


def _kept(repeats: Repeats, key: str, size: int = 0) -> None:
    claim = repeats.begin(key, "body", ORIGIN, memory_ledger(VirtualClock()).log)
    assert isinstance(claim, Claim)
    claim._pieces.append(size * b"x")
    repeats.end(claim, PAID)


def _state(repeats: Repeats, key: str) -> type:
    log = memory_ledger(VirtualClock()).log
    try:
        found = repeats.begin(key, "body", ORIGIN, log)
    except RefusedError:
        return RefusedError
    if isinstance(found, Claim):
        repeats.end(found, None)
    return type(found)


def test_answers_are_kept_within_a_time_and_a_size() -> None:
    clock = VirtualClock()
    repeats = Repeats(clock, 100_000, 1000)
    _kept(repeats, "a", 40_000)
    clock.advance(500)
    _kept(repeats, "b", 40_000)
    assert (_state(repeats, "a"), _state(repeats, "b"), _state(repeats, "c")) == (Kept, Kept, Claim)
    clock.advance(500)
    assert (_state(repeats, "a"), _state(repeats, "b")) == (Claim, Kept)
    for name in "def":
        _kept(repeats, name, 40_000)
    assert [_state(repeats, name) for name in "bdef"] == [Claim, Claim, Kept, Kept]
    _kept(repeats, "g", 200_000)
    assert [_state(repeats, name) for name in "efg"] == [Claim] * 3
    assert repeats._bytes == 0


def test_a_key_that_the_ledger_knows_is_not_begun_again() -> None:
    ledger, repeats = memory_ledger(VirtualClock()), Repeats(VirtualClock(), 1000, 1000)
    claim = repeats.begin("a", "body", ORIGIN, ledger.log)
    assert isinstance(claim, Claim)
    core = {"api": "x", "is_stream": False, "kind": "chat"}
    run = "run-" + 26 * "a"
    ledger.log.append(Draft("RequestReceived", "gateway", "team", run, idem=claim.idem, core=core))
    with pytest.raises(RefusedError, match="under way") as caught:
        repeats.begin("a", "body", ORIGIN, ledger.log)
    assert caught.value.problem.metadata == {"run_id": run}
    repeats.end(claim, None)
    with pytest.raises(RefusedError, match="under way"):
        repeats.begin("a", "body", ORIGIN, ledger.log)
    ledger.log.append(Draft("RequestRejected", "gateway", "team", run, core={"code": "x"}))
    with pytest.raises(RefusedError, match="no longer kept"):
        repeats.begin("a", "body", ORIGIN, ledger.log)


@pytest.mark.parametrize(
    ("result", "free"),
    [
        (Result(ok=True), False),
        (Result(ok=False, error="no_candidates"), True),
        (Result(ok=False, error="x", failures=(Failure("rate_limit"), Failure("server_error"))), True),
        (Result(ok=False, error="x", failures=(Failure("rate_limit"), Failure("timeout"))), False),
        (Result(ok=False, error="x", failures=(Failure("bad_response"),)), False),
        (Result(ok=False, error="x", failures=(Failure("network_error"),)), False),
        (Result(ok=False, error="x", failures=(Failure("network_error", is_unsent=True),)), True),
    ],
)
def test_only_what_no_vendor_charges_for_is_free(result: Result, *, free: bool) -> None:
    assert is_free(result) is free


def test_no_key_is_none() -> None:
    assert key_of({}) is None
