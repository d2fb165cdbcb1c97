"""OpenAI's completions of a text, the API before chat; providers without it are asked as a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Contract
from llm_policy_host.web.errors import invalid
from llm_policy_host.web.report import x_router

from ._fields import PARAMS, take_params
from .chat import ChatEncoder, openai_error, openai_usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.values import Result, StreamChunk
    from llm_policy_host.web.errors import Problem
    from llm_policy_host.web.skin import Asked


class Completions:
    """`/v1/completions`."""

    path = "/completions"

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body; one prompt, as text."""
        del asked
        rest = dict(body)
        prompt = rest.pop("prompt", None)
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise invalid("must be one text", "prompt")
        for name in ("model", "stream", "stream_options"):
            rest.pop(name, None)
        params = take_params(rest, PARAMS)
        return Contract(kind="completion", prompt=prompt, params=params, passthrough=rest, **aimed)

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer."""
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        if response.dialect == "openai" and response.raw.get("object") == "text_completion":
            body = dict(response.raw)
        else:
            body = {"choices": [_choice(response.text, response.finish_reason or "stop")]}
            if response.usage is not None:
                body["usage"] = openai_usage(response.usage)
        body["id"] = f"cmpl-{asked.request_id}"
        body["object"] = "text_completion"
        body.setdefault("created", asked.created)
        body["model"] = (result.chosen or {}).get("model_family") or asked.model
        if asked.wants_metadata:
            body["x_router"] = x_router(result)
        return body

    def encoder(self, asked: Asked) -> CompletionEncoder:
        """Give an encoder for one stream."""
        return CompletionEncoder(asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return openai_error(problem)


class CompletionEncoder(ChatEncoder):
    """Words one stream as `text_completion`s."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._head |= {"id": f"cmpl-{asked.request_id}", "object": "text_completion"}

    def _event(self, chunk: StreamChunk) -> bytes:
        self._has_finished = self._has_finished or bool(chunk.finish_reason)
        if not chunk.text and not chunk.finish_reason:
            return b""
        return self._wire({"choices": [_choice(chunk.text, chunk.finish_reason)]})

    @staticmethod
    def _choice(delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        del delta
        return {"choices": [_choice("", finish_reason)]}


def _choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
