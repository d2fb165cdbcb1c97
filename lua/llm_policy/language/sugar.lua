-- Sugar: a declarative profile as exactly one term (spec 1.8). Nothing else compiles policies.

local extends = require("llm_policy.language.sugar_extends")
local filters = require("llm_policy.language.sugar_filter")
local lowering = require("llm_policy.language.lowering")
local mutates = require("llm_policy.language.sugar_mutate")
local reports = require("llm_policy.language.report")
local tables = require("llm_policy.base.tables")
local vocabularies = require("llm_policy.language.vocabulary")

local at_key = vocabularies.at
local type, rawget = type, rawget

local NEXT_CANDIDATE = { action = "next_candidate" }
local BREAKER_CLOSED = { "not", { "is", "breaker_open" } }

local SAMPLE_TEMPERATURE = 1
local TOP_K = 3

local function scorer(low, at, value)
  return lowering.written(low, at, value, "Scorer")
end

local function sample(_, profile)
  local temperature = at_key(profile.selector_opts, "temp")
  return { "sample", temperature == nil and SAMPLE_TEMPERATURE or temperature }
end

-- selector -> function (low, profile) -> term
local SELECTORS = {
  argmax = function()
    return { "argmax" }
  end,
  ordered = function()
    return { "ordered" }
  end,
  chain = function(low, profile)
    if low.chain ~= nil then
      return { "chain", low.chain }
    end
    return { "chain", profile.chain or {} }
  end,
  sample = sample,
  softmax_sample = sample,
  top_k = function(_, profile)
    local k = at_key(profile.selector_opts, "k")
    return { "top_k", k == nil and TOP_K or k, { "argmax" } }
  end,
}

local function selector(low, at, value, profile)
  if type(value) == "table" then
    if not lowering.is_term(value) then
      return lowering.fail(low, at, "Selector", "a selector's name, or its term, is wanted")
    end
    return lowering.written(low, at, value, "Selector")
  end
  local select = SELECTORS[value]
  if not select then
    return lowering.fail_unknown(low, at, "Selector", "selector", value, tables.keys(SELECTORS))
  end
  return select(low, profile)
end

-- Each option as the term in which it would stand.
local OPTIONS = {
  temp = {
    takes = { kind = "Num" },
    lower = function(low, at, value)
      return lowering.made(low, at, { "sample", value }, "Selector")
    end,
  },
  k = {
    takes = { kind = "Count" },
    lower = function(low, at, value)
      return lowering.made(low, at, { "top_k", value, { "argmax" } }, "Selector")
    end,
  },
}

local check_option = lowering.by_row(OPTIONS, "Selector", "option")

--- The failure plan of a table failure kind -> action: its `unknown` entry, then an override per kind.
local function plan(actions)
  local term, kinds = { "always", actions.unknown or NEXT_CANDIDATE }, tables.keys(actions)
  for i = 1, #kinds do
    if kinds[i] ~= "unknown" then
      term = { "override", term, kinds[i], rawget(actions, kinds[i]) }
    end
  end
  return term
end

local function retry_policy(low, at, value)
  if lowering.is_term(value) then
    return lowering.written(low, at, value, "FailPlan")
  end
  local actions = at_key(low.retry_policies, value)
  if type(value) ~= "string" or type(actions) ~= "table" then
    return lowering.fail_unknown(low, at, "FailPlan", "retry policy", value, tables.keys(low.retry_policies))
  end
  return plan(actions)
end

local function selector_opts(low, at, value)
  lowering.each_key(low, at, value, "Selector", check_option)
end

local function chain(low, at, value)
  return lowering.made(low, at, { "chain", value }, "Selector")
end

local function policy_ir(low, at, value)
  return lowering.written(low, at, value, "Policy")
end

local function parent(low, at, value)
  if type(at_key(low.profiles, value)) ~= "table" then
    lowering.fail_unknown(low, at, "Policy", "profile", value, tables.keys(low.profiles))
  elseif extends.leads_back(low.profiles, at[#at - 1]) then
    lowering.fail(low, at, "Policy", "the profile inherits from itself")
  end
end

local NAME = { kind = "name" }
local SELECTOR = { { kind = "word", words = tables.keys(SELECTORS) }, { kind = "Selector" } }

-- The keys of a profile: what each takes, and (low, at, value, profile) -> what it lowers to.
local PARTS = {
  filter = { takes = { kind = "Filter" }, lower = filters.lower },
  scorer = { takes = { kind = "Scorer" }, lower = scorer },
  selector = { takes = { kind = "either", either = SELECTOR }, lower = selector },
  selector_opts = { takes = { kind = "record", noun = "option", rows = OPTIONS }, lower = selector_opts },
  chain = { takes = { kind = "Chain" }, lower = chain },
  mutate = { takes = { kind = "Change" }, lower = mutates.lower },
  retry_policy = { takes = { kind = "either", either = { NAME, { kind = "FailPlan" } } }, lower = retry_policy },
  policy_ir = { takes = { kind = "Policy" }, lower = policy_ir },
  extends = { takes = NAME, lower = parent },
}

--- The part of a profile, or what stands for it where it is absent.
local function part(low, profile, key, absent)
  local value = rawget(profile, key)
  if value == nil then
    return absent
  end
  return PARTS[key].lower(low, { key }, value, profile)
end

--- The term of a profile that `resolve` gave; what the parts name is admission's to judge.
---@param options table|nil {retry_policies = name -> failure kind -> action, chain = the contract's}
---@return table|nil term as it is written: not in normal form
---@return table|nil errors list of {path, at, detail, nearest}, places within the profile
local function lower(profile, options)
  if profile.policy_ir ~= nil then
    return profile.policy_ir
  end
  local low = lowering.new(options)
  local term = {
    "policy",
    part(low, profile, "filter", filters.DEFAULT),
    { "gate", BREAKER_CLOSED, part(low, profile, "scorer", { "zero" }) },
    part(low, profile, "selector", { "argmax" }),
    part(low, profile, "mutate", { "id" }),
    part(low, profile, "retry_policy", { "always", NEXT_CANDIDATE }),
  }
  local errors = reports.errors(low.report)
  if errors then
    return nil, errors
  end
  return term
end

--- Notes every mistake in the keys that a profile has itself; `extends` is followed by `resolve`.
---@param options table {report, vocabulary, allows_functions, retry_policies, profiles}
local function check(profile, at, options)
  local low = lowering.new(options)
  lowering.each_key(low, at, profile, "Policy", function(_, here, value, key)
    local row = PARTS[key]
    if not row then
      return lowering.fail_unknown(low, here, "Policy", "profile key", key, tables.keys(PARTS))
    end
    low.parts, low.is_full = 0, nil
    return row.lower(low, here, value, profile)
  end)
end

--- Notes every mistake of a predicate in the sugar of filters, and lowers it.
---@param options table {report, vocabulary}
---@return table term
local function check_filter(value, at, options)
  return filters.lower(lowering.new(options), at, value)
end

return {
  PARTS = PARTS,
  lower = lower,
  check = check,
  check_filter = check_filter,
  plan = plan,
  resolve = extends.resolve,
  SELECTORS = SELECTORS,
}
