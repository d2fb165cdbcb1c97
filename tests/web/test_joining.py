"""An answer's head leaves with the first of its body, and never waits for it beyond a turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from llm_policy_host.web.joining import Joining

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    """What a transport was told."""

    def __init__(self) -> None:
        self.said: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def close(self) -> None:
        self.said.append("close")

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> str:
        return f"its {name}"


def joining() -> tuple[Wire, Joining]:
    wire = Wire()
    return wire, Joining(cast("Any", wire), asyncio.get_running_loop())


async def test_a_head_leaves_with_the_first_of_its_body() -> None:
    wire, transport = joining()
    transport.write(HEAD)
    transport.write(b"ok")
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.said == [HEAD + b"ok", b"more"]


async def test_a_head_alone_leaves_at_the_end_of_the_turn() -> None:
    wire, transport = joining()
    transport.write(HEAD)
    assert wire.said == []
    await asyncio.sleep(0)
    assert wire.said == [HEAD]
    transport.write(b"ok")
    assert wire.said == [HEAD, b"ok"]


async def test_what_is_held_leaves_before_the_end() -> None:
    wire, transport = joining()
    transport.write(HEAD)
    transport.close()
    await asyncio.sleep(0)
    assert wire.said == [HEAD, "close"]


async def test_two_heads_in_a_turn_keep_their_order() -> None:
    wire, transport = joining()
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    transport.write(HEAD)
    await asyncio.sleep(0)
    assert b"".join(cast("list[bytes]", wire.said)) == b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD


async def test_all_else_is_the_transports_own() -> None:
    _, transport = joining()
    assert not transport.is_closing()
    assert transport.get_extra_info("socket") == "its socket"
