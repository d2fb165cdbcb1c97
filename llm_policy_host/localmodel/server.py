"""The local model as a value: a child process that speaks the OpenAI dialect on loopback.

A child, so that the native code's logs stay away from the caller's terminal
and so that it can be killed whatever it does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from .unavailable import ModelUnavailable

if TYPE_CHECKING:
    from types import TracebackType

PROGRAM: Final = Path(__file__).with_name("serving.py")
INSTALL: Final = 'install it with `pip install "llm-policy[demo]"`'
REINSTALL: Final = "run `pip install --force-reinstall xllamacpp`"
READY_DEADLINE_S: Final = 60.0
MODEL_NAME: Final = "smollm2-135m-instruct"
# what a throw-away server on loopback does without; names a release does not know are left alone
OPTIONS: Final[dict[str, Any]] = {
    "hostnames": ["127.0.0.1"],
    "ui": False,
    "cors_origins": "",
    "cors_credentials": False,
    "endpoint_slots": False,
    "offline": True,
    "fit_params": False,
    "cache_ram_mib": 0,
    "n_gpu_layers": 0,
    "verbosity": 1,
}


def check_server() -> None:
    """Raise `ModelUnavailable` if the server's package is not installed; imports nothing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelUnavailable("the package `xllamacpp` is not installed", INSTALL)


class LocalModel:
    """A running model; leave the `with` block or call `stop`, and it is gone.

    It ends with this process in any case: the child ends when the pipe to it does.
    """

    def __init__(self, base_url: str, process: subprocess.Popen[bytes]) -> None:
        self.base_url = base_url
        self._process = process

    @classmethod
    def start(
        cls,
        gguf: Path,
        *,
        ctx_tokens: int = 2048,
        slots: int = 2,
        # one thread answers 120-145 tokens/s; two spin on each other when a core is busy (25 tokens/s)
        threads: int = 1,
        deadline_s: float = READY_DEADLINE_S,
    ) -> Self:
        """Start the server on a free port and wait until it answers; raises `ModelUnavailable`.

        `slots` requests are answered at a time, each with `ctx_tokens` of context.
        Blocks for about a second; from a coroutine, use `asyncio.to_thread`.
        """
        check_server()
        settings = {
            "gguf": str(gguf),
            "alias": MODEL_NAME,
            "ctx_tokens": ctx_tokens,
            "slots": slots,
            "threads": threads,
            "options": OPTIONS,
        }
        with tempfile.TemporaryFile() as log:
            process = _spawn(settings, log)
            try:
                url = _url(_first_line(process, deadline_s), process, log, gguf)
            except BaseException:
                _end(process)
                raise
        return cls(f"{url}/v1", process)

    @property
    def pid(self) -> int:
        """Give the child's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Say whether the child is still there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the child; a second call does nothing."""
        _end(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _spawn(settings: dict[str, Any], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P keeps the names of our modules from hiding others in the child
        [sys.executable, "-P", str(PROGRAM), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # a Ctrl-C at the terminal is the parent's to handle
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    # it has nothing to save, and an orderly end can wait for a running answer
    process.kill()
    process.wait()


def _first_line(process: subprocess.Popen[bytes], deadline_s: float) -> bytes:
    """Give what the child said up to its first line's end, or all it said before it ended."""
    if process.stdout is None:  # pragma: no cover - always piped
        return b""
    deadline = time.monotonic() + deadline_s
    said = b""
    while not said.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise ModelUnavailable(
                f"the model did not answer within {deadline_s:g} s",
                "try again when this machine is less busy",
            )
        block = os.read(process.stdout.fileno(), 65536)
        if not block:
            break
        said += block
    return said


def _url(line: bytes, process: subprocess.Popen[bytes], log: IO[bytes], gguf: Path) -> str:
    """Read the child's answer."""
    if not line:
        how = _how(process.wait())
        raise ModelUnavailable(f"the model's server ended at once ({how}){_complaint(log)}", REINSTALL)
    answer = json.loads(line)
    if "url" in answer:
        return str(answer["url"])
    if answer["import"]:
        raise ModelUnavailable(
            f"the package `xllamacpp` cannot be loaded: {answer['error']}", _remedy(answer["error"])
        )
    reason = f"{gguf}: the model cannot be loaded: {answer['error']}{_complaint(log)}"
    raise ModelUnavailable(reason, "delete the file and run the command again")


def _remedy(error: str) -> str:
    """Give what helps when the package is there and does not load: mostly a system library is missing."""
    library, shared_object, _ = error.partition(".so")
    if not shared_object:
        return REINSTALL
    return f"install the system library `{library}` (on Debian: `apt-get install libgomp1 libstdc++6`)"


def _how(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _complaint(log: IO[bytes]) -> str:
    """Give the first line of the child's log, which names the cause, if it left one."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    return f" ({first})" if first else ""
