"""What the scenarios share: backends, what they say, and an operator's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backends import backend, greybox, model
from .world import default_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from .values import Failure, Request

PNG = b"\x89PNG\xff\x00"

# text chain: bert/fast, anna/fast, carl/wide; image chain: carl/eye, then carl/wide of the text chain
CHAINS = {
    "anna": backend(
        {"fast": greybox(text=2, use_max_completion_tokens=True), "off": greybox(text=0, enabled=False)}
    ),
    "bert": backend({"fast": greybox(text=1, json=False), "idle": model()}),
    "carl": backend({"wide": greybox(text=3, is_image=True), "eye": greybox(image=1, json=False)}),
}
TEXT_CHAIN = ["bert/fast", "anna/fast", "carl/wide"]
IMAGE_CHAIN = ["carl/eye", "carl/wide"]
PLAIN = {
    "anna": backend({"large": model(image=True), "small": model()}),
    "bert": backend({"large": model(json=False), "small": model()}),
}


def always(failure: Failure) -> Callable[[Request], Any]:
    return lambda _request: failure


def first(*said: Any) -> Callable[[Request], Any]:
    """Say these one after the other, then answer."""
    left = list(said)
    return lambda request: left.pop(0) if left else default_script(request)


# The operator's own files: prices, and a policy that takes the cheapest.
OVERLAY = """return { models = {
  ["anna/large"] = { price_in = 9 }, ["anna/small"] = { price_in = 2 },
  ["bert/large"] = { price_in = 4 }, ["bert/small"] = { price_in = 1 },
} }"""
POLICY = """
local dsl = require("llm_policy").dsl
local F, S, R, M, P = dsl.F, dsl.S, dsl.R, dsl.M, dsl.P
return dsl.policy({
  filter = F.meets_req(),
  scorer = S.neg(S.normalize(S.field("price_in"))),
  selector = R.argmax(),
  mutate = %s,
  failures = P.plan({
    rate_limit = { action = "retry_same", attempts = 2, backoff_ms = { 1500, 250 } },
    auth_error = { action = "abort" },
    unknown = { action = "next_candidate" },
  }),
})
"""


def files(mutate: str = "M.id()") -> dict[str, str]:
    return {"router-overlay.lua": OVERLAY, "greybox-policy.lua": POLICY % mutate}
