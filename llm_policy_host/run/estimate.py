"""The most that an attempt can take, before it is made: what an account must have left (spec 5.1, 5.4).

What is sent has no more tokens than bytes: every tokenizer of text gives a token at least one byte, and the
JSON around messages is longer than a model's marks between them. Where bytes do not tell (an image, a
conversation that the provider keeps) the context window bounds; where nothing does, the attempt is unbounded.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from llm_policy_host.ledger.amounts import rounded_up
from llm_policy_host.values import Estimate, Response, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Pricer, Provider
    from llm_policy_host.values import Call

_BY_BYTES = re.compile(
    rb'"type":"(?:image|input_image|audio|input_audio|video|input_video|file|input_file|document|item_reference'
    rb"|web_|computer|code_|mcp|bash_|text_editor|memory_|tool_search)"
)
_KEPT_THERE: Final = ("previous_response_id", "conversation", "prompt", "container", "web_search_options")
"""Fields by which a provider adds text of its own to what is sent."""

_WHOLE_BODIES: Final = frozenset({"anthropic", "openai_responses"})
"""Dialects whose passthrough is the caller's whole body."""

# Vendors charge a token more above some length: the rate that bounds is that of a very long request.
_LONG = 10_000_000
_PICO = 1_000_000_000_000
_MAX_RATES = 2_000


class Estimator:
    """Says what attempts can take; it keeps the rates of routes that it has seen."""

    def __init__(self, pricer: Pricer | None) -> None:
        self._pricer = pricer
        self._rates: dict[tuple[object, ...], tuple[int, int] | None] = {}

    def estimate(self, call: Call, candidate: Mapping[str, Any], provider: Provider | None) -> Estimate:
        """Bound an attempt's tokens and its cost; without an adapter nothing is sent."""
        if provider is None:
            return Estimate(0, 0)
        context = _amount(_capability(candidate, "context"))
        taken = _taken(call, context)
        given = _given(call, candidate, context, provider)
        if taken is None or given is None:
            return Estimate(None, None, "unbounded")
        rates = self._rates_of(call, candidate)
        if rates is None:
            return Estimate(taken + given, None, "unpriced")
        return Estimate(taken + given, -(-(taken * rates[0] + given * rates[1]) // 1_000_000))

    def _rates_of(self, call: Call, candidate: Mapping[str, Any]) -> tuple[int, int] | None:
        """Give what a token taken and a token given can cost, in millionths of a µUSD."""
        read, written = candidate.get("price_in"), candidate.get("price_out")
        key = (call.provider_id, call.model_family, call.served_model_id, call.api_kind, read, written)
        if key not in self._rates:
            if len(self._rates) >= _MAX_RATES:
                self._rates.clear()
            self._rates[key] = self._found(call, read, written)
        return self._rates[key]

    def _found(self, call: Call, read: object, written: object) -> tuple[int, int] | None:
        chosen = {
            "provider_id": call.provider_id,
            "model_family": call.model_family,
            "served_model_id": call.served_model_id,
            "raw_price_in": read,
            "raw_price_out": written,
        }
        taken = self._rate(chosen, call.api_kind, "input_tokens", "cache_write_tokens")
        given = 0 if call.kind == "embeddings" else self._rate(chosen, call.api_kind, "output_tokens")
        return None if taken is None or given is None else (taken, given)

    def _rate(self, chosen: Mapping[str, Any], api_kind: str, *classes: str) -> int | None:
        """Give the dearest of some classes of tokens, short and long; None where one is not known."""
        if self._pricer is None:
            return None
        rates = []
        for name in classes:
            for count in (1, _LONG):
                cost = self._pricer.cost(Response(usage=Usage(**{name: count})), chosen, api_kind).usd
                if cost is None:
                    return None
                rates.append(rounded_up(cost * (_PICO / count)))
        return max(rates)


def _taken(call: Call, context: int | None) -> int | None:
    """Bound the tokens of what is sent."""
    rest = call.passthrough
    own = _bytes([call.messages, call.tools, call.response_format, call.prompt, call.embed])
    foreign = _bytes(rest) if rest else b""
    if any(rest.get(name) is not None for name in _KEPT_THERE):
        return context
    if _BY_BYTES.search(own) is not None or _BY_BYTES.search(foreign) is not None:
        return context
    is_whole = call.dialect in _WHOLE_BODIES
    return max(len(own), len(foreign)) if is_whole else len(own) + len(foreign)


def _given(call: Call, candidate: Mapping[str, Any], context: int | None, provider: Provider) -> int | None:
    """Bound the tokens of the answer: as asked, if the dialect can say so, else by what the model can."""
    if call.kind == "embeddings":
        return 0
    asked = _amount(call.params.get("max_tokens"))
    if asked is None or "max_tokens" in provider.unsaid(call):
        asked = _amount(_capability(candidate, "max_output")) or context
    answers = _answers(call)
    return None if asked is None or answers is None else asked * answers


def _answers(call: Call) -> int | None:
    """Bound how many answers are written, the best of which may be all that is given.

    None where a number is given in a way that is none: who reads it may take it for one.
    """
    most = 1
    for given in (call.params.get("n"), call.passthrough.get("n"), call.passthrough.get("best_of")):
        if given in (None, 0):
            continue
        amount = _amount(given)
        if amount is None:
            return None
        most = max(most, amount)
    return most


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - what callers send
    try:
        return orjson.dumps(value, default=_mapping)
    except TypeError:  # half a character, or a number beyond 64 bits
        return json.dumps(value, default=_mapping, separators=(",", ":")).encode()


def _mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping of another class
    return dict(value)


def _capability(candidate: Mapping[str, Any], name: str) -> object:
    found = candidate.get("capabilities")
    return found.get(name) if isinstance(found, dict) else None


def _amount(value: object) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return math.ceil(value) if 0 < value < _PICO else None
