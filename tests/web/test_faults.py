"""The fault matrix: whatever a vendor does, the next route answers, or the caller is told what happened.

A cell is a fault of an adapter's vendor (in that vendor's own bytes), met by a caller of one API,
whole or streamed, with a second route behind it or none. All cells are asked at once, then judged
one by one.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from llm_policy_host.providers.registry import ADAPTERS
from tests.contracts.dialects import bedrock, dialects
from tests.contracts.scenarios import ANSWERS, MODEL
from tests.contracts.vendor import Reply, flow, whole

from .caller import APIS, Answer, ask
from .gateway import running
from .vendor import answer, selling, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Literal

    from tests.contracts.dialect import Dialect
    from tests.contracts.vendor import Asked

DIALECTS = {name: dialect for name, dialect in dialects().items() if dialect.adapter in ADAPTERS}
TEXT = ANSWERS["text"].text
SPARE = "the second route"
KEY = "sk-canary-of-the-matrix"
PAGE = b"<!doctype html><title>Oh no</title>" + b"<p>sorry" * 1000
_MIB = 1024 * 1024
CHEAPEST = ["neg", ["normalize", ["field", "price_in"]]]

_LONG: Mapping[str, int] = {"timeout_ms": 60_000, "ttft_ms": 60_000, "idle_ms": 60_000}
_BOUNDS: Mapping[bool, Mapping[str, Mapping[str, int]]] = {
    False: {"whole": _LONG, "stream": _LONG},
    True: {
        "whole": {**_LONG, "timeout_ms": 700},
        "stream": {**_LONG, "ttft_ms": 700, "idle_ms": 500},
    },
}
"""What an attempt may take: of a vendor that stalls, by the one bound that must end it."""


SCENARIOS = {
    "401": "unauthorized",
    "402": "unpaid",
    "404": "no_model",
    "408": "late",
    "429": "limited",
    "429_retry_after": "limited_until",
    "500": "broken",
    "503": "unavailable",
    "529": "overloaded",
    "empty": "empty",
    "error_in_200": "error_in_200",
    "error_after_content": "error_in_200",
}
"""Faults that the contracts' dialects have bytes for."""

IN_BAND = {"bedrock": bedrock.frame("internalServerException", {"message": "upstream"}, "exception")}
"""An error within a stream, of dialects that have none in a whole answer."""

KINDS = {
    "rate_limit": (429, "rate_limit"),
    "timeout": (504, "timeout"),
    "server_error": (502, "server_error"),
    "auth_error": (502, "upstream_auth"),
    "model_unavailable": (502, "model_unavailable"),
    "network_error": (502, "network_error"),
    "payment_required": (502, "upstream_payment"),
    "bad_response": (502, "bad_response"),
    "empty_completion": (502, "empty_completion"),
}
"""What a caller is told of a failure kind where nobody else can answer: status and code."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the vendor does, asked for a whole answer and for a stream, and what kind that is.

    `kind` is None where the answer survives. `begins` says that a stream has content by then.
    """

    kind: str | None
    whole: Callable[[Dialect], Reply]
    flow: Callable[[Dialect], Reply]
    whole_kind: str | None = None
    begins: bool = False
    is_slow: bool = False
    scheme: str = "http"


def _pieces(dialect: Dialect) -> list[bytes]:
    return list(dialect.told["text"].pieces or ())


def _flow(dialect: Dialect, pieces: Sequence[bytes], then: Literal["end", "cut", "hang"] = "end") -> Reply:
    return flow(pieces, dialect.stream_kind, then)


def _opening(dialect: Dialect, more: int = 0) -> list[bytes]:
    return _pieces(dialect)[: dialect.opening + more]


def _part(dialect: Dialect, size: int, then: Literal["cut", "hang"]) -> Reply:
    """A whole answer of which only some bytes come."""
    full = whole(200, dialect.told["text"].whole)
    return Reply(full.head, [full.pieces[0][:size]], then, is_chunked=False)


def _garbled(dialect: Dialect) -> Reply:
    pieces = _pieces(dialect)
    return _flow(dialect, [*pieces[: dialect.opening], dialect.garbage, *pieces[dialect.opening :]])


def _huge(dialect: Dialect) -> Reply:
    pieces = _pieces(dialect)
    line = (
        b": " + b"x" * 9 * _MIB + b"\n" if "event-stream" in dialect.stream_kind else b"x" * 9 * _MIB + b"\n"
    )
    return _flow(dialect, [*pieces[: dialect.opening], line, *pieces[dialect.opening :]])


def _refused(scenario: str) -> Callable[[Dialect], Reply]:
    def reply(dialect: Dialect) -> Reply:
        refusal = dialect.refused[scenario]
        return whole(refusal.status, refusal.body, headers=refusal.headers)

    return reply


