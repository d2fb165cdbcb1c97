"""Who may call the gateway, and what."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host import ConfigError, Host
from llm_policy_host.clock import VirtualClock
from llm_policy_host.config.settings import RIGHTS
from llm_policy_host.serving import create_keys
from llm_policy_host.values import Secret
from llm_policy_host.web.aim import Aims
from llm_policy_host.web.errors import RefusedError
from llm_policy_host.web.keys import OPEN, OVERRIDE_HEADER, Keys
from llm_policy_host.web.skin import Caller

from .aiming import Core, asked
from .caller import CHAT, HI, ask
from .gateway import running
from .test_aim import CONFIG as CATALOG
from .test_aim import TERM
from .vendor import answer, selling

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = hashlib.sha256(b"by-digest").hexdigest()
KEYS: dict[str, Any] = {
    "team": {"env": "TEAM_KEY", "profiles": ["cheap"]},
    "ops": {"file": "ops.key", "may": ["policy", "metadata"]},
    "ci": {"sha256": DIGEST, "may": []},
}


def host(tmp_path: Path, keys: Any, **environment: str) -> Host:
    data = {**CATALOG, "host": {"keys": keys}}
    return Host.from_data(data, directory=tmp_path, clock=VirtualClock(), environment=environment)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "ops.key").write_text("from-a-file\n")
    return create_keys(host(tmp_path, KEYS, TEAM_KEY="from-the-environment"))


def status(keys: Keys, headers: dict[bytes, bytes]) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        keys(headers)
    return caught.value.problem.status, caught.value.problem.code


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer %s"),
        (b"authorization", b"bearer  %s "),
        (b"x-api-key", b"%s"),
        (b"api-key", b"%s"),
    ],
)
def test_a_key_comes_in_three_forms(keys: Keys, header: tuple[bytes, bytes]) -> None:
    name, form = header
    assert keys({name: form % b"from-the-environment"}) == Caller("team", frozenset({"cheap"}))
    assert keys({name: form % b"from-a-file"}) == Caller("ops", None, frozenset({"policy", "metadata"}))
    assert keys({name: form % b"by-digest"}) == Caller("ci")


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer wrong"},
        {b"x-api-key": b""},
        {b"api-key": DIGEST.encode()},
        {b"authorization": b"Bearer "},
        {b"x-api-key": b"from-the-environment-and-more"},
    ],
)
def test_any_other_key_is_refused(keys: Keys, headers: dict[bytes, bytes]) -> None:
    assert status(keys, headers) == (401, "invalid_api_key")


def test_no_key_is_refused_and_so_is_another_scheme(keys: Keys) -> None:
    assert status(keys, {}) == (401, "missing_api_key")
    assert status(keys, {b"authorization": b"Basic from-a-file"}) == (401, "missing_api_key")


def test_one_good_key_among_headers_is_enough(keys: Keys) -> None:
    # clients with a placeholder in one form and the key in another
    assert keys({b"authorization": b"Bearer none", b"x-api-key": b"from-a-file"}).name == "ops"


def test_without_keys_whoever_is_here_may_ask_but_not_reach_out(tmp_path: Path) -> None:
    keys = create_keys(host(tmp_path, {}))
    assert keys({b"authorization": b"Bearer anything"}) is OPEN
    assert OPEN.profiles is None
    assert not OPEN.may & {"extra_candidates", "auth_override", "admin"}


def test_a_key_that_cannot_be_had_opens_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        keys = create_keys(host(tmp_path, {"team": {"env": "TEAM_KEY"}}))
    assert "`team` lets nobody in" in caplog.text
    assert "TEAM_KEY" in caplog.text
    for headers in ({}, {b"x-api-key": b""}, {b"authorization": b"Bearer "}):
        assert status(keys, headers)[0] == 401


@pytest.mark.parametrize(
    ("key", "path", "detail"),
    [
        ({}, "$.host.keys", "exactly one"),
        ({"env": "A", "file": "b"}, "$.host.keys", "exactly one"),
        ({"env": "A", "profiles": ["cheep"]}, "$.host.keys.k.profiles[1]", "cheap"),
        ({"env": "A", "profiles": []}, "$.host.keys.k.profiles", "list"),
        ({"env": "A", "may": ["fly"]}, "$.host.keys.k.may", "policy"),
        ({"env": "A", "mays": []}, "$.host.keys.k.mays", "may"),
        ({"sha256": "abc"}, "$.host.keys.k.sha256", "64 hex"),
        ("plain-key", "$.host.keys.k", "record"),
    ],
)
def test_a_wrong_key_in_the_config_is_named(tmp_path: Path, key: Any, path: str, detail: str) -> None:
    with pytest.raises(ConfigError) as caught:
        host(tmp_path, {"k": key})
    (problem,) = caught.value.problems
    assert problem.path == path
    assert detail in str(problem)


def test_every_right_is_one_that_something_asks_for() -> None:
    assert {*RIGHTS} >= OPEN.may


# A caller's own key for a provider -------------------------------------------------------------


def override(header: bytes | None, caller: Caller | None) -> dict[str, Any]:
    skin: Any = type("S", (), {"path": "/chat/completions"})()
    headers = {} if header is None else {OVERRIDE_HEADER: header}
    request = replace(asked(caller=caller), headers=headers)
    return Aims(Core.of(CATALOG), {}).aim({}, request, skin)  # type: ignore[arg-type]


TRUSTED = Caller("k", None, frozenset({"auth_override"}))


def test_a_trusted_caller_brings_a_key_for_a_provider_and_it_is_not_printed() -> None:
    pieces = override(b"acme=sk-own=1", TRUSTED)
    (secret,) = pieces["auth_override"].values()
    assert isinstance(secret, Secret)
    assert (list(pieces["auth_override"]), secret.reveal()) == (["acme"], "sk-own=1")
    assert "sk-own" not in repr(pieces)


@pytest.mark.parametrize(
    ("header", "caller", "code"),
    [
        (b"acme=sk-own", Caller("k"), 403),
        (b"acme=sk-own", OPEN, 403),
        (b"acme", TRUSTED, 400),
        (b"=sk-own", TRUSTED, 400),
        (b"acme=", TRUSTED, 400),
        (b"acmee=sk-own", TRUSTED, 400),
        (b"acme=sk\xff", TRUSTED, 400),
    ],
)
def test_an_override_that_means_nothing_is_refused_without_its_key(
    header: bytes, caller: Caller, code: int
) -> None:
    with pytest.raises(RefusedError) as caught:
        override(header, caller)
    assert caught.value.problem.status == code
    assert "sk" not in caught.value.problem.message


def test_no_candidate_of_a_callers_is_signed_with_what_this_machine_has() -> None:
    entry = {"provider_id": "mine", "model_family": "m", "api_kind": "bedrock", "base_url": "https://x"}
    caller = Caller("k", None, frozenset({"auth_override", "extra_candidates"}))

    def pieces(headers: dict[bytes, bytes]) -> dict[str, Any]:
        skin: Any = type("S", (), {"path": "/chat/completions"})()
        request = replace(asked(caller=caller), headers=headers)
        return Aims(Core.of(CATALOG), {}).aim({"extra_candidates": [entry]}, request, skin)  # type: ignore[arg-type]

    with pytest.raises(RefusedError) as caught:
        pieces({})
    assert caught.value.problem.param == "extra_candidates[0].api_kind"
    assert pieces({OVERRIDE_HEADER: b"mine=own"})["extra_candidates"] == [entry]


def test_the_callers_own_key_reaches_that_provider_and_the_operators_stays_here(tmp_path: Path) -> None:
    with selling(answer("hi")) as vendor:
        address = f"{vendor.origin}/v1"
        mine = {"provider_id": "mine", "model_family": "m", "base_url": address}
        config = {
            "providers": {"acme": {"base_url": address, "auth_env": "ACME_KEY"}},
            "models": {"small": {"served_by": [{"provider": "acme"}]}},
            "profiles": {"default": {}},
            "host": {"keys": {"ops": {"env": "OPS_KEY", "may": ["auth_override", "extra_candidates"]}}},
        }
        with running(config, {"ACME_KEY": "operators", "OPS_KEY": "ops"}, directory=tmp_path) as gateway:
            key = {"authorization": "Bearer ops"}
            own = {**key, OVERRIDE_HEADER.decode(): "acme=callers"}
            body = {"messages": HI}
            bodies = [
                (body, key),
                (body, own),
                ({**body, "model": "pin:acme/small", "extra_candidates": [mine]}, key),
            ]
            for asks, headers in bodies:
                assert ask(gateway.url + CHAT, asks, headers=headers).status == 200
            foreign = {
                **body,
                "policy_ir": ["policy", ["provider_eq", "mine"], *TERM[2:]],
                "extra_candidates": [mine],
            }
            assert ask(gateway.url + CHAT, foreign, headers=key).status == 403
            chosen = {**body, "model": "profile:default", "extra_candidates": [{**mine, "model_family": "a"}]}
            assert ask(gateway.url + CHAT, chosen, headers=key).own["provider"] == "mine"
    sent = [request.headers.get("authorization") for request in vendor.asks()]
    assert sent == ["Bearer operators", "Bearer callers", "Bearer operators", None]
