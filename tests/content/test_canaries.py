"""Marked prompts, answers, errors and keys through every path, and a look at every byte that was written.

`llm-policy serve` runs in a process whose home, folder and temporary files are one folder.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.bookkeeping import open_contents
from llm_policy_host.cli.main import main
from llm_policy_host.clock import SystemClock
from llm_policy_host.config.load import load_config
from llm_policy_host.content.keep import ContentKeep
from tests.contracts.vendor import Asked, Reply, flow, whole
from tests.web.caller import ask
from tests.web.ledgered import ROOT as KEYS_ROOT
from tests.web.ledgered import Bank, bearer
from tests.web.process import serving
from tests.web.vendor import answer, chat_pieces, selling, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT, SYSTEM, TOOL = "prompt-canary-quokka", "system-canary-wombat", "tool-canary-bilby"
STOP, USER, OTHER = "stop-canary-dingo", "user-canary-potoroo", "other-canary-kowari"
ANSWER, ERROR, IDEM = "answer-canary-numbat", "error-canary-quoll", "idem-canary-glider"
SAID = (PROMPT, SYSTEM, TOOL, STOP, USER, OTHER, ANSWER, ERROR, IDEM)

VENDOR_KEY, OWN_KEY, CALLERS_KEY = "sk-canary-vendor-11", "sk-canary-own-2222", "gw-canary-caller-33"
WRONG_KEY, SEAL = "gw-canary-wrong-444", "seal-canary-" + 32 * "s"
ENVIRONMENT = {"VENDOR_KEY": VENDOR_KEY, "PLAIN_KEY": CALLERS_KEY, "SEAL": SEAL, "KEYS_ROOT": KEYS_ROOT}
SECRETS = (*ENVIRONMENT.values(), OWN_KEY, WRONG_KEY)

FAULTS = ("fine", "400", "401", "429", "500", "html", "in 200", "in stream", "late", "garbage", "cut")
LEVELS = ("none", "digest", "sealed", "plain")
TIMES = 50
"""How often each text says its mark: a page's end cuts one, but not all."""

POLICY = ["policy", ["provider_eq", "fine"], ["zero"], ["argmax"], ["id"], ["always", {"action": "abort"}]]


def _flow(system: str) -> list[Any]:
    llm = {"kind": "llm", "inputs": ["ask"], "policy": POLICY, "system": system, "template": f"{system}: $1"}
    nodes = {"ask": {"kind": "input"}, "draft": llm, "end": {"kind": "output", "inputs": ["draft"]}}
    return ["flow", nodes]


def _tell(asked: Asked) -> Reply:
    fault = asked.path.split("/")[1].replace("%20", " ")
    body = json.dumps(
        {"error": {"message": f"{ERROR} {asked.head.decode()} " * TIMES, "code": ERROR}}
    ).encode()
    is_stream = asked.data.get("stream")
    if fault == "html":
        return whole(502, b"<html>" + body, "text/html")
    if fault.isdigit() or fault == "in 200":
        return whole(int(fault.removeprefix("in ")), body)
    if is_stream and fault in ("in stream", "late"):
        begun = chat_pieces([f"{ANSWER} " * TIMES])[:2] if fault == "late" else []
        return flow([*begun, b"data: " + body + b"\n\n"])
    if fault == "garbage":
        return whole(200, ERROR.encode() * TIMES)
    if fault == "cut":
        return Reply(whole(200, body).head, [body[:40]], "cut", is_chunked=False)
    return stream([f"{ANSWER} " * TIMES] * 2) if is_stream else answer(f"{ANSWER} " * TIMES)


def _bodies() -> dict[str, dict[str, Any]]:
    """Give each API's body, with a mark wherever a caller writes words."""
    prompt, other = f"{PROMPT} " * TIMES, {"metadata": {"note": f"{OTHER} " * TIMES}, "stop": STOP}
    tool = {"name": "look", "description": f"{TOOL} " * TIMES, "parameters": {"type": "object"}}
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    chat = {"messages": messages, "user": USER, "tools": [{"type": "function", "function": tool}], **other}
    return {
        "chat/completions": chat,
        "responses": {"input": prompt, "instructions": SYSTEM, "user": USER, "metadata": other["metadata"]},
        "messages": {
            "max_tokens": 50,
            "system": SYSTEM,
            "messages": messages[1:],
            "stop_sequences": [STOP],
            "metadata": {"user_id": USER},
        },
    }


