"""Keys and prompts stay where they belong: not in logs, metrics, errors, records or helpers.

Every vendor here shows all that it was sent in whatever it says: the key, the prompt, the headers.
"""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.providers._exchange import HttpAdapter
from tests.contracts.dialects import dialects
from tests.contracts.vendor import Asked, Reply, flow, whole

from .caller import CHAT, Answer, ask, get
from .gateway import Running, running
from .process import serving
from .vendor import Vendor, chat_pieces, selling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ENV_KEY = "sk-canary-env-6e1f"
FILE_KEY = "sk-canary-file-9b2c"
OWN_KEY = "sk-canary-override-77aa"
CALLER_KEY = "gw-canary-caller-3d4d"
WRONG_KEY = "gw-canary-wrong-5c5c"
PROMPT = "prompt-canary-quokka"
ANSWER = "answer-canary-numbat"
SECRETS = (ENV_KEY, FILE_KEY, OWN_KEY, CALLER_KEY, WRONG_KEY)

DIALECTS = dialects()
BODIES: Mapping[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": PROMPT}]},
    "responses": {"input": PROMPT},
    "messages": {"max_tokens": 50, "messages": [{"role": "user", "content": PROMPT}]},
}
WORDED: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "overflow": lambda _shown: {"code": "context_length_exceeded"},
    "filter": lambda _shown: {"code": "content_filter"},
    # the key is cut in two where vendors' words end
    "edge": lambda shown: {"message": "x" * 480 + shown.replace(" ", "").removeprefix("no!Bearer")},
}
"""What an error about the caller's request says besides."""

FAULTS = (
    "400",
    "401",
    "402",
    "403",
    "404",
    "413",
    "422",
    "429",
    "500",
    "503",
    "html",
    *WORDED,
    "in 200",
    "in stream",
    "late",
    "garbage",
    "cut",
)
CALLERS_FAULT = {"bad_request", "content_filter", "context_length_exceeded"}
"""Codes of errors that may quote the vendor: they are about the caller's own request."""


def _shown(asked: Asked) -> str:
    """All that the vendor was sent, in one text; the key first, for vendors' words are cut short."""
    keys = " ".join(text for name, text in asked.headers.items() if "auth" in name or "key" in name)
    return f"no! {keys} {PROMPT if PROMPT in asked.body.decode() else ''} {asked.head.decode()}"


def _tell(asked: Asked) -> Reply:
    _, name, fault, *_ = asked.path.split("/")
    dialect, shown = DIALECTS[name], _shown(asked)
    error = {
        "message": shown,
        "type": shown,
        "code": None,
        "param": shown,
        "status": shown,
        "headers": asked.headers,
    }
    headers = {"x-echo": shown.replace("\r\n", " "), "retry-after": "1"}
    body = json.dumps({"error": error, "message": shown, "detail": shown}).encode()
    if fault == "html":
        return whole(502, f"<html>{shown}</html>".encode(), "text/html", headers)
    if fault in WORDED:
        body = json.dumps({"error": {**error, **WORDED[fault](shown)}}).encode()
        return whole(400, body, headers=headers)
    if fault.isdigit() or fault == "in 200":
        return whole(int(fault.removeprefix("in ")), body, headers=headers)
    told = dialect.told["text"]
    if fault in ("in stream", "late"):
        begun = list(told.pieces or ())[: dialect.opening + 1] if fault == "late" else []
        return flow([*begun, b"data: " + body + b"\n\n"], dialect.stream_kind)
    garbage = shown.encode()
    return whole(200, garbage) if fault == "garbage" else _cut(whole(200, told.whole), garbage)


def _cut(reply: Reply, piece: bytes) -> Reply:
    return Reply(reply.head, [piece], "cut", is_chunked=False)


def _config(origin: str, key_file: Path) -> dict[str, Any]:
    providers: dict[str, Any] = {}
    routes: list[dict[str, Any]] = []
    profiles: dict[str, Any] = {}
    for name, dialect in DIALECTS.items():
        for fault in FAULTS:
            provider = f"{name}-{fault}".replace(" ", "-")
            source = {"env": "CANARY"} if len(providers) % 2 else {"file": str(key_file)}
            providers[provider] = {
                "api_kind": dialect.adapter,
                "base_url": f"{origin}/{name}/{fault}{dialect.base_path}".replace(" ", "%20"),
                "auth": {"kind": "bearer", **source},
                **{key: dialect.call[key] for key in ("region",) if key in dialect.call},
            }
            routes.append(
                {"provider": provider, "provider_model_id": dialect.call.get("served_model_id", "served-1")}
            )
            profiles[provider] = {"filter": [{"provider_in": [provider]}], "retry_policy": "stop"}
    return {
        "providers": providers,
        "models": {"m": {"served_by": routes}},
        "retry_policies": {"stop": {"unknown": {"action": "abort"}}},
        "profiles": profiles,
        "defaults": {"profile": "openai_compatible-400", "circuit_breaker_threshold": 1_000_000},
        "host": {
            "trace": "full",
            "keys": {"team": {"env": "CALLER", "may": ["policy", "metadata", "auth_override"]}},
        },
    }


