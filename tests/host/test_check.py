"""`check` and `models prices`, as a person or a program runs them."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.errors import ConfigError
from llm_policy_host.wiring import Host

from .test_cli import llm_policy
from .test_prices import UPDATE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """\
providers:
  a: {api_kind: scripted}
  b: {base_url: "https://b.test", auth_env: LLM_POLICY_ABSENT}
  c: {discovery: marketplace, discovery_id: d, base_url: "https://c.test"}
models:
  m: {served_by: [{provider: a}, {provider: b}, {provider: c}]}
profiles:
  cheap: {scorer: [neg, [normalize, [field, price_in]]]}
host:
  keys: {team: {env: LLM_POLICY_ABSENT}}
  sources: {feed: {kind: json, url: "https://feed.test", auth_env: LLM_POLICY_ABSENT}}
"""

MISTAKEN = """\
providers:
  a: {api_kind: scripted, teir: partner}
models:
  m: {served_by: [{provider: b}]}
host:
  deadline_ms: 0
  sources: {feed: {kind: json}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(CONFIG)
    return path


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(MISTAKEN)
    done = llm_policy("check", path)
    places = re.findall(rf"^{re.escape(str(path))}:(\d+:\d+): ", done.stderr, re.MULTILINE)
    assert (done.returncode, places) == (1, ["2:27", "4:30", "6:16", "7:19"])


def test_check_says_exactly_what_serving_would(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(MISTAKEN)
    with pytest.raises(ConfigError) as caught:
        Host.from_config(path)
    data = json.loads(llm_policy("check", path, "--json").stdout)
    assert data["problems"] == [problem.as_data() for problem in caught.value.problems]


def test_what_is_odd_is_a_warning_and_a_failure_where_it_is_wanted(config: Path) -> None:
    done = llm_policy("check", config)
    told = re.findall(rf"^warning: {re.escape(str(config))}:([\d:]+): (\S+): ", done.stderr, re.MULTILINE)
    expected = [
        ("3:6", "$.providers.b"),
        ("4:6", "$.providers.c"),
        ("10:16", "$.host.keys.team"),
        ("11:19", "$.host.sources.feed"),
    ]
    assert (done.returncode, sorted(told)) == (0, sorted(expected))
    assert llm_policy("check", config, "--strict").returncode == 1


def test_secrets_need_not_be_here(config: Path) -> None:
    data = json.loads(llm_policy("check", config, "--no-secrets", "--json").stdout)
    assert [(warning["what"], warning["name"]) for warning in data["warnings"]] == [("provider", "c")]


def test_the_identities_are_those_of_hash(config: Path) -> None:
    (line,) = llm_policy("hash", config, "--json").stdout.splitlines()
    data = json.loads(llm_policy("check", config, "--json").stdout)
    assert data["identities"] == {"cheap": json.loads(line)["identity"]}
    assert (data["ok"], data["providers"], data["sources"]) == (True, 3, 1)


def test_rank_asks_the_market_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    text = CONFIG.replace(
        'kind: json, url: "https://feed.test", auth_env: LLM_POLICY_ABSENT',
        "kind: json, file: o.json, discovery_id: d",
    )
    path.write_text(text)
    (tmp_path / "o.json").write_text('[{"peer_id": "peer-1", "model_family": "m"}]')
    assert "m @ c/peer-1" in llm_policy("rank", path, "--profile", "cheap").stdout


# Prices ------------------------------------------------------------------------------------------


@contextmanager
def vendor(body: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data.json"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _update(file: Path, url: str) -> subprocess.CompletedProcess[str]:
    return llm_policy("models", "prices", "openai/gpt-4o-mini", "--update", file, "--url", url, "--json")


def test_an_update_is_written_and_its_difference_printed(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    with vendor(json.dumps(UPDATE).encode()) as url:
        data = json.loads(_update(file, url).stdout)
    changed = {change["price"]: (change["from"], change["to"]) for change in data["changes"]}
    assert changed["openai/gpt-4o-mini input_mtok"] == ("0.15", "100")
    assert changed["openai/gpt-4o-mini cache_read_mtok"] == ("0.075", None)
    assert json.loads(file.read_text()) == UPDATE
    same = llm_policy("models", "prices", "--file", file, "--diff", file)
    assert same.stdout.startswith("0 changes")


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"[1]", 200), (b"[]", 500)])
def test_an_update_that_is_none_leaves_the_file_as_it_was(tmp_path: Path, body: bytes, status: int) -> None:
    file = tmp_path / "prices.json"
    file.write_text("[]")
    with vendor(body, status) as url:
        done = _update(file, url)
    assert (done.returncode, file.read_text(), list(tmp_path.iterdir())) == (2, "[]", [file])
