from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from llm_policy_host.clock import SystemClock, VirtualClock
from llm_policy_host.providers._http import HttpClient
from llm_policy_host.providers.openai_compatible import OpenAICompatible
from llm_policy_host.providers.scripted import Scripted
from llm_policy_host.run.driver import Driver, Surroundings
from llm_policy_host.values import Contract, Credential, Failure, Result, Secret, StreamChunk

from .fakes import FakeAuth, FakeEngine, candidate, driver
from .server import Server, answer, delta, events, failing

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_policy_host.ports import Timer
    from llm_policy_host.values import Call

HELLO = Contract(messages=[{"role": "user", "content": "a secret prompt"}])


class _Setting:
    """A driver over scripted providers in virtual time."""

    def __init__(self, scripts: dict[str, Any], **engine: Any) -> None:
        self.clock = VirtualClock()
        self.engine = FakeEngine([candidate(name) for name in scripts], **engine)
        self.provider = Scripted(scripts, self.clock)
        self.driver = driver(self.engine, {"scripted": self.provider}, self.clock)

    async def hear(self, contract: Contract = HELLO) -> list[StreamChunk]:
        return [chunk async for chunk in self.driver.stream(contract)]


def _result(chunks: list[StreamChunk]) -> Result:
    assert [chunk.result is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    result = chunks[-1].result
    assert result is not None
    return result


async def test_a_run_falls_back_and_tells_every_failure() -> None:
    setting = _Setting(
        {"a": [{"failure": "rate_limit", "http_status": 429, "retry_after_ms": 5}], "b": [{"answer": "yes"}]}
    )
    result = await setting.driver.run(HELLO)
    assert result.ok
    assert result.response is not None
    assert result.response.text == "yes"
    assert [failure.kind for failure in result.failures] == ["rate_limit"]
    assert setting.engine.failures[0].retry_after_ms == 5
    assert result.seed == 7


async def test_a_wait_is_waited() -> None:
    setting = _Setting({"a": [{"failure": "timeout"}], "b": [{"answer": "yes"}]}, wait_ms=30_000)
    assert (await setting.driver.run(HELLO)).ok
    assert setting.clock.now_ms() == 30_000


async def test_messages_never_reach_the_engine_and_are_joined_to_the_call() -> None:
    setting = _Setting(
        {"a": [{"answer": "yes"}]}, params={"temperature": 0.5, "timeout_ms": 900, "_filters": {"text": {}}}
    )
    image = {"role": "user", "content": [{"type": "image_url"}]}
    contract = Contract(
        messages=[*HELLO.messages, image],
        tools=[{"type": "function"}],
        response_format={"type": "json_object", "schema": "private"},
        params={"temperature": 1},
        scope="s",
    )
    await setting.driver.run(contract)
    shape, _ = setting.engine.contracts[0]
    assert shape == {
        "temperature": 1,
        "scope": "s",
        "tools": True,
        "images": True,
        "response_format": {"type": "json_object"},
    }
    (call,) = setting.provider.calls
    assert call.messages == contract.messages
    assert call.params == {"temperature": 0.5}
    assert call.filters == {"text": {}}
    assert call.timeouts.attempt_ms == 900
    assert "secret prompt" not in repr(call)


async def test_a_silent_provider_times_out_and_the_next_one_answers() -> None:
    setting = _Setting({"a": [{"hang": True}], "b": [{"answer": "yes"}]})
    result = await setting.driver.run(Contract(prompt="x", timeout_ms=2000))
    assert result.ok
    assert result.failures[0].kind == "timeout"
    assert setting.clock.now_ms() == 2000


async def test_the_runs_deadline_ends_it_and_blames_no_provider() -> None:
    setting = _Setting({"a": [{"hang": True}], "b": [{"answer": "yes"}]})
    result = await setting.driver.run(Contract(prompt="x", timeout_ms=2000, deadline_ms=1500))
    assert (result.ok, result.error) == (False, "timeout")
    assert setting.engine.failures == []
    assert setting.clock.now_ms() == 1500


async def test_a_wait_beyond_the_deadline_is_not_waited() -> None:
    setting = _Setting({"a": [{"failure": "rate_limit"}], "b": [{"answer": "yes"}]}, wait_ms=60_000)
    result = await setting.driver.run(HELLO)
    assert result.error == "timeout"
    assert setting.clock.now_ms() == 0


async def test_a_wait_until_the_deadline_is_not_waited_either() -> None:
    setting = _Setting({"a": [{"failure": "rate_limit"}], "b": [{"answer": "yes"}]}, wait_ms=1500)
    result = await setting.driver.run(Contract(prompt="x", deadline_ms=1500))
    assert (result.error, setting.clock.now_ms()) == ("timeout", 0)
    assert [call.provider_id for call in setting.provider.calls] == ["a"]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_nobody_is_called_when_nothing_of_the_deadline_is_left(is_stream: bool) -> None:  # noqa: FBT001 - a row
    scripts = {"a": [{"failure": "server_error", "latency_ms": 1000}], "b": [{"answer": "yes"}]}
    setting = _Setting(scripts)
    # the attempt's own bound passes in the very moment in which the run's does
    contract = Contract(prompt="x", timeout_ms=1000, deadline_ms=1000)
    result = _result(await setting.hear(contract)) if is_stream else await setting.driver.run(contract)
    assert (result.ok, result.error) == (False, "timeout")
    assert [call.provider_id for call in setting.provider.calls] == ["a"]
    assert [failure.kind for failure in setting.engine.failures] == ["timeout"]
    assert setting.clock.now_ms() == 1000


async def test_a_run_without_any_time_calls_nobody() -> None:
    setting = _Setting({"a": [{"answer": "yes"}]})
    result = await setting.driver.run(Contract(prompt="x", deadline_ms=0))
    assert (result.error, [*setting.provider.calls]) == ("timeout", [])


async def test_a_run_that_wakes_too_late_calls_nobody() -> None:
    class Late(VirtualClock):
        async def sleep_ms(self, ms: float) -> None:
            await super().sleep_ms(ms + 700)

    clock, engine = Late(), FakeEngine([candidate("a"), candidate("b")], wait_ms=1000)
    provider = Scripted({"a": [{"failure": "rate_limit"}], "b": [{"answer": "yes"}]}, VirtualClock())
    result = await driver(engine, {"scripted": provider}, clock).run(Contract(prompt="x", deadline_ms=1500))
    assert (result.error, [call.provider_id for call in provider.calls]) == ("timeout", ["a"])


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("takes_ms", [1000, 9000])
async def test_a_credential_that_the_runs_deadline_cuts_is_evidence_against_nobody(
    is_stream: bool,  # noqa: FBT001 - a row
    takes_ms: int,
) -> None:
    clock, engine = VirtualClock(), FakeEngine([candidate("a"), candidate("b")])

    class Slow(FakeAuth):
        def at_once(self, provider_id: str) -> Credential | None:
            del provider_id
            return None

        async def credential(self, provider_id: str) -> Credential | Failure:
            await clock.sleep_ms(takes_ms)
            return await super().credential(provider_id)

    provider = Scripted({}, clock)
    around = Surroundings(new_seed=lambda: 7)
    drives = Driver(engine, {"scripted": provider}, Slow(), clock, around)
    contract = Contract(prompt="x", deadline_ms=1000)
    if is_stream:
        result = _result([chunk async for chunk in drives.stream(contract)])
    else:
        result = await drives.run(contract)
    assert (result.error, engine.failures, [*provider.calls]) == ("timeout", [], [])
    assert clock.now_ms() == 1000


async def test_a_provider_without_its_secret_is_an_auth_error() -> None:
    setting = _Setting({"locked": [{"answer": "no"}], "b": [{"answer": "yes"}]})
    result = await setting.driver.run(HELLO)
    assert result.failures[0].kind == "auth_error"
    assert len(setting.provider.calls) == 1


async def test_a_dialect_nobody_speaks_is_passed_over() -> None:
    setting = _Setting({"a": [{"answer": "no"}], "b": [{"answer": "yes"}]})
    setting.engine.candidates[0]["api_kind"] = "bedrock"
    assert (await setting.driver.run(HELLO)).failures[0].kind == "model_unavailable"


async def test_a_defect_of_an_adapter_is_a_failure_without_its_text() -> None:
    class Broken(Scripted):
        async def send(self, call: Call, credential: Credential) -> Any:
            del call, credential
            raise ValueError("a secret prompt")

    clock = VirtualClock()
    engine = FakeEngine([candidate("a")])
    result = await driver(engine, {"scripted": Broken({}, clock)}, clock).run(HELLO)
    assert result.failures == (Failure("unknown", detail="the adapter failed (ValueError)"),)


async def test_cancelling_a_run_cancels_the_call_upstream() -> None:
    client = HttpClient()
    async with Server([events(hang=True, done=False)]) as server:
        engine = FakeEngine([candidate("a", server.base_url, "openai_compatible")])
        clock = SystemClock()
        task = asyncio.create_task(
            driver(engine, {"openai_compatible": OpenAICompatible(client, clock)}, clock).run(HELLO)
        )
        await server.was_asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            await asyncio.sleep(0.01)
            if server.closed_by_peer:
                break
        assert server.closed_by_peer == 1
    assert engine.failures == []
    await client.close()


async def test_a_stream_falls_back_before_its_first_content() -> None:
    setting = _Setting({"a": [{"failure": "server_error"}], "b": [{"answer": "yes it is", "chunks": 3}]})
    chunks = await setting.hear()
    result = _result(chunks)
    assert result.ok
    assert "".join(chunk.text for chunk in chunks) == "yes it is"
    assert result.response is not None
    assert result.response.text == "yes it is"
    assert [failure.kind for failure in result.failures] == ["server_error"]


async def test_a_stream_cut_after_content_ends_in_band() -> None:
    setting = _Setting({"a": [{"answer": "abcdef", "chunks": 3, "cut_after": 1}], "b": [{"answer": "never"}]})
    chunks = await setting.hear()
    assert [chunk.text for chunk in chunks] == ["ab", ""]
    last = chunks[-1]
    assert last.error is not None
    assert (last.finish_reason, last.error.kind) == ("error", "stream_interrupted")
    assert not _result(chunks).ok
    assert [failure.kind for failure in setting.engine.failures] == ["stream_interrupted"]


async def test_a_stream_cut_before_content_shows_nothing_of_it() -> None:
    setting = _Setting({"a": [{"answer": "abcdef", "chunks": 3, "cut_after": 0}], "b": [{"answer": "yes"}]})
    chunks = await setting.hear()
    assert [chunk.text for chunk in chunks if chunk.text] == ["yes"]


async def test_the_first_content_has_a_bound_of_its_own() -> None:
    setting = _Setting(
        {"a": [{"answer": "x", "latency_ms": 5000}], "b": [{"answer": "yes"}]}, params={"ttft_ms": 800}
    )
    result = _result(await setting.hear())
    assert result.failures[0].kind == "timeout"
    assert result.ok
    assert setting.clock.now_ms() == 800


@pytest.mark.parametrize(("ttft_ms", "is_blamed"), [(990, True), (1000, True), (1010, False)])
async def test_of_two_bounds_that_a_busy_host_saw_too_late_the_first_counts(
    ttft_ms: int,
    is_blamed: bool,  # noqa: FBT001 - a row
) -> None:
    class Busy(VirtualClock):
        def call_later(self, ms: float, action: Callable[[], None]) -> Timer:
            return super().call_later(ms + 50, action)

    clock, engine = Busy(), FakeEngine([candidate("a")], {"ttft_ms": ttft_ms})
    provider = Scripted({"a": [{"hang": True}]}, clock)
    stream = driver(engine, {"scripted": provider}, clock).stream(Contract(prompt="x", deadline_ms=1000))
    result = _result([chunk async for chunk in stream])
    assert [failure.kind for failure in engine.failures] == ["timeout"] * is_blamed
    assert result.error == "timeout"


async def test_a_stalled_stream_is_interrupted_by_idle_ms() -> None:
    setting = _Setting({"a": [{"answer": "abc", "chunks": 3, "gap_ms": 5000}]}, params={"idle_ms": 700})
    result = _result(await setting.hear())
    assert [failure.kind for failure in result.failures] == ["stream_interrupted"]
    assert setting.clock.now_ms() == 700


async def test_a_slow_stream_is_bounded_by_its_attempt() -> None:
    setting = _Setting(
        {"a": [{"answer": "a" * 100, "chunks": 100, "gap_ms": 500}]}, params={"timeout_ms": 2100}
    )
    assert not _result(await setting.hear()).ok
    assert setting.clock.now_ms() == 2100


@pytest.mark.parametrize("bound", ["idle_ms", "timeout_ms"])
async def test_what_a_reader_takes_between_pieces_is_no_time_of_the_providers(bound: str) -> None:
    setting = _Setting({"a": [{"answer": "abcdef", "chunks": 6, "gap_ms": 10}]}, params={bound: 1000})
    chunks = []
    async for chunk in setting.driver.stream(HELLO):
        chunks.append(chunk)
        await setting.clock.sleep_ms(1500)
    assert _result(chunks).ok
    assert "".join(chunk.text for chunk in chunks) == "abcdef"


async def test_a_provider_that_stalls_after_a_readers_pause_is_interrupted_by_idle_ms() -> None:
    setting = _Setting({"a": [{"answer": "abc", "chunks": 3, "gap_ms": 5000}]}, params={"idle_ms": 700})
    chunks = []
    async for chunk in setting.driver.stream(HELLO):
        chunks.append(chunk)
        await setting.clock.sleep_ms(300)
    assert [failure.kind for failure in _result(chunks).failures] == ["stream_interrupted"]
    assert setting.clock.now_ms() == 300 + 700 + 300


async def test_a_reader_who_pauses_beyond_the_runs_deadline_blames_nobody() -> None:
    setting = _Setting({"a": [{"answer": "abc", "chunks": 3, "gap_ms": 10}]}, params={"idle_ms": 700})
    chunks = []
    async for chunk in setting.driver.stream(Contract(prompt="x", deadline_ms=1000)):
        chunks.append(chunk)
        await setting.clock.sleep_ms(1500)
    assert (_result(chunks).error, setting.engine.failures) == ("timeout", [])


async def test_a_stream_that_nobody_can_serve_says_so_in_band() -> None:
    setting = _Setting({"a": [{"failure": "server_error"}]})
    (chunk,) = await setting.hear()
    assert chunk.finish_reason == "error"
    assert chunk.error is not None
    assert chunk.error.kind == "server_error"


async def test_leaving_a_stream_early_closes_it() -> None:
    setting = _Setting({"a": [{"answer": "abc", "chunks": 3, "gap_ms": 10}]})
    stream = setting.driver.stream(HELLO)
    async for _ in stream:
        break
    await stream.aclose()
    assert setting.engine.failures == []


async def test_a_stream_over_http_survives_a_failing_route() -> None:
    client, clock = HttpClient(), SystemClock()
    async with (
        Server([failing(503, {})]) as bad,
        Server([events(delta("he"), delta("llo"), delta(None, "stop"))]) as good,
    ):
        engine = FakeEngine(
            [
                candidate(name, url, "openai_compatible")
                for name, url in (("a", bad.base_url), ("b", good.base_url))
            ]
        )
        run = driver(engine, {"openai_compatible": OpenAICompatible(client, clock)}, clock)
        chunks = [chunk async for chunk in run.stream(HELLO)]
    await client.close()
    assert "".join(chunk.text for chunk in chunks) == "hello"
    assert _result(chunks).ok


async def test_many_runs_at_once_do_not_mix() -> None:
    client, clock = HttpClient(), SystemClock()
    async with Server([answer("x")]) as server:
        engine = FakeEngine([candidate("a", server.base_url, "openai_compatible")])
        run = driver(engine, {"openai_compatible": OpenAICompatible(client, clock)}, clock)
        results = await asyncio.gather(*(run.run(Contract(prompt=f"p{n}")) for n in range(30)))
    await client.close()
    assert all(result.ok for result in results)
    assert {asked.body["messages"][0]["content"] for asked in server.asked} == {f"p{n}" for n in range(30)}


@pytest.mark.parametrize("kind", ["auth_error", "payment_required", "rate_limit"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_callers_own_key_that_fails_is_the_callers_fault(kind: str, is_stream: bool) -> None:  # noqa: FBT001 - a row
    setting = _Setting({"a": [{"failure": kind, "http_status": 401}]})
    for own, told in (({}, kind), ({"a": Secret("their key")}, "bad_request"), ({"b": Secret("k")}, kind)):
        contract = Contract(prompt="x", auth_override=own)
        result = _result(await setting.hear(contract)) if is_stream else await setting.driver.run(contract)
        assert [failure.kind for failure in result.failures] == [told]
        assert "their key" not in result.failures[0].detail


class _Accounts(FakeAuth):
    """Gives another account each time that it is asked."""

    def __init__(self) -> None:
        self.given = 0

    def at_once(self, provider_id: str) -> Credential | None:
        del provider_id
        return None

    async def credential(self, provider_id: str) -> Credential | Failure:
        del provider_id
        self.given += 1
        return Credential(Secret("k"), account=str(self.given))


@pytest.mark.parametrize(
    ("kind", "accounts"), [("timeout", "111"), ("rate_limit", "123"), ("auth_error", "123")]
)
async def test_an_account_is_chosen_once_per_call_unless_it_was_the_reason(kind: str, accounts: str) -> None:
    clock = VirtualClock()
    seen: list[str | None] = []

    class Asked(Scripted):
        async def send(self, call: Call, credential: Credential) -> Any:
            seen.append(credential.account)
            return await super().send(call, credential)

    engine = FakeEngine([candidate("a"), candidate("a"), candidate("a")])
    scripted = Asked({"a": [{"failure": kind}, {"failure": kind}, {"answer": "yes"}]}, clock)
    result = await Driver(
        engine, {"scripted": scripted}, _Accounts(), clock, Surroundings(new_seed=lambda: 7)
    ).run(HELLO)
    assert result.ok
    assert seen == list(accounts)
