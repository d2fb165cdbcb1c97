"""Vendors whose answers are JSON but not what they ought to be: an answer or a failure, never a defect of ours."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.contracts.dialects import bedrock, dialects
from tests.contracts.vendor import Asked, Reply, flow, whole

from .caller import APIS, Line
from .gateway import Running, running
from .oddities import ODD, altered
from .vendor import kept, selling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.contracts.dialect import Dialect

DIALECTS = dialects()
SCENARIOS = ("text", "tools", "reasoning")
FEW: Sequence[Any] = (7, None, [], {"type": {}})
OWN = {"anthropic": "messages", "openai_codex": "responses"}
"""Whose events an API hands on as they are, besides those of chat completions."""


class Shop:
    """Every dialect's vendor; it replies with what was laid out last."""

    def __init__(self) -> None:
        self.reply = Reply(b"")

    def tell(self, _asked: Asked) -> Reply:
        return self.reply


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[Shop, Running]]:
    shop = Shop()
    with ExitStack() as stack:
        vendor = stack.enter_context(selling(shop.tell, keeps=False))
        providers = {
            name: {
                "api_kind": name,
                "base_url": vendor.origin + dialect.base_path,
                "auth": {"kind": "bearer", "env": "KEY"},
                **{key: dialect.call[key] for key in ("region",) if key in dialect.call},
            }
            for name, dialect in DIALECTS.items()
        }
        routes = [
            {"provider": name, "provider_model_id": dialect.call.get("served_model_id", "served-1")}
            for name, dialect in DIALECTS.items()
        ]
        config = {
            "providers": providers,
            "models": {"m": {"served_by": routes}},
            "retry_policies": {"stop": {"unknown": {"action": "abort"}}},
            "profiles": {
                name: {"filter": [{"provider_in": [name]}], "retry_policy": "stop"} for name in DIALECTS
            },
            "defaults": {"circuit_breaker_threshold": 1_000_000},
        }
        yield shop, stack.enter_context(running(config, {"KEY": "sk-x"}))


def _parts(piece: bytes) -> tuple[bytes, Any]:
    """Take an event or a line apart: what stands before its JSON, and that."""
    start = piece.find(b"{")
    try:
        return piece[:start], json.loads(piece[start:])
    except ValueError:
        return b"", None


def _altered_piece(dialect: Dialect, piece: bytes, odds: Sequence[Any]) -> Iterator[bytes]:
    if dialect.adapter == "bedrock":
        length, head = int.from_bytes(piece[:4], "big"), int.from_bytes(piece[4:8], "big")
        kind = piece[12 : 12 + head].split(b":event-type\x07")[1]
        name = kind[2 : 2 + int.from_bytes(kind[:2], "big")].decode()
        data = json.loads(piece[12 + head : length - 4])
        for odd in altered(data, odds):
            yield bedrock.frame(name, odd)
        return
    before, data = _parts(piece)
    if data is None:
        return
    for odd in altered(data, odds):
        yield before + json.dumps(odd).encode() + (b"\n" if before == b"" else b"\n\n")


def _replies(dialect: Dialect, odds: Sequence[Any], *, streamed: bool) -> Iterator[Reply]:
    for scenario in SCENARIOS:
        told = dialect.told.get(scenario)
        if told is None:
            continue
        if not streamed and dialect.adapter != "openai_codex":
            for odd in altered(json.loads(told.whole), odds):
                yield kept(whole(200, json.dumps(odd).encode()))
            continue
        pieces: Sequence[bytes] = told.pieces or ()
        for place, piece in enumerate(pieces):
            for odd in _altered_piece(dialect, piece, odds):
                yield kept(flow([*pieces[:place], odd, *pieces[place + 1 :]], dialect.stream_kind))


def _defect(told: Any, *, streamed: bool, api: str) -> str | None:
    """Say what shows that we failed, not the vendor; a stream must also end as its dialect ends."""
    for word in ("internal_error", "upstream_failed"):
        if word in told.text:
            return word
    if told.status == 200 and streamed:
        ends = {
            "chat/completions": "data: [DONE]",
            "responses": '"type":"response.',
            "messages": '"type":"message_stop"',
        }
        last = [line for line in told.text.split("\n") if line.startswith("data: ")][-1:]
        if not last or not (ends[api] in last[0] or '"error"' in last[0]):
            return f"a silent end: {last}"
    return None


def _judge(shop: tuple[Shop, Running], name: str, api: str, odds: Sequence[Any], *, streamed: bool) -> None:
    vendor, gateway = shop
    bad: dict[str, Any] = {}
    with closing(Line(gateway.port)) as line:
        for reply in _replies(DIALECTS[name], odds, streamed=streamed):
            vendor.reply = reply
            told = line.ask(f"/{name}/v1/{api}", {**APIS[api], "stream": streamed})
            defect = _defect(told, streamed=streamed, api=api)
            if defect is not None:
                bad.setdefault(defect, (told.text[:300], b"".join(reply.pieces)[-1500:]))
    assert not bad


CASES = [(name, api) for name in DIALECTS for api in ("chat/completions", OWN.get(name)) if api]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("name", "api"), CASES)
def test_an_odd_answer_is_no_defect_of_ours(
    name: str,
    api: str,
    streamed: bool,  # noqa: FBT001 - parametrised
    shop: tuple[Shop, Running],
) -> None:
    _judge(shop, name, api, FEW, streamed=streamed)


@pytest.mark.heavy
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("name", DIALECTS)
def test_no_odd_answer_whatsoever_is_a_defect_of_ours(
    name: str,
    api: str,
    streamed: bool,  # noqa: FBT001 - parametrised
    shop: tuple[Shop, Running],
) -> None:
    _judge(shop, name, api, ODD, streamed=streamed)