@dataclass
class Place:
    """Where everything was written, by what was said to whom."""

    folder: Path
    home: Path
    level: str
    told: str
    runs: int

    def files(self) -> Iterator[Path]:
        yield from (path for path in sorted(self.home.rglob("*")) if path.is_file())

    @property
    def control(self) -> bytes:
        """Give every byte outside of the content's own file."""
        chosen = [path for path in self.files() if not path.name.startswith("content.db")]
        return b"".join(path.read_bytes() for path in chosen) + self.told.encode()

    @property
    def content(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.files() if path.name.startswith("content.db"))


@pytest.fixture(scope="module", params=LEVELS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Say everything to everyone over every API, then stop."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "work"
    folder.mkdir()
    with selling(_tell) as vendor:
        bank = Bank(folder, vendor.origin)
        bank.host = {
            "content": {"level": request.param, "key": {"env": "SEAL"}},
            "accounts": {"team": {"calls": 100_000}},
            "ledger": {"file": "ledger.db", "account": "team"},
            "keys": {"plain": {"env": "PLAIN_KEY", "may": ["policy", "metadata", "auth_override"]}},
            "gateway": {"flows": {"two": _flow("be brief")}},
        }
        providers = {
            fault.replace(" ", "-"): {
                "base_url": f"{vendor.origin}/{fault.replace(' ', '%20')}/v1",
                "auth": {"kind": "bearer", "env": "VENDOR_KEY"},
            }
            for fault in FAULTS
        }
        served = [{"provider": name, "price_in": 1, "price_out": 2} for name in providers]
        bank.more = {
            "providers": providers,
            "models": {"small": {"capabilities": {"context": 1000}, "served_by": served}},
            "profiles": {name: {"filter": [{"provider_in": [name]}]} for name in providers},
            "defaults": {"profile": "fine", "circuit_breaker_threshold": 1_000_000},
        }
        minted = [bank.mint(None, ("call", "stream")), bank.mint(None, ("call",), ("content", "none"))]
        elsewhere = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home / "cache")}
        path = os.environ["PATH"], str(Path(__file__).parents[2])
        env = {**ENVIRONMENT, **elsewhere, "PATH": path[0], "PYTHONPATH": path[1]}
        with serving(folder / "policy.yaml", bank.config, env=env) as served_by:
            runs = _say_everything(served_by.url, minted)
            told = served_by.stop()
    return Place(folder, home, request.param, told, runs)


def _say_everything(url: str, minted: list[str]) -> int:
    runs = 0
    team = {"authorization": f"Bearer {CALLERS_KEY}", "x-llm-policy-metadata": "full"}
    for fault in FAULTS:
        name = fault.replace(" ", "-")
        for api, body in _bodies().items():
            for is_stream in (False, True):
                asked = {**body, "stream": is_stream}
                headers = [
                    team,
                    {**team, "x-llm-policy-auth-override": f"{name}={OWN_KEY}"},
                    bearer(minted[0]),
                ]
                for number, each in enumerate(headers):
                    idem = {"idempotency-key": f"{IDEM}-{fault}-{api}-{is_stream}-{number}"}
                    ask(f"{url}/{name}/v1/{api}", asked, headers={**each, **idem})
                    runs += 1
    chat = _bodies()["chat/completions"]
    simple = {"messages": chat["messages"]}
    for quiet in (bearer(minted[1]), {**team, "x-llm-policy-content": "digest"}):
        assert ask(f"{url}/v1/chat/completions", simple, headers=quiet).status == 200
    for flow_of in ({"model": "flow:two"}, {"flow_ir": _flow(SYSTEM)}):
        assert ask(f"{url}/v1/chat/completions", {**simple, **flow_of}, headers=team).status == 200
    for key in (WRONG_KEY, minted[0][:-4] + "AAAA"):
        assert ask(f"{url}/v1/chat/completions", simple, headers=bearer(key)).status == 401
    bad: tuple[dict[str, Any], ...] = (
        {"messages": [{"role": PROMPT}]},
        {"messages": PROMPT},
        {**simple, "model": PROMPT},
        {PROMPT: PROMPT},
    )
    for wrong_body in bad:
        assert ask(f"{url}/v1/chat/completions", wrong_body, headers=team).status in (200, 400, 404)
    wrong = ask(f"{url}/v1/chat/completions", simple, headers={**team, "x-llm-policy-content": PROMPT})
    assert (wrong.status, wrong.error["param"]) == (400, "x-llm-policy-content")
    return runs


