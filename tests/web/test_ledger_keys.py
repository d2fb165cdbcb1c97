"""The ledger's keys at the gateway: who may what, narrowed offline, taken back, and within which policy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from llm_policy_host.errors import UsageError
from llm_policy_host.ledger.keys import mint, narrow
from llm_policy_host.serving import check_address
from llm_policy_host.wiring import Host

from .caller import CHAT, HI, ask, get
from .ledgered import ALL, ROOT, Bank, bearer, revoke
from .vendor import echo, selling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .caller import Answer
    from .gateway import Running
    from .vendor import Vendor

TERM = ["policy", ["top"], ["zero"], ["ordered"], ["id"], ["always", {"action": "next_candidate"}]]
FLOW = [
    "flow",
    {
        "in": {"kind": "input"},
        "say": {"kind": "llm", "inputs": ["in"], "policy": TERM},
        "out": {"kind": "output", "inputs": ["say"]},
    },
]
EMBED = "/v1/embeddings"


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with selling(echo) as vendor:
        yield vendor


@pytest.fixture
def bank(tmp_path: Path, vendor: Vendor) -> Bank:
    host = {"accounts": {"team": {}}, "gateway": {"flows": {"said": FLOW}}}
    return Bank(tmp_path, vendor.origin, host)


def chat(gateway: Running, key: str, path: str = CHAT, **body: Any) -> Answer:
    return ask(gateway.url + path, {"messages": HI, **body}, headers=bearer(key))


def test_a_minted_key_comes_in_three_forms_and_stands_beside_the_configs(bank: Bank) -> None:
    bank.host["keys"] = {"plain": {"env": "PLAIN_KEY"}}
    key = bank.mint("team")
    with bank.serving() as gateway:
        for headers in (bearer(key), {"x-api-key": key}, {"api-key": key}):
            assert ask(gateway.url + CHAT, {"messages": HI}, headers=headers).status == 200
        assert ask(gateway.url + CHAT, {"messages": HI}).error["code"] == "missing_api_key"
        assert chat(gateway, "plain-1").status == 200
    *received, last = bank.events("RequestReceived")
    assert (last["tenant"], last["core"]["key_id"], last["core"].get("account")) == ("local", "plain", None)
    ids = {(event["by"], event["tenant"], event["core"]["account"]) for event in received}
    assert ids == {("gateway", "team", "team")}
    assert {event["core"]["key_id"] for event in received} == {key.removeprefix("lpk_").partition(".")[0]}
    assert {event["core"]["api"] for event in received} == {"chat/completions"}


def test_the_official_clients_take_a_minted_key(bank: Bank) -> None:
    key = narrow(bank.mint("team"), [("models", ["small"])])
    with bank.serving() as gateway:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
            told = client.chat.completions.create(model="small", messages=[{"role": "user", "content": "a"}])
            assert told.choices[0].message.content == "you said a"
            assert [model.id for model in client.models.list()] == [
                "profile:default",
                "profile:other",
                "small",
            ]
        with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as caller:
            said = caller.messages.create(
                model="small", max_tokens=9, messages=[{"role": "user", "content": "b"}]
            )
            assert said.content[0].text == "you said b"  # type: ignore[union-attr]
            with pytest.raises(anthropic.AuthenticationError):
                caller.with_options(api_key=key[:-1] + "!").messages.create(
                    model="small", max_tokens=9, messages=[{"role": "user", "content": "b"}]
                )


def _other_end(key: str) -> str:
    return key[:-2] + ("AA" if not key.endswith("AA") else "BB")


def test_no_key_but_a_genuine_one_that_has_not_ended_is_let_in(bank: Bank, vendor: Vendor) -> None:
    key, soon = bank.mint("team"), round(time.time() * 1000)
    strangers = {
        "forged": mint(ROOT[::-1].encode(), "somebody", ["call"]),
        "widened": _other_end(narrow(key, [("models", ["small"])])),
        "cut": key.rpartition(".")[0] + ".",
        "never minted": mint(ROOT.encode(), "never-minted", ["call"]),
        "no key": "lpk_",
        "long": "lpk_" + 5000 * "a",
    }
    ended = {
        "api_key_expired": narrow(key, [("expires_ms", soon)]),
        "api_key_not_yet": narrow(key, [("not_before_ms", soon + 3_600_000)]),
        "api_key_wrong_audience": narrow(key, [("audience", ["there"])]),
    }
    with bank.serving() as gateway:
        for why, stranger in strangers.items():
            told = chat(gateway, stranger)
            assert (told.status, told.error["code"]) == (401, "invalid_api_key"), why
        for code, old in ended.items():
            told = chat(gateway, old)
            assert (told.status, told.error["code"]) == (401, code)
            assert get(gateway.url + "/v1/models", headers=bearer(old)).status == 401
        assert chat(gateway, narrow(key, [("audience", ["here", "there"])])).status == 200
        revoke(gateway, key)
        for taken in (key, narrow(key, [("calls", 5)])):
            assert chat(gateway, taken).error["code"] == "api_key_revoked"
    assert len(vendor.asks()) == 1


def test_each_kind_of_call_needs_its_right(bank: Bank) -> None:
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("call", CHAT, {}),
        ("stream", CHAT, {"stream": True}),
        ("embed", EMBED, {"input": "x", "model": "small"}),
        ("flow", CHAT, {"model": "flow:said"}),
        ("flow", CHAT, {"flow_ir": FLOW}),
    ]
    key = bank.mint("team")
    with bank.serving() as gateway:
        for right, path, body in asks:
            less = narrow(key, [("rights", [other for other in ALL if other != right])])
            told = chat(gateway, less, path, **body)
            assert (told.status, told.error["code"]) == (403, "not_allowed"), right
            assert f"`{right}`" in told.error["message"]
            if right != "embed":  # of which this vendor knows nothing
                assert chat(gateway, key, path, **body).status == 200, right
        no_more = narrow(key, [("rights", ["read_ledger"])])
        assert chat(gateway, no_more, model="flow:said").status == 403
    kinds = [event["core"].get("is_flow", False) for event in bank.events("RequestReceived")]
    assert kinds.count(True) == 2


def test_profiles_hold_a_minted_key_as_they_hold_the_configs(bank: Bank) -> None:
    key = narrow(bank.mint("team"), [("profiles", ["other"])])
    with bank.serving() as gateway:
        assert chat(gateway, key).status == 200
        assert chat(gateway, key, model="profile:default").error["code"] == "profile_not_allowed"
        assert chat(gateway, key, path=f"/default{CHAT}").status == 403
        assert chat(gateway, key, policy_ir=TERM).status == 403
        assert chat(gateway, key, model="flow:said").status == 403
    assert [event["core"]["profile"] for event in bank.events("RequestReceived")] == ["other"]


@pytest.mark.parametrize("own", [{}, {"policy_ir": TERM}, {"flow_ir": FLOW}, {"provider": {"sort": "price"}}])
def test_models_and_providers_narrow_whatever_policy_runs(
    bank: Bank, vendor: Vendor, own: dict[str, Any]
) -> None:
    key = bank.mint("team")
    spare = narrow(key, [("providers", ["spare"])])
    big = narrow(narrow(key, [("models", ["big", "small"])]), [("models", ["big"])])
    none = narrow(big, [("providers", ["spare"])])
    with bank.serving() as gateway:
        free = chat(gateway, key, **own)
        assert (free.own["provider"], free.own["model"]) == ("acme", "big")
        only = chat(gateway, spare, **own)
        assert (only.own["provider"], only.own["model"]) == ("spare", "small")
        assert only.own["policy"].startswith("sha256:")
        assert only.own["policy"] != free.own["policy"]
        told = chat(gateway, big, **own)
        assert (told.own["provider"], told.own["model"]) == ("acme", "big")
        nobody = chat(gateway, none, **own)
        assert (nobody.status, nobody.error["code"]) == (404, "no_candidates")
        if not own:
            assert chat(gateway, spare, model="pin:acme/small").status == 404
            assert chat(gateway, big, model="small").status == 404
    assert [asked.path.split("/")[1] for asked in vendor.asks()] == ["acme", "spare", "acme"]
    # what was reported is what the ledger has
    ids = {event["core"]["policy_id"] for event in bank.events("PolicyAdmitted")}
    assert {free.own["policy"], only.own["policy"], told.own["policy"]} <= ids


def test_policies_are_the_only_ones_and_are_named_as_they_are_without_the_key(bank: Bank) -> None:
    bank.more["policy_envelope"] = {"provider_in": ["acme", "spare"]}
    key = bank.mint("team")
    with bank.serving() as gateway:
        profile, own, flow = (
            chat(gateway, key, **body).own["policy"] for body in ({}, {"policy_ir": TERM}, {"flow_ir": FLOW})
        )
        assert len({profile, own, flow}) == 3
        bodies: list[tuple[str, dict[str, Any]]] = [
            (profile, {}),
            (own, {"policy_ir": TERM}),
            (flow, {"flow_ir": FLOW}),
        ]
        for allowed, _ in bodies:
            only = narrow(key, [("policies", [allowed])])
            also = narrow(only, [("providers", ["spare"])])
            for identity, body in bodies:
                told = chat(gateway, only, **body)
                if identity == allowed:
                    assert (told.status, told.own["policy"]) == (200, identity)
                    assert chat(gateway, also, **body).own["provider"] == "spare"
                else:
                    assert (told.status, told.error["code"]) == (403, "policy_not_allowed")
            assert chat(gateway, only, provider={"sort": "price"}).status == 403


def test_a_key_without_a_ledger_to_know_it_opens_nothing(bank: Bank, tmp_path: Path) -> None:
    key = bank.mint("team")
    data = bank.config
    with bank.serving() as gateway:
        # a key minted for another deployment, of which this root knows nothing
        assert chat(gateway, mint(b"x" * 40, "k", ["call"])).status == 401
        assert chat(gateway, key).status == 200
    without = Host.from_data({**data, "host": {}}, directory=tmp_path, environment={})
    with pytest.raises(UsageError):
        check_address("0.0.0.0", without)  # noqa: S104 - asked about
    check_address("0.0.0.0", Host.from_data(data, directory=tmp_path, environment=dict(bank.environment)))  # noqa: S104
