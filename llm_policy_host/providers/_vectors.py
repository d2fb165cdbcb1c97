"""Vectors on Amazon Bedrock: each vendor's own body under InvokeModel, Titan's and Cohere's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from llm_policy_host.values import Failure, Response, Usage

from ._plain import count, record
from ._request import UnsayableError, as_asked, said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_policy_host.values import Call

SETTINGS = ("dimensions", "encoding_format")
"""What of a caller's settings is kept; the second is applied here."""


def is_one_by_one(call: Call) -> bool:
    """Whether the model takes one text a request, and the call has more."""
    return call.kind == "embeddings" and len(call.embed) > 1 and not _is_cohere(call)


def split(call: Call) -> list[Call]:
    """Give a call for each text."""
    return [dataclasses.replace(call, embed=(each,)) for each in call.embed]


def joined(answers: Sequence[Response]) -> Response:
    """Make one answer of those to each text; usage that one of them lacks is unknown."""
    vectors = tuple(vector for answer in answers for vector in answer.embeddings)
    tokens = [answer.usage.input_tokens for answer in answers if answer.usage is not None]
    usage = Usage(input_tokens=sum(tokens)) if len(tokens) == len(answers) else None
    return Response(embeddings=vectors, model=answers[0].model, usage=usage)


def body_of(call: Call) -> dict[str, Any]:
    """Give the body of a request."""
    if not all(isinstance(item, str) for item in call.embed):
        raise UnsayableError("this provider's dialect embeds texts, not tokens")
    size = said(call).get("dimensions")
    if _is_cohere(call):
        body: dict[str, Any] = {"texts": list(call.embed), "input_type": "search_document"}
        return body if size is None else {**body, "output_dimension": size}
    if "titan-embed" in call.served_model_id:
        body = {"inputText": call.embed[0]}
        return body if size is None else {**body, "dimensions": size}
    raise UnsayableError("of this model no vectors are asked here", "model_unavailable")


def read(call: Call, data: Mapping[str, Any], headers: Mapping[str, str]) -> Response | Failure:
    """Read Titan's vector, or Cohere's, plain or by type."""
    found = data.get("embeddings") if _is_cohere(call) else [data.get("embedding")]
    vectors = record(found).get("float", found)
    if not isinstance(vectors, list) or len(vectors) != len(call.embed) or not all(map(_is_vector, vectors)):
        return Failure("bad_response", detail="an answer without a vector for each text")
    told = data.get("inputTextTokenCount", _number(headers.get("x-amzn-bedrock-input-token-count")))
    usage = None if told is None else Usage(input_tokens=count(told))
    return Response(embeddings=as_asked(call, vectors), model=call.served_model_id, usage=usage)


def _is_cohere(call: Call) -> bool:
    return "cohere.embed" in call.served_model_id


def _is_vector(value: Any) -> bool:  # noqa: ANN401 - whatever the provider sent
    return isinstance(value, list) and bool(value) and all(type(item) in (int, float) for item in value)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
