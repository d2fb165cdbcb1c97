"""Logging in with a code: both flows, at the server's pace, and nothing shown but the code."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.auth.device import Device, LoginError
from llm_policy_host.cli.main import main
from llm_policy_host.clock import VirtualClock
from llm_policy_host.values import Credential
from tests.contracts.vendor import Vendor, whole

from .server import AUTH, Server, granted, jwt, provider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW_MS = 1_000_000
CODE: tuple[int, dict[str, Any]] = (
    200,
    {
        "device_code": "d-CANARY",
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://auth.example/device",
        "verification_uri_complete": "https://auth.example/device?user_code=WDJB-MJHT",
        "expires_in": 600,
        "interval": 5,
    },
)
PENDING = (400, {"error": "authorization_pending"})
CHATGPT = {"device_flow": "chatgpt", "device_url": "https://auth.example/api/accounts/deviceauth"}


def _device(directory: Path, answers: Sequence[Any], **more: Any) -> tuple[Device, Server]:
    clock = VirtualClock(NOW_MS)
    server = Server(clock, list(answers), takes_ms=0)
    auth = AUTH | {"device_url": "https://auth.example/code"} | more
    return Device(auth, provider(directory, server, **more), clock), server


async def test_a_code_is_asked_for_and_waited_for_at_the_servers_pace(tmp_path: Path) -> None:
    slow = (400, {"error": "slow_down"})
    answers = [CODE, PENDING, slow, PENDING, OSError("gone"), (503, {}), granted("new", "r1")]
    device, server = _device(tmp_path, answers, scope="models")
    prompt = await device.begin()
    assert (prompt.url, prompt.code) == ("https://auth.example/device", "WDJB-MJHT")
    assert server.asked == [{"url": "https://auth.example/code", "client_id": "me", "scope": "models"}]
    tokens = await device.finish(prompt)
    assert tokens.access.reveal() == "new"
    # 5 and 5, then 10 and 10 after `slow_down`, then 20 and 20 after the broken wire
    assert server.clock.now_ms() == NOW_MS + 70_000
    assert server.asked[1] == {
        "url": "https://auth.example/token",
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "d-CANARY",
        "client_id": "me",
    }


async def test_what_was_granted_is_kept_and_forgotten(tmp_path: Path) -> None:
    device, server = _device(tmp_path, [CODE, granted("new", "r1")])
    await device.keep("default", await device.finish(await device.begin()))
    source = provider(tmp_path, server)
    found = await source.credential()
    assert isinstance(found, Credential)
    await device.keep("default", None)
    assert "new" not in (tmp_path / "tokens.json").read_text()
    assert not isinstance(await source.credential(), Credential)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([(403, {"error": "unauthorized_client"})], "the token endpoint refused (`unauthorized_client`)"),
        ([OSError("no")], "the token endpoint cannot be reached"),
        ([(200, {})], "the server gave no code"),
        ([(200, CODE[1] | {"user_code": "\x1b[31mred"})], "the server gave no code"),
        ([CODE, (400, {"error": "access_denied"})], "the login was denied"),
        ([CODE, (400, {"error": "expired_token"})], "the code expired before it was typed in"),
        ([CODE, PENDING], "the code expired before it was typed in"),
        ([CODE, (200, {})], "the token endpoint gave no access token"),
    ],
)
async def test_a_login_that_fails_says_why(tmp_path: Path, answers: Sequence[Any], reason: str) -> None:
    device, _ = _device(tmp_path, answers)
    with pytest.raises(LoginError) as raised:
        await device.finish(await device.begin())
    assert str(raised.value) == reason


async def test_a_provider_without_a_device_url_cannot_be_logged_in(tmp_path: Path) -> None:
    device, _ = _device(tmp_path, [CODE], device_url=None)
    with pytest.raises(LoginError, match="device_url"):
        await device.begin()


async def test_the_flow_of_codex_ends_in_an_authorization_code(tmp_path: Path) -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"}}
    answers = [
        (200, {"device_auth_id": "da-CANARY", "user_code": "AB-12", "interval": "3"}),
        (403, {}),
        (404, {}),
        (200, {"authorization_code": "ac-1", "code_challenge": "c", "code_verifier": "v-1"}),
        (200, {"access_token": "at-1", "refresh_token": "rt-1", "id_token": jwt(**claims)}),
    ]
    device, server = _device(tmp_path, answers, **CHATGPT)
    prompt = await device.begin()
    assert (prompt.url, prompt.code) == ("https://auth.example/codex/device", "AB-12")
    tokens = await device.finish(prompt)
    assert tokens.extras == {"chatgpt_account_id": "acc-1"}
    assert server.clock.now_ms() == NOW_MS + 9_000
    base = "https://auth.example/api/accounts/deviceauth"
    assert server.asked == [
        {"url": f"{base}/usercode", "client_id": "me"},
        *[{"url": f"{base}/token", "device_auth_id": "da-CANARY", "user_code": "AB-12"}] * 3,
        {
            "url": "https://auth.example/token",
            "grant_type": "authorization_code",
            "code": "ac-1",
            "code_verifier": "v-1",
            "redirect_uri": "https://auth.example/deviceauth/callback",
            "client_id": "me",
        },
    ]


async def test_a_prompt_does_not_show_what_only_the_server_may_see(tmp_path: Path) -> None:
    device, _ = _device(tmp_path, [CODE])
    assert "CANARY" not in repr(await device.begin())


# The command ------------------------------------------------------------------------------------


def _config(directory: Path, origin: str = "https://auth.example") -> Path:
    path = directory / "policy.yaml"
    auth = {
        "kind": "oauth",
        "token_url": f"{origin}/token",
        "client_id": "me",
        "device_url": f"{origin}/code",
        "device_flow": "rfc8628",
        "store": "tokens.json",
        "accounts": ["work", "home"],
    }
    sub = {"api_kind": "openai_codex", "base_url": "https://chatgpt.example", "auth": auth}
    config = {
        "providers": {"sub": sub, "free": {"api_kind": "scripted"}},
        "models": {"m": {"served_by": [{"provider": "sub"}, {"provider": "free"}]}},
        "profiles": {"default": {}},
    }
    path.write_text(json.dumps(config))
    return path


async def test_login_and_logout_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = [whole(200, json.dumps({**CODE[1], "interval": 1}).encode())]
    replies += [whole(400, b'{"error": "authorization_pending"}')]
    replies += [whole(200, json.dumps(granted("at-CANARY", "rt-CANARY")[1]).encode())]
    async with Vendor(replies) as vendor:
        path = str(_config(tmp_path, vendor.origin))
        code = await asyncio.to_thread(main, ["providers", "login", path, "sub", "--account", "home"])
    said = capsys.readouterr()
    assert (code, said.out) == (0, "the account `home` is logged in\n")
    assert "open https://auth.example/device and type in WDJB-MJHT" in said.err
    assert main(["providers", "list", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "sub   openai_codex  oauth  work (not logged in), home  ready",
        "free  scripted      none                               ready",
    ]
    assert await asyncio.to_thread(main, ["providers", "logout", path, "sub", "--account", "home"]) == 0
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["providers", "list", path, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["providers"][0]
    assert [account["is_logged_in"] for account in row["accounts"]] == [False, False]
    assert "`work` is not logged in" in row["disabled"]
    assert "CANARY" not in said.out + said.err


@pytest.mark.parametrize(
    ("given", "code", "complaint"),
    [
        (["nobody"], 2, "no provider `nobody` in the config"),
        (["free"], 2, "`free` has no `auth` of kind `oauth`"),
        (["sub", "--account", "x"], 2, "no account `x` of `sub`: there is work, home"),
        (["sub"], 1, "the token endpoint cannot be reached"),
    ],
)
def test_a_login_that_cannot_begin_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], code: int, complaint: str
) -> None:
    path = _config(tmp_path, "http://127.0.0.1:1")
    assert main(["providers", "login", str(path), *given]) == code
    assert complaint in capsys.readouterr().err
