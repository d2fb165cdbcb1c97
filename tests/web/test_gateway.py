"""What a caller sees of the gateway, whoever answers behind it."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.core.language import Language
from llm_policy_host.core.vm import Vm
from llm_policy_host.errors import UsageError
from llm_policy_host.run.attempt import BOUNDS, NUMBER_PARAMS, TEXT_PARAMS
from llm_policy_host.serving import check_address
from llm_policy_host.web.skins.chat import ChatEncoder
from llm_policy_host.wiring import Host
from tests.contracts.vendor import Asked, Reply, flow, whole

from .caller import CHAT, HI, ask, chat, get, text_of
from .gateway import Running, running
from .vendor import Vendor, answer, chat_pieces, echo, selling, until

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = {
    "request-id",
    "provider",
    "model",
    "served-by",
    "attempts",
    "policy",
    "cost-usd",
    "cost-basis",
    "overhead-ms",
}


def config(origin: str, **more: Any) -> dict[str, Any]:
    return {
        "providers": {
            "acme": {"base_url": f"{origin}/acme/v1"},
            "spare": {"base_url": f"{origin}/spare/v1"},
            "ill": {"base_url": f"{origin}/ill/v1"},
            "mute": {"api_kind": "scripted"},
        },
        "models": {
            "small": {
                "capabilities": {"context": 8000, "embeddings": True},
                "served_by": [
                    {"provider": "acme", "price_in": 1, "provider_model_id": "acme-small"},
                    {"provider": "spare", "price_in": 2},
                ],
            },
            "sick": {"served_by": [{"provider": "ill"}]},
            "quiet": {"served_by": [{"provider": "mute"}]},
        },
        "retry_policies": {"next": {"unknown": {"action": "next_candidate"}}},
        "profiles": {
            "cheap": {
                "filter": ["requirements", {"provider_in": ["acme", "spare"]}],
                "scorer": ["neg", ["normalize", ["field", "price_in"]]],
            },
            "clamped": {
                "filter": [{"provider_in": ["acme"]}],
                "mutate": [{"clamp": {"max_tokens": 10}}, {"set_param": {"top_p": 0.5}}],
            },
            "ill": {"filter": [{"provider_in": ["ill"]}], "retry_policy": "next"},
            "healthy": {"filter": ["breaker_closed", {"provider_in": ["ill"]}]},
            "nobody": {"filter": [{"provider_in": ["nobody"]}]},
            "mute": {"filter": [{"provider_in": ["mute"]}]},
        },
        "defaults": {"profile": "cheap"},
        **more,
    }


def reply(asked: Asked) -> Reply:
    """Let `acme` and `spare` echo, and `ill` fail as its last message says."""
    if asked.path.endswith("/embeddings"):
        vectors = [
            {"object": "embedding", "index": place, "embedding": [0.5, 1.0]}
            for place in range(len(asked.data["input"]))
        ]
        body: dict[str, Any] = {
            "object": "list",
            "data": vectors,
            "model": "e",
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        }
        return whole(200, json.dumps(body).encode())
    if asked.path.endswith("v1/completions"):
        choice = {
            "index": 0,
            "text": f"after {asked.data['prompt']}",
            "finish_reason": "stop",
            "logprobs": None,
        }
        body = {"id": "v", "object": "text_completion", "created": 1, "model": "s", "choices": [choice]}
        if asked.data.get("stream"):
            return flow([b"data: " + json.dumps(body).encode() + b"\n\n", b"data: [DONE]\n\n"])
        return whole(200, json.dumps(body).encode())
    if asked.path.startswith("/ill"):
        status, _, after = asked.data["messages"][-1]["content"].partition(" ")
        headers = {"retry-after": after} if after else {}
        return whole(int(status), b'{"error": {"message": "the vendor said no"}}', headers=headers)
    return echo(asked)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with selling(reply) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def gateway(vendor: Vendor) -> Iterator[Running]:
    with running(config(vendor.origin)) as gateway:
        yield gateway


# Answers ------------------------------------------------------------------------------------------


def test_a_chat_is_answered_in_openais_shape(gateway: Running) -> None:
    heard = chat(gateway.url, "one")
    assert heard.status == 200
    assert heard.headers["content-type"] == "application/json"
    assert heard.data["choices"][0]["message"]["content"] == "you said one"
    assert heard.data["object"] == "chat.completion"
    assert heard.data["model"] == "small"
    assert heard.data["usage"] == {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    assert "x_router" not in heard.data


def test_a_streamed_chat_is_the_same_answer_in_pieces(gateway: Running) -> None:
    heard = chat(gateway.url, "one", stream=True)
    assert heard.status == 200
    assert heard.headers["content-type"].startswith("text/event-stream")
    assert text_of(heard.events) == "you said one"
    assert heard.events[-1] == "[DONE]"
    finishes = [event["choices"][0]["finish_reason"] for event in heard.events[:-1]]
    assert finishes == [*[None] * (len(finishes) - 1), "stop"]
    assert len({event["id"] for event in heard.events[:-1]}) == 1
    assert not any("usage" in event for event in heard.events[:-1])


def test_usage_of_a_stream_comes_when_asked_for(gateway: Running) -> None:
    heard = chat(gateway.url, stream=True, stream_options={"include_usage": True})
    (last,) = [event for event in heard.events[:-1] if event.get("usage")]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 14


def test_a_completion_is_answered_whole_and_in_pieces(gateway: Running) -> None:
    for streamed in (False, True):
        heard = ask(f"{gateway.url}/v1/completions", {"prompt": "once", "stream": streamed})
        assert heard.status == 200, heard.text
        bodies = heard.events[:-1] if streamed else [heard.data]
        assert "".join(choice["text"] for body in bodies for choice in body["choices"]) == "after once"
        assert {body["object"] for body in bodies} == {"text_completion"}


def test_embeddings_are_answered(gateway: Running) -> None:
    heard = ask(f"{gateway.url}/v1/embeddings", {"input": ["a", "b"]})
    assert heard.status == 200, heard.text
    assert [item["embedding"] for item in heard.data["data"]] == [[0.5, 1.0]] * 2
    assert heard.data["model"] == "small"


def test_models_are_listed_with_the_profiles(gateway: Running) -> None:
    heard = get(f"{gateway.url}/v1/models")
    names = {entry["id"] for entry in heard.data["data"]}
    assert {"small", "sick", "quiet", "profile:cheap"} <= names
    assert get(f"{gateway.url}/v1/models/small").data["context_length"] == 8000
    assert get(f"{gateway.url}/v1/models/profile:cheap").status == 200
    assert get(f"{gateway.url}/cheap/v1/models").status == 200
    missing = get(f"{gateway.url}/v1/models/none")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")


def test_health_readiness_and_metrics_are_told(gateway: Running) -> None:
    chat(gateway.url)
    assert get(f"{gateway.url}/healthz").data == {"status": "ok"}
    assert get(f"{gateway.url}/readyz").data == {"status": "ready"}
    told = get(f"{gateway.url}/metrics").text
    assert re.search(r'llm_policy_requests_total\{path="/chat/completions",status="200"\} [1-9]', told)
    assert 'gen_ai_client_operation_duration_seconds_count{error_type="",gen_ai_provider_name="acme"' in told
    assert "llm_policy_in_flight 0.0" in told


def test_a_profile_has_a_base_of_its_own(gateway: Running, vendor: Vendor) -> None:
    heard = chat(gateway.url, path=f"/clamped{CHAT}", max_tokens=50)
    assert heard.status == 200
    sent = vendor.asked[-1].data
    assert (sent["max_tokens"], sent["top_p"]) == (10, 0.5)
    missing = chat(gateway.url, path=f"/none{CHAT}")
    assert (missing.status, missing.error["code"]) == (404, "unknown_profile")


# Headers and records ------------------------------------------------------------------------------


def test_every_answer_has_our_headers(gateway: Running) -> None:
    good, streamed = chat(gateway.url), chat(gateway.url, stream=True)
    failed, refused = chat(gateway.url, "500", path=f"/ill{CHAT}"), ask(gateway.url + CHAT, {"messages": []})
    for heard in (good, streamed, failed, refused):
        assert set(heard.own) == OWN
    assert good.own["provider"] == streamed.own["provider"] == "acme"
    assert good.own["model"] == "small"
    assert good.own["policy"] == streamed.own["policy"]
    assert good.own["policy"].startswith("sha256:")
    assert [heard.own["attempts"] for heard in (good, streamed, failed, refused)] == ["1", "1", "1", "0"]
    assert refused.own["provider"] == "-"
    assert len({heard.own["request-id"] for heard in (good, streamed, failed, refused)}) == 4
    assert 0 <= float(good.own["overhead-ms"]) < 1000


def test_the_record_of_an_answer_comes_when_asked_for(gateway: Running) -> None:
    heard = chat(gateway.url, full=True)
    record = heard.data["x_router"]
    assert (record["provider"], record["model_family"]) == ("acme", "small")
    assert record["served_model_id"] == "acme-small"
    assert record["policy_id"] == heard.own["policy"]
    assert record["decision_trace"]["decision_path"][0]["event"] == "attempted"
    streamed = chat(gateway.url, full=True, stream=True)
    (own,) = [event["x_router"] for event in streamed.events[:-1] if "x_router" in event]
    assert own["provider"] == "acme"


def test_the_record_is_in_every_answer_where_the_operator_wants_it(vendor: Vendor) -> None:
    with running(config(vendor.origin, host={"gateway": {"metadata": True}})) as gateway:
        assert chat(gateway.url).data["x_router"]["provider"] == "acme"


def test_what_was_changed_of_a_request_is_told(gateway: Running) -> None:
    heard = chat(gateway.url, path=f"/clamped{CHAT}", full=True, max_tokens=50, temperature=1)
    changes = {change["name"]: change for change in heard.data["x_router"]["changes"]}
    assert (changes["max_tokens"]["to"], changes["max_tokens"]["why"]) == (10, "policy")
    assert (changes["top_p"]["to"], changes["top_p"]["attempt"]) == (0.5, 1)
    assert "temperature" not in changes


def test_fields_that_nobody_here_knows_reach_a_provider_of_the_same_dialect(
    gateway: Running, vendor: Vendor
) -> None:
    more: dict[str, Any] = {
        "logit_bias": {"1": 2},
        "user": "u",
        "never_heard_of": [{"x": None}],
        "max_completion_tokens": 9,
    }
    assert chat(gateway.url, **more, temperature=0.25).status == 200
    sent = vendor.asked[-1].data
    assert {name: sent[name] for name in ("logit_bias", "user", "never_heard_of")} == {
        name: more[name] for name in ("logit_bias", "user", "never_heard_of")
    }
    assert sent["temperature"] == 0.25
    assert sent["max_completion_tokens"] == 9
    assert sent["model"] == "acme-small"


def test_what_a_provider_adds_to_its_answer_reaches_the_caller() -> None:
    body = {**json.loads(answer("x").pieces[0]), "system_fingerprint": "fp", "x_more": {"a": 1}}
    body["choices"][0]["logprobs"] = {"content": []}
    with selling(whole(200, json.dumps(body).encode())) as vendor, running(config(vendor.origin)) as gateway:
        heard = chat(gateway.url).data
    assert (heard["system_fingerprint"], heard["x_more"]) == ("fp", {"a": 1})
    assert heard["choices"][0]["logprobs"] == {"content": []}


# Errors -------------------------------------------------------------------------------------------


def test_errors_have_openais_shape(gateway: Running) -> None:
    heard = ask(gateway.url + CHAT, {"messages": "hi"})
    assert heard.status == 400
    assert heard.error["type"] == "invalid_request_error"
    assert heard.error["param"] == "messages"
    assert set(heard.error) == {"message", "type", "code", "param", "metadata"}
    assert set(heard.error["metadata"]) >= {"error_type", "retry_after"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/cheap/v1/completions"])
def test_a_skin_takes_a_post_only(gateway: Running, method: str, path: str) -> None:
    heard = ask(gateway.url + path, method=method)
    assert (heard.status, heard.error["code"]) == (405, "method_not_allowed")
    assert heard.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/small"])
def test_what_is_looked_up_takes_a_get_only(gateway: Running, path: str) -> None:
    heard = ask(gateway.url + path, {})
    assert (heard.status, heard.error["code"]) == (405, "method_not_allowed")
    assert "GET" in heard.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/chat/completions", "/a/b/v1/chat/completions", "/v1/none", "/favicon.ico"],
)
def test_a_path_that_nobody_serves_is_a_404(gateway: Running, path: str) -> None:
    for method in ("GET", "POST"):
        heard = ask(gateway.url + path, {} if method == "POST" else None, method=method)
        assert (heard.status, heard.error["code"]) == (404, "unknown_path")


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ("400", 400, "bad_request"),
        ("401", 502, "upstream_auth"),
        ("402", 502, "upstream_payment"),
        ("429", 429, "rate_limit"),
        ("500", 502, "server_error"),
        ("504", 504, "timeout"),
    ],
)
def test_a_providers_failure_has_a_status_of_our_own(
    gateway: Running, said: str, status: int, code: str
) -> None:
    heard = chat(gateway.url, said, path=f"/ill{CHAT}")
    assert (heard.status, heard.error["code"]) == (status, code)
    assert heard.error["metadata"]["attempts"] == 1
    assert ("the vendor said no" in heard.text) == (code == "bad_request")


def test_retry_after_is_given_on_and_never_too_short(gateway: Running) -> None:
    heard = chat(gateway.url, "429 2.2", path=f"/ill{CHAT}")
    assert heard.status == 429
    assert heard.headers["retry-after"] == "3"
    assert heard.error["metadata"]["retry_after"] == 3
    assert int(chat(gateway.url, "429", path=f"/ill{CHAT}").headers["retry-after"]) >= 1


def test_nobody_for_ever_is_a_404_and_nobody_for_now_a_503_with_the_earliest_return(vendor: Vendor) -> None:
    retries = {"next": {"server_error": {"action": "next_candidate", "open_breaker_ms": 60_000}}}
    with running(config(vendor.origin, retry_policies=retries)) as gateway:
        never = chat(gateway.url, path=f"/nobody{CHAT}")
        assert (never.status, never.error["code"]) == (404, "no_candidates")
        assert never.error["metadata"]["excluded_by"]
        assert "retry-after" not in never.headers
        assert chat(gateway.url, "500", path=f"/ill{CHAT}").status == 502
        later = chat(gateway.url, "200", path=f"/healthy{CHAT}")
        assert (later.status, later.error["type"]) == (503, "unavailable_error")
        assert 55 <= int(later.headers["retry-after"]) <= 60


def policy(*gate: Any, action: str = "next_candidate") -> list[Any]:
    """Give a term whose filter is a gate: whoever passes it is asked in the catalog's order."""
    return ["policy", [*gate], ["zero"], ["ordered"], ["id"], ["always", {"action": action}]]