def _status(kind: str, scenario: str) -> Fault:
    return Fault(kind, _refused(scenario), _refused(scenario))


def _empty(dialect: Dialect) -> Reply:
    return _flow(dialect, list(dialect.refused["empty"].pieces or ()))


def _error_after(count: int) -> Callable[[Dialect], Reply]:
    """Tell of an error after so many pieces of content."""

    def reply(dialect: Dialect) -> Reply:
        refusal = dialect.refused.get("error_in_200")
        error = list(refusal.pieces or ())[-1] if refusal else IN_BAND[dialect.adapter]
        return _flow(dialect, [*_opening(dialect, count), error])

    return reply


def _same(reply: Reply) -> Callable[[Dialect], Reply]:
    return lambda _dialect: reply


_PAGE = _same(whole(200, PAGE, "text/html; charset=utf-8"))
_ILL_PAGE = _same(whole(502, PAGE, "text/html; charset=utf-8"))
_NOTHING = _same(Reply(b"", then="cut", is_chunked=False))
_NEVER = _same(Reply(b"", then="hang", is_chunked=False))
_ENDLESS = _same(whole(200, b" " * 33 * _MIB))

FAULTS: Mapping[str, Fault] = {
    "connect_refused": Fault("network_error", _NOTHING, _NOTHING, scheme="refused"),
    "tls": Fault("network_error", _NOTHING, _NOTHING, scheme="https"),
    "401": _status("auth_error", "unauthorized"),
    "402": _status("payment_required", "unpaid"),
    "404": _status("model_unavailable", "no_model"),
    "408": _status("timeout", "late"),
    "429": _status("rate_limit", "limited"),
    "429_retry_after": _status("rate_limit", "limited_until"),
    "500": _status("server_error", "broken"),
    "503": _status("server_error", "unavailable"),
    "529": _status("server_error", "overloaded"),
    "html": Fault("bad_response", _PAGE, _PAGE),
    "html_502": Fault("server_error", _ILL_PAGE, _ILL_PAGE),
    "no_head": Fault("network_error", _NOTHING, _NOTHING),
    "cut_before_content": Fault("network_error", lambda d: _part(d, 0, "cut"), lambda d: _flow(d, [], "cut")),
    "cut_after_content": Fault(
        "network_error", lambda d: _part(d, 40, "cut"), lambda d: _flow(d, _opening(d, 1), "cut"), begins=True
    ),
    "stall_before_head": Fault("timeout", _NEVER, _NEVER, is_slow=True),
    "stall_before_content": Fault(
        "timeout", lambda d: _part(d, 0, "hang"), lambda d: _flow(d, _opening(d), "hang"), is_slow=True
    ),
    "stall_after_content": Fault(
        "timeout",
        lambda d: _part(d, 40, "hang"),
        lambda d: _flow(d, _opening(d, 1), "hang"),
        begins=True,
        is_slow=True,
    ),
    "malformed_line": Fault(None, _same(whole(200, b'{"')), _garbled, "bad_response"),
    "role_then_failure": Fault(
        "network_error", lambda d: _part(d, 10, "cut"), lambda d: _flow(d, _opening(d), "cut")
    ),
    "empty": Fault("empty_completion", _refused("empty"), _empty),
    "no_bytes": Fault("network_error", _same(whole(200, b"")), lambda d: _flow(d, []), "bad_response"),
    "error_in_200": Fault("server_error", _refused("error_in_200"), _error_after(0)),
    "error_after_content": Fault("server_error", _refused("error_in_200"), _error_after(1), begins=True),
    "huge_line": Fault(None, _ENDLESS, _huge, "bad_response"),
}


class Cell(NamedTuple):
    adapter: str
    fault: str
    api: str
    is_stream: bool
    has_spare: bool


LINELESS = ("ollama", "bedrock")
"""Dialects without events have no line that may be dropped: a huge one is their answer's end."""


def _is_possible(cell: Cell) -> bool:
    """Whether the vendor can do that: a dialect's file says what it lacks."""
    dialect, scenario = DIALECTS[cell.adapter], SCENARIOS.get(cell.fault)
    if scenario is None or scenario in dialect.refused:
        return True
    assert scenario in dialect.lacks
    return scenario == "error_in_200" and cell.is_stream and cell.adapter in IN_BAND


CELLS = [
    cell
    for adapter in DIALECTS
    for fault in FAULTS
    for api in APIS
    for is_stream in (False, True)
    for has_spare in (True, False)
    if _is_possible(cell := Cell(adapter, fault, api, is_stream, has_spare))
]


