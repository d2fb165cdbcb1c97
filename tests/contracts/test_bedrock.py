"""What only Bedrock does: signatures, regions, frames that are exceptions. botocore is the judge."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from llm_policy_host.providers._aws import Signer
from llm_policy_host.providers.bedrock import Bedrock
from llm_policy_host.values import Call, Credential, Failure, Response, Secret, ToolCall, Usage

from .conftest import Talk, meaning, together
from .dialect import CANARY, sent
from .dialects.bedrock import DIALECT, delta, frame, pieces, said_by
from .scenarios import CALLS, PNG
from .vendor import Vendor, flow, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llm_policy_host.ports import Provider

    from .vendor import Asked

session = pytest.importorskip("botocore.session")
TEXT = DIALECT.told["text"]
HI = CALLS["prompt"]
NOBODY = Credential()
MODEL_ID = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose only credentials are in the environment."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session")


async def _asked(adapters: Mapping[str, Provider], credential: Credential = NOBODY, **fields: Any) -> Asked:
    async with Vendor([whole(200, TEXT.whole)]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, {"region": "eu-west-1", **fields}, credential)
    assert not isinstance(outcome, Failure), outcome.detail
    return vendor.asked[0]


def _signature(asked: Asked, secret: str, region: str) -> str:
    """Sign what was asked, as Amazon's documentation of version 4 says."""
    signed = asked.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    path = "/".join(_quoted(part) for part in asked.path.split("/"))
    headers = "".join(f"{name}:{asked.headers[name]}\n" for name in signed.split(";"))
    body = hashlib.sha256(asked.body).hexdigest()
    canonical = f"POST\n{path}\n\n{headers}\n{signed}\n{body}"
    stamp = asked.headers["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/bedrock/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _quoted(part: str) -> str:
    """Quote a part of a path that is quoted already: every service but S3 wants it twice."""
    return part.replace("%", "%25")


async def test_a_call_without_a_bearer_is_signed(adapters: Mapping[str, Provider]) -> None:
    asked = await _asked(adapters, **HI, served_model_id=MODEL_ID)
    assert asked.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    given = asked.headers["authorization"]
    assert given.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert given.endswith(f"Signature={_signature(asked, CANARY, 'eu-west-1')}")
    assert asked.headers["x-amz-security-token"] == "a-session"
    assert CANARY.encode() not in asked.head


async def test_a_model_that_is_an_address_is_one_part_of_the_path(adapters: Mapping[str, Provider]) -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude"
    asked = await _asked(adapters, **HI, served_model_id=arn)
    assert asked.path.count("/") == 3
    assert asked.headers["authorization"].endswith(_signature(asked, CANARY, "eu-west-1"))


async def test_a_stream_is_signed_too(adapters: Mapping[str, Provider]) -> None:
    async with Vendor([flow(TEXT.pieces or (), DIALECT.stream_kind)]) as vendor:
        heard = await Talk(DIALECT, adapters).stream(vendor, {**HI, "region": "eu-west-1"}, NOBODY)
    assert together(heard)["text"] == "Hello, wörld"
    assert vendor.asked[0].headers["authorization"].endswith(_signature(vendor.asked[0], CANARY, "eu-west-1"))


async def test_the_region_may_be_botocores_own(
    adapters: Mapping[str, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    asked = await _asked(adapters, **HI, region=None)
    assert asked.headers["authorization"].endswith(_signature(asked, CANARY, "ap-south-1"))


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:1"])
async def test_without_a_region_nothing_is_signed(
    adapters: Mapping[str, Provider], base_url: str | None
) -> None:
    call = Call("p", "f", "served-1", base_url=base_url, prompt="hi")
    outcome = await adapters["bedrock"].send(call, NOBODY)
    assert isinstance(outcome, Failure)
    assert outcome.kind == "model_unavailable"
    assert "aws_region" in outcome.detail


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse"),
        ("cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/m/converse"),
        ("x.example/", None),
    ],
)
def test_a_region_names_its_endpoint(adapters: Mapping[str, Provider], region: str, host: str | None) -> None:
    adapter = adapters["bedrock"]
    assert isinstance(adapter, Bedrock)
    call = Call("p", "f", "m", prompt="hi", region=region)
    if host is None:
        with pytest.raises(Exception, match="aws_region"):
            adapter._ask(call, Credential(Secret("k")), is_stream=False)
    else:
        assert adapter._ask(call, Credential(Secret("k")), is_stream=False).url == host


async def test_a_machine_without_credentials_is_an_auth_error(
    adapters: Mapping[str, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with Vendor([whole(200, TEXT.whole)]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, {**HI, "region": "eu-west-1"}, NOBODY)
        heard = await Talk(DIALECT, adapters).stream(vendor, {**HI, "region": "eu-west-1"}, NOBODY)
    for failure in (outcome, *heard):
        assert isinstance(failure, Failure)
        assert failure.kind == "auth_error"
    assert vendor.asked == []


class _Role:
    """Credentials of a role, which end."""

    def __init__(self) -> None:
        self.is_old = False
        self.renewed = 0

    def refresh_needed(self) -> bool:
        return self.is_old

    def get_frozen_credentials(self) -> None:
        self.renewed += self.is_old
        self.is_old = False


async def test_credentials_that_end_are_renewed_before_a_call_and_only_then() -> None:
    role, signer = _Role(), Signer("bedrock")
    signer._session = SimpleNamespace(get_credentials=lambda: role)
    for is_old, renewed in ((False, 0), (False, 0), (True, 1), (False, 1)):
        role.is_old = is_old
        await asyncio.gather(*(signer.prepare() for _ in range(5)))
        assert role.renewed == renewed


async def test_a_bearer_needs_no_signature_and_no_botocore(
    adapters: Mapping[str, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("botocore")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    asked = await _asked(adapters, Credential(Secret("a-key")), **HI)
    assert asked.headers["authorization"] == "Bearer a-key"


# Bodies, judged by botocore's own model of the service ------------------------------------------


@pytest.mark.parametrize("scenario", sorted(DIALECT.asked))
def test_every_body_of_the_suite_is_one_that_the_service_takes(scenario: str) -> None:
    from botocore.validate import ParamValidator  # noqa: PLC0415 - after importorskip

    model = session.Session().get_service_model("bedrock-runtime")
    for operation in ("Converse", "ConverseStream"):
        shape = model.operation_model(operation).input_shape
        given = {"modelId": "m", **DIALECT.asked[scenario].body}
        report = ParamValidator().validate(given, shape)
        assert not report.has_errors(), report.generate_report()
        assert given.keys() <= shape.members.keys()


async def test_botocore_hears_in_our_frames_what_we_hear() -> None:
    """The suite's frames are made by hand: a second reader reads them alike."""
    from botocore.eventstream import EventStreamBuffer  # noqa: PLC0415

    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(TEXT.pieces or ()))
    events = [(each.headers[":event-type"], json.loads(each.payload)) for each in buffer]
    texts = [data["delta"]["text"] for kind, data in events if kind == "contentBlockDelta"]
    assert "".join(texts) == "Hello, wörld"


async def test_an_image_is_sent_as_its_bytes(adapters: Mapping[str, Provider]) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}}
    asked = await _asked(adapters, messages=[{"role": "user", "content": [image]}])
    block = {"image": {"format": "jpeg", "source": {"bytes": PNG}}}
    assert asked.data["messages"] == [{"role": "user", "content": [block]}]
    assert base64.b64decode(PNG)


@pytest.mark.parametrize("url", ["https://pictures.example/cat.jpg", "data:image/tiff;base64,AAAA"])
async def test_an_image_that_it_cannot_take_fails_the_call(
    adapters: Mapping[str, Provider], url: str
) -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    async with Vendor([whole(200, TEXT.whole)]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, {"messages": messages})
    assert isinstance(outcome, Failure)
    assert (outcome.kind, vendor.asked) == ("bad_request", [])


async def test_tools_of_the_conversation_are_declared_even_when_none_are_given(
    adapters: Mapping[str, Provider],
) -> None:
    fields = {**CALLS["tool_results"], "tools": [], "passthrough": {"tool_choice": "none"}}
    config = (await _asked(adapters, **fields)).data["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["weather", "now"]
    assert "toolChoice" not in config


async def test_texts_of_spaces_and_foreign_ids_are_made_fit(adapters: Mapping[str, Provider]) -> None:
    use = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": " \n"}]},
        {"role": "assistant", "content": "", "tool_calls": [use]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"},
    ]
    user, assistant, tool = (await _asked(adapters, messages=messages)).data["messages"]
    assert user == said_by("user", "hi")
    assert assistant["content"][0]["toolUse"]["toolUseId"] == "functions_f_0"
    assert tool["content"][0]["toolResult"]["toolUseId"] == "functions_f_0"


@pytest.mark.parametrize(
    ("model", "fields"),
    [("us.amazon.nova-pro-v1:0", {"inferenceConfig": {"topK": 5}}), (MODEL_ID, {"top_k": 5})],
)
async def test_top_k_stands_where_the_model_looks(
    adapters: Mapping[str, Provider], model: str, fields: dict[str, Any]
) -> None:
    asked = await _asked(adapters, **HI, served_model_id=model, params={"top_k": 5})
    assert asked.data["additionalModelRequestFields"] == fields


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"params": {"reasoning_effort": "none"}}, ["reasoning_effort"]),
        ({"response_format": {"type": "json_object"}}, ["response_format"]),
    ],
)
def test_a_word_that_it_lacks_is_named(
    adapters: Mapping[str, Provider], fields: dict[str, Any], lost: list[str]
) -> None:
    talk = Talk(DIALECT, adapters)
    assert list(talk.adapter.unsaid(talk.call("http://x", {**HI, **fields}))) == lost