def flow_of(*policies: list[Any]) -> list[Any]:
    """Give a flow that asks one node after the other."""
    names = [f"n{place}" for place in range(len(policies))]
    nodes = {
        name: {"kind": "llm", "inputs": [before], "policy": each}
        for name, before, each in zip(names, ["in", *names], policies, strict=False)
    }
    return ["flow", {"in": {"kind": "input"}, **nodes, "out": {"kind": "output", "inputs": [names[-1]]}}]


@pytest.mark.parametrize("stream", [False, True])
def test_why_nobody_could_serve_a_flow_is_what_its_failed_node_says(stream: bool) -> None:  # noqa: FBT001 - a row
    scripts = {"ill": [{"failure": "server_error"}], "mute": [{"answer": "x"}]}
    providers = {name: {"api_kind": "scripted"} for name in scripts}
    served = {"served_by": [{"provider": name} for name in scripts]}
    harsh = policy("provider_eq", "ill", action="disable_provider")
    more = {"providers": providers, "models": {"m": served}, "host": {"scripts": scripts}}
    more |= {"profiles": {"harsh": {"policy_ir": harsh}}, "defaults": {"profile": "harsh"}}
    anyone, nobody = policy("top"), policy("provider_eq", "nobody")
    healthy = policy("and", ["provider_eq", "ill"], ["not", ["is", "disabled"]])
    of_ill = policy("provider_eq", "ill")
    with running(config("http://127.0.0.1:9", **more)) as gateway:

        def asked(**term: Any) -> tuple[int, bool]:
            heard = chat(gateway.url, stream=stream, **term)
            metadata = heard.error["metadata"]
            assert metadata["excluded_by"] or heard.status == 503
            return heard.status, "retry-after" in heard.headers

        assert asked(flow_ir=flow_of(nobody)) == (404, False)
        assert chat(gateway.url, model="profile:harsh").status == 502
        # its filter names who is disabled, or the plan passes by him
        for now in (healthy, of_ill):
            assert asked(policy_ir=now) == asked(flow_ir=flow_of(now)) == (503, True)
            assert asked(flow_ir=flow_of(anyone, now)) == (503, True)
        # a node that was answered passed by somebody too: that he comes back helps nobody here
        assert asked(policy_ir=nobody) == asked(flow_ir=flow_of(anyone, nobody)) == (404, False)


