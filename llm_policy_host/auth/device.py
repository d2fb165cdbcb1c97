"""Logging in from a machine without a browser: a code here, typed in elsewhere.

Two flows: RFC 8628, and that of OpenAI's Codex, which gives an authorization code in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llm_policy_host.values import Failure, Secret

from .endpoint import Answer, refusal
from .store import StoreError
from .tokens import Tokens, usable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Clock

    from .endpoint import Endpoint
    from .oauth import OAuthProvider

_INTERVAL_S = 5
_SLOWER_S = 5
_LASTS_S = 900
_MAX_S = 3600
_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_ENDS: Final[Mapping[str, str]] = {
    "access_denied": "the login was denied",
    "expired_token": "the code expired before it was typed in",
}


class LoginError(Exception):
    """A login did not succeed; its text says why."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person must do: type `code` in at `url`, before it ends."""

    url: str
    code: str
    whole_url: str | None
    ends_ms: int
    interval_s: int
    device: Secret = field(repr=False)


class Device:
    """Logs one account in."""

    def __init__(self, auth: Mapping[str, Any], provider: OAuthProvider, clock: Clock) -> None:
        self._auth = auth
        self._provider = provider
        self._endpoint: Endpoint = provider.endpoint
        self._clock = clock
        self._is_chatgpt = auth.get("device_flow") == "chatgpt"

    async def begin(self) -> Prompt:
        """Ask for a code."""
        url = self._auth.get("device_url")
        if not url:
            raise LoginError("this provider's `auth` has no `device_url`")
        form = {"client_id": str(self._auth["client_id"])}
        if self._is_chatgpt:
            answer = await self._endpoint.ask(f"{url}/usercode", form, as_json=True)
        else:
            scope = self._auth.get("scope")
            answer = await self._endpoint.ask(str(url), form | ({"scope": str(scope)} if scope else {}))
        if isinstance(answer, Failure) or answer.status != 200:
            raise LoginError(_why(answer))
        return self._prompt(str(url), answer.data)

    async def finish(self, prompt: Prompt) -> Tokens:
        """Ask until the code was typed in; give the tokens."""
        interval_s = prompt.interval_s
        while self._clock.now_ms() < prompt.ends_ms:
            await self._clock.sleep_ms(interval_s * 1000)
            answer = await self._poll(prompt)
            if isinstance(answer, Failure):
                # a broken wire is no answer: the next question may get one
                interval_s = min(_MAX_S, interval_s * 2)
            elif answer.status == 200:
                return await self._tokens(answer)
            elif answer.word == "slow_down":
                interval_s += _SLOWER_S
            elif not self._is_pending(answer):
                raise LoginError(_ENDS.get(answer.word) or _why(answer))
        raise LoginError(_ENDS["expired_token"])

    async def keep(self, account: str, tokens: Tokens | None) -> None:
        """Write an account's tokens into the store, None to forget them."""
        provider = self._provider
        try:
            async with provider.store.locked(self._clock):
                provider.store.put(provider.id, account, provider.client, tokens)
        except StoreError as error:
            raise LoginError(str(error)) from None

    def _prompt(self, url: str, data: Mapping[str, Any]) -> Prompt:
        # OpenAI's server has written the code's name without its underscore
        code = data.get("user_code") or data.get("usercode")
        device = usable(data.get("device_auth_id" if self._is_chatgpt else "device_code"))
        where = (
            _page(url) if self._is_chatgpt else data.get("verification_uri") or data.get("verification_url")
        )
        if not (_is_shown(code) and _is_shown(where) and device is not None):
            raise LoginError("the server gave no code")
        whole = data.get("verification_uri_complete")
        lasts_s = _seconds(data.get("expires_in"), _LASTS_S)
        return Prompt(
            url=str(where),
            code=str(code),
            whole_url=str(whole) if _is_shown(whole) else None,
            ends_ms=self._clock.now_ms() + lasts_s * 1000,
            interval_s=_seconds(data.get("interval"), _INTERVAL_S),
            device=device,
        )

    async def _poll(self, prompt: Prompt) -> Answer | Failure:
        if self._is_chatgpt:
            form = {"device_auth_id": prompt.device.reveal(), "user_code": prompt.code}
            return await self._endpoint.ask(f"{self._auth['device_url']}/token", form, as_json=True)
        form = {
            "grant_type": _GRANT,
            "device_code": prompt.device.reveal(),
            "client_id": str(self._auth["client_id"]),
        }
        return await self._endpoint.ask(str(self._auth["token_url"]), form)

    def _is_pending(self, answer: Answer) -> bool:
        if self._is_chatgpt:
            return answer.status in (403, 404)
        return answer.word == "authorization_pending" or answer.status >= 500 or answer.status == 429

    async def _tokens(self, answer: Answer) -> Tokens:
        found: Answer | Failure = answer
        if self._is_chatgpt:
            found = await self._exchange(answer.data)
        tokens = found if isinstance(found, Failure) else self._endpoint.tokens(found)
        if isinstance(tokens, Failure):
            raise LoginError(tokens.detail)
        return tokens

    async def _exchange(self, data: Mapping[str, Any]) -> Answer | Failure:
        """Give an authorization code for tokens (RFC 6749, 4.1.3, with the verifier of RFC 7636)."""
        form = {
            "grant_type": "authorization_code",
            "code": str(data.get("authorization_code")),
            "code_verifier": str(data.get("code_verifier")),
            "redirect_uri": f"{_origin(str(self._auth['device_url']))}/deviceauth/callback",
            "client_id": str(self._auth["client_id"]),
        }
        return await self._endpoint.ask(str(self._auth["token_url"]), form)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _page(url: str) -> str:
    return f"{_origin(url)}/codex/device"


def _why(answer: Answer | Failure) -> str:
    return answer.detail if isinstance(answer, Failure) else refusal(answer).detail


def _is_shown(value: Any) -> bool:  # noqa: ANN401 - whatever the server sent
    """Whether a person's terminal can show a text as it is."""
    return isinstance(value, str) and 0 < len(value) <= 1000 and value.isprintable()


def _seconds(value: Any, default: int) -> int:  # noqa: ANN401
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:6])
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return default
    return min(_MAX_S, max(1, round(value)))