def _reply(asked: Asked) -> Reply:
    return _tell(Asked(asked.path.replace("%20", " "), asked.headers, asked.body, asked.head))


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """Meet every fault of every dialect over every API; keep all that anybody could read."""
    key_file = tmp_path_factory.mktemp("keys") / "key"
    key_file.write_text(FILE_KEY + "\n")
    records: list[logging.LogRecord] = []
    with ExitStack() as stack:
        stack.enter_context(_logged(records))
        vendor = stack.enter_context(selling(_reply))
        environment = {"CANARY": ENV_KEY, "CALLER": CALLER_KEY}
        gateway = stack.enter_context(running(_config(vendor.origin, key_file), environment))
        heard = Heard(gateway, vendor, records)
        for place, profile in enumerate(sorted(gateway.host.catalog["profiles"])):
            for api in BODIES:
                for stream in (False, True):
                    heard.meet(profile, api, stream=stream, has_own=place % 3 == 0)
        yield heard


@contextmanager
def _logged(records: list[logging.LogRecord]) -> Iterator[None]:
    """Keep everything that anyone logs at any level."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, keeper = logging.getLogger(), Keeper()
    level = root.level
    root.addHandler(keeper)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(keeper)


class Heard:
    """What callers were told, by who was asked and how."""

    def __init__(self, gateway: Running, vendor: Vendor, records: list[logging.LogRecord]) -> None:
        self.gateway, self.vendor, self.records = gateway, vendor, records
        self.answers: dict[tuple[str, str, bool], Answer] = {}

    def meet(self, profile: str, api: str, *, stream: bool, has_own: bool) -> None:
        headers = {"authorization": f"Bearer {CALLER_KEY}", "x-llm-policy-metadata": "full"}
        if has_own:
            headers["x-llm-policy-auth-override"] = f"{profile}={OWN_KEY}"
        url = f"{self.gateway.url}/{profile}/v1/{api}"
        self.answers[(profile, api, stream)] = ask(url, {**BODIES[api], "stream": stream}, headers=headers)

    def get(self, path: str) -> Answer:
        return get(self.gateway.url + path, headers={"authorization": f"Bearer {CALLER_KEY}"})


def _everything(told: Answer) -> str:
    return f"{told.status} {dict(told.headers)} {told.text}"


def test_the_vendors_saw_the_keys_that_they_were_to_see_and_no_other(heard: Heard) -> None:
    heads = [asked.head.decode() for asked in heard.vendor.asked]
    signed = sum("AWS4-HMAC" in head for head in heads)
    assert sum(ENV_KEY in head for head in heads) > 100
    assert sum(FILE_KEY in head for head in heads) > 100
    assert sum(OWN_KEY in head for head in heads) > 100
    assert all(any(key in head for key in (ENV_KEY, FILE_KEY, OWN_KEY)) for head in heads) or signed
    assert not any(
        CALLER_KEY in head or CALLER_KEY in asked.body.decode()
        for head, asked in zip(heads, heard.vendor.asked, strict=True)
    )
    assert not any(key in asked.path for asked in heard.vendor.asked for key in SECRETS)


def test_no_answer_holds_a_key(heard: Heard) -> None:
    leaks = [
        case
        for case, told in heard.answers.items()
        if any(key in _everything(told) for key in (*SECRETS, "sk-canary"))
    ]
    assert not leaks


def test_only_an_error_about_the_callers_own_request_may_quote_the_vendor(heard: Heard) -> None:
    quoting, leaks = 0, []
    for case, told in heard.answers.items():
        if PROMPT not in _everything(told):
            continue
        quoting += 1
        if not (told.status == 400 and _code(told) in CALLERS_FAULT):
            leaks.append((case, told.status, told.text[:200]))
    assert not leaks
    assert quoting, "a vendor's words about a bad request are of use"


def _code(told: Answer) -> Any:
    return told.error["metadata"]["error_type"]


def test_no_fault_went_unnoticed(heard: Heard) -> None:
    whole = [told.status for (_, _, stream), told in heard.answers.items() if not stream]
    assert all(status >= 400 for status in whole)
    assert {400, 404, 429, 502} - {404} <= set(whole)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/x/health/routes",
        "/x/fields",
        "/x/policy/templates",
        "/v1/models",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ],
)
def test_no_page_holds_a_key_or_a_prompt(heard: Heard, path: str) -> None:
    told = heard.get(path)
    assert told.status == 200, told
    assert not [word for word in (*SECRETS, PROMPT, ANSWER) if word in _everything(told)]


@pytest.mark.parametrize("path", ["/x/rank", "/x/explain"])
def test_no_helper_repeats_a_prompt_or_a_key(heard: Heard, path: str) -> None:
    headers = {"authorization": f"Bearer {CALLER_KEY}"}
    told = ask(heard.gateway.url + path, BODIES["chat/completions"], headers=headers)
    assert told.status == 200, told
    assert not [word for word in (*SECRETS, PROMPT) if word in _everything(told)]


def test_no_log_of_any_level_holds_a_key_or_a_prompt(heard: Heard) -> None:
    told = "\n".join(
        f"{record.name} {record.getMessage()} {record.args} {record.exc_text}" for record in heard.records
    )
    assert not [word for word in (*SECRETS, PROMPT, "no!") if word in told]


def test_what_the_host_says_of_itself_holds_neither(heard: Heard) -> None:
    host = heard.gateway.host
    told = f"{host.status()} {host.disabled} {host.open_until_ms()} {host.config} {host.catalog} {vars(host)} {host.engine.dump_state()}"
    assert not [word for word in (*SECRETS, PROMPT) if word in told]


def test_a_wrong_key_is_not_repeated(heard: Heard) -> None:
    for headers in (
        {"authorization": f"Bearer {WRONG_KEY}"},
        {"x-api-key": WRONG_KEY},
        {"authorization": WRONG_KEY},
    ):
        for path in (CHAT, "/v1/messages", "/x/rank"):
            told = ask(heard.gateway.url + path, BODIES["chat/completions"], headers=headers)
            assert told.status == 401
            assert not [word for word in (*SECRETS, PROMPT) if word in _everything(told)]


def test_a_bad_body_is_told_by_its_place_and_not_by_its_words(heard: Heard) -> None:
    headers = {"authorization": f"Bearer {CALLER_KEY}"}
    bodies: list[Any] = [
        {"messages": [{"role": PROMPT, "content": "x"}]},
        {"messages": [{"role": "user", "content": {PROMPT: 1}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PROMPT}]}]},
        {"messages": PROMPT},
        {"messages": [{"role": "user", "content": "x"}], "temperature": PROMPT},
        {"messages": [{"role": "user", "content": "x"}], "response_format": PROMPT},
    ]
    for body in bodies:
        told = ask(heard.gateway.url + CHAT, body, headers=headers)
        assert told.status == 400
        assert PROMPT not in _everything(told)
    broken = f'{{"messages": [{{"content": "{PROMPT}", "content": 1}}], "{PROMPT}"'.encode()
    told = ask(heard.gateway.url + CHAT, content=broken, headers=headers)
    assert told.status == 400
    assert PROMPT not in _everything(told)


def test_a_defect_is_logged_by_its_class_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: Any, **_more: Any) -> Any:
        raise RuntimeError(f"{PROMPT} {ENV_KEY}")

    config = {
        "providers": {
            "acme": {"base_url": "http://127.0.0.1:9/v1", "auth": {"kind": "bearer", "env": "CANARY"}}
        },
        "models": {"m": {"served_by": [{"provider": "acme"}]}},
        "profiles": {"p": {}},
    }
    with running(config, {"CANARY": ENV_KEY}) as gateway:
        monkeypatch.setattr(HttpAdapter, "send", fail)
        ill = ask(gateway.url + CHAT, BODIES["chat/completions"])
        monkeypatch.setattr(gateway.host, "run", fail)
        broken = ask(gateway.url + CHAT, BODIES["chat/completions"])
        monkeypatch.setattr("llm_policy_host.web.app.list_models", fail)
        looked = get(f"{gateway.url}/v1/models")
    assert (ill.status, broken.status, looked.status) == (502, 500, 500)
    told = caplog.text + "".join(capfd.readouterr()) + ill.text + broken.text + looked.text
    assert "RuntimeError" in caplog.text
    assert not [word for word in (PROMPT, ENV_KEY) if word in told]


def test_a_process_writes_neither_to_its_standard_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", ENV_KEY)

    def sell(asked: Asked) -> Reply:
        if asked.path.startswith("/late"):
            shown = b"data: " + json.dumps({"error": {"message": _shown(asked)}}).encode() + b"\n\n"
            return flow([*chat_pieces([ANSWER])[:2], shown])
        return whole(500, json.dumps({"error": {"message": _shown(asked)}}).encode())

    with selling(sell) as vendor:
        auth = {"kind": "bearer", "env": "CANARY"}
        data = {
            "providers": {
                name: {"base_url": f"{vendor.origin}/{name}/v1", "auth": auth} for name in ("ill", "late")
            },
            "models": {
                "m": {"served_by": [{"provider": "ill", "price_in": 1}, {"provider": "late", "price_in": 2}]}
            },
            "profiles": {"p": {"scorer": ["neg", ["normalize", ["field", "price_in"]]]}},
            "defaults": {"profile": "p"},
        }
        with serving(tmp_path / "policy.yaml", data) as served:
            for stream in (False, True):
                told = ask(served.url + CHAT, {**BODIES["chat/completions"], "stream": stream})
                assert ENV_KEY not in _everything(told)
                assert PROMPT not in _everything(told)
            ask(served.url + CHAT, content=b"{" + PROMPT.encode())
            written = served.stop()
        assert served.process.stdout is None or served.process.stdout.closed
    assert not [word for word in (ENV_KEY, PROMPT, ANSWER) if word in written]