def test_a_flow_takes_no_tools_whatever_they_are_called(gateway: Running) -> None:
    flow_ir = flow_of(policy("top"))
    others: list[dict[str, Any]] = [{"functions": [{"name": "ls"}]}, {"web_search_options": {}}]
    for named in others:
        heard = chat(gateway.url, flow_ir=flow_ir, **named)
        assert (heard.status, heard.error["param"]) == (400, "tools")


def test_a_failure_in_a_stream_before_content_is_an_answer_like_any_other(gateway: Running) -> None:
    heard = chat(gateway.url, "500", path=f"/ill{CHAT}", stream=True)
    assert (heard.status, heard.error["code"]) == (502, "server_error")
    assert heard.headers["content-type"] == "application/json"


def test_a_failure_in_a_stream_after_content_is_an_event_and_the_streams_end() -> None:
    cut = flow(chat_pieces(["one", "two"])[:2], then="cut")
    with selling(cut) as vendor, running(config(vendor.origin)) as gateway:
        heard = chat(gateway.url, stream=True)
        told = get(f"{gateway.url}/metrics").text
    assert heard.status == 200
    assert text_of(heard.events) == "one"
    *_, last, end = heard.events
    assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == ("stream_interrupted", "error")
    assert end == "[DONE]"
    assert 'path="/chat/completions",status="502"' in told


