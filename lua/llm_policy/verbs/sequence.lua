-- The verb sequence: what a failure leads to. What each FailPlan operation means (spec 1.6).
--
-- A failure plan is a table reason -> action, its base under `unknown`.

local sorts = require("llm_policy.language.sorts")
local tables = require("llm_policy.base.tables")

local NEXT_CANDIDATE = { action = "next_candidate" }

-- Each entry makes the plan of its operation from (arguments).
local operations = {
  always = function(args)
    return { unknown = args[1] }
  end,
  override = function(args)
    local plan = tables.copy(args[1])
    plan[args[2]] = args[3]
    return plan
  end,
}

--- The action for a failure kind; a kind that the plan does not name gets `unknown`'s.
---@return table action {action, then_action?, attempts?, backoff_ms?, open_breaker_ms?}
local function classify(plan, kind)
  return plan[kind] or plan.unknown or NEXT_CANDIDATE
end

return { operations = operations, classify = classify, KINDS = sorts.KINDS }
