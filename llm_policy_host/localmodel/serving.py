"""The program of the child process: llama.cpp's server on a free loopback port, until the parent is gone.

Run as a file, with the settings as JSON in its one argument. It answers with
one line of JSON on its standard output, `{"url"}` or `{"error"}`, and ends
when its standard input does. It knows nothing of the rest of this package.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

# a parent that left its end of the pipe to a sibling is still noticed
PARENT_POLL_S = 1.0


def main() -> None:
    """Serve until the parent is gone."""
    parent = os.getppid()
    answers = os.dup(1)
    # llama.cpp may print: nothing but our one line may reach the parent
    os.dup2(2, 1)
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        server = _serve(json.loads(sys.argv[1]))
    except (ImportError, RuntimeError, AttributeError) as error:
        _answer(answers, {"error": str(error), "import": isinstance(error, ImportError)})
        return
    _answer(answers, {"url": server.listening_address})
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    _end()


def _serve(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - a native type without stubs
    """Load the model and listen; returns once requests are answered."""
    import xllamacpp  # noqa: PLC0415 - the reader of the answer wants to know that it failed

    params = xllamacpp.CommonParams()
    params.model.path = settings["gguf"]
    params.model_alias = {settings["alias"]}
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["ctx_tokens"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.port = 0
    for name, value in settings["options"].items():
        if hasattr(params, name):
            setattr(params, name, value)
    return xllamacpp.Server(params)


def _answer(answers: int, line: dict[str, Any]) -> None:
    os.write(answers, json.dumps(line).encode() + b"\n")
    os.close(answers)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    _end()


def _end() -> None:
    # an orderly end waits for answers that nobody will read
    os._exit(0)


if __name__ == "__main__":
    main()
