"""Budgets at the gateway: what is left, what is refused with whose limit, and that nothing is overspent."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import orjson
import pytest

from llm_policy_host.ledger.keys import narrow
from tests.contracts.vendor import flow

from .caller import CHAT, HI, ask, get
from .ledgered import COST, Bank, bearer
from .vendor import answer, chat_pieces, echo, kept, selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contracts.vendor import Asked, Reply

    from .caller import Answer
    from .gateway import Running
    from .vendor import Vendor

BODY = {"messages": HI, "max_tokens": 3}
USAGE = "/v1/usage"


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with selling(echo) as vendor:
        yield vendor


@pytest.fixture
def bank(tmp_path: Path, vendor: Vendor) -> Bank:
    return Bank(tmp_path, vendor.origin)


def chat(gateway: Running, key: str, **body: Any) -> Answer:
    return ask(gateway.url + CHAT, {**BODY, **body}, headers=bearer(key))


def left(answer: Answer) -> dict[str, str]:
    prefix = "remaining-"
    return {name[len(prefix) :]: text for name, text in answer.own.items() if name.startswith(prefix)}


def test_every_answer_says_what_the_keys_accounts_have_left(bank: Bank) -> None:
    bank.host["accounts"] = {
        "company": {"usd": 1, "calls": 100},
        "team": {"parent": "company", "tokens": 5000, "window": "day"},
    }
    key = bank.mint("team")
    small = narrow(key, [("usd_micro", 500_000), ("calls", 2)])
    with bank.serving() as gateway:
        first = chat(gateway, key)
        assert left(first) == {"usd": "0.999983", "tokens": "4986", "calls": "99"}
        assert first.own["run-id"].startswith("run-")
        second = chat(gateway, small)
        assert left(second) == {"usd": "0.499983", "tokens": "4972", "calls": "1"}
        # of a stream it is said before it has ended: what is held for it counts
        held = left(chat(gateway, key, stream=True))
        assert held["calls"] == "97"
        assert 0 < int(held["tokens"]) < 4972 - 14
        # errors say it, too
        assert left(chat(gateway, key, model="family:none"))["calls"] == "97"
    runs = {event["run"] for event in bank.events("RequestReceived")}
    assert {first.own["run-id"], second.own["run-id"]} <= runs


def test_a_key_without_a_limit_is_told_of_none_and_one_without_a_ledger_of_no_run(
    bank: Bank, tmp_path: Path
) -> None:
    key = bank.mint()
    with bank.serving() as gateway:
        told = chat(gateway, key)
        assert left(told) == {}
        assert get(gateway.url + USAGE, headers=bearer(key)).data["accounts"] == []
    (tmp_path / "without").mkdir()
    bank.host |= {"ledger": None, "keys_root": None}
    with bank.serving() as gateway:
        plain = ask(gateway.url + CHAT, BODY)
        assert plain.own.keys() == told.own.keys() - {"run-id"}
        assert get(gateway.url + USAGE).error["code"] == "no_ledger"


def test_what_is_spent_is_refused_with_account_and_resource_and_when_it_comes_back(
    bank: Bank, vendor: Vendor
) -> None:
    bank.host["accounts"] = {"company": {}, "team": {"parent": "company", "usd": 0.0001, "window": "hour"}}
    key = bank.mint("team")
    with bank.serving() as gateway:
        spent = 0
        while (told := chat(gateway, key)).status == 200:
            spent += COST
        assert told.status == 402
        assert told.error["code"] == "budget_exceeded"
        metadata = told.error["metadata"]
        assert (metadata["account"], metadata["resource"]) == ("team", "usd_micro")
        assert metadata["until_ms"] % 3_600_000 == 0
        assert 0 < int(told.headers["retry-after"]) <= 3600
        assert told.headers["retry-after"] == str(metadata["retry_after"])
        assert left(told) == {"usd": f"{(100 - spent) / 1e6:.6f}".rstrip("0")}
        streamed = chat(gateway, key, stream=True)
        assert (streamed.status, streamed.error["code"]) == (402, "budget_exceeded")
        calls = len(vendor.asks())
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                client.chat.completions.create(model="small", messages=HI, max_tokens=3)  # type: ignore[arg-type]
            assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
            assert caught.value.type == "payment_required"
        with anthropic.Anthropic(base_url=gateway.url, api_key=key) as caller:
            with pytest.raises(anthropic.APIStatusError) as found:
                caller.messages.create(
                    model="small", max_tokens=3, messages=[{"role": "user", "content": "b"}]
                )
            error: Any = found.value.body
            assert (found.value.status_code, error["error"]["type"]) == (402, "billing_error")
            assert error["error"]["metadata"]["account"] == "team"
        assert len(vendor.asks()) == calls == spent // COST
    assert bank.events("RunFailed")[0]["core"]["error"] == "budget_exceeded"


def test_a_lifetime_budget_says_no_moment_and_an_unknown_price_is_refused(bank: Bank) -> None:
    bank.host["accounts"] = {"team": {"usd": 1}}
    key = narrow(bank.mint("team"), [("calls", 1)])
    with bank.serving() as gateway:
        assert chat(gateway, key).status == 200
        told = chat(gateway, key)
        assert (told.status, told.error["metadata"]["resource"]) == (402, "calls")
        assert "retry-after" not in told.headers
        assert told.error["metadata"]["until_ms"] is None
    for model in (models := bank.config["models"]).values():
        for route in model["served_by"]:
            del route["price_in"], route["price_out"]
    bank.more["models"] = models
    with bank.serving() as gateway:
        free = narrow(key, [("calls_per_minute", 5)])
        told = chat(gateway, free)
        assert (told.status, told.error["code"]) == (402, "budget_exceeded")
    other = bank.mint("team")
    with bank.serving() as gateway:
        told = chat(gateway, other)
        assert (told.status, told.error["code"]) == (402, "unpriced")
        assert told.error["metadata"]["account"] == "team"


def test_a_rate_is_a_429_that_clients_know_how_to_wait_for(bank: Bank) -> None:
    key = narrow(bank.mint(), [("calls_per_minute", 2)])
    with bank.serving() as gateway:
        told = [chat(gateway, key) for _ in range(5)][-1]
        assert (told.status, told.error["code"]) == (429, "rate_exceeded")
        assert 0 < int(told.headers["retry-after"]) <= 60
        with (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client,
            pytest.raises(openai.RateLimitError),
        ):
            client.chat.completions.create(model="small", messages=HI)  # type: ignore[arg-type]
    assert [event["by"] for event in bank.events("AccountOpened")] == ["keyholder"]


# Usage ------------------------------------------------------------------------------------------------


def test_a_key_sees_its_own_accounts(bank: Bank) -> None:
    bank.host["accounts"] = {
        "company": {"usd": 1},
        "team": {"parent": "company", "calls": 9, "window": "day"},
    }
    key = narrow(bank.mint("team", ("call",)), [("tokens", 1000)])
    with bank.serving() as gateway:
        before = get(gateway.url + USAGE, headers=bearer(key)).data
        assert chat(gateway, key).status == 200
        after = get(gateway.url + USAGE, headers={"x-api-key": key}).data
        assert get(gateway.url + f"{USAGE}?by=model", headers=bearer(key)).status == 403
        assert get(gateway.url + USAGE).status == 401
    # the key's own account is told of before it is opened
    assert [account["account"] for account in before["accounts"]] == [
        account["account"] for account in after["accounts"]
    ]
    assert before["remaining"] == {"usd_micro": 1_000_000, "tokens": 1000, "calls": 9}
    assert after["remaining"] == {"usd_micro": 1_000_000 - COST, "tokens": 986, "calls": 8}
    own, team, company = after["accounts"]
    assert own["account"].startswith("key:")
    assert (own["parent"], team["parent"], company["parent"]) == ("team", "company", None)
    assert team["used"] == {"usd_micro": COST, "tokens": 14, "calls": 1}
    assert company["held"] == {"usd_micro": 0, "tokens": 0, "calls": 0}
    assert (team["limits"], company["limits"]) == ({"calls": 9}, {"usd_micro": 1_000_000})
    assert team["resets_at_ms"] % 86_400_000 == 0
    assert company["resets_at_ms"] is None


def test_who_may_read_the_ledger_sees_what_was_used_below_his_account(bank: Bank) -> None:
    bank.host["accounts"] = {"company": {}, "red": {"parent": "company"}, "blue": {"parent": "company"}}
    bank.host["keys"] = {"plain": {"env": "PLAIN_KEY", "may": ["admin"]}}
    red, blue, all_ = bank.mint("red"), bank.mint("blue"), bank.mint("company", ("read_ledger",))

    def usage(key: str, query: str) -> Any:
        told = get(f"{gateway.url}{USAGE}?{query}", headers=bearer(key))
        assert told.status == 200, told.text
        return told.data

    def named(data: Any) -> dict[str, int]:
        return {row[data["by"]]: row["usd_micro"] for row in data["data"]}

    with bank.serving() as gateway:
        assert chat(gateway, red, model="small").status == 200
        assert chat(gateway, red, model="pin:spare/small").status == 200
        assert chat(gateway, blue, model="big").status == 200
        ids = {name: key.removeprefix("lpk_").partition(".")[0] for name, key in (("r", red), ("b", blue))}
        assert named(usage(all_, "by=account")) == {"company": 3 * COST, "red": 2 * COST, "blue": COST}
        assert named(usage(all_, "by=model")) == {"small": 2 * COST, "big": COST}
        assert named(usage(all_, "by=provider")) == {"acme": 2 * COST, "spare": COST}
        assert named(usage(all_, "by=key")) == {ids["r"]: 2 * COST, ids["b"]: COST}
        assert usage("plain-1", "by=key")["total"]["calls"] == 3
        assert named(usage(red, "by=account")) == {"red": 2 * COST}
        assert named(usage(narrow(red, [("calls", 3)]), "by=model")) == {"small": 2 * COST}
        assert usage(all_, "by=model")["total"] == {
            "attempts": 3,
            "failed": 0,
            "usd_micro": 3 * COST,
            "tokens": 42,
            "calls": 3,
        }
        assert chat(gateway, all_).status == 403
    ends = [event["ts"] for event in bank.events("AttemptOutcome")]
    with bank.serving() as gateway:
        # a fold over the ledger is the same after a restart, and of any period
        assert named(usage(all_, "by=model")) == {"small": 2 * COST, "big": COST}
        assert usage(all_, f"from_ms={ends[-1] + 1}")["data"] == []
        assert usage(all_, f"to_ms={ends[0]}")["total"]["attempts"] == 0
        assert usage(all_, f"from_ms={ends[0]}&to_ms={ends[-1] + 1}")["total"]["attempts"] == 3
        for query, param in (("by=modell", "by"), ("from_ms=-1", "from_ms"), ("until=3", "until")):
            refused = get(f"{gateway.url}{USAGE}?{query}", headers=bearer(all_))
            assert (refused.status, refused.error["param"]) == (400, param)


# Many at once -------------------------------------------------------------------------------------------


CALLERS = 1000


def _many(asked: Asked) -> Reply:
    if asked.data.get("stream"):
        return kept(flow(chat_pieces(["hello"])))
    return answer()


def test_a_thousand_callers_at_once_never_overspend_by_one_micro_usd(tmp_path: Path) -> None:
    with selling(_many, keeps=False) as vendor:
        accounts = {
            "company": {"usd": 0.02},
            "red": {"parent": "company", "usd": 0.006},
            "blue": {"parent": "company"},
            "ann": {"parent": "red", "calls": 150},
            "bob": {"parent": "red"},
            "eve": {"parent": "blue"},
        }
        lanes = {name: {"max_in_flight": 200, "max_queue": 2000} for name in ("acme", "spare")}
        bank = Bank(tmp_path, vendor.origin, {"accounts": accounts, "lanes": lanes})
        keys = [bank.mint(name) for name in ("ann", "bob", "eve")]
        keys.append(narrow(keys[2], [("usd_micro", 1500)]))
        with bank.serving() as gateway:
            statuses = asyncio.run(_crowd(gateway.port, keys))
            told = {
                name: get(gateway.url + USAGE, headers=bearer(key)).data
                for name, key in zip(("ann", "bob", "eve", "own"), keys, strict=True)
            }
    assert len(statuses) == CALLERS
    assert {*statuses} == {200, 402}
    paid = statuses.count(200)
    limits = {account["account"]: account for data in told.values() for account in data["accounts"]}
    assert limits["company"]["used"]["usd_micro"] == COST * paid
    for account in limits.values():
        assert account["held"] == {"usd_micro": 0, "tokens": 0, "calls": 0}
        for resource, limit in account["limits"].items():
            assert account["used"][resource] <= limit
    assert paid > 100
    # at no line of the ledger was more held and used than there is
    _judge(bank, {"company": 20_000, "red": 6_000, _own(limits): 1_500})


def _own(limits: dict[str, Any]) -> str:
    return next(name for name in limits if name.startswith("key:"))


def _judge(bank: Bank, limits: dict[str, int]) -> None:
    """Add up by hand what every line holds and settles."""
    sums = dict.fromkeys(limits, 0)
    holds: dict[str, tuple[list[str], int]] = {}
    for line in bank.lines():
        event = orjson.loads(line)
        if event["type"] == "AttemptProposed":
            holds[event["run"]] = (event["core"]["accounts"], event["core"]["hold"]["usd_micro"])
            change, path = holds[event["run"]][1], event["core"]["accounts"]
        elif event["type"] == "AttemptOutcome":
            path, held = holds.pop(event["run"])
            change = event["obs"]["settled"].get("usd_micro", held) - held
        else:
            continue
        for name in path:
            if name in sums:
                sums[name] += change
                assert 0 <= sums[name] <= limits[name], event["seq"]
    assert not holds


async def _crowd(port: int, keys: list[str]) -> list[int]:
    """Let all ask at once, each over a connection of his own, some of them streamed."""
    gate = asyncio.Event()

    async def one(place: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({**BODY, "stream": place % 5 == 0}).encode()
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {keys[place % len(keys)]}\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        await gate.wait()
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    callers = [asyncio.create_task(one(place)) for place in range(CALLERS)]
    await asyncio.sleep(1.0)
    gate.set()
    return await asyncio.gather(*callers)