def _forms(mark: str) -> list[bytes]:
    """Give the ways in which a text may be written."""
    inner = mark.encode()
    return [inner, inner.hex().encode(), base64.b64encode(inner).rstrip(b"=")[:-1], mark.encode("utf-16-le")]


def _found(data: bytes, marks: tuple[str, ...]) -> list[str]:
    return [mark for mark in marks if any(form in data for form in _forms(mark))]


def test_no_mark_is_in_any_byte_of_the_control_plane(place: Place) -> None:
    assert len(place.control) > 200_000
    assert _found(place.control, SAID) == []


def test_no_key_is_in_any_byte_at_all(place: Place) -> None:
    assert _found(place.control + place.content, SECRETS) == []
    assert "lpk_" not in place.told


def test_only_what_may_be_plain_is_plain(place: Place) -> None:
    found = _found(place.content, SAID)
    if place.level == "plain":
        assert set(found) == set(SAID) - {IDEM}
    else:
        assert found == []
    assert bool(place.content) == (place.level in ("sealed", "plain"))


def test_events_name_what_was_said_by_keyed_digests_alone(place: Place) -> None:
    lines = Bank(place.folder, "").lines()
    events = [json.loads(line) for line in lines]
    refs = {
        text
        for event in events
        for name, text in event["refs"].items()
        if event["type"] in ("RequestReceived", "AttemptOutcome")
    }
    if place.level == "none":
        assert not refs
        return
    assert len(refs) > 20
    assert all(text.startswith("hmac-sha256:") for text in refs)
    kinds = {
        kind: [event for event in events if event["type"] == kind]
        for kind in ("RequestReceived", "AttemptOutcome")
    }
    silent = [event for event in kinds["RequestReceived"] if not event["refs"]]
    assert len(silent) == 1, "the key with the caveat `content: none`"
    assert {name for event in kinds["AttemptOutcome"] for name in event["refs"]} == {"answer", "error"}


def test_what_was_sealed_opens_with_the_key_and_is_what_was_said(place: Place) -> None:
    if place.level not in ("sealed", "plain"):
        return
    config = load_config(place.folder / "policy.yaml")
    said: dict[str, list[bytes]] = {}
    with closing(open_contents(config, SEAL.encode())) as store:
        keep = ContentKeep(store, SEAL.encode(), "plain", SystemClock())
        for event in map(json.loads, Bank(place.folder, "").lines()):
            attempt = event["core"].get("attempt")
            for name, ref in event["refs"].items():
                if event["type"] not in ("RequestReceived", "AttemptOutcome"):
                    continue
                data = keep.get(event["run"], name if attempt is None else f"{name}.{attempt}")
                if data is not None:
                    said.setdefault(name, []).append(data)
                    assert keep.put("run-x", event["tenant"], "x", data, "digest") == ref
    marks = {"request": PROMPT, "answer": ANSWER, "error": ERROR}
    assert said.keys() == marks.keys()
    for name, mark in marks.items():
        assert sum(mark.encode() in data for data in said[name]) > 10, name
    assert _found(b"".join(data for each in said.values() for data in each), SECRETS) == []


def test_the_command_that_looks_for_all_this_finds_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in ENVIRONMENT.items():
        monkeypatch.setenv(name, text)
    canaries = [word for mark in SAID for word in ("--canary", mark)]
    code = main(["check", str(place.folder / "policy.yaml"), "--ledger", "--json", *canaries])
    data = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in data["invariants"] if row["findings"]] == []
    assert (code, len(data["secrets"]), data["not_looked_for"]) == (0, len(FAULTS) + 3, {})
    assert data["events"] > 500
