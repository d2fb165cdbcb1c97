"""What a vendor tells means the same in every dialect, whole and in pieces."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.values import Failure, Response, StreamChunk

from .conftest import FIELDS, Talk, meaning, together
from .dialect import CANARY
from .dialects import dialects
from .scenarios import ANSWERS, CALLS, FAILURES
from .vendor import flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_policy_host.ports import Provider

    from .dialect import Refuse, Tell

DIALECTS = dialects()
TOLD = [(name, scenario) for name, dialect in DIALECTS.items() for scenario in dialect.told]
STREAMED = [(name, scenario) for name, scenario in TOLD if DIALECTS[name].told[scenario].pieces is not None]
REFUSED = [(name, scenario) for name, dialect in DIALECTS.items() for scenario in dialect.refused]
RAW = [name for name, dialect in DIALECTS.items() if dialect.raw]


def _wanted(tell: Tell, scenario: str, *, streamed: bool) -> dict[str, Any]:
    canonical = {name: getattr(ANSWERS[scenario], name) for name in FIELDS}
    return {**canonical, **tell.but, **(tell.streamed if streamed else {})}


def _call(scenario: str) -> dict[str, Any]:
    return CALLS["embeddings" if scenario == "embeddings" else "prompt"]


@pytest.mark.parametrize(("name", "scenario"), TOLD)
async def test_a_whole_answer_means_the_same(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    tell = DIALECTS[name].told[scenario]
    answer = await Talk(DIALECTS[name], adapters).ask(whole(200, tell.whole), _call(scenario))
    seen = meaning(answer)
    seen["embeddings"] = tuple(list(vector) for vector in seen["embeddings"])
    assert seen == _without_total(_wanted(tell, scenario, streamed=False), seen)


@pytest.mark.parametrize("split", ["by event", "at once", "by byte"])
@pytest.mark.parametrize(("name", "scenario"), STREAMED)
async def test_a_streamed_answer_means_the_same_however_it_is_cut(
    name: str, scenario: str, split: str, adapters: Mapping[str, Provider]
) -> None:
    dialect, tell = DIALECTS[name], DIALECTS[name].told[scenario]
    pieces = list(tell.pieces or ())
    if split == "at once":
        pieces = [b"".join(pieces)]
    elif split == "by byte":
        pieces = [bytes([byte]) for byte in b"".join(pieces)]
    heard = await Talk(dialect, adapters).hear(flow(pieces, dialect.stream_kind), _call(scenario))
    seen = together(heard)
    assert seen == _without_total(_wanted(tell, scenario, streamed=True), seen)
    finals = [chunk for chunk in heard if isinstance(chunk, StreamChunk) and chunk.finish_reason]
    assert len(finals) == 1


def _without_total(wanted: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """Let a total that agrees be reported or not: the scenario `wrong_sum` looks at it."""
    usage, got = wanted["usage"], seen["usage"]
    if usage is None or got is None or usage.reported_total_tokens is not None:
        return wanted
    assert got.is_consistent
    return {**wanted, "usage": dataclasses.replace(usage, reported_total_tokens=got.reported_total_tokens)}


@pytest.mark.parametrize(("name", "scenario"), REFUSED)
async def test_a_refusal_is_a_failure_of_its_kind(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    refuse, talk = DIALECTS[name].refused[scenario], Talk(DIALECTS[name], adapters)
    outcome = await talk.ask(whole(refuse.status, refuse.body, headers=refuse.headers), CALLS["prompt"])
    _check(outcome, refuse, scenario)


@pytest.mark.parametrize(("name", "scenario"), REFUSED)
async def test_a_refused_stream_is_nothing_but_that_failure(
    name: str, scenario: str, adapters: Mapping[str, Provider]
) -> None:
    dialect, refuse = DIALECTS[name], DIALECTS[name].refused[scenario]
    reply = whole(refuse.status, refuse.body, headers=refuse.headers)
    if refuse.pieces is not None:
        reply = flow(refuse.pieces, dialect.stream_kind)
    heard = await Talk(dialect, adapters).hear(reply, CALLS["prompt"])
    assert not any(isinstance(item, StreamChunk) and item.has_content for item in heard)
    _check(heard[-1], refuse, scenario)


def _check(outcome: Response | StreamChunk | Failure, refuse: Refuse, scenario: str) -> None:
    assert isinstance(outcome, Failure)
    wanted = {"http_status": None, "retry_after_ms": None, **FAILURES[scenario]}
    assert outcome.kind == (refuse.kind or wanted["kind"]), outcome.detail
    if refuse.status != 200:
        assert outcome.http_status == refuse.status
    if wanted["retry_after_ms"] is not None or scenario == "limited":
        assert outcome.retry_after_ms == wanted["retry_after_ms"]
    assert len(outcome.detail) <= 500


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_vendor_that_quotes_the_key_is_not_quoted(
    name: str, adapters: Mapping[str, Provider]
) -> None:
    talk = Talk(DIALECTS[name], adapters)
    message = f"the key {CANARY} is none"
    bodies = [message.encode(), json.dumps({"error": {"message": message}, "message": message}).encode()]
    for body in bodies:
        for status in (400, 401, 500):
            outcome = await talk.ask(whole(status, body), CALLS["prompt"])
            heard = await talk.hear(whole(status, body), CALLS["prompt"])
            for failure in (outcome, *heard):
                assert isinstance(failure, Failure)
                assert CANARY not in failure.detail + repr(failure)


@pytest.mark.parametrize("name", RAW)
async def test_bodies_and_events_are_kept_for_callers_of_the_same_dialect(
    name: str, adapters: Mapping[str, Provider]
) -> None:
    dialect, talk = DIALECTS[name], Talk(DIALECTS[name], adapters)
    tell = dialect.told["reasoning"]
    answer = await talk.ask(whole(200, tell.whole), CALLS["prompt"])
    assert isinstance(answer, Response)
    assert (answer.dialect, dict(answer.raw)) == (dialect.raw, json.loads(tell.whole))
    heard = await talk.hear(flow(tell.pieces or (), dialect.stream_kind), CALLS["prompt"])
    chunks = [chunk for chunk in heard if isinstance(chunk, StreamChunk)]
    lines = b"".join(tell.pieces or ()).split(b"\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    assert [chunk.raw for chunk in chunks] == events
    assert {chunk.dialect for chunk in chunks} == {dialect.raw}
