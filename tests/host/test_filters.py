from __future__ import annotations

from typing import Any

from llm_policy_host import Contract, Host
from llm_policy_host.run.filters import filtered
from llm_policy_host.values import Call

POLICY: Any = [
    "policy",
    ["top"],
    ["zero"],
    ["argmax"],
    ["filter_text", ["NFKC", "RmZeroWidth", "NormalizeWS"]],
    ["always", {"action": "next_candidate"}],
]


def host(mutate: Any) -> Host:
    policy = [*POLICY[:4], mutate, POLICY[5]]
    return Host.from_data(
        {
            "providers": {"s": {"api_kind": "scripted"}},
            "models": {"m": {"served_by": [{"provider": "s"}]}},
            "profiles": {"default": {"policy_ir": policy}},
            "host": {"scripts": {"s": [{"answer": "said: {prompt}"}]}},
        }
    )


async def answer(mutate: Any, content: Any) -> Any:
    async with host(mutate) as made:
        return await made.run(Contract(messages=[{"role": "user", "content": content}]))


async def test_text_filters_reach_what_is_sent() -> None:
    result = await answer(POLICY[4], "\ufb01ve\u200b   apples\n")
    assert result.response.text == "said: five apples"


def test_text_filters_reach_every_text_part_and_nothing_else() -> None:
    parts = [{"type": "text", "text": "  a   b "}, {"type": "image_url", "image_url": {"url": " x "}}]
    call = Call("p", "m", "m", filters={"text": {"recipe": ["NormalizeWS"]}}, messages=[{"content": parts}])
    fit = filtered(call)
    assert isinstance(fit, Call)
    assert fit.messages == [{"content": [{"type": "text", "text": "a b"}, parts[1]]}]


async def test_a_filter_that_the_host_lacks_fails_the_attempt_and_is_never_dropped() -> None:
    result = await answer(["filter_text", ["Leetspeak"]], "hello")
    assert (result.ok, result.error) == (False, "exhausted: bad_request")
    assert "Leetspeak" in result.failures[0].detail


async def test_image_filters_matter_only_where_an_image_is_sent() -> None:
    mutate = ["filter_image", [{"Noise": 1}]]
    image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    assert (await answer(mutate, "no image")).ok
    assert (await answer(mutate, image)).error == "exhausted: bad_request"