def test_a_defect_in_the_midst_of_a_stream_is_no_silent_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chunks, calls = ChatEncoder.chunks, []

    def fail(self: ChatEncoder, batch: Any) -> bytes:
        calls.append(batch)
        if len(calls) > 1:
            raise RuntimeError("odd")
        return chunks(self, batch)

    monkeypatch.setattr(ChatEncoder, "chunks", fail)
    paced = flow(chat_pieces(["one", "two"]), gap_s=0.05)
    with selling(paced) as vendor, running(config(vendor.origin)) as gateway:
        heard = chat(gateway.url, stream=True)
    assert text_of(heard.events) == "one"
    assert heard.events[-2]["error"]["code"] == "internal_error"
    assert heard.events[-1] == "[DONE]"


# Limits -------------------------------------------------------------------------------------------


def _promise(port: int, head: str, body: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode() + body)
        return wire.recv(4096)


def test_a_body_that_is_too_large_is_refused_by_its_promise_and_by_its_bytes(vendor: Vendor) -> None:
    with running(config(vendor.origin, host={"limits": {"max_body_bytes": 1000}})) as gateway:
        assert _promise(gateway.port, "content-length: 1001").startswith(b"HTTP/1.1 413")
        chunk = b"258\r\n" + b" " * 600 + b"\r\n"
        assert _promise(gateway.port, "transfer-encoding: chunked", chunk * 2).startswith(b"HTTP/1.1 413")
        single = b"7d0\r\n" + b" " * 2000 + b"\r\n0\r\n\r\n"
        assert _promise(gateway.port, "transfer-encoding: chunked", single).startswith(b"HTTP/1.1 413")
        heard = chat(gateway.url, "x" * 1000)
        assert (heard.status, heard.error["type"]) == (413, "request_too_large")
        assert chat(gateway.url).status == 200


