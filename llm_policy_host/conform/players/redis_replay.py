"""Replay lines on the Lua in Redis: `redis_replay.py MODULE INPUT OUTPUT`, with a bundle in the environment.

A server of its own on a socket in a folder of its own, which writes nothing and ends with this process.
The bundle is a library of functions: it is loaded once, without files, `require` or globals to set.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

_LIBRARY = b"""#!lua name=llm_policy_conform
local require = (function()
%s
end)()
local answer
redis.register_function({
  function_name = "llm_policy_answer",
  callback = function(_, lines)
    -- while a library is loaded, `string` and its like are not there yet
    answer = answer or require("%s")
    return answer(lines[1])
  end,
  flags = { "no-writes" },
})
"""
_START_S = 20.0


class _Client:
    """Commands and replies of Redis' own protocol."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._replies: BinaryIO = self._socket.makefile("rb")

    def ask(self, *words: bytes) -> bytes:
        """Give the reply to a command."""
        parts = (b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self._socket.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
        head = self._replies.readline()
        if head[:1] == b"$":
            return self._replies.read(int(head[1:]) + 2)[:-2]
        if head[:1] == b"+":
            return head[1:-2]
        raise RuntimeError(head.decode(errors="replace").strip())


def main() -> None:
    """Start a server, give it the library, and answer."""
    module, given, answered = sys.argv[1:]
    library = _LIBRARY % (Path(os.environ["LLM_POLICY_BUNDLE"]).read_bytes(), module.encode())
    with tempfile.TemporaryDirectory(prefix="llm-policy-redis-") as directory:
        process = _server(directory)
        try:
            client = _connect(Path(directory, "socket"), process)
            client.ask(b"FUNCTION", b"LOAD", library)
            with Path(answered).open("wb") as output:
                for line in Path(given).read_bytes().splitlines():
                    answer = client.ask(b"FCALL", b"llm_policy_answer", b"0", line)
                    output.write(answer + b"\n")
        finally:
            process.kill()
            process.wait()


def _server(directory: str) -> subprocess.Popen[bytes]:
    # no port, no snapshot, no log of commands, and a script may take its time
    options = {"port": "0", "unixsocket": "socket", "save": "", "appendonly": "no", "dir": directory}
    options |= {"busy-reply-threshold": "0", "unixsocketperm": "700"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = ["redis-server", *words]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _connect(path: Path, process: subprocess.Popen[bytes]) -> _Client:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            return _Client(path)
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("the server did not start")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