def _id(cell: Cell) -> str:
    return "-".join(
        [
            cell.adapter,
            cell.fault,
            cell.api,
            "stream" if cell.is_stream else "whole",
            "spare" if cell.has_spare else "alone",
        ]
    )


def _is_streamed(dialect: Dialect, asked: Asked) -> bool:
    """Whether the vendor was asked for a stream, in its own way."""
    return "stream" in asked.path or asked.data.get("stream") is True or dialect.adapter == "openai_codex"


def _sell(asked: Asked) -> Reply:
    _, name, fault, *_ = asked.path.split("/")
    if name == "spare":
        return stream([SPARE[:5], SPARE[5:]]) if asked.data.get("stream") else answer(SPARE)
    dialect = DIALECTS[name]
    return (FAULTS[fault].flow if _is_streamed(dialect, asked) else FAULTS[fault].whole)(dialect)


def _config(origin: str, rude: int, closed: int) -> dict[str, Any]:
    providers: dict[str, Any] = {"spare": {"base_url": f"{origin}/spare/v1"}}
    routes: list[dict[str, Any]] = [{"provider": "spare", "price_in": 9}]
    profiles: dict[str, Any] = {}
    for name, dialect in DIALECTS.items():
        served = dialect.call.get("served_model_id", MODEL)
        more = {key: dialect.call[key] for key in ("region",) if key in dialect.call}
        for fault_name, fault in FAULTS.items():
            start = {
                "http": origin,
                "https": f"https://127.0.0.1:{rude}",
                "refused": f"http://127.0.0.1:{closed}",
            }[fault.scheme]
            provider = f"{name}-{fault_name}"
            url = f"{start}/{name}/{fault_name}{dialect.base_path}"
            auth = {"kind": "bearer", "env": "MATRIX_KEY"}
            providers[provider] = {"api_kind": dialect.adapter, "base_url": url, "auth": auth, **more}
            routes.append({"provider": provider, "price_in": 1, "provider_model_id": served})
            for mode, bounds in _BOUNDS[fault.is_slow].items():
                params = [["set_param", name, ms] for name, ms in bounds.items()]
                mutate = ["when", ["provider_eq", provider], ["seq", *params]]
                common = {"scorer": CHEAPEST, "retry_policy": "next", "mutate": mutate}
                both, alone = {"provider_in": [provider, "spare"]}, {"provider_in": [provider]}
                profiles[f"{provider}-{mode}-spare"] = {**common, "filter": [both]}
                profiles[f"{provider}-{mode}-alone"] = {**common, "filter": [alone]}
    return {
        "providers": providers,
        "models": {"f": {"served_by": routes}},
        "retry_policies": {"next": {"unknown": {"action": "next_candidate"}}},
        "profiles": profiles,
        "host": {"deadline_ms": 20_000},
        "defaults": {"circuit_breaker_threshold": 1_000_000},
    }


@pytest.fixture(scope="module")
def answers() -> Iterator[Mapping[Cell, Answer]]:
    """Ask every cell, many at once."""
    with ExitStack() as stack:
        vendor = stack.enter_context(selling(_sell))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        config = _config(vendor.origin, vendor.rude, closed.getsockname()[1])
        gateway = stack.enter_context(running(config, {"MATRIX_KEY": KEY}))
        pool = stack.enter_context(ThreadPoolExecutor(24))

        def once(cell: Cell) -> Answer:
            ends = "stream" if cell.is_stream else "whole", "spare" if cell.has_spare else "alone"
            path = f"/{'-'.join([cell.adapter, cell.fault, *ends])}/v1/{cell.api}"
            body = {**APIS[cell.api], "stream": cell.is_stream}
            return ask(gateway.url + path, body, headers={"x-llm-policy-metadata": "full"}, timeout_s=60)

        yield dict(zip(CELLS, pool.map(once, CELLS), strict=True))


def _heard(cell: Cell, told: Answer) -> str:
    """What a caller reads as the answer."""
    if not cell.is_stream:
        return {"chat/completions": _chat, "responses": _response, "messages": _message}[cell.api](told.data)
    texts = []
    for event in told.events:
        if cell.api == "chat/completions" and event != "[DONE]":
            texts += [choice["delta"].get("content") or "" for choice in event.get("choices", ())]
        elif cell.api == "responses" and event["type"] == "response.output_text.delta":
            texts.append(event["delta"])
        elif cell.api == "messages" and event["type"] == "content_block_delta":
            texts.append(event["delta"].get("text", ""))
    return "".join(texts)


def _chat(data: Any) -> str:
    return str(data["choices"][0]["message"]["content"])


def _response(data: Any) -> str:
    return "".join(part["text"] for item in data["output"] for part in item["content"])


