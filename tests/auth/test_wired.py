"""A whole host over a subscription: refreshed after a 401, another account after a limit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.values import Contract, StreamChunk
from llm_policy_host.wiring import Host
from tests.contracts.dialects.openai_codex import DIALECT
from tests.contracts.vendor import Vendor, whole

from .server import granted, jwt

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.values import Result
    from tests.contracts.vendor import Reply

ANSWER = whole(200, DIALECT.told["text"].whole)
REFUSED = whole(401, DIALECT.refused["unauthorized"].body)
LIMITED = whole(429, DIALECT.refused["limited_until"].body)
AGAIN = {"action": "retry_same", "attempts": 1, "backoff_ms": 0}


def _data(directory: Path, origin: str, token_url: str) -> dict[str, Any]:
    client = {"token_url": token_url, "client_id": "me"}
    accounts = {
        name: {**client, "access_token": f"at-{name}", "refresh_token": f"rt-{name}"}
        for name in ("work", "home")
    }
    store = directory / "tokens.json"
    store.touch(0o600)
    store.write_text(json.dumps({"version": 1, "accounts": {"sub": accounts}}))
    auth = {"kind": "oauth", **client, "store": "tokens.json", "accounts": ["work", "home"]}
    return {
        "providers": {"sub": {"api_kind": "openai_codex", "base_url": origin, "auth": auth}},
        "models": {"m": {"served_by": [{"provider": "sub"}]}},
        "retry_policies": {"r": {"auth_error": AGAIN, "rate_limit": AGAIN, "unknown": {"action": "abort"}}},
        "profiles": {"default": {"retry_policy": "r"}},
    }


async def _last(host: Host) -> Result | None:
    result = None
    async for chunk in host.stream(Contract(prompt="hi")):
        assert isinstance(chunk, StreamChunk)
        result = chunk.result or result
    return result


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(
    ("replies", "keys"),
    [
        ([REFUSED, ANSWER], ["Bearer at-work", "Bearer at-new"]),
        ([LIMITED, ANSWER], ["Bearer at-work", "Bearer at-home"]),
    ],
    ids=["after a 401", "after a limit"],
)
async def test_the_next_attempt_has_another_token(
    tmp_path: Path, replies: list[Reply], keys: list[str], *, is_stream: bool
) -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"}}
    grant = granted("at-new")[1] | {"id_token": jwt(**claims)}
    async with Vendor(replies) as vendor, Vendor([whole(200, json.dumps(grant).encode())]) as tokens:
        data = _data(tmp_path, vendor.origin, f"{tokens.origin}/token")
        async with Host.from_data(data, directory=tmp_path, environment={}) as host:
            assert host.disabled == {}
            result = await (_last(host) if is_stream else host.run(Contract(prompt="hi")))
    assert result is not None
    assert result.ok, result.error
    assert [asked.headers["authorization"] for asked in vendor.asked] == keys
    assert "at-" not in repr(result)
    if keys[1] == "Bearer at-new":
        assert vendor.asked[1].headers["chatgpt-account-id"] == "acc-1"
        assert len(tokens.asked) == 1
    else:
        assert tokens.asked == []


async def test_a_provider_whose_accounts_are_logged_out_is_disabled_and_says_so(tmp_path: Path) -> None:
    data = _data(tmp_path, "http://127.0.0.1:1", "http://127.0.0.1:1/token")
    (tmp_path / "tokens.json").unlink()
    async with Host.from_data(data, directory=tmp_path, environment={}) as host:
        assert "`work` is not logged in" in host.disabled["sub"]
        assert [each.reason for each in host.rank(Contract(prompt="hi")).rejected] == ["not"]
