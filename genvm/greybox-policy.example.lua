-- A validator's own policy. Copy it to `greybox-policy.lua` beside `dispatch.lua`, make it yours, and
-- publish its identity if you like: `policy_id` in the log says no more than that.
--
-- It may name what the core observes, the overlay's declared fields, and `priority`, `greybox_text`,
-- `greybox_image`: where the YAML places a model.

local dsl = require("llm_policy").dsl
local F, S, R, M, P = dsl.F, dsl.S, dsl.R, dsl.M, dsl.P

-- Who is eligible: what the call demands, no provider that this session has disabled.
local filter = F.all_of({ F.requirements(), F.not_disabled() })

-- How good: what you rank high, then what costs little. Unknown prices count as the highest.
local scorer = S.balanced({ priority = 2, price_out = 1, price_in = 1 })

-- With what request: here validators differ, each call by its own seed. Choosing stays the same for a
-- node, so that it can be derived again.
local mutate = M.pipe({
  M.inject_seed("seed"),
  M.jitter("temperature", 0.15),
  M.clamp("temperature", 0.2, 1),
  M.filter_text({ "NFKC", "RmZeroWidth", "NormalizeWS" }),
})

-- For images a little noise of the node's own; `jitter` moves the number beside it by the seed.
local with_noise = M.pipe({
  mutate,
  M.filter_image({ { GuassianNoise = 0.02, jitter = 0.01 }, { JPEG = 92, jitter = 4 } }),
})

-- What a failure leads to. A kind that is not named falls through to the next candidate.
local failures = P.plan({
  auth_error = { action = "disable_provider" },
  payment_required = { action = "disable_provider" },
  rate_limit = { action = "retry_same", attempts = 1, backoff_ms = 500, then_action = "next_candidate" },
  unknown = { action = "next_candidate" },
})

local text =
  dsl.policy({ filter = filter, scorer = scorer, selector = R.argmax(), mutate = mutate, failures = failures })
local image =
  dsl.policy({ filter = filter, scorer = scorer, selector = R.argmax(), mutate = with_noise, failures = failures })

return { text = text, image = image }
