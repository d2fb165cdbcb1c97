"""`llm-policy serve` in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Process:
    """`llm-policy serve` in a process of its own."""

    def __init__(self, path: Path, *more: str, env: dict[str, str] | None = None) -> None:
        command = [
            sys.executable,
            "-m",
            "llm_policy_host",
            "serve",
            str(path),
            "--port",
            "0",
            "--json",
            *more,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.url = json.loads(line)["url"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self) -> str:
        """Stop it, and give what it wrote to its standard error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.communicate(timeout=20)[1]
        finally:
            self.process.kill()


@contextmanager
def serving(path: Path, data: dict[str, Any], **more: Any) -> Iterator[Process]:
    path.write_text(json.dumps(data))
    process = Process(path, **more)
    try:
        yield process
    finally:
        process.stop()