def _embed(model: str, *texts: Any, **settings: Any) -> dict[str, Any]:
    return {"served_model_id": model, "kind": "embeddings", "embed": texts, "passthrough": settings}


TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3"


async def test_titan_is_asked_for_one_vector_after_the_other(adapters: Mapping[str, Provider]) -> None:
    answers = [
        {"embedding": [0.5, -1], "inputTextTokenCount": 3},
        {"embedding": [2, 0], "inputTextTokenCount": 4},
    ]
    async with Vendor([whole(200, sent(answer)) for answer in answers]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, _embed(TITAN, "one", "two", dimensions=2))
    assert isinstance(outcome, Response)
    assert [list(vector) for vector in outcome.embeddings] == [[0.5, -1], [2, 0]]
    assert outcome.usage == Usage(input_tokens=7)
    assert [asked.path for asked in vendor.asked] == [f"/model/{quote(TITAN, safe='')}/invoke"] * 2
    assert [asked.data for asked in vendor.asked] == [
        {"inputText": "one", "dimensions": 2},
        {"inputText": "two", "dimensions": 2},
    ]


@pytest.mark.parametrize("found", [[[1, 2], [3, 4]], {"float": [[1, 2], [3, 4]]}])
async def test_cohere_is_asked_for_all_vectors_at_once(adapters: Mapping[str, Provider], found: Any) -> None:
    reply = whole(200, sent({"embeddings": found}), headers={"x-amzn-bedrock-input-token-count": "9"})
    async with Vendor([reply]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, _embed(COHERE, "one", "two"))
    assert isinstance(outcome, Response)
    assert [list(vector) for vector in outcome.embeddings] == [[1, 2], [3, 4]]
    assert outcome.usage == Usage(input_tokens=9)
    assert vendor.asked[0].data == {"texts": ["one", "two"], "input_type": "search_document"}