def _hanging(asked: Asked) -> Reply:
    return (
        Reply(b"", then="hang", is_chunked=False)
        if asked.data["messages"][-1]["content"] == "hang"
        else echo(asked)
    )


def test_beyond_its_places_and_line_the_gateway_sends_callers_away() -> None:
    limits = {"max_in_flight": 2, "max_queue": 1, "queue_ms": 300}
    with (
        selling(_hanging) as vendor,
        running(config(vendor.origin, host={"limits": limits, "deadline_ms": 2500})) as gateway,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        hanging = [pool.submit(chat, gateway.url, "hang") for _ in range(2)]
        assert until(lambda: len(vendor.asked) == 2)
        gate = gateway.server._app.gateway.gate
        waiting = pool.submit(chat, gateway.url)
        assert until(lambda: gate.waiting == 1)
        away = chat(gateway.url)
        assert (away.status, away.error["code"], away.headers["retry-after"]) == (503, "overloaded", "1")
        assert waiting.result().status == 503  # the line did not move in time
        late = pool.submit(chat, gateway.url)
        assert [one.result().status for one in hanging] == [504, 504]
        assert late.result().status in (200, 503)
        assert chat(gateway.url).status == 200
        assert (gate.in_flight, gate.waiting) == (0, 0)


def test_a_lane_is_a_bounded_line_and_a_full_one_is_passed_over() -> None:
    lock, begun = threading.Lock(), []
    release = threading.Event()

    def slow(asked: Asked) -> Reply:
        with lock:
            begun.append((asked.path.split("/")[1], asked.data["messages"][-1]["content"]))
        if asked.path.startswith("/acme") and asked.data["messages"][-1]["content"].startswith("wait"):
            return Reply(echo(asked).head, echo(asked).pieces, is_chunked=False, gap_s=0.4)
        return echo(asked)

    lanes = {"acme": {"max_in_flight": 1, "max_queue": 2}}
    with (
        selling(slow) as vendor,
        running(config(vendor.origin, host={"lanes": lanes})) as gateway,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        calls = []
        for place in range(3):
            calls.append(pool.submit(chat, gateway.url, f"wait {place}"))
            assert until(lambda: gateway.server._app.gateway.gate.in_flight == len(calls))
            time.sleep(0.05)
        over = chat(gateway.url, "over")
        assert over.own["provider"] == "spare"
        assert [call.result().own["provider"] for call in calls] == ["acme"] * 3
        assert [what for who, what in begun if who == "acme"] == ["wait 0", "wait 1", "wait 2"]
        told = get(f"{gateway.url}/metrics").text
    release.set()
    assert 'llm_policy_lane_in_flight{provider="acme"} 0.0' in told
    assert 'llm_policy_lane_queued{provider="acme"} 0.0' in told


def test_a_full_lane_without_another_route_is_a_503_for_now() -> None:
    lanes = {"mute": {"max_in_flight": 1, "max_queue": 0}}
    scripts = {"mute": [{"answer": "x", "latency_ms": 600}]}
    with (
        running(config("http://127.0.0.1:9", host={"lanes": lanes, "scripts": scripts})) as gateway,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(chat, gateway.url, path=f"/mute{CHAT}")
        assert until(lambda: gateway.server._app.gateway.gate.in_flight == 1)
        time.sleep(0.1)
        heard = chat(gateway.url, path=f"/mute{CHAT}")
        assert first.result().status == 200
    assert heard.status == 503
    assert int(heard.headers["retry-after"]) >= 1


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.1", "example.com"])  # noqa: S104 - what is refused
def test_it_does_not_open_to_others_without_keys(address: str) -> None:
    with Host.from_data(config("http://127.0.0.1:9")) as host:
        with pytest.raises(UsageError, match="open to others"):
            check_address(address, host)
        for own in ("127.0.0.1", "::1", "localhost", "127.3.2.1"):
            check_address(own, host)


def test_a_message_is_needed(gateway: Running) -> None:
    assert ask(gateway.url + CHAT, {"messages": HI, "stream": "yes"}).error["param"] == "stream"
    assert ask(gateway.url + CHAT, {"messages": HI, "model": 7}).error["param"] == "model"


def test_the_parameters_of_bodies_are_those_of_the_language() -> None:
    known = set(Language(Vm()).vocabulary({}).params)
    assert known == {*NUMBER_PARAMS, *TEXT_PARAMS, *BOUNDS}