def _message(data: Any) -> str:
    return "".join(block["text"] for block in data["content"])


def _end(cell: Cell, told: Answer) -> tuple[Any, Any]:
    """How a stream ended: its last words, and the code of the error among them, if any."""
    if cell.api == "chat/completions":
        *_, last, done = told.events
        errors = [event for event in told.events[:-1] if "error" in event]
        code = errors[0]["error"]["code"] if errors else None
        finish = [event["choices"][0]["finish_reason"] for event in told.events[:-1] if event["choices"]][-1]
        assert errors in ([], [last])
        return (finish, done), code
    types = [event["type"] for event in told.events]
    errors = [event for event in told.events if event["type"] == "error"]
    if cell.api == "responses":
        return types[-1], errors[0]["code"] if errors else None
    return types[-1], errors[0]["error"]["details"]["error_code"] if errors else None


GOOD_END: Mapping[str, Any] = {
    "chat/completions": ("stop", "[DONE]"),
    "responses": "response.completed",
    "messages": "message_stop",
}
BAD_END: Mapping[str, Any] = {
    "chat/completions": ("error", "[DONE]"),
    "responses": "response.failed",
    "messages": "error",
}


def _wanted_kind(cell: Cell) -> str | None:
    """The kind of the fault as this adapter's vendor does it."""
    fault, dialect = FAULTS[cell.fault], DIALECTS[cell.adapter]
    is_streamed = cell.is_stream or dialect.adapter == "openai_codex"
    if cell.fault == "malformed_line" and is_streamed and not dialect.survives_garbage:
        return "bad_response"
    if cell.fault == "huge_line" and is_streamed and cell.adapter in LINELESS:
        return "bad_response"
    refusal = dialect.refused.get(SCENARIOS.get(cell.fault, ""))
    if refusal is not None and refusal.kind is not None:
        return refusal.kind
    return fault.kind if is_streamed else fault.whole_kind or fault.kind


@pytest.mark.parametrize("cell", CELLS, ids=_id)
def test_a_fault_is_met(cell: Cell, answers: Mapping[Cell, Answer]) -> None:
    told, kind = answers[cell], _wanted_kind(cell)
    provider = f"{cell.adapter}-{cell.fault}"
    assert KEY not in told.text
    if kind is None:
        assert told.status == 200, told.text
        assert _heard(cell, told) == TEXT
        assert told.own["provider"] == provider
        assert not cell.is_stream or _end(cell, told) == (GOOD_END[cell.api], None)
    elif FAULTS[cell.fault].begins and cell.is_stream:
        _judge_interrupted(cell, told, provider)
    elif cell.has_spare:
        _judge_spared(cell, told, kind)
    else:
        _judge_alone(cell, told, kind)


def _judge_interrupted(cell: Cell, told: Answer, provider: str) -> None:
    assert told.status == 200, told.text
    assert told.own["provider"] == provider
    heard = _heard(cell, told)
    assert heard
    assert TEXT.startswith(heard)
    assert heard != TEXT
    assert _end(cell, told) == (BAD_END[cell.api], "stream_interrupted")


def _judge_spared(cell: Cell, told: Answer, kind: str) -> None:
    assert told.status == 200, told.text
    assert _heard(cell, told) == SPARE
    assert (told.own["provider"], told.own["attempts"]) == ("spare", "2")
    assert not cell.is_stream or _end(cell, told) == (GOOD_END[cell.api], None)
    first, second = _record(told)["decision_trace"]["decision_path"]
    assert (first["provider_id"], first["error_kind"]) == (f"{cell.adapter}-{cell.fault}", kind)
    assert (second["provider_id"], second.get("error_kind")) == ("spare", None)


def _record(told: Answer) -> Any:
    bodies = told.events if told.headers["content-type"].startswith("text/event-stream") else [told.data]
    (record,) = [found for body in bodies if isinstance(body, dict) and (found := _find(body)) is not None]
    return record


def _find(body: dict[str, Any]) -> Any:
    inner = body.get("response")
    return body.get("x_router") or (inner.get("x_router") if isinstance(inner, dict) else None)


def _judge_alone(cell: Cell, told: Answer, kind: str) -> None:
    status, code = KINDS[kind]
    assert told.status == status, told.text
    assert told.headers["content-type"] == "application/json"
    metadata = told.error["metadata"]
    assert (metadata["error_type"], metadata["attempts"]) == (code, 1)
    assert told.own["attempts"] == "1"
    assert ("retry-after" in told.headers) == (status == 429)
    if cell.fault == "429_retry_after":
        assert told.headers["retry-after"] == "7"
    if cell.api == "messages":
        assert told.data["type"] == "error"
    else:
        assert told.error["code"] == code
