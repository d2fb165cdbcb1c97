"""An OAuth server's token endpoint: what is asked of it, and what its answers mean.

Its bodies hold tokens: of a refusal only the error's own word is kept, and only if it is one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from llm_policy_host.ports import Fetcher
from llm_policy_host.run.deadline import ExpiredError, within
from llm_policy_host.values import Failure

from .tokens import read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llm_policy_host.ports import Clock
    from llm_policy_host.values import FailureKind, HttpAnswer

    from .tokens import Tokens

BOUND_MS = 15_000
"""How long one exchange with the server may take."""

_WORD = re.compile(r"[a-z_]{1,64}")
_KINDS: Mapping[int, FailureKind] = {408: "timeout", 429: "rate_limit", 4: "auth_error", 5: "server_error"}


class Wire(Fetcher, Protocol):
    """A fetcher for one exchange."""

    async def close(self) -> None:
        """Give back its connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server, as a record; `word` is its error's."""

    status: int
    data: Mapping[str, Any]
    word: str
    retry_after_ms: int | None


class Endpoint:
    """Asks an OAuth server, over a connection of its own for each question.

    Questions are rare, and come from whatever event loop has one: nothing is kept between them.
    """

    def __init__(self, clock: Clock, connect: Callable[[], Wire]) -> None:
        self._clock = clock
        self._connect = connect

    async def refresh(self, client: Mapping[str, str], tokens: Tokens) -> Tokens | Failure:
        """Exchange a refresh token for new tokens (RFC 6749, 6)."""
        if tokens.refresh is None:
            return Failure("auth_error", detail="the access token has ended and there is no refresh token")
        form = {
            "grant_type": "refresh_token",
            "refresh_token": tokens.refresh.reveal(),
            "client_id": client["client_id"],
        }
        answer = await self.ask(client["token_url"], form)
        return answer if isinstance(answer, Failure) else self.tokens(answer, tokens)

    def tokens(self, answer: Answer, before: Tokens | None = None) -> Tokens | Failure:
        """Read an answer that should hold tokens."""
        if answer.status != 200:
            return refusal(answer)
        found = read_answer(answer.data, self._clock.now_ms(), before)
        return found or Failure("bad_response", detail="the token endpoint gave no access token")

    async def ask(self, url: str, form: Mapping[str, str], *, as_json: bool = False) -> Answer | Failure:
        """Post a form and give the answer, whatever its status."""
        text = json.dumps(form) if as_json else urlencode(form)
        kind = "application/json" if as_json else "application/x-www-form-urlencoded"
        headers = {"content-type": kind, "accept": "application/json"}
        wire = self._connect()
        try:
            answer = await within(self._clock, BOUND_MS, wire.fetch("POST", url, headers, text.encode()))
        except ExpiredError:
            return Failure("timeout", detail="the token endpoint gave no answer in time")
        except OSError:
            detail = "the token endpoint cannot be reached"
            return Failure("network_error", detail=detail, is_unsent=True)
        finally:
            await wire.close()
        return _read(answer)


def refusal(answer: Answer) -> Failure:
    """Classify an answer that is no success."""
    kind = _KINDS.get(answer.status) or _KINDS.get(answer.status // 100) or "bad_response"
    word = f" (`{answer.word}`)" if answer.word else ""
    return Failure(kind, answer.status, answer.retry_after_ms, f"the token endpoint refused{word}")


def _read(answer: HttpAnswer) -> Answer:
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        data = {}
    data = data if isinstance(data, dict) else {}
    after = answer.headers.get("retry-after", "")
    wait_ms = int(after) * 1000 if re.fullmatch(r"\d{1,6}", after) else None
    return Answer(answer.status, data, _word(data.get("error")), wait_ms)


def _word(error: Any) -> str:  # noqa: ANN401 - whatever the server sent
    """Give an error's word; OpenAI's server puts it into a record's `code`."""
    if isinstance(error, dict):
        error = error.get("code") or error.get("type")
    return error if isinstance(error, str) and _WORD.fullmatch(error) else ""
