"""Whole answers leave as one write, byte for byte what uvicorn itself would have sent."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from llm_policy_host.web.joining import JoiningCycle, JoiningProtocol

OK = [(b"content-type", b"application/json"), (b"content-length", b"2")]


class Wire:
    """What a transport was told."""

    def __init__(self) -> None:
        self.said: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def close(self) -> None:
        self.said.append("close")

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return False


def cycle(
    kind: type[RequestResponseCycle], *, method: str = "POST", keep_alive: bool = True
) -> tuple[Wire, RequestResponseCycle]:
    wire = Wire()
    transport = cast("Any", wire)
    log = logging.getLogger("nobody")
    made = kind(
        scope=cast("Any", {"method": method}),
        transport=transport,
        flow=FlowControl(transport),
        logger=log,
        access_logger=log,
        access_log=False,
        default_headers=[(b"date", b"today")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    return wire, made


async def say(made: RequestResponseCycle, status: int, headers: Any, *bodies: bytes) -> str | None:
    """Answer; give what was refused of it."""
    try:
        await made.send({"type": "http.response.start", "status": status, "headers": headers})
        for number, body in enumerate(bodies, 1):
            more = number < len(bodies)
            await made.send({"type": "http.response.body", "body": body, "more_body": more})
    except RuntimeError as error:
        return str(error)
    return None


async def test_a_whole_answer_is_one_write() -> None:
    wire, made = cycle(JoiningCycle)
    assert await say(made, 200, OK, b"{}") is None
    assert wire.said == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    ]
    assert made.response_complete


ANSWERS: dict[str, tuple[int, list[tuple[bytes, bytes]], tuple[bytes, ...]]] = {
    "whole": (200, OK, (b"{}",)),
    "whole in pieces": (200, OK, (b"{", b"}")),
    "nothing": (200, [(b"content-length", b"0")], (b"",)),
    "an error": (404, OK, (b"{}",)),
    "a status without a name": (599, OK, (b"{}",)),
    "a stream": (200, [(b"content-type", b"text/event-stream")], (b"data: 1\n\n", b"", b"data: 2\n\n", b"")),
    "no content": (204, [], (b"",)),
    "told to close": (200, [*OK, (b"connection", b"close")], (b"{}",)),
    "chunked by its own word": (200, [(b"transfer-encoding", b"chunked")], (b"{}", b"")),
    "too long": (200, OK, (b"{}}",)),
    "too short": (200, OK, (b"{",)),
    "a header of two lines": (200, [*OK, (b"x-a", b"1\r\nx-b: 2")], (b"{}",)),
    "a header with a bare line feed": (200, [*OK, (b"x-a", b"1\n2")], (b"{}",)),
    "a header with a null": (200, [*OK, (b"x-a", b"\0")], (b"{}",)),
    "a name of two lines": (200, [*OK, (b"x\r\ny", b"1")], (b"{}",)),
    "a tab": (200, [*OK, (b"x-a", b"1\t2")], (b"{}",)),
    "letters beyond ASCII": (200, [*OK, (b"x-a", "ä".encode())], (b"{}",)),
}


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_the_bytes_and_the_refusals_are_uvicorns(name: str, method: str, *, keep_alive: bool) -> None:
    def heard(said: list[bytes | str]) -> tuple[bytes, list[bytes | str]]:
        joined = b"".join(each for each in said if isinstance(each, bytes))
        return joined, [each for each in said if not isinstance(each, bytes)]

    answers = []
    for kind in (RequestResponseCycle, JoiningCycle):
        wire, made = cycle(kind, method=method, keep_alive=keep_alive)
        refused = await say(made, *ANSWERS[name][:2], *ANSWERS[name][2])
        data, others = heard(wire.said)
        # of an answer that breaks its own promise uvicorn has sent the head already
        answers.append((refused, others, made.response_complete, b"" if refused else data))
    assert answers[0] == answers[1]


async def test_a_stream_is_not_written_to_who_has_left_nor_beyond_its_end() -> None:
    wire, made = cycle(JoiningCycle)
    piece = {"type": "http.response.body", "body": b"x", "more_body": True}
    await made.send({"type": "http.response.start", "status": 200, "headers": []})
    await made.send(cast("Any", piece))
    before = len(wire.said)
    made.disconnected = True
    await made.send(cast("Any", piece))
    made.disconnected = False
    assert wire.said[before:] == []
    await made.send({"type": "http.response.body", "body": b""})
    with pytest.raises(RuntimeError):
        await made.send(cast("Any", piece))


async def test_a_stream_waits_while_its_reader_is_behind() -> None:
    wire, made = cycle(JoiningCycle)
    await made.send({"type": "http.response.start", "status": 200, "headers": []})
    before = len(wire.said)
    made.flow.pause_writing()
    piece = asyncio.create_task(made.send({"type": "http.response.body", "body": b"x", "more_body": True}))
    await asyncio.sleep(0)
    assert wire.said[before:] == []
    made.flow.resume_writing()
    await piece
    assert wire.said[before:] == [b"1\r\nx\r\n"]


async def test_nothing_is_written_to_who_has_left() -> None:
    wire, made = cycle(JoiningCycle)
    await made.send({"type": "http.response.start", "status": 200, "headers": OK})
    made.disconnected = True
    await made.send({"type": "http.response.body", "body": b"{}"})
    assert wire.said == []


async def test_a_request_over_the_protocol_is_answered_in_one_write() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": OK})
        await send({"type": "http.response.body", "body": b"{}"})

    config = uvicorn.Config(app, http=JoiningProtocol, log_config=None)
    config.load()
    protocol = JoiningProtocol(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(cast("Any", wire))
    for _ in range(2):
        protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.gather(*protocol.tasks)
    assert [each[-8:] for each in wire.said] == [b": 2\r\n\r\n{}"[-8:]] * 2
    protocol.connection_lost(None)
