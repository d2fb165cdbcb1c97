"""The core without the host: load it with lupa, let a policy choose, answer with a mock provider.

python example_host/example.py
"""

import sys
from pathlib import Path

from lupa.lua54 import LuaRuntime

CONFIG = """{
  providers = {
    cheap = { base_url = "https://cheap.example/v1" },
    solid = { base_url = "https://solid.example/v1" },
  },
  models = {
    ["small-model"] = {
      capabilities = { context = 8192 },
      served_by = {
        { provider = "cheap", price_in = 0.1, price_out = 0.2 },
        { provider = "solid", price_in = 0.5, price_out = 1.0 },
      },
    },
  },
  retry_policies = {
    patient = {
      rate_limit = { action = "retry_same", attempts = 1, backoff_ms = 250 },
      unknown = { action = "next_candidate" },
    },
  },
  profiles = {
    thrifty = { scorer = { "neg", { "normalize", { "field", "price_in" } } }, retry_policy = "patient" },
  },
}"""


def main() -> int:
    """Run one contract and print what was decided."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    core = Path(__file__).resolve().parent.parent / "lua"
    lua.globals().package.path = f"{core}/?.lua"
    llm_policy = lua.require("llm_policy")
    llm_policy = llm_policy[0] if isinstance(llm_policy, tuple) else llm_policy
    clock = {"now_ms": 1_000_000}

    def call_provider(request: object) -> object:
        """Play a provider: `cheap` is always too busy."""
        clock["now_ms"] += 40
        if request["provider_id"] == "cheap":  # type: ignore[index]
            return lua.table(ok=False, error_kind="rate_limit", http_status=429)
        return lua.table(ok=True, text="bonjour")

    def sleep_ms(ms: float) -> None:
        clock["now_ms"] += int(ms)

    own = lua.eval("function(call) return function(...) return call(...) end end")
    lua.globals().host = lua.table(
        call_provider=own(call_provider), sleep_ms=own(sleep_ms), now_ms=own(lambda: clock["now_ms"])
    )
    made = llm_policy.init(lua.eval(CONFIG))
    if made is not True:
        print(made[1])
        return 1
    result = llm_policy.execute(lua.table(profile="thrifty", prompt="say hello in French"))
    chosen, trace = result.chosen, result.trace
    print(f"answer:  {result.response.text}")
    print(
        f"chosen:  {chosen.model_family} @ {chosen.provider_id}, {chosen.price_in} USD per million tokens in"
    )
    print(f"policy:  {trace.policy_id}")
    for entry in trace.ranked.values():
        print(f"ranked:  {entry.model_family} @ {entry.provider_id}, score {entry.score}")
    for event in trace.decision_path.values():
        print("path:    " + ", ".join(f"{key}={event[key]}" for key in sorted(event)))
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
