-- The dsl: the verbs as constructors of terms, for policies that are written in Lua (spec 1.8).
--
-- They build what JSON or YAML would say, so such a policy has an identity; only one with a Lua
-- function in it (`F.where`, `R.custom`, `M.custom`) is local.

local constructor = require("llm_policy.language.constructor")
local filters = require("llm_policy.language.sugar_filter")
local lowering = require("llm_policy.language.lowering")
local mutates = require("llm_policy.language.sugar_mutate")
local names = require("llm_policy.language.sorts")
local numbers = require("llm_policy.base.numbers")
local signature = require("llm_policy.language.signature")
local sugar = require("llm_policy.language.sugar")
local tables = require("llm_policy.base.tables")

local raise, type, rawget = constructor.raise, type, rawget

-- Filters: who is eligible.
local FILTERS = {
  { "top", "top" },
  { "bot", "bot" },
  { "meets_req", "meets_req" },
  { "requirements", "meets_req" },
  { "scope_matches", "scope_matches" },
  { "is", "is" },
  { "cmp", "cmp" },
  { "tier_eq", "tier_eq" },
  { "min_tier", "min_tier" },
  { "family_eq", "family_eq" },
  { "provider_eq", "provider_eq" },
  { "served_by_eq", "served_by_eq" },
  { "has_cap", "has_cap" },
  { "where", "where" },
}

local FILTER_ROWS = {
  "all_of",
  "any_of",
  "none_of",
  "tier_in",
  "family_in",
  "provider_in",
  "provider_not_in",
  "served_by_in",
  "served_by_not_in",
  "price_max",
}

local F = constructor.space("F", FILTERS, filters.ROWS, FILTER_ROWS)

--- A filter word of the sugar, made anew for each policy.
local function word(name)
  return function()
    return tables.deep_copy(filters.WORDS[name])
  end
end

F.not_disabled = word("not_disabled")
F.breaker_closed = word("breaker_closed")

-- Scorers: how good.
local SCORERS = {
  { "zero", "zero" },
  { "field", "field" },
  { "lit", "lit" },
  { "scale", "scale" },
  { "gate", "gate" },
  { "neg", "neg" },
  { "normalize", "normalize" },
  { "clamp", "clamp" },
}

-- The lower, the better.
local IS_COST = { price_in = true, price_out = true, latency_ms = true }

local function scorer(low, at, value)
  return lowering.written(low, at, value, "Scorer")
end

local function add(low, at, value)
  return lowering.joined("add", lowering.each_entry(low, at, value, "Scorer", scorer), "zero")
end

local function weighted(low, at, weight, name)
  if not numbers.is_finite(weight) then
    return lowering.fail(low, at, "Scorer", "a finite number is wanted")
  end
  local term = { "normalize", { "field", name } }
  return { "scale", weight, IS_COST[name] and { "neg", term } or term }
end

--- A weighted sum of normalised fields; of costs, how low they are counts.
local function balanced(low, at, value)
  return lowering.joined("add", lowering.each_key(low, at, value, "Scorer", weighted), "zero")
end

local SUMS = { add = { lower = add }, sum = { lower = add }, balanced = { lower = balanced } }

local S = constructor.space("S", SCORERS, SUMS, { "add", "sum", "balanced" })

-- Selectors: in what order.
local R = constructor.space("R", {
  { "argmax", "argmax" },
  { "ordered", "ordered" },
  { "sample", "sample", { 1 } },
  { "chain", "chain" },
  { "top_k", "top_k", { 3, { "argmax" } } },
  { "prefer", "prefer", { nil, { "argmax" } } },
  { "custom", "rank_with" },
})

-- Changes: with what request.
local M = constructor.space("M", {
  { "id", "id" },
  { "identity", "id" },
  { "set_param", "set_param" },
  { "inject_seed", "inject_seed" },
  { "from_ctx", "inject_seed" },
  { "clamp", "clamp_param" },
  { "jitter", "jitter" },
  { "filter_text", "filter_text" },
  { "filter_image", "filter_image" },
  { "when", "when" },
}, mutates.ROWS, { "pipe" })

local by_symbol = constructor.of_operation("M.custom", "custom")
local by_function = constructor.of_operation("M.custom", "mutate_with")

--- The operator's transform: the name of a registered one, or a Lua function.
function M.custom(what)
  return (type(what) == "function" and by_function or by_symbol)(what)
end

-- Failure plans: what a failure leads to.
local P = constructor.space("P", { { "always", "always" }, { "override", "override" } })

--- A plan from a table failure kind -> action; `unknown` is the base.
function P.plan(actions)
  local kinds = type(actions) == "table" and tables.keys(actions) or raise("P.plan", "a record is wanted")
  for i = 1, #kinds do
    local code, detail = names.checks.Action(rawget(actions, kinds[i]))
    if code then
      raise("P.plan." .. kinds[i], detail)
    end
  end
  return tables.deep_copy(sugar.plan(actions))
end

-- The parts of a policy: key -> what an absent one is; in the order of the arguments of `policy`.
local PARTS = { "filter", "scorer", "selector", "mutate", "failures" }
local ABSENT = {
  filter = filters.DEFAULT,
  scorer = { "zero" },
  selector = { "argmax" },
  mutate = { "id" },
  failures = { "always", { action = "next_candidate" } },
}

local function reject_unknown(parts)
  local keys = tables.keys(parts)
  for i = 1, #keys do
    if not ABSENT[keys[i]] then
      raise("policy", "no part `" .. keys[i] .. "`" .. names.hint(keys[i], PARTS))
    end
  end
end

--- A whole policy.
---@param parts table {filter?, scorer?, selector?, mutate?, failures?}
---@return table term
local function policy(parts)
  local term = { "policy" }
  reject_unknown(type(parts) == "table" and parts or raise("policy", "a record of parts is wanted"))
  for i = 1, #PARTS do
    local value = rawget(parts, PARTS[i])
    if value == nil then
      value = tables.deep_copy(ABSENT[PARTS[i]])
    end
    local fault = constructor.fault_of(value, signature.by_name.policy.args[i])
    if fault then
      raise("policy." .. PARTS[i], fault)
    end
    term[i + 1] = value
  end
  return term
end

return { F = F, S = S, R = R, M = M, P = P, policy = policy }