@pytest.mark.parametrize(
    ("call", "answer", "kind"),
    [
        (_embed(TITAN, [1, 2]), {}, "bad_request"),
        (_embed("vendor.chat-only", "x"), {}, "model_unavailable"),
        (_embed(TITAN, "x"), {"embedding": []}, "bad_response"),
        (_embed(COHERE, "x", "y"), {"embeddings": [[1]]}, "bad_response"),
    ],
)
async def test_vectors_that_are_none_are_a_failure(
    adapters: Mapping[str, Provider], call: dict[str, Any], answer: Any, kind: str
) -> None:
    async with Vendor([whole(200, sent(answer))]) as vendor:
        outcome = await Talk(DIALECT, adapters).send(vendor, call)
    assert isinstance(outcome, Failure)
    assert outcome.kind == kind


# Answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("throttlingException", "rate_limit"),
        ("modelStreamErrorException", "server_error"),
        ("internalServerException", "server_error"),
        ("serviceUnavailableException", "server_error"),
        ("validationException", "bad_request"),
        ("someNewException", "server_error"),
    ],
)
async def test_an_exception_within_a_stream_is_a_failure_of_its_kind(
    adapters: Mapping[str, Provider], exception: str, kind: str
) -> None:
    middle = [*(TEXT.pieces or ())[:2], frame(exception, {"message": "no"}, "exception")]
    heard = await Talk(DIALECT, adapters).hear(flow(middle, DIALECT.stream_kind), HI)
    assert isinstance(heard[-1], Failure)
    assert (heard[-1].kind, heard[-1].detail) == (kind, "no")


