"""OAuth accounts: one refresh for all who wait, none in vain, and every token kept."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from llm_policy_host.auth.account import SKEW_MS
from llm_policy_host.clock import VirtualClock
from llm_policy_host.values import Credential, Failure, Missing, Secret

from .server import Server, granted, jwt, provider, stored

if TYPE_CHECKING:
    from pathlib import Path

    from llm_policy_host.auth.oauth import OAuthProvider

NOW_MS = 1_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW_MS)


def _names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def _token(source: OAuthProvider) -> str:
    found = await source.credential()
    assert isinstance(found, Credential), found
    assert found.secret is not None
    return found.secret.reveal()


async def _failure(source: OAuthProvider) -> Failure:
    found = await source.credential()
    assert isinstance(found, Failure)
    return found


async def test_fifty_callers_at_once_make_one_refresh(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS + SKEW_MS - 1, default="old")
    server = Server(clock, [granted("new", "r2"), granted("one too many")])
    source = provider(tmp_path, server)
    assert await asyncio.gather(*(_token(source) for _ in range(50))) == ["new"] * 50
    assert len(server.asked) == 1
    assert server.asked[0] == {
        "url": "https://auth.example/token",
        "grant_type": "refresh_token",
        "refresh_token": "r-default",
        "client_id": "me",
    }
    assert server.is_open == 0


async def test_a_token_that_holds_for_a_run_is_not_refreshed(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS + SKEW_MS + 1, default="good")
    server = Server(clock, [granted("new")])
    assert await _token(provider(tmp_path, server)) == "good"
    assert server.asked == []


async def test_a_rotated_refresh_token_is_kept_in_a_file_of_mode_600(
    tmp_path: Path, clock: VirtualClock
) -> None:
    path = stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("new", "r2"), granted("newer", "r3")])
    await _token(provider(tmp_path, server))
    kept = json.loads(path.read_text())["accounts"]["p"]["default"]
    assert (kept["access_token"], kept["refresh_token"]) == ("new", "r2")
    assert kept["expires_at_ms"] == NOW_MS + 100 + HOUR_MS
    assert path.stat().st_mode & 0o777 == 0o600
    assert _names(tmp_path) == ["tokens.json", "tokens.json.lock"]
    await clock.sleep_ms(HOUR_MS)
    assert await _token(provider(tmp_path, server)) == "newer"
    assert server.asked[-1]["refresh_token"] == "r2"


async def test_a_refresh_token_that_is_not_rotated_stays(tmp_path: Path, clock: VirtualClock) -> None:
    path = stored(tmp_path, NOW_MS, default="old")
    await _token(provider(tmp_path, Server(clock, [granted("new")])))
    assert json.loads(path.read_text())["accounts"]["p"]["default"]["refresh_token"] == "r-default"


async def test_a_failed_refresh_is_shared_and_not_tried_again_at_once(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [(503, {}), (503, {}), granted("new")])
    source = provider(tmp_path, server)
    failures = await asyncio.gather(*(_failure(source) for _ in range(50)))
    assert {failure.kind for failure in failures} == {"server_error"}
    for _ in range(10):
        await _failure(source)
    assert len(server.asked) == 1
    await clock.sleep_ms(1_000)
    await _failure(source)
    await clock.sleep_ms(1_000)
    await _failure(source)
    assert len(server.asked) == 2, "the second pause is longer than the first"
    await clock.sleep_ms(1_000)
    assert await _token(source) == "new"


async def test_a_refused_refresh_token_is_not_sent_twice(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [(400, {"error": "invalid_grant"}), granted("new")])
    source = provider(tmp_path, server)
    failure = await _failure(source)
    assert (failure.kind, failure.detail) == ("auth_error", "the token endpoint refused (`invalid_grant`)")
    await clock.sleep_ms(24 * HOUR_MS)
    assert (await _failure(source)).kind == "auth_error"
    assert len(server.asked) == 1
    stored(tmp_path, None, default="from-a-login")
    assert await _token(source) == "from-a-login"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {}), "auth_error"),
        ((429, {}), "rate_limit"),
        ((500, {}), "server_error"),
        ((200, {"access_token": "two words"}), "bad_response"),
        ((200, []), "bad_response"),
        ((302, {}), "bad_response"),
        (OSError("refused"), "network_error"),
    ],
)
async def test_a_refresh_fails_in_its_kind(
    tmp_path: Path, clock: VirtualClock, answer: tuple[int, object] | OSError, kind: str
) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [answer])
    assert (await _failure(provider(tmp_path, server))).kind == kind
    assert server.is_open == 0


async def test_a_token_endpoint_that_hangs_is_a_timeout(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("new")], takes_ms=HOUR_MS)
    assert (await _failure(provider(tmp_path, server))).kind == "timeout"
    assert clock.now_ms() < NOW_MS + 60_000


async def test_a_wait_that_the_server_asks_for_is_kept(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [(429, {}), granted("new")], headers={"retry-after": "30"})
    source = provider(tmp_path, server)
    assert (await _failure(source)).retry_after_ms == 30_000
    await clock.sleep_ms(29_000)
    await _failure(source)
    assert len(server.asked) == 1
    await clock.sleep_ms(1_000)
    assert await _token(source) == "new"


async def test_a_token_still_serves_while_its_early_refresh_fails(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, NOW_MS + 30_000, default="old")
    server = Server(clock, [(503, {})])
    source = provider(tmp_path, server)
    assert await _token(source) == "old"
    assert await _token(source) == "old"
    assert len(server.asked) == 1
    await clock.sleep_ms(30_000)
    assert (await _failure(source)).kind == "server_error"


async def test_a_caller_who_leaves_does_not_end_the_refresh_for_others(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("new"), granted("one too many")])
    source = provider(tmp_path, server)
    first = asyncio.create_task(source.credential())
    await asyncio.sleep(0)
    second = asyncio.create_task(_token(source))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "new"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(server.asked) == 1


def test_a_refresh_whose_loop_ends_is_taken_up_by_the_next(tmp_path: Path) -> None:
    clock = VirtualClock(NOW_MS)
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("lost"), granted("new")])
    source = provider(tmp_path, server)

    async def leave() -> None:
        task = asyncio.create_task(source.credential())
        await server.was_asked.wait()
        task.cancel()

    asyncio.run(leave())
    assert asyncio.run(_token(source)) == "new"


async def test_a_refused_token_is_refreshed_for_the_next_call(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, None, default="old")
    server = Server(clock, [granted("new")])
    source = provider(tmp_path, server)
    given = await source.credential()
    assert isinstance(given, Credential)
    source.refused(given)
    assert await asyncio.gather(*(_token(source) for _ in range(10))) == ["new"] * 10
    source.refused(given)
    assert await _token(source) == "new", "a late refusal of the old token is no refusal of the new one"
    assert len(server.asked) == 1


async def test_a_refusal_of_another_secret_changes_nothing(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, None, default="good")
    server = Server(clock, [granted("new")])
    source = provider(tmp_path, server)
    await _token(source)
    source.refused(Credential(Secret("a caller's own")))
    source.refused(Credential(Secret("another"), "default"))
    assert await _token(source) == "good"


async def test_a_token_refused_right_after_its_refresh_is_not_refreshed_again(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, None, default="old")
    server = Server(clock, [granted("new"), granted("newer")])
    source = provider(tmp_path, server)
    for _ in range(2):
        given = await source.credential()
        assert isinstance(given, Credential)
        source.refused(given)
    assert (await _failure(source)).kind == "auth_error"
    assert len(server.asked) == 1
    await clock.sleep_ms(60_000)
    assert await _token(source) == "newer"


async def test_tokens_that_another_process_refreshed_are_taken(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("mine", "r2"), granted("one too many")])
    here, there = provider(tmp_path, server), provider(tmp_path, server)
    assert {*await asyncio.gather(_token(here), _token(there))} == {"mine"}
    assert len(server.asked) == 1, "the second waited for the first's lock, then found its tokens"


async def test_new_tokens_that_cannot_be_kept_still_serve(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, NOW_MS, default="old")
    server = Server(clock, [granted("new", "r2"), granted("one too many")])
    source = provider(tmp_path, server)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    with caplog.at_level(logging.WARNING):
        assert await _token(source) == "new"
    assert await _token(source) == "new"
    assert len(server.asked) == 1
    assert "no space left on device" in caplog.text


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("{}", 0o600, "is not one of ours"),
        ("[", 0o600, "is not one of ours"),
        ('{"accounts": {"p": 3}}', 0o600, "is not one of ours"),
        ('{"accounts": {}}', 0o640, "is open to others"),
        ('{"accounts": {}}', 0o600, "is not logged in"),
        ('{"accounts": {"p": {"default": {"token_url": "https://other.example/"}}}}', 0o600, "of another"),
    ],
)
async def test_a_store_without_the_tokens_says_why(
    tmp_path: Path, clock: VirtualClock, text: str, mode: int, reason: str
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(mode)
    source = provider(tmp_path, Server(clock, [granted("new")]))
    found = source.find()
    assert isinstance(found, Missing)
    assert reason in found.reason
    assert (await _failure(source)).detail == found.reason
    assert path.read_text() == text


async def test_a_token_says_itself_when_it_ends_and_whose_it_is(tmp_path: Path, clock: VirtualClock) -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"}}
    access = jwt(exp=NOW_MS // 1000 + 7200, **claims)
    path = stored(tmp_path, NOW_MS, default="old")
    source = provider(tmp_path, Server(clock, [granted(access, expires_in=None)]))
    found = await source.credential()
    assert isinstance(found, Credential)
    assert found.account == "default"
    assert found.extras == {"chatgpt_account_id": "acc-1"}
    kept = json.loads(path.read_text())["accounts"]["p"]["default"]
    assert kept["expires_at_ms"] == NOW_MS + 7_200_000


# Accounts -------------------------------------------------------------------------------------


def _account(found: Credential | Failure) -> str | None:
    assert isinstance(found, Credential), found
    return found.account


async def test_the_least_used_account_serves_and_stays_while_it_is_near_that(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, None, a="at-a", b="at-b")
    source = provider(tmp_path, Server(clock, [(500, {})]), accounts=["a", "b"])
    later_ms = NOW_MS + HOUR_MS
    assert _account(await source.credential()) == "a"
    for used, serves in ((4.0, "a"), (6.0, "b")):
        source.note_quota("a", used, later_ms, is_closed=False)
        assert _account(await source.credential()) == serves
    source.note_quota("b", 10.0, later_ms, is_closed=False)
    assert _account(await source.credential()) == "b"
    source.note_quota("b", 12.0, later_ms, is_closed=False)
    assert _account(await source.credential()) == "a"
    await clock.sleep_ms(HOUR_MS)
    source.note_quota("a", 15.0, later_ms + HOUR_MS, is_closed=False)
    assert _account(await source.credential()) == "b", "what was used before the reset counts no more"


async def test_a_closed_account_is_passed_over_until_it_opens(tmp_path: Path, clock: VirtualClock) -> None:
    stored(tmp_path, None, a="at-a", b="at-b")
    source = provider(tmp_path, Server(clock, [(500, {})]), accounts=["a", "b"])
    source.note_quota("a", 100.0, NOW_MS + 20_000, is_closed=True)
    assert _account(await source.credential()) == "b"
    source.note_quota("b", 100.0, NOW_MS + 10_000, is_closed=True)
    failure = await _failure(source)
    assert (failure.kind, failure.retry_after_ms) == ("rate_limit", 10_000)
    await clock.sleep_ms(10_000)
    assert _account(await source.credential()) == "b"


async def test_an_account_that_cannot_give_its_token_is_passed_over(
    tmp_path: Path, clock: VirtualClock
) -> None:
    stored(tmp_path, NOW_MS, a="at-a", b="at-b")
    server = Server(clock, [(400, {"error": "invalid_grant"}), granted("new-b")])
    source = provider(tmp_path, server, accounts=["a", "b", "absent"])
    assert await _token(source) == "new-b"
    assert [asked["refresh_token"] for asked in server.asked] == ["r-a", "r-b"]
    kept = json.loads((tmp_path / "tokens.json").read_text())["accounts"]["p"]
    assert {name: own["access_token"] for name, own in kept.items()} == {"a": "at-a", "b": "new-b"}


# Canaries -------------------------------------------------------------------------------------


async def test_no_token_is_ever_shown(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stored(tmp_path, NOW_MS, default="CANARY-access")
    echo = {"error": "invalid_grant CANARY", "error_description": "the token r-CANARY is no good"}
    for answer in ((400, echo), (200, {"access_token": "CANARY two", "refresh_token": "CANARY"})):
        source = provider(tmp_path, Server(clock, [answer]))
        failure = await _failure(source)
        account = source.accounts["default"]
        tokens = account.find()
        shown = [
            repr(thing) for thing in (failure, failure.detail, account, source, tokens, account._setback)
        ]
        assert "CANARY" not in " ".join([*shown, caplog.text])
    credential = Credential(Secret("CANARY"), "a", {"x": Secret("CANARY")})
    assert "CANARY" not in f"{credential} {credential!r}"
