"""OpenAI's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Contract
from llm_policy_host.web.errors import RefusedError, invalid
from llm_policy_host.web.report import x_router

from .chat import openai_error

if TYPE_CHECKING:
    from llm_policy_host.values import Result
    from llm_policy_host.web.errors import Problem
    from llm_policy_host.web.skin import Asked, Encoder

_MAX_INPUTS = 2048


class Embeddings:
    """`/v1/embeddings`."""

    path = "/embeddings"

    def read(self, body: dict[str, Any], asked: Asked, **aimed: Any) -> Contract:  # noqa: ANN401 - a contract's
        """Make a contract of a body."""
        if asked.is_stream:
            raise invalid("vectors are not streamed", "stream")
        rest = {name: value for name, value in body.items() if name not in ("model", "stream", "input")}
        return Contract(kind="embeddings", embed=_inputs(body.get("input")), passthrough=rest, **aimed)

    def whole(self, result: Result, asked: Asked) -> dict[str, Any]:
        """Give the body of a whole answer."""
        response = result.response
        assert response is not None  # noqa: S101 - a result that is ok has one
        if response.dialect == "openai" and "data" in response.raw:
            body = dict(response.raw)
        else:
            tokens = response.usage.total_tokens if response.usage else 0
            vectors = enumerate(response.embeddings)
            body = {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": place, "embedding": vector} for place, vector in vectors
                ],
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        body["model"] = (result.chosen or {}).get("model_family") or asked.model
        if asked.wants_metadata:
            body["x_router"] = x_router(result)
        return body

    def encoder(self, asked: Asked) -> Encoder:
        """Refuse: vectors are not streamed."""
        del asked
        raise RefusedError(400, "invalid_request", "vectors are not streamed", "stream")

    def error(self, problem: Problem) -> dict[str, Any]:
        """Give the body of an error."""
        return openai_error(problem)


def _inputs(value: Any) -> list[Any]:  # noqa: ANN401 - as the caller wrote it
    inputs = [value] if isinstance(value, str) or _are_tokens(value) else value
    if not isinstance(inputs, list) or not 0 < len(inputs) <= _MAX_INPUTS:
        raise invalid(f"must be a text, tokens, or a list of 1 to {_MAX_INPUTS} of them", "input")
    for index, item in enumerate(inputs):
        if not (isinstance(item, str) and item) and not _are_tokens(item):
            raise invalid("must be a text that is not empty, or tokens", f"input[{index}]")
    return inputs


def _are_tokens(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)
    )