async def test_a_prompt_too_long_is_told_within_a_stream_too(adapters: Mapping[str, Provider]) -> None:
    message = {"message": "Input is too long for requested model."}
    reply = flow([frame("validationException", message, "exception")], DIALECT.stream_kind)
    (failure,) = await Talk(DIALECT, adapters).hear(reply, HI)
    assert isinstance(failure, Failure)
    assert failure.kind == "context_overflow"


@pytest.mark.parametrize(
    ("status", "error", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", "model_unavailable"),
        (400, "ServiceQuotaExceededException", "quota", "rate_limit"),
        (403, "ExpiredTokenException", "The security token is expired", "auth_error"),
        (424, "ModelErrorException", "the model failed", "server_error"),
        (429, "ModelNotReadyException", "not ready", "server_error"),
        (400, None, "no type at all", "bad_request"),
    ],
)
async def test_an_error_type_says_more_than_the_status(
    adapters: Mapping[str, Provider], status: int, error: str | None, message: str, kind: str
) -> None:
    headers = {"x-amzn-errortype": error} if error else {}
    reply = whole(status, json.dumps({"message": message}).encode(), headers=headers)
    failure = await Talk(DIALECT, adapters).ask(reply, HI)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.detail, failure.http_status) == (kind, message, status)
    body = {"__type": f"com.amazon.coral.service#{error}", "Message": message}
    failure = await Talk(DIALECT, adapters).ask(whole(status, json.dumps(body).encode()), HI)
    assert isinstance(failure, Failure)
    assert failure.kind == kind


async def test_a_call_without_a_word_of_arguments_has_none(adapters: Mapping[str, Provider]) -> None:
    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "c1", "name": "now"}}}
    for middle in ([], [delta(0, toolUse={"input": ""})]):
        told = pieces(frame("contentBlockStart", start), *middle, reason="tool_use")
        heard = await Talk(DIALECT, adapters).hear(flow(told, DIALECT.stream_kind), HI)
        assert together(heard)["tool_calls"] == (ToolCall("c1", "now", "{}"),)


async def test_a_total_without_what_the_cache_held_is_consistent(adapters: Mapping[str, Provider]) -> None:
    usage = {"inputTokens": 11, "outputTokens": 3, "totalTokens": 14, "cacheReadInputTokens": 100}
    body = json.loads(TEXT.whole) | {"usage": usage}
    answer = await Talk(DIALECT, adapters).ask(whole(200, json.dumps(body).encode()), HI)
    assert isinstance(answer, Response)
    assert meaning(answer)["usage"].is_consistent
