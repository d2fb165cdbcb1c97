from __future__ import annotations

import asyncio
import functools
import gzip
import inspect
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import uvloop

from llm_policy_host.providers import _http, _pool, _wire
from llm_policy_host.providers._failure import TransportError
from llm_policy_host.providers._http import HttpClient

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from llm_policy_host.values import HttpAnswer

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LEAVE = b""


class Peer:
    """A server of bytes: a script for each connection, a reply for each request; `LEAVE` closes.

    A request is answered when it is whole. After its script a connection stays open in silence.
    """

    def __init__(self, *scripts: Sequence[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.scripts = scripts
        self.requests: list[bytes] = []
        self.connections = 0
        self.was_asked = asyncio.Semaphore(0)
        self.was_left = asyncio.Semaphore(0)
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            for reply in script:
                if reply == LEAVE:
                    return
                self.requests.append(await self._read(reader))
                writer.write(reply)
                await writer.drain()
                self.was_asked.release()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            return
        finally:
            self.was_left.release()
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        size = head.partition(b"content-length: ")[2].partition(b"\r")[0]
        return head + await reader.readexactly(int(size or b"0"))


def on_each_loop(claim: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a claim on both event loops, with a client of its own where it asks for one."""
    wanted = inspect.signature(claim).parameters

    async def scenario(**given: Any) -> None:
        client = HttpClient()
        own = {"client": client} if "client" in wanted else {}
        try:
            async with asyncio.timeout(20):
                await claim(**own, **given)
        finally:
            await client.close()

    @functools.wraps(claim)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(scenario(**given))

    own = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    others = [each for name, each in wanted.items() if name != "client"]
    vars(run)["__signature__"] = inspect.Signature([own, *others])
    del vars(run)["__wrapped__"]
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    marked: Callable[..., None] = pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)
    return marked


async def _hear(client: HttpClient, peer: Peer) -> list[bytes]:
    async with client.post(peer.url, {}, b"{}") as stream:
        return [piece async for piece in stream.pieces()]


async def _ask(client: HttpClient, *replies: bytes) -> HttpAnswer:
    async with Peer(replies) as peer:
        return await client.send(peer.url, {}, b"{}")


# What is sent ---------------------------------------------------------------------------------


@on_each_loop
async def test_a_request_says_what_it_must_and_no_more(client: HttpClient) -> None:
    async with Peer([OK]) as peer:
        await client.send(peer.url + "/chat?a=b", {"authorization": "Bearer k"}, b'{"a":1}')
        (request,) = peer.requests
    assert request.decode() == (
        "POST /v1/chat?a=b HTTP/1.1\r\n"
        f"host: 127.0.0.1:{peer.port}\r\n"
        "user-agent: llm-policy\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n"
        'authorization: Bearer k\r\ncontent-length: 7\r\n\r\n{"a":1}'
    )


@on_each_loop
async def test_a_caller_may_say_another_content_type_in_any_case(client: HttpClient) -> None:
    async with Peer([OK]) as peer:
        await client.send(peer.url, {"Content-Type": "text/x"}, b"{}")
    assert peer.requests[0].count(b"content-type") == 1
    assert b"content-type: text/x\r\n" in peer.requests[0]


@on_each_loop
async def test_fetch_sends_any_method_with_or_without_a_body(client: HttpClient) -> None:
    async with Peer([OK, OK, OK]) as peer:
        answer = await client.fetch("GET", peer.url, {})
        await client.fetch("POST", peer.url, {"content-type": "application/x-www-form-urlencoded"}, b"a=b")
        await client.fetch("POST", peer.url, {})
    first, second, third = peer.requests
    assert answer.body == b"ok"
    assert first.startswith(b"GET /v1 HTTP/1.1\r\n")
    assert b"content-" not in first.lower()
    assert b"content-length: 3\r\n" in second.lower()
    assert b"content-length: 0\r\n" in third.lower()


@on_each_loop
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer k3y\r\nevil: 1"},
        {"authorization": "Bearer k3y\n"},
        {"authorization": "Bearer k3y\r"},
        {"authorization": "Bearer k3y\0"},
        {"authorization": "Bearer k3y\u20ac"},
        {"k3y evil": "x"},
        {"": "k3y"},
        {"k3y: x\r\nevil": "y"},
        {"Transfer-Encoding": "k3y"},
    ],
)
async def test_a_header_that_would_be_read_as_another_is_refused_unquoted(
    client: HttpClient, headers: dict[str, str]
) -> None:
    async with Peer([OK]) as peer:
        with pytest.raises(TransportError) as caught:
            await client.send(peer.url, headers, b"{}")
    assert caught.value.failure.kind == "bad_request"
    assert "k3y" not in repr(caught.value) + caught.value.failure.detail
    assert caught.value.__cause__ is None
    assert peer.connections == 0


@on_each_loop
async def test_a_callers_length_never_replaces_the_bodys(client: HttpClient) -> None:
    async with Peer([OK]) as peer:
        await client.send(peer.url, {"Content-Length": "99"}, b"{}")
    assert b"content-length: 2\r\n" in peer.requests[0]


@on_each_loop
@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://127.0.0.1:{}", b"/"),
        ("http://127.0.0.1:{}/a b\u00fc", b"/a%20b%C3%BC"),
        ("http://127.0.0.1:{}/a%2Fb?x=1&y=%20#part", b"/a%2Fb?x=1&y=%20"),
        ("http://127.0.0.1:{}/v1/models/gemini-x:streamGenerateContent?alt=sse", None),
    ],
)
async def test_a_path_reaches_the_server_as_it_is_meant(
    client: HttpClient, url: str, path: bytes | None
) -> None:
    async with Peer([OK]) as peer:
        await client.send(url.format(peer.port), {}, b"{}")
    asked = peer.requests[0].split(b" ")[1]
    assert asked == (path or url.partition("{}")[2].encode())


@on_each_loop
@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x/",
        "http://",
        "http://[",
        "//x",
        "http://x:99999/",
        "http://u:k3y@x/",
        "http://\u20ac.\u0301/",
    ],
)
async def test_an_address_that_leads_nowhere_is_refused(client: HttpClient, url: str) -> None:
    with pytest.raises(TransportError) as caught:
        await client.send(url, {}, b"{}")
    assert "k3y" not in repr(caught.value) + caught.value.failure.detail
    with pytest.raises(OSError, match="the connection failed"):
        await client.fetch("GET", url, {})


@on_each_loop
async def test_a_password_in_an_address_is_refused_unsent(client: HttpClient) -> None:
    async with Peer([OK]) as peer:
        with pytest.raises(TransportError) as caught:
            await client.send(peer.url.replace("127.", "u:k3y@127."), {}, b"{}")
    assert peer.connections == 0
    assert "k3y" not in repr(caught.value) + caught.value.failure.detail


def test_a_host_in_another_script_is_asked_by_its_ascii_name() -> None:
    where = _pool.read_target("https://b\u00fccher.example/v1")
    assert (where.host, where.authority) == ("xn--bcher-kva.example", "xn--bcher-kva.example")


def test_an_address_of_version_six_is_named_in_brackets() -> None:
    assert _pool.read_target("http://[::1]:8080/v1").authority == "[::1]:8080"


@on_each_loop
async def test_no_proxy_of_the_environment_is_used(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await _ask(client, OK)).status == 200


@on_each_loop
async def test_no_cookie_is_sent_back(client: HttpClient) -> None:
    async with Peer([OK.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b\r\n\r\n"), OK]) as peer:
        await client.send(peer.url, {}, b"{}")
        await client.send(peer.url, {}, b"{}")
    assert b"cookie" not in peer.requests[1]


@on_each_loop
async def test_small_writes_leave_at_once(client: HttpClient) -> None:
    async with Peer([OK]) as peer, client.post(peer.url, {}, b"{}") as stream:
        descriptor = stream._connection._transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# What comes back ------------------------------------------------------------------------------


@on_each_loop
@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (OK, 200, b"ok"),
        (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (CHUNKED + b"2;x=y\r\nab\r\n1\r\nc\r\n0\r\ntrailer: t\r\n\r\n", 200, b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 503 X\r\ncontent-length: 2\r\n\r\nno", 503, b"no"),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    ],
)
async def test_an_answer_is_read_whole_and_the_connection_kept(
    client: HttpClient, reply: bytes, status: int, body: bytes
) -> None:
    async with Peer([reply, OK]) as peer:
        answer = await client.send(peer.url, {}, b"{}")
        await client.send(peer.url, {}, b"{}")
    assert (answer.status, answer.body) == (status, body)
    assert "link" not in answer.headers
    assert peer.connections == 1


@on_each_loop
async def test_a_body_without_a_length_ends_with_the_connection(client: HttpClient) -> None:
    assert (await _ask(client, b"HTTP/1.1 200 OK\r\n\r\nabc", LEAVE)).body == b"abc"


@on_each_loop
async def test_header_names_are_in_lower_case_and_repeated_ones_joined(client: HttpClient) -> None:
    answer = await _ask(
        client, b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xe9\r\ncontent-length: 0\r\n\r\n"
    )
    assert dict(answer.headers) == {"x-a": "1, 2", "x-b": "\xe9", "content-length": "0"}


@on_each_loop
async def test_a_compressed_body_stays_as_it_came(client: HttpClient) -> None:
    packed = gzip.compress(b"x" * 1000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    assert (await _ask(client, head + packed)).body == packed


@on_each_loop
@pytest.mark.parametrize(
    "replies",
    [
        [LEAVE],
        [b"nonsense\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}", LEAVE],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 2\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"],
        [CHUNKED + b"5\r\nab", LEAVE],
        [CHUNKED + b"2\r\nab\r\n", LEAVE],
        [CHUNKED + b"zz\r\nab\r\n"],
        [b"HTTP/1.1 200 OK\r\nx", LEAVE],
        [b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000],
    ],
)
async def test_a_broken_answer_is_a_network_error_whole_or_streamed(
    client: HttpClient, replies: Sequence[bytes]
) -> None:
    async with Peer(replies) as peer:
        with pytest.raises(TransportError) as caught:
            await client.send(peer.url, {"authorization": "Bearer k3y"}, b"{}")
        with pytest.raises(TransportError) as streamed:
            await _hear(client, peer)
    for error in (caught.value, streamed.value):
        assert error.failure.kind == "network_error"
        assert "127.0.0.1" not in error.failure.detail
        assert error.__cause__ is None


@on_each_loop
async def test_a_refused_connection_is_a_network_error(client: HttpClient) -> None:
    async with Peer([OK]) as peer:
        pass
    with pytest.raises(TransportError) as caught:
        await client.send(peer.url, {}, b"{}")
    assert caught.value.failure.kind == "network_error"


@on_each_loop
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\nhalf of it"])
async def test_a_reset_is_a_network_error(client: HttpClient, said: bytes) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await asyncio.sleep(0.05)
        raw = writer.get_extra_info("socket")
        with socket.socket(fileno=os.dup(raw.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    with pytest.raises(TransportError) as caught:
        await client.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, b"{}")
    server.close()
    assert caught.value.failure.kind == "network_error"


@on_each_loop
@pytest.mark.parametrize("head", [b"content-length: 2000", b"transfer-encoding: chunked"])
async def test_a_body_beyond_the_bound_is_refused_and_its_connection_closed(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(_http, "MAX_BODY_BYTES", 1000)
    monkeypatch.setattr(_wire, "MAX_UNREAD_BYTES", 100)
    async with Peer([b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n7d0\r\n" + b"a" * 1900]) as peer:
        with pytest.raises(TransportError) as caught:
            await client.send(peer.url, {}, b"{}")
        await asyncio.wait_for(peer.was_left.acquire(), 5)
    assert caught.value.failure.kind == "bad_response"


@on_each_loop
async def test_a_large_body_crosses_whole_both_ways(client: HttpClient) -> None:
    body = os.urandom(3_000_000)
    async with Peer([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body]) as peer:
        answer = await client.send(peer.url, {}, body)
    assert answer.body == body
    assert peer.requests[0].endswith(body)


@on_each_loop
async def test_a_stream_gives_what_has_come_as_it_comes(client: HttpClient) -> None:
    gate = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
        await gate.wait()
        writer.write(b"1\r\nc\r\n0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slowly, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with client.post(url, {}, b"{}") as stream:
        pieces = stream.pieces()
        first = await asyncio.wait_for(anext(pieces), 5)
        gate.set()
        rest = [piece async for piece in pieces]
    server.close()
    assert (first, rest) == (b"ab", [b"c"])


@on_each_loop
async def test_a_reader_who_lags_holds_the_server_back(client: HttpClient) -> None:
    total = 8_000_000
    async with Peer([b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total + b"a" * total]) as peer:
        exchange = client.post(peer.url, {}, b"{}")
        stream = await exchange.__aenter__()
        await asyncio.sleep(0.2)
        held = stream._connection._size
        size = sum([len(piece) async for piece in stream.pieces()])
        await exchange.__aexit__()
    assert held < 2 * _wire.MAX_UNREAD_BYTES + 1_000_000
    assert size == total


# Whose the connections are --------------------------------------------------------------------


@on_each_loop
async def test_connections_are_kept_and_shared_in_turn(client: HttpClient) -> None:
    async with Peer([OK] * 20) as peer:
        for _ in range(5):
            await client.send(peer.url, {}, b"{}")
        assert peer.connections == 1
        await asyncio.gather(*(client.send(peer.url, {}, b"{}") for _ in range(4)))
        await asyncio.gather(*(client.send(peer.url, {}, b"{}") for _ in range(4)))
        assert peer.connections == 4


@on_each_loop
@pytest.mark.parametrize(
    "replies",
    [
        [OK, LEAVE],
        [OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), LEAVE],
        [OK.replace(b"1.1", b"1.0")],
        [OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"],
        [OK + b"nonsense"],
    ],
)
async def test_a_connection_that_cannot_be_kept_is_replaced_unseen(
    client: HttpClient, replies: Sequence[bytes]
) -> None:
    async with Peer(replies, [OK]) as peer:
        first = await client.send(peer.url, {}, b"{}")
        second = await client.send(peer.url, {}, b"{}")
    assert first.body == second.body == b"ok"
    assert (len(peer.requests), peer.connections) == (2, 2)


@on_each_loop
async def test_words_nobody_asked_for_end_an_idle_connection(client: HttpClient) -> None:
    async with Peer([OK], [OK]) as peer:
        await client.send(peer.url, {}, b"{}")
        (connection,) = client.pool._open
        connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        assert (await client.send(peer.url, {}, b"{}")).body == b"ok"
    assert peer.connections == 2


@on_each_loop
async def test_a_goodbye_that_the_loop_has_not_heard_is_seen(client: HttpClient) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            heard.append(peer.recv(1000))
            peer.sendall(OK)
            peer.close()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    await client.send(url, {}, b"{}")
    (connection,) = client.pool._idle[_pool.read_target(url).origin]
    while connection.is_silent:
        pass
    assert connection.is_reusable
    assert (await client.send(url, {}, b"{}")).body == b"ok"
    await asyncio.to_thread(thread.join)
    assert len(heard) == 2


@on_each_loop
async def test_a_request_that_may_have_been_read_is_never_sent_again(client: HttpClient) -> None:
    async with Peer([OK, CHUNKED, LEAVE], [OK]) as peer:
        await client.send(peer.url, {}, b"{}")
        with pytest.raises(TransportError):
            await client.send(peer.url, {}, b"{}")
        assert len(peer.requests) == 2
        assert peer.connections == 1


@on_each_loop
async def test_a_connection_idle_for_long_is_not_used(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer([OK, OK]) as peer:
        await client.send(peer.url, {}, b"{}")
        monkeypatch.setattr(_pool, "MAX_IDLE_S", 0.0)
        await client.send(peer.url, {}, b"{}")
        await asyncio.wait_for(peer.was_left.acquire(), 5)
    assert peer.connections == 2


@on_each_loop
async def test_connections_that_lie_idle_under_others_are_closed_in_time(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "MAX_IDLE_S", 0.1)
    async with Peer([OK] * 99) as peer:
        await asyncio.gather(*(client.send(peer.url, {}, b"{}") for _ in range(3)))
        for _ in range(10):
            await asyncio.sleep(0.03)
            await client.send(peer.url, {}, b"{}")
        assert len(client.pool._open) <= 1


@on_each_loop
async def test_the_pool_keeps_no_more_than_its_bound(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "MAX_IDLE", 1)
    async with Peer([OK]) as peer:
        await asyncio.gather(*(client.send(peer.url, {}, b"{}") for _ in range(3)))
        for _ in range(2):
            await asyncio.wait_for(peer.was_left.acquire(), 5)
    assert len(client.pool._open) <= 1


@on_each_loop
@pytest.mark.parametrize("reply", [b" ", CHUNKED, CHUNKED + b"1\r\na\r\n"])
@pytest.mark.parametrize("way", ["whole", "stream"])
async def test_cancelling_the_task_that_waits_closes_the_connection(
    client: HttpClient, reply: bytes, way: str
) -> None:
    async with Peer([reply.strip(b" ") or b"\r\n"], [OK]) as peer:
        task: asyncio.Task[Any] = asyncio.create_task(
            _hear(client, peer) if way == "stream" else client.send(peer.url, {}, b"{}")
        )
        await peer.was_asked.acquire()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(peer.was_left.acquire(), 0.5)
        assert (await client.send(peer.url, {}, b"{}")).body == b"ok"


@on_each_loop
async def test_leaving_a_stream_early_closes_its_connection_and_harms_no_other(client: HttpClient) -> None:
    async with Peer([CHUNKED + b"1\r\na\r\n"], [OK]) as peer:
        async with client.post(peer.url, {}, b"{}") as stream:
            async for piece in stream.pieces():
                assert piece == b"a"
                break
        await asyncio.wait_for(peer.was_left.acquire(), 0.5)
        assert (await client.send(peer.url, {}, b"{}")).body == b"ok"


@on_each_loop
async def test_cancelling_while_it_connects_leaves_nothing(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        task = asyncio.ensure_future(client.send(f"http://127.0.0.1:{port}/", {}, b"{}"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for other in others:
            other.close()
    assert not client.pool._open


def _sockets() -> set[str]:
    return {name for each in Path("/proc/self/fd").iterdir() if (name := _link(each)).startswith("socket:")}


def _link(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


@on_each_loop
async def test_closing_leaves_no_socket_task_or_thread() -> None:
    threads, sockets = threading.active_count(), _sockets()
    client = HttpClient()
    async with Peer([OK]) as peer:
        await asyncio.gather(*(client.send(peer.url, {}, b"{}") for _ in range(5)))
        busy = asyncio.ensure_future(client.send(peer.url.replace("/v1", "/"), {}, b"{}"))
        await asyncio.sleep(0.01)
        await client.close()
        await asyncio.gather(busy, return_exceptions=True)
        with pytest.raises(TransportError):
            await client.send(peer.url, {}, b"{}")
    await asyncio.sleep(0.05)
    assert not client.pool._open
    assert len(asyncio.all_tasks()) == 1
    assert threading.active_count() == threads
    assert _sockets() == sockets


# Trust ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    words += ["-keyout", str(path / "key.pem"), "-out", str(path / "cert.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return path


def _serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


@on_each_loop
async def test_a_certificate_nobody_signed_is_a_network_error(client: HttpClient, certificate: Path) -> None:
    async with Peer([OK], tls=_serving(certificate)) as peer:
        with pytest.raises(TransportError) as caught:
            await client.send(peer.url, {"authorization": "Bearer k3y"}, b"{}")
    assert caught.value.failure.kind == "network_error"
    assert peer.requests == []


@on_each_loop
async def test_a_trusted_certificate_is_spoken_to_and_its_name_checked(certificate: Path) -> None:
    client = HttpClient(ssl.create_default_context(cafile=str(certificate / "cert.pem")))
    async with Peer([OK, OK], tls=_serving(certificate)) as peer:
        assert (await client.send(peer.url, {}, b"{}")).body == b"ok"
        assert (await client.send(peer.url, {}, b"{}")).body == b"ok"
        assert peer.connections == 1
        with pytest.raises(TransportError):
            await client.send(peer.url.replace("127.0.0.1", "localhost"), {}, b"{}")
    await client.close()


@on_each_loop
async def test_plain_words_from_a_secure_address_are_a_network_error(client: HttpClient) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    with pytest.raises(TransportError) as caught:
        await client.send(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, b"{}")
    server.close()
    assert caught.value.failure.kind == "network_error"
