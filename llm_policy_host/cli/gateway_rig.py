"""The rig of `bench gateway`: a mock provider and a load generator on one core, a gateway on another."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llm_policy_host.errors import HostError

from .output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UPSTREAMS: Mapping[str, int] = {"fast": 9000, "slow": 9050, "paced": 9100}
"""The mock's ports: at once; after 50 ms; after 50 ms a chunk each 5 ms. The peers' configs name them."""

TOKENS = 20
"""Chunks of content in each of the mock's streams."""

KEY = "sk-bench-0123456789abcdef-0123456789abcdef"
_MOCK = ["9000:0", "9050:50", "9100:50:20:5"]
_TEXT = '{"model":"%s","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say hi to the benchmark, in one short sentence please."}],"max_tokens":64%s}'  # noqa: E501 - the body as it is sent
_READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One load: the answer's shape, the upstream, how many callers at once."""

    kind: str
    upstream: str
    callers: int

    @property
    def name(self) -> str:
        """Give it a name."""
        return f"{self.kind} {self.upstream} c={self.callers}"


CELLS = (
    Cell("json", "fast", 1),
    Cell("json", "fast", 16),
    Cell("json", "fast", 64),
    Cell("json", "slow", 64),
    Cell("sse", "fast", 16),
    Cell("sse", "paced", 1),
    Cell("sse", "paced", 16),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One gateway: how it is started and how it is asked.

    `command` has `{port}` and `{upstream}`. How a row reaches an upstream: `process`, one process
    for each; `path`, a prefix; `model`, a name with `{upstream}`; `header`, one with its address.
    """

    name: str
    command: tuple[str, ...]
    by: str = "process"
    model: str = "mock-model"
    path: str = "/v1/chat/completions"
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    port: int | None = None
    port_file: Path | None = None
    skips: frozenset[str] = frozenset()


_PREFIX = {"fast": "", "slow": "/d50", "paced": "/gap"}
_OF_MODEL = {"fast": "mock-0", "slow": "mock-50", "paced": "mock-gap"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What the generator sends."""

    port: int
    path: str
    body: str
    header: str | None = None


class Rig:
    """Compiled tools and the mock, running."""

    def __init__(self, bench: Path, work: Path) -> None:
        self._bench, self.work = bench, work
        cores = sorted(os.sched_getaffinity(0))
        self.load_core, self.gateway_core = cores[0], cores[-1]
        self._mock: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("mock", "loadgen"):
            _compile(self._bench / f"{name}.c", self.work / name)
        os.sched_setaffinity(0, {self.load_core})
        if _has_mock():
            warn("a mock provider listens on 9000 already: it is used as it is")
            return self
        self._mock = subprocess.Popen([str(self.work / "mock"), *_MOCK], stdin=subprocess.DEVNULL)
        for _ in range(300):
            if self._mock.poll() is not None:
                raise HostError("the mock provider ended at its start: are 9000, 9050 and 9100 free?")
            if _has_mock():
                return self
            time.sleep(0.01)
        raise HostError("the mock provider does not answer")

    def __exit__(self, *_: object) -> None:
        if self._mock is not None:
            self._mock.terminate()
            self._mock.wait()

    def start(self, command: list[str], row: Row, log: Path) -> subprocess.Popen[bytes]:
        """Start a gateway on its core."""
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.work)}
        os.sched_setaffinity(0, {self.gateway_core})
        try:
            with log.open("wb") as out:
                return subprocess.Popen(
                    command,
                    env={**environment, **row.environment},
                    cwd=row.directory or self.work,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, {self.load_core})

    def load(self, ask: Ask, cell: Cell, seconds: float, warm_s: float = 0.3) -> dict[str, Any]:
        """Ask for some seconds; give what the generator measured, times in µs."""
        body = self.work / "body.json"
        body.write_text(ask.body)
        words = [str(self.work / "loadgen"), "-p", str(ask.port), "-u", ask.path, "-b", str(body)]
        words += ["-c", str(cell.callers), "-t", str(seconds), "-w", str(warm_s), "-A", KEY]
        words += ["-H", ask.header] if ask.header else []
        words += ["-s"] if cell.kind == "sse" else []
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise HostError(f"the load generator failed: {done.stderr.strip()[:200]}")
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured


class Gateway:
    """A row at work."""

    def __init__(self, rig: Rig, row: Row, first_port: int) -> None:
        self.row = row
        self._rig = rig
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}
        self._first_port = first_port
        self.ready_s = 0.0
        self.memory: dict[str, float] = {}

    def start(self) -> None:
        """Start it, and say how long it took and what it weighs after one answer."""
        row = self.row
        for number, upstream in enumerate(UPSTREAMS if row.by == "process" else ["fast"]):
            port = row.port or self._first_port + number
            begun = time.monotonic()
            self._processes[upstream] = self._start(port, upstream)
            self._ports[upstream] = port
            self._until_ready(upstream, begun)
        time.sleep(0.5)
        self.memory = memory_mb(self._processes["fast"].pid)

    def stop(self) -> None:
        """End it."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def measure(self, cell: Cell, seconds: float, warm_s: float = 0.3) -> dict[str, Any] | None:
        """Load it; the CPU time is of all its processes and threads, for each answer."""
        if cell.kind in self.row.skips:
            return None
        before = self._cpu_s()
        measured = self._rig.load(self._ask(cell.kind, cell.upstream), cell, seconds, warm_s)
        measured["cpu_us"] = (self._cpu_s() - before) / max(1, measured["total"]) * 1e6
        return measured

    def _cpu_s(self) -> float:
        return sum(cpu_s(process.pid) for process in self._processes.values())

    def _start(self, port: int, upstream: str) -> subprocess.Popen[bytes]:
        if self.row.port_file is not None:
            self.row.port_file.unlink(missing_ok=True)
        words = [
            word.replace("{port}", str(port)).replace("{upstream}", upstream) for word in self.row.command
        ]
        environment = {
            name: value.replace("{address}", f"http://127.0.0.1:{UPSTREAMS[upstream]}")
            for name, value in self.row.environment.items()
        }
        row = Row(self.row.name, self.row.command, environment=environment, directory=self.row.directory)
        return self._rig.start(words, row, self._log(upstream))

    def _until_ready(self, upstream: str, begun: float) -> None:
        seen = "no answer"
        while time.monotonic() - begun < _READY_S:
            if self._processes[upstream].poll() is not None:
                raise HostError(f"{self.row.name} ended at its start: {self._last_words(upstream)}")
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, IndexError):
                status, seen = self._try(upstream)
                if status == 200:
                    if upstream == "fast":
                        self.ready_s = time.monotonic() - begun
                    return
            time.sleep(0.01)
        raise HostError(f"{self.row.name} is not ready: {seen}")

    def _last_words(self, upstream: str) -> str:
        lines = self._log(upstream).read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"

    def _log(self, upstream: str) -> Path:
        return self._rig.work / f"{self.row.name.replace(' ', '-')}-{upstream}.log"

    def _try(self, upstream: str) -> tuple[int, str]:
        if self.row.port_file is not None:
            self._ports["fast"] = int(self.row.port_file.read_text().split(":")[2].split("/")[0])
        ask = self._ask("json", upstream)
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        if ask.header:
            headers.update(line.split(": ", 1) for line in ask.header.split("\r\n"))  # type: ignore[misc]
        connection = http.client.HTTPConnection("127.0.0.1", ask.port, timeout=30)
        connection.request("POST", ask.path, ask.body, headers)
        answer = connection.getresponse()
        text = answer.read()[:200].decode(errors="replace")
        connection.close()
        return answer.status, f"{answer.status} {text}"

    def _ask(self, kind: str, upstream: str) -> Ask:
        row = self.row
        model = row.model.replace("{upstream}", _OF_MODEL[upstream])
        path = (_PREFIX[upstream] if row.by == "path" else "") + row.path
        port = self._ports[upstream if row.by == "process" else "fast"]
        header = None
        if row.by == "header":
            address = f"http://127.0.0.1:{UPSTREAMS[upstream]}/v1"
            header = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {address}"
        return Ask(port, path, _TEXT % (model, ',"stream":true' if kind == "sse" else ""), header)


def direct(rig: Rig, cell: Cell, seconds: float) -> dict[str, Any]:
    """Ask the mock itself: what remains of a gateway's times is its own."""
    text = _TEXT % ("mock-model", ',"stream":true' if cell.kind == "sse" else "")
    return rig.load(Ask(UPSTREAMS[cell.upstream], "/v1/chat/completions", text), cell, seconds)


# What the kernel says of processes ----------------------------------------------------------------


def family(pid: int) -> Iterator[int]:
    """Give a process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def cpu_s(pid: int) -> float:
    """Give the CPU seconds of a process, its threads and its children, to the nanosecond."""
    spent = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def memory_mb(pid: int) -> dict[str, float]:
    """Give the resident and the proportional memory of a process and its children."""
    total = {"rss": 0, "pss": 0}
    for each in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                name = line.partition(":")[0].lower()
                if name in total:
                    total[name] += int(line.split()[1])
    return {name: kib / 1024 for name, kib in total.items()}


def _compile(source: Path, target: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise HostError("the mock provider and the load generator need a C compiler: no `cc` here")
    done = subprocess.run(
        [compiler, "-O2", "-w", "-o", str(target), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HostError(f"cannot compile {source.name}: {done.stderr[:200]}")


def _has_mock() -> bool:
    """Whether the mock answers at its first port; anything else there is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", UPSTREAMS["fast"], timeout=5)
    try:
        connection.request("GET", "/__stats")
        if b'"posts"' not in connection.getresponse().read():
            raise HostError("something other than the mock provider listens on 9000")
    except OSError:
        return False
    finally:
        connection.close()
    return True
